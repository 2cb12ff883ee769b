//! The patch as it travels: kept as far as it came, gone on with by the next process, and left as soon as its header shows
//! that it is no use.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use updraft_core::layout;
use updraft_delta::header::{PREFIX_LEN, parse_prefix};
use updraft_delta::{Header, Patch, ReadAt};
use updraft_files::{Dir, EntryKind};

use super::super::blob::keep;
use super::super::{Error, MODE, Meter};
use super::{Job, Refusal, Stop};
use crate::fetch::{self, Sink, Streamed};
use crate::offer::Offer;

/// Digits of a tree's digest in the name of a part. It only has to tell parts apart that one device may have.
const DIGITS: usize = 16;

/// Says whether a patch with this header is of any use, when so many bytes of it are here.
pub(super) type Judge<'a> = dyn Fn(&Header, u64) -> Result<(), Refusal> + 'a;

/// The name of the part of a patch.
pub(in crate::download) fn name(offer: &Offer) -> String {
    let (from, to) = (offer.from.to_string(), offer.to.to_string());
    format!("{}-{}-{}.patch", &from[..DIGITS], &to[..DIGITS], offer.bytes)
}

/// How much of the patch is here already.
pub(crate) fn here_bytes(offer: &Offer, downloads: &Dir) -> Result<u64, Error> {
    let stat = downloads.stat(name(offer).as_ref())?;
    Ok(stat.filter(|stat| stat.kind == EntryKind::File).map_or(0, |stat| stat.size))
}

/// Fetches what is lacking. The header goes to `judge` as soon as it is here, before anything else is asked for.
pub(super) fn fetch(job: &Job<'_>, judge: &Judge<'_>) -> Result<File, Stop> {
    let (offer, name) = (job.offer, PathBuf::from(name(job.offer)));
    let kind = job.downloads.stat(&name)?.map(|stat| stat.kind);
    if kind.is_some_and(|kind| kind != EntryKind::File) {
        job.downloads.remove_all(&name)?;
    }
    let file = match kind {
        Some(EntryKind::File) => job.downloads.open_rw(&name)?,
        _ => job.downloads.create_file(&name, MODE)?,
    };
    let meter = Meter::new(job.progress, 0, offer.bytes);
    let mut body = Body { name, file, len: 0, total: offer.bytes, judge, judged: false, refusal: None, meter };
    body.go_on().map_err(|error| keep(body.name.display(), error))?;
    if let Some(refusal) = body.refusal.take() {
        return Err(refusal.into());
    }
    let streamed = match body.len < offer.bytes {
        true => job.place.fetcher.stream(
            &layout::patch(job.place.app, offer.from, offer.to),
            body.len,
            offer.bytes,
            &mut body,
        ),
        false => Ok(Streamed::Whole),
    };
    if let Some(refusal) = body.refusal.take() {
        return Err(refusal.into());
    }
    match streamed {
        Ok(Streamed::Whole | Streamed::PastEnd) if body.len == offer.bytes && body.judged => Ok(body.file),
        Ok(_) if body.len == offer.bytes => Err(Refusal::bad("it ends within its header").into()),
        Ok(Streamed::Whole | Streamed::PastEnd) => {
            Err(Refusal::bad(format!("it ends after {} of the {} bytes that it should have", body.len, offer.bytes))
                .into())
        }
        Ok(Streamed::Missing) => Err(Refusal::not_now("the source does not have it any more").into()),
        Err(error @ (fetch::Error::Cancelled | fetch::Error::Keep { .. })) => Err(error.into()),
        Err(error @ fetch::Error::TooLong { .. }) => Err(Refusal::bad(error).into()),
        Err(error) => Err(Refusal::not_now(error).into()),
    }
}

struct Body<'a> {
    name: PathBuf,
    file: File,
    len: u64,
    /// What the whole is said to have.
    total: u64,
    judge: &'a Judge<'a>,
    /// Whether the header of the bytes that are here was seen. What comes when it starts over may be another patch.
    judged: bool,
    refusal: Option<Refusal>,
    meter: Meter<'a>,
}

impl Body<'_> {
    /// Takes up what an earlier process left.
    fn go_on(&mut self) -> io::Result<()> {
        self.len = self.file.seek(SeekFrom::End(0))?;
        if self.len > self.total || self.begins_another()? {
            self.empty()?;
        }
        self.meter.add(self.len);
        self.show_header();
        Ok(())
    }

    /// Whether what is here is of a patch of another length: the source had replaced it before anybody was told.
    fn begins_another(&self) -> io::Result<bool> {
        let mut prefix = [0; PREFIX_LEN];
        if self.len < PREFIX_LEN as u64 {
            return Ok(false);
        }
        ReadAt::read_exact_at(&self.file, &mut prefix, 0)?;
        Ok(parse_prefix(&prefix).is_ok_and(|(_, total)| total != self.total))
    }

    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.len, self.judged) = (0, false);
        Ok(())
    }

    /// Shows the header, if it is here and nobody has seen it.
    fn show_header(&mut self) {
        if self.judged {
            return;
        }
        match self.header() {
            Ok(None) => {}
            Ok(Some(header)) => {
                self.judged = true;
                self.refusal = (self.judge)(&header, self.len).err();
            }
            Err(refusal) => self.refusal = Some(refusal),
        }
    }

    fn header(&self) -> Result<Option<Header>, Refusal> {
        let mut prefix = [0; PREFIX_LEN];
        if self.len < PREFIX_LEN as u64 {
            return Ok(None);
        }
        ReadAt::read_exact_at(&self.file, &mut prefix, 0).map_err(Refusal::not_now)?;
        let (header_len, total) = parse_prefix(&prefix).map_err(Refusal::bad)?;
        if total != self.total {
            return Err(Refusal::not_now(format!("it has {total} bytes, and was said to have {}", self.total)));
        }
        if self.len < header_len.saturating_add(PREFIX_LEN as u64) {
            return Ok(None);
        }
        let arriving = Arriving { file: &self.file, total };
        Patch::open(&arriving).map(|patch| Some(patch.header().clone())).map_err(Refusal::bad)
    }
}

impl Sink for Body<'_> {
    fn begin(&mut self, at: u64, _: Option<&str>) -> Result<(), fetch::Error> {
        if at != self.len {
            // It begins where the last one ended, or anew.
            self.meter.take_back(self.len);
            let what = self.name.display().to_string();
            self.empty().map_err(|source| fetch::Error::Keep { what, source })?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), fetch::Error> {
        let end = SeekFrom::Start(self.len);
        self.file.seek(end).and_then(|_| self.file.write_all(bytes)).map_err(|source| {
            let what = self.name.display().to_string();
            fetch::Error::Keep { what, source }
        })?;
        self.len += bytes.len() as u64;
        self.meter.add(bytes.len() as u64);
        self.show_header();
        // The rest need not come.
        if self.refusal.is_some() { Err(fetch::Error::Cancelled) } else { Ok(()) }
    }
}

/// A patch of which the first bytes are here.
struct Arriving<'f> {
    file: &'f File,
    total: u64,
}

impl ReadAt for Arriving<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.total)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(self.file, buf, offset)
    }
}
