//! Patches between two trees: how one is made, wherever it is made.
//!
//! The numbers of files are those of `core::tree::patch`. What is read is compared with the trees, and the patch was applied
//! before it is returned; so whoever makes one for others can be wrong, and nobody gets a wrong patch from him.

use std::io::{self, Read, Write};

use updraft_core::digest::{Digest, Hasher};
use updraft_core::limits::ZSTD_WINDOW_LOG_MAX;
use updraft_core::tree::patch::{Masked, contents, lacking, mask};
use updraft_core::tree::stored::Encoding;
use updraft_core::tree::{File, Tree, codec};
use updraft_differ::{IMAGE_LEN_MAX, MEMORY_MIN, Options, ReadAt, Scratch, fits, make_in_parts, new_bytes_max};

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
    /// There is no place for files that do not fit into memory.
    #[error("a place for files that do not fit into memory: {0}")]
    Scratch(#[source] io::Error),
    /// The files are more than a patch can hold, or too little of them is alike.
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

/// Why no patch is made of a pair of these lengths where so much memory is allowed for it, if none is.
pub fn refused((old_len, new_len): (u64, u64), memory: u64) -> Option<String> {
    let found = old_len.max(new_len);
    if found > IMAGE_LEN_MAX {
        return Some(format!("the files have {found} bytes together; one patch holds {IMAGE_LEN_MAX} at most"));
    }
    if fits(memory, old_len, new_len) {
        return None;
    }
    // Old files can make no more than they have, as a rule; the rest is compressed in memory.
    let is_too_new = new_len.saturating_sub(old_len) > new_bytes_max(memory);
    let needed = if is_too_new { new_len.saturating_mul(4).saturating_add(MEMORY_MIN) } else { MEMORY_MIN };
    (memory < needed).then(|| {
        let mib = |bytes| bytes >> 20;
        format!("to make it takes {} MiB of memory, and {} MiB are allowed for it", mib(needed), mib(memory))
    })
}

/// How much room is made for a file before any of it has come.
const RESERVE_MAX: u64 = 4 << 20;

/// Writes the bytes of a file of either tree.
pub type Content<'c> = dyn FnMut(&File<'_>, &mut dyn Write) -> io::Result<()> + 'c;

/// What may be taken to make a patch.
pub struct Room<'r> {
    /// About how much memory, in bytes; 256 MiB at least.
    pub memory: u64,
    /// Gives a file for what does not fit there, which will be so many bytes long. It is asked for at most once.
    pub scratch: &'r mut dyn FnMut(u64) -> io::Result<Box<dyn Scratch>>,
}

/// Makes the patch from `old` to `new`, and applies it to see that it is right.
///
/// # Errors
/// When a file cannot be read, or there is too much of them.
pub fn make(old: &Tree, new: &Tree, content: &mut Content<'_>, room: Room<'_>) -> Result<Vec<u8>, Error> {
    let document = mask(old, new);
    prove_document(&document, old, new)?;
    let bases = Side { tree: old.digest(), document: codec::encode(old), files: contents(old) };
    let outputs = Side { tree: new.digest(), document, files: lacking(old, new) };
    let (from, to) = (*bases.tree.as_bytes(), *outputs.tree.as_bytes());
    let options = Options { from, to, memory: room.memory };
    if fits(room.memory, bases.len(), outputs.len()) {
        let (bases, outputs) = (bases.read(content)?, outputs.read(content)?);
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let outputs: Vec<&[u8]> = outputs.iter().map(Vec::as_slice).collect();
        return Ok(updraft_differ::make(&bases, &outputs, &options)?.patch);
    }
    let mut scratch = (room.scratch)(bases.len().saturating_add(outputs.len())).map_err(Error::Scratch)?;
    let (bases, outputs) = (bases.spool(content, &mut *scratch)?, outputs.spool(content, &mut *scratch)?);
    let sections = |spans: Vec<(u64, u64)>| -> Vec<Section<'_>> {
        spans.into_iter().map(|(start, len)| Section { file: &*scratch, start, len }).collect()
    };
    let (bases, outputs) = (sections(bases), sections(outputs));
    let bases: Vec<&dyn ReadAt> = bases.iter().map(|section| section as &dyn ReadAt).collect();
    let outputs: Vec<&dyn ReadAt> = outputs.iter().map(|section| section as &dyn ReadAt).collect();
    Ok(make_in_parts(&bases, &outputs, &options)?.patch)
}

