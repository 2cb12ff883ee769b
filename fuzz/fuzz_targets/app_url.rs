//! Addresses of apps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_client::fetch::http::AppUrl;

fuzz_target!(|text: &str| {
    let _ = AppUrl::parse(text);
});
