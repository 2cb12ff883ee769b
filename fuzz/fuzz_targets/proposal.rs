//! Proposals of a next root, as they travel between signers: what is let through says the same when it is written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_publisher::root::Proposal;
use updraft_testkit::clock;

fuzz_target!(|bytes: &[u8]| {
    let Ok(proposal) = Proposal::decode(bytes, clock::now()) else { return };
    proposal.lines();
    proposal.needs();
    let again = Proposal::decode(&proposal.encode(), clock::now()).expect("it was one before");
    assert_eq!(again.fingerprint(), proposal.fingerprint());
    assert_eq!(again.root_sha256(), proposal.root_sha256());
});
