//! Signed documents: writing one and reading it again changes nothing, and strangers' signatures never count.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::limits::METADATA_LEN_MAX;
use updraft_core::signed::{Envelope, RoleKeys};
use updraft_testkit::keys;

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = Envelope::parse(bytes, METADATA_LEN_MAX) else { return };
    assert_eq!(Envelope::parse(&envelope.to_bytes(), METADATA_LEN_MAX).expect("it was one before"), envelope);
    let nobody = keys::named("a key that signs nothing").public();
    let role = RoleKeys { keyids: envelope.signers().cloned().collect(), threshold: 1 };
    let keys = role.keyids.iter().map(|id| (id.clone(), nobody.clone())).collect();
    assert!(envelope.verify(&keys, &role).is_err(), "it never signed anything");
    let signed = envelope.sign(&keys::root());
    let keys = [(keys::root().public().id(), keys::root().public())].into();
    let role = RoleKeys { keyids: vec![keys::root().public().id()], threshold: 1 };
    signed.verify(&keys, &role).expect("it was just signed");
});
