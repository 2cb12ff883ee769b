//! Images of containers, behind their parameters: they are packed, or refused, in whatever pieces they come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_delta::container::{Packer, Params, unpack};

/// What comes of it, if something does.
fn packed(params: &Params, image: &[u8], piece_len: usize) -> Option<Vec<u8>> {
    let mut packer = Packer::new(params).expect("zlib is stock");
    let mut out = Vec::new();
    image.chunks(piece_len).try_for_each(|piece| packer.write(piece, &mut out)).ok()?;
    packer.finish().ok()?;
    Some(out)
}

fuzz_target!(|bytes: &[u8]| {
    let mut image = bytes;
    let Ok(params) = Params::decode(&mut image) else { return };
    let whole = packed(&params, image, image.len().max(1));
    assert_eq!(packed(&params, image, 3), whole);
    // What came out may be a container; then it is unpacked within bounds.
    if let Some(whole) = whole {
        let _ = unpack(&whole, &params, bytes.len() as u64 + (64 << 10), &mut std::io::sink());
    }
});