/// What a patch reads, or makes: the document of a tree, and files of it.
struct Side<'t> {
    tree: Digest,
    document: Vec<u8>,
    files: Vec<File<'t>>,
}

impl Side<'_> {
    fn len(&self) -> u64 {
        self.files.iter().fold(self.document.len() as u64, |sum, file| sum.saturating_add(file.size))
    }

    /// All of it.
    fn read(self, content: &mut Content<'_>) -> Result<Vec<Vec<u8>>, Error> {
        let Self { tree, document, files } = self;
        let mut all = vec![document];
        for file in &files {
            // What a tree says of a length is believed as it comes.
            let mut bytes = Vec::with_capacity(file.size.min(RESERVE_MAX) as usize);
            checked(tree, file, content, &mut bytes)?;
            all.push(bytes);
        }
        Ok(all)
    }

    /// Writes all of it to `scratch`, and answers with where each part begins there, and its length.
    fn spool(self, content: &mut Content<'_>, scratch: &mut dyn Scratch) -> Result<Vec<(u64, u64)>, Error> {
        let mut at = scratch.size().map_err(Error::Scratch)?;
        scratch.append(&self.document).map_err(Error::Scratch)?;
        let mut spans = vec![(at, self.document.len() as u64)];
        at += self.document.len() as u64;
        for file in &self.files {
            checked(self.tree, file, content, &mut Append(scratch))?;
            spans.push((at, file.size));
            at += file.size;
        }
        Ok(spans)
    }
}

/// Writes the bytes of `file` to `out`, if they are what `tree` says.
fn checked(tree: Digest, file: &File<'_>, content: &mut Content<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let mut out = Checked { out, hasher: Hasher::new(), len_max: file.size };
    let written = content(file, &mut out).and_then(|()| out.finish(file));
    written.map_err(|source| Error::Content { path: file.path.as_str().to_owned(), tree, source })
}

/// Bytes on their way, that are compared with what they should be.
struct Checked<'w> {
    out: &'w mut dyn Write,
    hasher: Hasher,
    len_max: u64,
}

impl Checked<'_> {
    fn finish(self, file: &File<'_>) -> io::Result<()> {
        let invalid = |reason| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        if self.hasher.len() != file.size {
            return invalid(format!("it has {} bytes instead of {}", self.hasher.len(), file.size));
        }
        let found = self.hasher.finish();
        if found != file.digest {
            return invalid(format!("its bytes have the digest {found}, not {}", file.digest));
        }
        Ok(())
    }
}

impl Write for Checked<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.hasher.len() + buf.len() as u64 > self.len_max {
            let reason = format!("it has more than the {} bytes that it should", self.len_max);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        self.out.write_all(buf)?;
        self.hasher.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes at the end of a scratch file.
struct Append<'s>(&'s mut dyn Scratch);

impl Write for Append<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // Only the kind is said: room that is lacking for this is no trouble of the place where patches go.
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("in the scratch file: {}", error.kind()));
        self.0.append(buf).map_err(failed)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One file in a scratch file.
struct Section<'s> {
    file: &'s dyn Scratch,
    start: u64,
    len: u64,
}

impl ReadAt for Section<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.saturating_add(buf.len() as u64) > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, self.start + offset)
    }
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

