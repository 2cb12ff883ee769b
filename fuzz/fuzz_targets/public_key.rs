//! Public keys that somebody hands over: what is let through is the same key when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_publisher::keys::{public_from_text, public_text};

fuzz_target!(|text: &str| {
    let Ok(key) = public_from_text(text) else { return };
    assert_eq!(public_from_text(&public_text(&key)).expect("it was one before"), key);
});
