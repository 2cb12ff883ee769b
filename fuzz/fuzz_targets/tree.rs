//! Tree documents: there is one encoding of a tree, so whatever is read is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::digest::Digest;
use updraft_core::tree::codec;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tree) = codec::decode(bytes) else { return };
    assert_eq!(codec::encode(&tree), bytes);
    assert_eq!(tree.digest(), Digest::of(bytes));
});