/// Writes the bytes of a file, which lie in `stored` in this encoding, to `out`.
///
/// # Errors
/// When they cannot be read, decoded, or written.
pub fn decode(stored: impl Read, encoding: Encoding, mut out: &mut dyn Write) -> io::Result<()> {
    match encoding {
        Encoding::Raw => io::copy(&mut { stored }, &mut out)?,
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(stored)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            io::copy(&mut decoder, &mut out)?
        }
    };
    Ok(())
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

    fn made(old: &Tree, new: &Tree, content: &mut Content<'_>) -> Result<Vec<u8>, Error> {
        let mut scratch = |_| panic!("small files fit into memory");
        make(old, new, content, Room { memory: 1 << 30, scratch: &mut scratch })
    }

    fn names_and_outputs(patch: &[u8], (old, new): (&Tree, &Tree)) -> usize {
        let read = Patch::open(&patch).unwrap();
        assert_eq!(read.header().from, *old.digest().as_bytes());
        assert_eq!(read.header().to, *new.digest().as_bytes());
        read.header().outputs.len()
    }

    #[test]
    fn a_patch_names_its_trees_and_makes_what_is_lacking() {
        let (old, new) = pair();
        let both: BTreeMap<_, _> = old.contents().iter().chain(new.contents()).collect();
        let patch = made(&old.tree(), &new.tree(), &mut |file, out| out.write_all(both[&file.digest])).unwrap();
        assert!(patch.len() < 500, "{}", patch.len());
        assert_eq!(names_and_outputs(&patch, (&old.tree(), &new.tree())), 2, "the document, and the program");
    }

    #[test]
    fn what_does_not_fit_into_memory_goes_through_a_file() {
        let text = |n: u64| (0..800_000).map(|i| format!("line {}\n", i * n)).collect::<String>();
        let old = TreeFixture::of(&[("a", &text(1)), ("b", "little")]);
        let new = TreeFixture::of(&[("a", &(text(1) + "and more\n")), ("b", "little else")]);
        let both: BTreeMap<_, _> = old.contents().iter().chain(new.contents()).collect();
        let mut asked = 0;
        let mut scratch = |len| {
            asked += len;
            Ok(Box::new(Vec::new()) as Box<dyn Scratch>)
        };
        let room = Room { memory: MEMORY_MIN, scratch: &mut scratch };
        let content: &mut Content<'_> = &mut |file, out| out.write_all(both[&file.digest]);
        let patch = make(&old.tree(), &new.tree(), content, room).unwrap();
        assert!(patch.len() < 500, "{}", patch.len());
        assert_eq!(names_and_outputs(&patch, (&old.tree(), &new.tree())), 3);
        assert!((18_900_000..19_100_000).contains(&asked), "room for both trees: {asked}");
        let mut full = |_| Err(io::ErrorKind::StorageFull.into());
        let room = Room { memory: MEMORY_MIN, scratch: &mut full };
        let said = make(&old.tree(), &new.tree(), content, room).unwrap_err().to_string();
        assert!(said.starts_with("a place for files that do not fit into memory: "), "{said}");
    }

    #[test]
    fn other_bytes_are_found_out() {
        let (old, new) = pair();
        for (bytes, reason) in
            [(&b"else"[..], "have the digest"), (b"els", "3 bytes instead of 4"), (b"other", "more than the 4 bytes")]
        {
            let said = made(&old.tree(), &new.tree(), &mut |_, out| out.write_all(bytes)).unwrap_err().to_string();
            assert!(said.contains("file 'a' of tree") && said.contains(reason), "{said}");
        }
    }

    #[test]
    fn a_blob_is_decoded_within_its_length() {
        let files = TreeFixture::of(&[("a", "hello hello hello")]);
        let tree = files.tree();
        let file = contents(&tree)[0];
        let content = b"hello hello hello";
        let frame = zstd::bulk::compress(content, 3).unwrap();
        let decoded = |bytes: &[u8], encoding| {
            let mut out = Vec::new();
            checked(tree.digest(), &file, &mut |_, to| decode(bytes, encoding, to), &mut out).map(|()| out)
        };
        assert_eq!(decoded(content, Encoding::Raw).unwrap(), content);
        assert_eq!(decoded(&frame, Encoding::Zstd).unwrap(), content);
        for (bytes, encoding) in [
            (&content[1..], Encoding::Raw),
            (&[&content[..], b"x"].concat(), Encoding::Raw),
            (&zstd::bulk::compress(&[0; 1 << 20], 3).unwrap(), Encoding::Zstd),
            (&frame[..4], Encoding::Zstd),
        ] {
            assert!(decoded(bytes, encoding).is_err());
        }
    }
}
