//! Masked tree documents, as patches carry them: whatever one says, what comes out is a tree, of the sizes that were given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::digest::Digest;
use updraft_core::tree::codec;
use updraft_core::tree::patch::{Masked, lacking, mask};
use updraft_testkit::TreeFixture;

const FILES: &[(&str, &str)] = &[("a", "one"), ("b", "two"), ("d/c", "one"), ("d/e", "three"), ("l@", "a")];
/// The lengths of the outputs, and what comes out of them.
const OUTPUTS: [(u64, &[u8]); 2] = [(4, b"four"), (5, b"fives")];

fuzz_target!(|bytes: &[u8]| {
    let old = TreeFixture::of(FILES).tree();
    for count in 0..=OUTPUTS.len() {
        let (lens, digests): (Vec<u64>, Vec<Digest>) =
            OUTPUTS[..count].iter().map(|(len, content)| (*len, Digest::of(content))).unzip();
        let Ok(masked) = Masked::parse(bytes, &old, &lens) else { continue };
        let (files, sum) = (masked.file_count(), masked.byte_count());
        let tree = masked.fill(&digests);
        assert_eq!((files, sum), (tree.file_count(), tree.byte_count()));
        assert_eq!(codec::decode(&codec::encode(&tree)).expect("it is a tree"), tree);
        // What the maker would write for this tree is read as the same tree.
        let lens: Vec<u64> = lacking(&old, &tree).iter().map(|file| file.size).collect();
        let digests: Vec<Digest> = lacking(&old, &tree).iter().map(|file| file.digest).collect();
        assert_eq!(Masked::parse(&mask(&old, &tree), &old, &lens).expect("it is masked").fill(&digests), tree);
    }
});
