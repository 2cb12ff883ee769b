//! Public keys of every scheme: none makes a verifier panic, and none signs what nobody signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::key::PublicKey;

fuzz_target!(|bytes: &[u8]| {
    let Ok(key) = serde_json::from_slice::<PublicKey>(bytes) else { return };
    key.id();
    let known = key.key_bytes().is_some();
    for signature in ["", "00", &"00".repeat(64), &"ff".repeat(256), "3006020101020101"] {
        assert!(!key.verifies(b"a message", signature) || known, "a key of no known kind signed");
    }
});
