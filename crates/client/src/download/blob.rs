//! One blob: fetched, decoded within its bounds, hashed, and only then given its name.
//!
//! ```text
//! downloads/DIGEST.part       the first bytes of a blob that is stored raw
//! downloads/DIGEST.zst.part   the first bytes of a zstd frame
//! downloads/DIGEST.new        a blob that is being decoded
//! downloads/DIGEST            the blob: raw, verified, synced
//! ```
//!
//! Small bodies never become a part: to fetch one again costs less than to keep it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use updraft_core::digest::{Digest, Hasher};
use updraft_core::layout;
use updraft_core::limits::ZSTD_WINDOW_LOG_MAX;
use updraft_core::plan::Fetch;
use updraft_core::tree::stored::{Encoding, Stored};
use updraft_files::{Dir, EntryKind};

use super::{BODY_TRIES, Error, MODE, Meter, compressed_len_max};
use crate::belief::Place;
use crate::fetch::{self, Sink, Streamed};

/// Bodies up to this length stay in memory until they are verified; each thread holds at most one.
const MEMORY_LEN_MAX: u64 = 256 << 10;
const PIECE_LEN: usize = 256 << 10;

/// The names that parts of a blob may have.
pub(super) fn part_names(digest: Digest) -> [String; 2] {
    [Encoding::Raw, Encoding::Zstd].map(|encoding| part_name(digest, encoding))
}

fn part_name(digest: Digest, encoding: Encoding) -> String {
    match encoding {
        Encoding::Raw => format!("{digest}.part"),
        Encoding::Zstd => format!("{digest}.zst.part"),
    }
}

/// An error of keeping something, for the thing `what`.
pub(super) fn keep(what: impl Display, source: io::Error) -> Error {
    Error::Fetch(fetch::Error::Keep { what: what.to_string(), source })
}

/// What the threads of a download share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) place: Place<'a>,
    pub(super) downloads: &'a Dir,
    pub(super) meter: &'a Meter<'a>,
}

/// How one try to get a blob ended, when the source answered and the disk did as it was told.
enum Try {
    Done,
    /// The source has it in neither form.
    Missing,
    /// What came is not the blob.
    Wrong(String),
}

