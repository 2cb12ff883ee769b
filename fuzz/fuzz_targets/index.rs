//! The index of a scanned directory: any body behind the right digest, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::digest::Digest;
use updraft_files::Index;

fuzz_target!(|bytes: &[u8]| {
    let _ = Index::decode(bytes);
    let Some((magic, _)) = bytes.split_first_chunk::<16>() else { return };
    let body = bytes.get(48..).unwrap_or_default();
    let sealed = [magic.as_slice(), Digest::of(body).as_bytes(), body].concat();
    if let Ok(index) = Index::decode(&sealed) {
        assert_eq!(Index::decode(&index.encode()).expect("it was one before").encode(), index.encode());
    }
});
