//! Certificates that an operator trusts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_client::fetch::authority::Authority;

fuzz_target!(|bytes: &[u8]| {
    let _ = Authority::parse(bytes);
});
