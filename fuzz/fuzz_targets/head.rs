//! Heads: writing one and reading it again changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::head::Head;

fuzz_target!(|bytes: &[u8]| {
    let Ok(head) = Head::decode(bytes) else { return };
    assert_eq!(Head::decode(&head.encode()).expect("it was one before"), head);
});
