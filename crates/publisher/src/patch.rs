//! Patches between two trees: how one is made, wherever it is made.
//!
//! The numbers of files are those of `core::tree::patch`. What is read is compared with the trees, and the patch was applied
//! before it is returned; so whoever makes one for others can be wrong, and nobody gets a wrong patch from him.

use std::io::{self, Read};

use updraft_core::digest::Digest;
use updraft_core::limits::ZSTD_WINDOW_LOG_MAX;
use updraft_core::tree::patch::{Masked, contents, lacking, mask};
use updraft_core::tree::stored::Encoding;
use updraft_core::tree::{File, Tree, codec};
use updraft_differ::{IMAGE_LEN_MAX, Options};

/// Why there is no patch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not what its tree says, or cannot be read.
    #[error("file '{path}' of tree {tree}: {source}")]
    Content {
        /// Its path in that tree.
        path: String,
        /// The tree.
        tree: Digest,
        /// What is wrong.
        source: io::Error,
    },
    /// The files together are more than a patch can hold.
    #[error(transparent)]
    Make(#[from] updraft_differ::Error),
    /// The tree document would not come out right. A defect.
    #[error("the tree document was tried and does not come out right: {0}; this is a defect, please report it")]
    Document(String),
}

/// How large a pair is, in bytes: all that may be read, and all that is to be made.
pub fn lens(old: &Tree, new: &Tree) -> (u64, u64) {
    let sum = |tree: &Tree, files: Vec<File<'_>>| {
        let document = codec::encode(tree).len() as u64;
        files.iter().fold(document, |sum, file| sum.saturating_add(file.size))
    };
    (sum(old, contents(old)), sum(new, lacking(old, new)))
}

/// Why a pair of these lengths has no patch, if it is too large for any.
pub fn too_large((old_len, new_len): (u64, u64)) -> Option<String> {
    let found = old_len.max(new_len);
    (found > IMAGE_LEN_MAX as u64)
        .then(|| format!("the files have {found} bytes together; one patch holds {IMAGE_LEN_MAX} at most"))
}

/// How much memory the old files take, times their length: themselves twice, an index, and what is tried.
const OLD_TIMES: u64 = 12;
/// What it takes whatever is made: the program, its stacks, the encoder with its dictionary.
const BASE_LEN: u64 = 160 << 20;
/// How much room is made for a file before any of it has come.
const RESERVE_MAX: u64 = 4 << 20;

/// How much memory it may take to make the patch of a pair of these lengths, in bytes.
pub fn memory((old_len, new_len): (u64, u64)) -> u64 {
    old_len.saturating_mul(OLD_TIMES).saturating_add(new_len.saturating_mul(2)).saturating_add(BASE_LEN)
}

/// Makes the patch from `old` to `new`, and applies it to see that it is right. `content` has the bytes of a file of either.
///
/// # Errors
/// When a file cannot be read, or there is too much of them.
pub fn make(
    old: &Tree,
    new: &Tree,
    content: &mut dyn FnMut(&File<'_>) -> io::Result<Vec<u8>>,
) -> Result<Vec<u8>, Error> {
    let document = mask(old, new);
    prove_document(&document, old, new)?;
    let (from, to) = (old.digest(), new.digest());
    let mut read = |tree: Digest, first: Vec<u8>, files: Vec<File<'_>>| -> Result<Vec<Vec<u8>>, Error> {
        let mut all = vec![first];
        for file in files {
            let bytes = content(&file).and_then(|bytes| is(&file, bytes));
            let path = || file.path.as_str().to_owned();
            all.push(bytes.map_err(|source| Error::Content { path: path(), tree, source })?);
        }
        Ok(all)
    };
    let bases = read(from, codec::encode(old), contents(old))?;
    let outputs = read(to, document, lacking(old, new))?;
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    let outputs: Vec<&[u8]> = outputs.iter().map(Vec::as_slice).collect();
    let options = Options { from: *from.as_bytes(), to: *to.as_bytes(), ..Options::default() };
    Ok(updraft_differ::make(&bases, &outputs, &options)?.patch)
}

