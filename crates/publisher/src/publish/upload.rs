//! Blobs on their way to the server: compressed, checked, sent.
//!
//! A few threads share the work, the largest blob first. Each reads its file once, in pieces, and hashes what it reads,
//! so a file that changed since it was scanned is found out before it is sent; the server checks again. Memory is
//! bounded by the number of threads, whatever the size of the files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use updraft_core::digest::{Digest, Hasher};
use updraft_core::name::AppName;
use updraft_core::tree::stored::{Encoding, Hint, Stored};
use updraft_files::Dir;

use super::{Encodings, Error, Missing, Publisher};
use crate::remote::RemoteError;

/// zstd's level: what a device decodes is as fast at every level, and above this one the gain is not worth the wait.
const LEVEL: i32 = 12;
/// How much is read at once, in bytes.
const PIECE_LEN: usize = 128 << 10;
/// Where the raw blob is kept anyway, the compressed one must save this many bytes, a disk block, to be kept beside it.
const SAVING_MIN: u64 = 4 << 10;

/// What went over.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
}

/// Blobs of one directory for one app.
pub(super) struct Job<'a> {
    pub(super) publisher: &'a Publisher<'a>,
    pub(super) app: &'a AppName,
    pub(super) dir: &'a Dir,
}

/// What the threads share.
struct Shared<'a> {
    queue: std::slice::Iter<'a, Missing>,
    stored: Hint,
    sent: Sent,
    error: Option<Error>,
}

impl Job<'_> {
    /// Sends `blobs`: how each is stored now. What was sent is counted in `sent`, also when it ends in an error.
    pub(super) fn run(&self, blobs: &[Missing], sent: &mut Sent) -> Result<Hint, Error> {
        let shared = Shared { queue: blobs.iter(), stored: Hint::new(), sent: *sent, error: None };
        let shared = Mutex::new(shared);
        let threads = self.publisher.options.threads.clamp(1, blobs.len().max(1));
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| self.work(&shared));
            }
            self.work(&shared);
        });
        let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        *sent = shared.sent;
        shared.error.map_or(Ok(shared.stored), Err)
    }

    /// Takes blobs from the queue until it is empty or something went wrong.
    fn work(&self, shared: &Mutex<Shared<'_>>) {
        let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut guard = lock();
            let Some(blob) = guard.queue.next().filter(|_| guard.error.is_none()) else { return };
            drop(guard);
            let result = self.send(blob);
            let mut guard = lock();
            match result {
                Ok((stored, bytes)) => {
                    guard.sent.blobs += 1;
                    guard.sent.bytes += bytes;
                    guard.stored.insert(blob.digest, stored);
                }
                Err(error) => {
                    guard.error.get_or_insert(error);
                }
            }
        }
    }

    /// Sends one blob: how it is stored, and how many bytes travelled.
    fn send(&self, blob: &Missing) -> Result<(Stored, u64), Error> {
        let mut source = self.dir.open_file(Path::new(blob.path.as_str()))?;
        let packed = self.compress(blob, &mut source)?;
        let meter = Meter { publisher: self.publisher, blob, counted: 0.into() };
        let raw = Stored { encoding: Encoding::Raw, size: blob.size };
        let keep_raw = self.publisher.options.encodings == Encodings::RawAndSmaller;
        let pays = |len: u64| if keep_raw { len + SAVING_MIN <= blob.size } else { len < blob.size };
        let packed = packed.filter(|(_, len)| pays(*len));
        let mut travelled = 0;
        if keep_raw || packed.is_none() {
            self.send_raw(blob, &mut source, &meter)?;
            travelled += blob.size;
        }
        let Some((mut file, size)) = packed else { return Ok((raw, travelled)) };
        let remote = self.publisher.remote;
        remote.put_blob(self.app, blob.digest, Encoding::Zstd, &mut file, size, &|n| meter.sent(n, size))?;
        meter.sent(size, size);
        Ok((Stored { encoding: Encoding::Zstd, size }, travelled + size))
    }

    fn send_raw(&self, blob: &Missing, source: &mut File, meter: &Meter<'_>) -> Result<(), Error> {
        let unreadable = |e: io::Error| RemoteError::Content(format!("{}: {e}", blob.path));
        source.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let remote = self.publisher.remote;
        let size = blob.size;
        match remote.put_blob(self.app, blob.digest, Encoding::Raw, source, size, &|n| meter.sent(n, size)) {
            Ok(()) => {
                meter.sent(1, 1);
                Ok(())
            }
            // It was right a moment ago. Somebody writes there.
            Err(RemoteError::Refused { .. } | RemoteError::Content(_)) if !is_still(blob, source) => Err(changed(blob)),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the file whole, checks that it is what was scanned, and compresses it; `None` when there is nothing to gain.
    fn compress(&self, blob: &Missing, source: &mut File) -> Result<Option<(File, u64)>, Error> {
        let scratch = &self.publisher.options.scratch;
        let failed = |source| Error::Scratch { dir: scratch.clone(), source };
        let packed = tempfile::tempfile_in(scratch).map_err(failed)?;
        let mut encoder = zstd::Encoder::new(packed, LEVEL).map_err(failed)?;
        encoder.set_pledged_src_size(Some(blob.size)).map_err(failed)?;
        let mut hasher = Hasher::new();
        let mut piece = vec![0; PIECE_LEN];
        // One byte more than there should be shows that the file has grown.
        let mut rest = source.take(blob.size + 1);
        loop {
            let n = match rest.read(&mut piece) {
                Ok(0) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|e| RemoteError::Content(format!("{}: {e}", blob.path)))?,
            };
            hasher.update(&piece[..n]);
            if hasher.len() > blob.size {
                return Err(changed(blob));
            }
            encoder.write_all(&piece[..n]).map_err(failed)?;
        }
        if hasher.finish() != blob.digest {
            return Err(changed(blob));
        }
        let mut packed = encoder.finish().map_err(failed)?;
        let len = packed.stream_position().map_err(failed)?;
        packed.rewind().map_err(failed)?;
        Ok((len < blob.size).then_some((packed, len)))
    }
}

fn changed(blob: &Missing) -> Error {
    Error::Changed { path: blob.path.as_str().to_owned() }
}

/// Whether the file still holds what was scanned.
fn is_still(blob: &Missing, source: &mut File) -> bool {
    let mut digest = || -> io::Result<Digest> {
        source.rewind()?;
        let mut hasher = Hasher::new();
        let mut piece = vec![0; PIECE_LEN];
        let mut rest = source.take(blob.size + 1);
        loop {
            match rest.read(&mut piece)? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&piece[..n]),
            }
        }
    };
    digest().is_ok_and(|digest| digest == blob.digest)
}

/// Counts a blob once, in bytes as they lie on this disk, however often and in whatever form it travels.
struct Meter<'a> {
    publisher: &'a Publisher<'a>,
    blob: &'a Missing,
    counted: std::cell::Cell<u64>,
}

impl Meter<'_> {
    /// `done` of `total` bytes are over.
    fn sent(&self, done: u64, total: u64) {
        let share = u128::from(self.blob.size) * u128::from(done.min(total)) / u128::from(total.max(1));
        let share = u64::try_from(share).unwrap_or(self.blob.size);
        let more = share.saturating_sub(self.counted.get());
        if more > 0 {
            self.counted.set(share);
            self.publisher.progress.advance(more);
        }
    }
}
