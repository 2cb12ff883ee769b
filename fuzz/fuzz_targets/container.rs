//! Containers: whatever one says, its image stays within its bound, and what is recognised is packed again to the byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_delta::container::{Packer, Params, unpack};
use updraft_differ::container::{as_base, recognise};

/// Longest image.
const IMAGE_LEN_MAX: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    if let Some(found) = recognise(bytes, IMAGE_LEN_MAX) {
        let mut packer = Packer::new(&found.params).expect("zlib is stock");
        let mut packed = Vec::new();
        found.image.chunks(7).for_each(|piece| packer.write(piece, &mut packed).expect("it was packed before"));
        packer.finish().expect("it is whole");
        assert_eq!(packed, bytes);
        let base = as_base(bytes, &[&found], IMAGE_LEN_MAX).expect("it can be read as well");
        assert_eq!(base.contents.len(), found.contents.len());
    }
    let _ = as_base(bytes, &[], IMAGE_LEN_MAX);
    // Parameters that somebody made up, in front of a container.
    let mut rest = bytes;
    if let Ok(params) = Params::decode(&mut rest) {
        let mut image = Vec::new();
        let found = unpack(&rest, &params, IMAGE_LEN_MAX, &mut image);
        assert!(image.len() as u64 <= IMAGE_LEN_MAX);
        if let Ok(found) = found {
            assert_eq!(found.len, image.len() as u64);
            assert!(found.contents.iter().all(|at| at.end <= found.len));
        }
    }
});
