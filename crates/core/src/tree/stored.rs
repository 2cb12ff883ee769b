//! A tree as the store keeps it: one zstd frame of the canonical bytes and, behind them, a hint.
//!
//! The hint says for each blob of the tree, in the order of [`Tree::blobs`], how it is stored: a varint
//! `stored size << 1 | 1 if zstd`. It prices a download without asking for each blob. It is *not* covered by the tree's
//! digest and never believed: a wrong hint costs a request or a wrong estimate, never a wrong file.

use std::collections::BTreeMap;
use std::io::Read;

use super::Tree;
use super::codec::{self, Reader, put_varint};
use crate::digest::Digest;
use crate::limits::{FILE_LEN_MAX, TREE_LEN_MAX, ZSTD_WINDOW_LOG_MAX};

/// How a blob's bytes lie in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As they are.
    Raw,
    /// As one zstd frame.
    Zstd,
}

/// How a blob is stored, and how many bytes that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// How its bytes lie there.
    pub encoding: Encoding,
    /// How many bytes travel when it is fetched.
    pub size: u64,
}

/// What the hint says of each blob; a blob that it does not mention is of unknown size.
pub type Hint = BTreeMap<Digest, Stored>;

/// Why a stored tree cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a zstd frame, or one that decodes to more than it may.
    #[error("stored tree does not decompress to {expected} bytes and a hint")]
    Compression {
        /// The signed length of the tree.
        expected: u64,
    },
    /// It is another tree than the one that was signed.
    #[error("stored tree has digest {found}, but {expected} was signed")]
    Digest {
        /// What was signed.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// Its bytes are what was signed, and yet no tree.
    #[error(transparent)]
    Codec(#[from] codec::Error),
}

/// The bytes to store for `tree`.
pub fn pack(tree: &Tree, hint: &Hint) -> Vec<u8> {
    let mut bytes = codec::encode(tree);
    for digest in tree.blobs().keys() {
        let word = hint.get(digest).map_or(0, |stored| stored.size << 1 | u64::from(stored.encoding == Encoding::Zstd));
        put_varint(&mut bytes, word);
    }
    zstd::bulk::compress(&bytes, 19).expect("compressing memory into memory cannot fail")
}

/// The bytes to keep of `tree` where it was not fetched as it is stored: without a hint, and packed in a moment.
pub fn repack(tree: &Tree) -> Vec<u8> {
    zstd::bulk::compress(&codec::encode(tree), 3).expect("compressing memory into memory cannot fail")
}

/// The tree in `packed`, which was signed as `digest` with `len` bytes, and the hint behind it.
///
/// # Errors
/// When the tree is not the one that was signed. A damaged hint is no error: it is left out.
pub fn unpack(packed: &[u8], digest: Digest, len: u64) -> Result<(Tree, Hint), Error> {
    let damaged = || Error::Compression { expected: len };
    if len > TREE_LEN_MAX {
        return Err(damaged());
    }
    let mut decoder = decoder(packed).map_err(|_| damaged())?;
    let mut bytes = Vec::new();
    decoder.by_ref().take(len).read_to_end(&mut bytes).map_err(|_| damaged())?;
    if bytes.len() as u64 != len {
        return Err(damaged());
    }
    let found = Digest::of(&bytes);
    if found != digest {
        return Err(Error::Digest { expected: digest, found });
    }
    let tree = codec::decode(&bytes)?;
    let blobs = tree.blobs();
    let mut tail = Vec::new();
    let hint_len_max = blobs.len() as u64 * 10;
    let hint = match decoder.take(hint_len_max).read_to_end(&mut tail) {
        Ok(_) => read_hint(&tail, &blobs).unwrap_or_default(),
        Err(_) => Hint::new(),
    };
    Ok((tree, hint))
}

/// The tree in `packed`, of which only the digest is known, and the hint behind it. For a store, which is given trees
/// before it is given the releases that sign their lengths.
///
/// # Errors
/// When it is another tree, or none; also when the tree and its hint together are longer than a tree may be.
pub fn unpack_by_digest(packed: &[u8], digest: Digest) -> Result<(Tree, Hint), Error> {
    let damaged = || Error::Compression { expected: TREE_LEN_MAX };
    let decoder = decoder(packed).map_err(|_| damaged())?;
    let mut bytes = Vec::new();
    decoder.take(TREE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(|_| damaged())?;
    if bytes.len() as u64 > TREE_LEN_MAX {
        return Err(damaged());
    }
    let (tree, len) = codec::decode_front(&bytes)?;
    let found = Digest::of(&bytes[..len]);
    if found != digest {
        return Err(Error::Digest { expected: digest, found });
    }
    let hint = read_hint(&bytes[len..], &tree.blobs()).unwrap_or_default();
    Ok((tree, hint))
}

/// Decodes `packed`, with no more memory than a window that a publisher's frame may have.
fn decoder(packed: &[u8]) -> std::io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

fn read_hint(tail: &[u8], blobs: &BTreeMap<Digest, u64>) -> Result<Hint, codec::Error> {
    let mut reader = Reader::new(tail);
    let mut hint = Hint::new();
    for digest in blobs.keys() {
        let word = reader.varint()?;
        if word == 0 || word >> 1 > FILE_LEN_MAX {
            continue;
        }
        let encoding = if word & 1 == 1 { Encoding::Zstd } else { Encoding::Raw };
        hint.insert(*digest, Stored { encoding, size: word >> 1 });
    }
    if reader.is_at_end() { Ok(hint) } else { Err(reader.damaged("bytes behind the hint")) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::any_tree;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(tree in any_tree(), zstd: bool) {
            let encoding = if zstd { Encoding::Zstd } else { Encoding::Raw };
            let hint: Hint = tree.blobs().keys().enumerate()
                .map(|(n, digest)| (*digest, Stored { encoding, size: n as u64 + 1 }))
                .collect();
            let packed = pack(&tree, &hint);
            let len = codec::encode(&tree).len() as u64;
            prop_assert_eq!(unpack_by_digest(&packed, tree.digest()).unwrap(), (tree.clone(), hint.clone()));
            prop_assert_eq!(unpack(&repack(&tree), tree.digest(), len).unwrap().0, tree.clone());
            prop_assert_eq!(unpack(&packed, tree.digest(), len).unwrap(), (tree, hint));
        }

        #[test]
        fn a_damaged_frame_never_yields_another_tree(tree in any_tree(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut packed = pack(&tree, &Hint::new());
            let len = codec::encode(&tree).len() as u64;
            let at = at.index(packed.len());
            packed[at] = byte;
            if let Ok((other, _)) = unpack(&packed, tree.digest(), len) {
                prop_assert_eq!(&other, &tree);
            }
            if let Ok((other, _)) = unpack_by_digest(&packed, tree.digest()) {
                prop_assert_eq!(other, tree);
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_signed_length() {
        let bomb = zstd::bulk::compress(&vec![0; 50 << 20], 3).unwrap();
        assert!(matches!(unpack(&bomb, Digest::of(b""), 15), Err(Error::Digest { .. })));
    }

    /// The story: blobs were decoded under a bound on the window, trees under zstd's own of 128 MiB. A frame of a few
    /// bytes made every device allocate that much before the first byte was compared with a digest.
    #[test]
    fn a_frame_that_asks_for_a_larger_window_is_refused() {
        use std::io::Write;
        let bytes = codec::encode(&Tree::default());
        let frame = |bits: u32| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(bits).unwrap();
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        };
        let digest = Digest::of(&bytes);
        let len = bytes.len() as u64;
        assert!(unpack(&frame(ZSTD_WINDOW_LOG_MAX), digest, len).is_ok());
        let wide = frame(ZSTD_WINDOW_LOG_MAX + 1);
        assert!(matches!(unpack(&wide, digest, len), Err(Error::Compression { .. })));
        assert!(matches!(unpack_by_digest(&wide, digest), Err(Error::Compression { .. })));
    }
}