impl Work<'_> {
    /// Fetches a blob.
    pub(super) fn fetch(&self, want: &Fetch) -> Result<(), Error> {
        let mut reason = String::new();
        for attempt in 0..BODY_TRIES {
            // A size that did not hold is not relied on twice.
            let expected = want.stored.filter(|_| attempt == 0);
            match self.try_fetch(want, expected)? {
                Try::Done => return Ok(()),
                Try::Missing => {
                    let what = layout::blob(self.place.app, want.digest, Encoding::Raw).to_string();
                    return Err(Error::Missing { at: self.place.at.to_owned(), what });
                }
                Try::Wrong(why) => reason = why,
            }
        }
        Err(Error::Blob { digest: want.digest, reason })
    }

    fn try_fetch(&self, want: &Fetch, expected: Option<Stored>) -> Result<Try, Error> {
        // The hint says how it is stored; when that is wrong, or there is none, the other way is tried.
        let order = match want.stored {
            Some(Stored { encoding: Encoding::Raw, .. }) => [Encoding::Raw, Encoding::Zstd],
            _ => [Encoding::Zstd, Encoding::Raw],
        };
        for encoding in order {
            let found = self.try_encoding(want, encoding, expected)?;
            if !matches!(found, Try::Missing) {
                return Ok(found);
            }
        }
        Ok(Try::Missing)
    }

    fn try_encoding(&self, want: &Fetch, encoding: Encoding, expected: Option<Stored>) -> Result<Try, Error> {
        let max = match encoding {
            Encoding::Raw => want.size,
            Encoding::Zstd => compressed_len_max(want.size),
        };
        let expected = expected.filter(|stored| stored.encoding == encoding).map(|stored| stored.size.min(max));
        let in_memory = expected.unwrap_or(max) <= MEMORY_LEN_MAX;
        // A hint that is too small must not make a large body fill the memory; the next try goes without the hint.
        let max = if in_memory { max.min(4 * MEMORY_LEN_MAX) } else { max };
        let mut body = if in_memory {
            Body { keeper: Keeper::Memory(Vec::new()), len: 0, meter: self.meter }
        } else {
            self.open_part(want, encoding)?
        };
        let from = body.len;
        let streamed = if from > 0 && (Some(from) == expected || from >= max) {
            Ok(Streamed::Whole)
        } else {
            let key = layout::blob(self.place.app, want.digest, encoding);
            self.place.fetcher.stream(&key, from, max, &mut body)
        };
        match streamed {
            Ok(Streamed::Whole | Streamed::PastEnd) => {}
            Ok(Streamed::Missing) => {
                body.forget();
                self.discard(&part_name(want.digest, encoding))?;
                return Ok(Try::Missing);
            }
            Err(fetch::Error::TooLong { .. }) => {
                body.forget();
                self.discard(&part_name(want.digest, encoding))?;
                return Ok(Try::Wrong(format!(
                    "it goes on past the {max} bytes that it may have, as endless data does"
                )));
            }
            Err(error) => return Err(error.into()),
        }
        let came = body.len;
        match self.settle(want, encoding, body)? {
            None => Ok(Try::Done),
            Some(reason) => {
                self.meter.take_back(came);
                Ok(Try::Wrong(reason))
            }
        }
    }

    /// Opens the part that an earlier try left, or begins one.
    fn open_part(&self, want: &Fetch, encoding: Encoding) -> Result<Body<'_>, Error> {
        let name = PathBuf::from(part_name(want.digest, encoding));
        let stat = self.downloads.stat(&name)?;
        let file = match stat {
            Some(stat) if stat.kind == EntryKind::File => self.downloads.open_rw(&name)?,
            Some(_) => {
                self.downloads.remove_all(&name)?;
                self.downloads.create_file(&name, MODE)?
            }
            None => self.downloads.create_file(&name, MODE)?,
        };
        let mut part = Box::new(Part { name, file, hasher: Hasher::new() });
        // Hashed again, not remembered: what lies on the disk is what counts. A frame is checked when it is decoded.
        let len = match encoding {
            Encoding::Raw => part.hash_what_is_there().map_err(|error| keep(part.name.display(), error))?,
            Encoding::Zstd => part.file.seek(SeekFrom::End(0)).map_err(|error| keep(part.name.display(), error))?,
        };
        self.meter.add(len);
        Ok(Body { keeper: Keeper::Part(part), len, meter: self.meter })
    }

    /// Verifies a body that is whole and gives it its name; or says what is wrong with it and throws it away.
    fn settle(&self, want: &Fetch, encoding: Encoding, body: Body<'_>) -> Result<Option<String>, Error> {
        let part = part_name(want.digest, encoding);
        let wrong = match (body.keeper, encoding) {
            (Keeper::Memory(bytes), Encoding::Raw) => self.decode(want, bytes.as_slice())?,
            (Keeper::Memory(bytes), Encoding::Zstd) => self.decode_zstd(want, bytes.as_slice())?,
            (Keeper::Part(mut part), Encoding::Zstd) => {
                part.file.rewind().map_err(|error| keep(part.name.display(), error))?;
                self.decode_zstd(want, BufReader::with_capacity(PIECE_LEN, part.file))?
            }
            (Keeper::Part(part), Encoding::Raw) => {
                let found = (part.hasher.len(), part.hasher.finish());
                let wrong = difference(want, found);
                if wrong.is_none() {
                    part.file.sync_all().map_err(|error| keep(part.name.display(), error))?;
                    self.downloads.rename(&part.name, self.downloads, &PathBuf::from(want.digest.to_string()))?;
                }
                wrong
            }
        };
        self.discard(&part)?;
        Ok(wrong)
    }

    fn decode_zstd(&self, want: &Fetch, frame: impl io::BufRead) -> Result<Option<String>, Error> {
        let decoder = zstd::stream::read::Decoder::with_buffer(frame).and_then(|mut decoder| {
            // The memory of a decoder is what its frame asks for, within this bound.
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Ok(decoder.single_frame())
        });
        match decoder {
            Ok(decoder) => self.decode(want, decoder),
            Err(error) => Ok(Some(format!("not a zstd frame: {error}"))),
        }
    }

    /// Writes what `reader` gives to the blob's place, if it is the blob.
    fn decode(&self, want: &Fetch, mut reader: impl Read) -> Result<Option<String>, Error> {
        let new = format!("{}.new", want.digest);
        self.discard(&new)?;
        let mut file = self.downloads.create_file(new.as_ref(), MODE)?;
        let mut hasher = Hasher::new();
        let mut piece = vec![0; PIECE_LEN.min(usize::try_from(want.size).unwrap_or(PIECE_LEN)) + 1];
        let wrong = loop {
            match reader.read(&mut piece) {
                Ok(0) => break difference(want, (hasher.len(), hasher.finish())),
                // However much a frame unfolds to: no byte more than was signed is written.
                Ok(len) if len as u64 > want.size - hasher.len() => {
                    break Some(format!("it has more than the {} bytes that were signed", want.size));
                }
                Ok(len) => {
                    self.place.fetcher.cancel().check()?;
                    hasher.update(&piece[..len]);
                    file.write_all(&piece[..len]).map_err(|error| keep(&new, error))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(format!("it cannot be decoded: {error}")),
            }
        };
        if wrong.is_none() {
            file.sync_all().map_err(|error| keep(&new, error))?;
            self.downloads.rename(new.as_ref(), self.downloads, want.digest.to_string().as_ref())?;
        } else {
            self.discard(&new)?;
        }
        Ok(wrong)
    }

    fn discard(&self, name: &str) -> Result<(), Error> {
        Ok(self.downloads.remove_all(name.as_ref())?)
    }
}

