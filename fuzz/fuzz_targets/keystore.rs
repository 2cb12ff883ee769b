//! Key files of a publisher, with and without a passphrase.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_publisher::keys::{KeyName, Keystore, Unlocked};

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(dir.path().join("root.pem"), bytes).expect("a file can be written");
    let store = Keystore::at(dir.path());
    let _ = store.open_key(KeyName::Root, &Unlocked);
});
