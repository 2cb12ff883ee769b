//! Who packed something, and with which parameters, found out by trying.

use std::io;

use updraft_delta::container::gnu::{Gnu, Program};
use updraft_delta::container::member::{Deflate, Members};
use updraft_delta::container::zip::Listed;
use updraft_delta::container::{Deflated, Error, Zlib};

use super::packed;

/// So many members may fail with everything that is tried. After them only what worked for others is tried, and the most usual:
/// nobody who is known here packed this.
const FAILURES_MAX: usize = 16;
/// How many of those that are tried are tried even then.
const MOST_USUAL: usize = 2;

/// The levels, the most usual first.
const LEVELS: [u8; 9] = [6, 9, 1, 5, 7, 8, 4, 3, 2];

/// The ways of zlib that are met, the most usual first.
fn zlib() -> impl Iterator<Item = Deflated> {
    let larger = LEVELS.map(|level| Zlib::usual(level).with_memory_level(9)).map(Deflated::Zlib);
    LEVELS.map(Deflated::usual).into_iter().chain(larger)
}

/// The ways of a program that zlib came from.
fn gnu(program: Program, levels: &[u8]) -> impl Iterator<Item = Deflated> {
    levels.iter().map(move |level| Deflated::Gnu(Gnu::new(program, *level)))
}

/// What is tried with a gzip file. Its header has a byte that tells levels 1 and 9 from others (4 and 2), if not everybody sets
/// it, and another for the system, which is "unknown" where it cannot be GNU gzip.
fn gzip_ways(header: &[u8]) -> Vec<Deflated> {
    let levels = match header.get(8) {
        Some(2) => &[9][..],
        Some(4) => &[1],
        _ => &[6, 5, 7, 8, 4, 3, 2],
    };
    let levels = if header.get(9) == Some(&255) { &[] } else { levels };
    let gnu: Vec<Deflated> = gnu(Program::Gzip, levels).collect();
    // The one that is told by both programs, then whatever else there is.
    let first = levels.first().into_iter().flat_map(|level| [Deflated::usual(*level), gnu[0]]);
    let mut ways: Vec<Deflated> = first.collect();
    let others: Vec<Deflated> = zlib().chain(gnu).filter(|way| !ways.contains(way)).collect();
    ways.extend(others);
    ways
}

/// A way of packing, and a stream that does so once it was needed.
struct Way {
    parameters: Deflated,
    stream: Option<Deflate>,
}

impl Way {
    fn stream(&mut self) -> Option<&mut Deflate> {
        if self.stream.is_none() {
            self.stream = Deflate::new(self.parameters).ok();
        }
        self.stream.as_mut()
    }
}

/// Finds parameters, and remembers what worked.
pub(super) struct Search {
    members: Members,
    /// What worked last is in front. The rest is in the order in which it is tried.
    ways: Vec<Way>,
    /// How many of them worked so far.
    worked: usize,
    failures: usize,
}

impl Search {
    fn new(ways: impl IntoIterator<Item = Deflated>) -> Result<Self, Error> {
        let ways = ways.into_iter().map(|parameters| Way { parameters, stream: None }).collect();
        Ok(Self { members: Members::new()?, ways, worked: 0, failures: 0 })
    }

    /// For the members of a zip.
    pub(super) fn in_zip() -> Result<Self, Error> {
        Self::new(zlib().chain(gnu(Program::Zip, &LEVELS)))
    }

    /// For those of a gzip file that begins with `header`.
    pub(super) fn in_gzip(header: &[u8]) -> Result<Self, Error> {
        Self::new(gzip_ways(header))
    }

    /// How `member` was packed.
    pub(super) fn deflated(&mut self, container: &[u8], member: Listed) -> Option<Deflated> {
        let tried = if self.failures < FAILURES_MAX { self.ways.len() } else { self.worked + MOST_USUAL };
        for n in 0..tried.min(self.ways.len()) {
            let Some(stream) = self.ways[n].stream() else { continue };
            match replay(&mut self.members, stream, container, member) {
                Replay::Same => {
                    self.worked += usize::from(n >= self.worked);
                    self.ways[..=n].rotate_right(1);
                    return Some(self.ways[0].parameters);
                }
                Replay::Other => {}
                Replay::Damaged => return None,
            }
        }
        self.failures += 1;
        None
    }
}

/// What came of packing a member again.
enum Replay {
    Same,
    Other,
    /// It is not what the directory says of it.
    Damaged,
}

fn replay(members: &mut Members, deflate: &mut Deflate, container: &[u8], member: Listed) -> Replay {
    let mut rest = packed(container, member);
    let mut compare = |bytes: &[u8]| {
        rest = rest.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(())
    };
    if deflate.reset().is_err() {
        return Replay::Other;
    }
    let end = member.data + member.packed_len;
    let inflated =
        members.inflate(&container, member.data, end, member.len, &mut |bytes| deflate.write(bytes, &mut compare));
    match inflated {
        Ok(found) if (found.packed, found.len, found.crc) != (member.packed_len, member.len, member.crc) => {
            Replay::Damaged
        }
        Ok(_) if deflate.finish(&mut compare).is_ok() && rest.is_empty() => Replay::Same,
        Ok(_) | Err(Error::Write(_)) => Replay::Other,
        Err(_) => Replay::Damaged,
    }
}