fn difference(want: &Fetch, (len, digest): (u64, Digest)) -> Option<String> {
    if len != want.size {
        Some(format!("it has {len} bytes and {} were signed", want.size))
    } else if digest != want.digest {
        Some("its bytes are not those that were signed".to_owned())
    } else {
        None
    }
}

/// A body on its way, as it travels.
struct Body<'a> {
    keeper: Keeper,
    len: u64,
    meter: &'a Meter<'a>,
}

enum Keeper {
    Memory(Vec<u8>),
    /// Boxed: a hasher is large.
    Part(Box<Part>),
}

struct Part {
    name: PathBuf,
    file: File,
    hasher: Hasher,
}

impl Part {
    /// Hashes the file from its start; leaves it positioned at its end.
    fn hash_what_is_there(&mut self) -> io::Result<u64> {
        self.file.rewind()?;
        let mut piece = vec![0; PIECE_LEN];
        loop {
            match self.file.read(&mut piece) {
                Ok(0) => return Ok(self.hasher.len()),
                Ok(len) => self.hasher.update(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        self.hasher = Hasher::new();
        self.file.set_len(0)?;
        self.file.rewind()
    }
}

impl Body<'_> {
    /// What came so far was for nothing.
    fn forget(&mut self) {
        self.meter.take_back(std::mem::take(&mut self.len));
    }
}

impl Sink for Body<'_> {
    fn begin(&mut self, at: u64, _: Option<&str>) -> Result<(), fetch::Error> {
        if at == self.len {
            return Ok(());
        }
        // A body begins where the last one ended, or anew.
        self.forget();
        match &mut self.keeper {
            Keeper::Memory(bytes) => bytes.clear(),
            Keeper::Part(part) => {
                let what = part.name.display().to_string();
                part.empty().map_err(|source| fetch::Error::Keep { what, source })?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), fetch::Error> {
        if self.meter.is_stopped() {
            return Err(fetch::Error::Cancelled);
        }
        match &mut self.keeper {
            Keeper::Memory(kept) => kept.extend_from_slice(bytes),
            Keeper::Part(part) => {
                part.file.write_all(bytes).map_err(|source| {
                    let what = part.name.display().to_string();
                    fetch::Error::Keep { what, source }
                })?;
                part.hasher.update(bytes);
            }
        }
        self.len += bytes.len() as u64;
        self.meter.add(bytes.len() as u64);
        Ok(())
    }
}
