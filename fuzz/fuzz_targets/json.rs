//! Strict JSON: what is read can be signed, and reading it again as it is written gives the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::json;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = json::parse(bytes) else { return };
    json::canonical(&value);
    let written = serde_json::to_vec(&value).expect("a value can be written");
    assert_eq!(json::parse(&written).expect("what was written can be read"), value);
});
