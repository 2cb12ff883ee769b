//! Stored trees, as they travel: as they are, and with any bytes inside a well-formed frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::digest::Digest;
use updraft_core::tree::stored;

fuzz_target!(|bytes: &[u8]| {
    let _ = stored::unpack_by_digest(bytes, Digest::of(b""));
    let _ = stored::unpack(bytes, Digest::of(b""), 1 << 20);
    // Any tree can be named and signed; the hint behind it is believed by nobody.
    for len in [bytes.len(), bytes.len() / 2] {
        let packed = zstd::bulk::compress(bytes, 1).expect("compressing memory into memory cannot fail");
        let digest = Digest::of(&bytes[..len]);
        if let Ok((tree, hint)) = stored::unpack(&packed, digest, len as u64) {
            let (again, hint_again) =
                stored::unpack_by_digest(&stored::pack(&tree, &hint), digest).expect("it was one before");
            assert_eq!((again, hint_again), (tree, hint));
        }
    }
});