/// Fills in what was masked, as a device does.
fn prove_document(document: &[u8], old: &Tree, new: &Tree) -> Result<(), Error> {
    let made = lacking(old, new);
    let lens: Vec<u64> = made.iter().map(|file| file.size).collect();
    let digests: Vec<Digest> = made.iter().map(|file| file.digest).collect();
    let masked = Masked::parse(document, old, &lens).map_err(|e| Error::Document(e.to_string()))?;
    let filled = masked.fill(&digests);
    (filled == *new).then_some(()).ok_or_else(|| Error::Document("another tree comes out".to_owned()))
}

fn is(file: &File<'_>, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let found = Digest::of(&bytes);
    (found == file.digest).then_some(bytes).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("its bytes have the digest {found}, not {}", file.digest))
    })
}

/// The bytes of `file`, which lie in `stored` in this encoding. No more is decoded than it has.
///
/// # Errors
/// When they cannot be read, or decoded.
pub fn decode(stored: impl Read, encoding: Encoding, file: &File<'_>) -> io::Result<Vec<u8>> {
    // What a tree says of a length is believed as it comes.
    let mut bytes = Vec::with_capacity(usize::try_from(file.size.min(RESERVE_MAX)).map_err(io::Error::other)?);
    let max = file.size.saturating_add(1);
    match encoding {
        Encoding::Raw => stored.take(max).read_to_end(&mut bytes)?,
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(stored)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            decoder.take(max).read_to_end(&mut bytes)?
        }
    };
    if bytes.len() as u64 != file.size {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has not the {} bytes that it should", file.size),
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use updraft_delta::Patch;
    use updraft_testkit::TreeFixture;

    use super::*;

    fn pair() -> (TreeFixture, TreeFixture) {
        let text = |n: u64| (0..3_000).map(|i| format!("line {}\n", i * n)).collect::<String>();
        let old = TreeFixture::of(&[("bin/app*", &text(1)), ("a", "same"), ("gone", &text(3))]);
        let new = TreeFixture::of(&[("bin/app*", &(text(1) + "and more\n")), ("b", "same"), ("kept", &text(3))]);
        (old, new)
    }

    #[test]
    fn a_patch_names_its_trees_and_makes_what_is_lacking() {
        let (old, new) = pair();
        let both: BTreeMap<_, _> = old.contents().iter().chain(new.contents()).collect();
        let patch = make(&old.tree(), &new.tree(), &mut |file| Ok(both[&file.digest].clone())).unwrap();
        assert!(patch.len() < 500, "{}", patch.len());
        let read = Patch::open(&patch).unwrap();
        assert_eq!(read.header().from, *old.tree().digest().as_bytes());
        assert_eq!(read.header().to, *new.tree().digest().as_bytes());
        assert_eq!(read.header().outputs.len(), 2, "the document, and the program");
    }

    #[test]
    fn other_bytes_are_found_out() {
        let (old, new) = pair();
        let said = make(&old.tree(), &new.tree(), &mut |_| Ok(b"something else".to_vec())).unwrap_err().to_string();
        assert!(said.contains("file 'a' of tree") && said.contains("have the digest"), "{said}");
    }

    #[test]
    fn a_blob_is_decoded_within_its_length() {
        let files = TreeFixture::of(&[("a", "hello hello hello")]);
        let tree = files.tree();
        let file = contents(&tree)[0];
        let content = b"hello hello hello";
        let frame = zstd::bulk::compress(content, 3).unwrap();
        assert_eq!(decode(&content[..], Encoding::Raw, &file).unwrap(), content);
        assert_eq!(decode(&frame[..], Encoding::Zstd, &file).unwrap(), content);
        for (bytes, encoding) in [
            (&content[1..], Encoding::Raw),
            (&[&content[..], b"x"].concat(), Encoding::Raw),
            (&zstd::bulk::compress(&[0; 1 << 20], 3).unwrap(), Encoding::Zstd),
            (&frame[..4], Encoding::Zstd),
        ] {
            assert!(decode(bytes, encoding, &file).is_err());
        }
    }
}
