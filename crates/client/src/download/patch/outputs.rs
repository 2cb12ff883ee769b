//! What a patch makes: written under numbers, and named by digests when all of it is believed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use updraft_core::digest::{Digest, Hasher};
use updraft_core::tree::patch::Masked;
use updraft_delta::{Header, Sink};
use updraft_files::Dir;

use super::super::MODE;
use super::super::blob::keep;
use super::{Job, Made, Refusal, Stop, scratch};

const PREFIX: &str = "patch.";
const SUFFIX: &str = ".new";

fn name(index: usize) -> String {
    format!("{PREFIX}{index}{SUFFIX}")
}

/// Removes what an interrupted try left.
pub(super) fn sweep(downloads: &Dir) -> Result<(), Stop> {
    for entry in downloads.entries()? {
        if entry.name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            downloads.remove_all(entry.name.as_ref())?;
        }
    }
    Ok(())
}

/// Takes the outputs of a patch.
pub(super) struct Outputs<'a> {
    job: &'a Job<'a>,
    /// The length of output 0, and those of output 1, 2, ...
    document_len: u64,
    lens: Vec<u64>,
    /// Output 0, while it is made.
    document: Vec<u8>,
    masked: Option<Masked>,
    /// The output that is being made.
    current: Option<Current>,
    /// The digests of output 1, 2, ... as far as they are made.
    digests: Vec<Option<Digest>>,
    /// How many bytes are lacking in the one that is being made.
    left: u64,
    /// Bytes that were made.
    done: u64,
    total: u64,
    /// Why the last call was refused.
    stop: Option<Stop>,
}

enum Current {
    Document,
    /// Boxed: a hasher is large.
    File {
        index: usize,
        file: File,
        hasher: Box<Hasher>,
    },
}

impl<'a> Outputs<'a> {
    /// For a patch with a header that was judged.
    pub(super) fn new(job: &'a Job<'a>, header: &Header) -> Self {
        let lens: Vec<u64> = header.outputs.iter().skip(1).map(|output| output.len).collect();
        let digests = vec![None; lens.len()];
        let document_len = header.outputs.first().map_or(0, |output| output.len);
        let (document, total) = (Vec::new(), header.new_len());
        Self {
            job,
            document_len,
            lens,
            document,
            masked: None,
            current: None,
            digests,
            left: 0,
            done: 0,
            total,
            stop: None,
        }
    }

    /// What applying the patch was stopped by, when it ended with `error`.
    pub(super) fn stopped_by(self, error: updraft_delta::Error) -> Stop {
        use updraft_delta::Error as E;
        if let Err(cancelled) = self.job.place.fetcher.cancel().check() {
            return cancelled.into();
        }
        match (self.stop, error) {
            (Some(stop), _) => stop,
            (None, error @ (E::Base { .. } | E::Old { .. } | E::Patch(_) | E::Scratch(_) | E::Output { .. })) => {
                Refusal::not_now(error).into()
            }
            (None, error) => Refusal::bad(error).into(),
        }
    }

    /// Believes what was made, if it is what was signed, and names it.
    pub(super) fn finish(mut self) -> Result<Made, Stop> {
        self.finish_current()?;
        let lie = || Refusal::bad("what it makes is not what was signed");
        let digests: Vec<Digest> = self.digests.iter().copied().collect::<Option<_>>().ok_or_else(lie)?;
        let tree = self.masked.ok_or_else(lie)?.fill(&digests);
        if tree.digest() != self.job.signed.digest {
            return Err(lie().into());
        }
        let downloads = self.job.downloads;
        // All syncs together: the first one makes the file system write nearly everything, the others have little to do.
        for index in 1..=digests.len() {
            self.job.place.fetcher.cancel().check()?;
            downloads.sync_at(name(index).as_ref())?;
        }
        downloads.remove_file(scratch::NAME.as_ref())?;
        for (digest, index) in digests.iter().zip(1..) {
            downloads.rename(name(index).as_ref(), downloads, digest.to_string().as_ref())?;
        }
        downloads.sync()?;
        Ok(Made { tree, contents: BTreeSet::from_iter(digests) })
    }

    fn begin_next(&mut self, index: usize) -> Result<(), Stop> {
        self.finish_current()?;
        self.left = index.checked_sub(1).map_or(Some(&self.document_len), |at| self.lens.get(at)).copied().unwrap_or(0);
        self.current = Some(match (index, &self.masked) {
            (0, None) => Current::Document,
            (1.., Some(_)) if self.digests.get(index - 1) == Some(&None) => {
                let file = self.job.downloads.create_file(name(index).as_ref(), MODE)?;
                Current::File { index, file, hasher: Box::default() }
            }
            _ => return Err(Refusal::bad("it makes something twice, or before the list of files").into()),
        });
        Ok(())
    }

    fn finish_current(&mut self) -> Result<(), Stop> {
        match self.current.take() {
            None => {}
            Some(Current::File { index, hasher, .. }) => self.digests[index - 1] = Some(hasher.finish()),
            Some(Current::Document) => {
                let document = std::mem::take(&mut self.document);
                let masked = Masked::parse(&document, &self.job.old.tree, &self.lens).map_err(Refusal::bad)?;
                let signed = self.job.signed;
                if (masked.file_count(), masked.byte_count()) != (signed.files, signed.bytes) {
                    return Err(Refusal::bad("its list of files is not the one that was signed").into());
                }
                self.masked = Some(masked);
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.job.place.fetcher.cancel().check()?;
        // The lengths were compared with what was signed.
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| Refusal::bad("it makes a longer file than it announced"))?;
        match &mut self.current {
            Some(Current::Document) => self.document.extend_from_slice(bytes),
            Some(Current::File { index, file, hasher }) => {
                hasher.update(bytes);
                file.write_all(bytes).map_err(|error| keep(PathBuf::from(name(*index)).display(), error))?;
            }
            None => return Err(Refusal::bad("it makes something that it did not announce").into()),
        }
        self.done += bytes.len() as u64;
        self.job.progress.bytes(self.done, self.total);
        Ok(())
    }

    fn told(&mut self, done: Result<(), Stop>) -> io::Result<()> {
        done.map_err(|stop| {
            self.stop = Some(stop);
            io::Error::other("stopped")
        })
    }
}

impl Sink for Outputs<'_> {
    fn begin(&mut self, index: usize, _len: u64) -> io::Result<()> {
        let begun = self.begin_next(index);
        self.told(begun)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = self.take(bytes);
        self.told(taken)
    }
}
