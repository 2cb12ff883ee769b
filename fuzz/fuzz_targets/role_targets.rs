//! Bytes in the place of targets: see [`updraft_fuzz::roles`].
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::trust::Role;

fuzz_target!(|bytes: &[u8]| {
    updraft_fuzz::roles::ask(&Role::Targets, bytes);
});
