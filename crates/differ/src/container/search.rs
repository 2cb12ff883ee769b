//! With which parameters zlib packed something, found out by trying.

use std::io;

use updraft_delta::container::member::Members;
use updraft_delta::container::zip::Listed;
use updraft_delta::container::{Deflated, Error};
use updraft_delta::zlib::Deflate;

use super::packed;

/// So many members may fail with everything that is tried. After them only what worked for others is tried, and the most usual:
/// whoever packed this did not use zlib.
const FAILURES_MAX: usize = 16;
/// How many of [`usual`] are tried even then.
const MOST_USUAL: usize = 2;

/// What is tried, the most usual first.
fn usual() -> impl Iterator<Item = Deflated> {
    let levels = [6, 9, 1, 5, 7, 8, 4, 3, 2].map(Deflated::usual);
    levels.into_iter().chain(levels.map(|level| level.with_memory_level(9)))
}

/// Finds parameters, and remembers what worked.
pub(super) struct Search {
    members: Members,
    /// What worked last is in front. The rest is in the order in which it is tried.
    streams: Vec<Deflate>,
    /// How many of them worked so far.
    worked: usize,
    failures: usize,
}

impl Search {
    pub(super) fn new() -> Result<Self, Error> {
        let streams = usual().map(|parameters| Deflate::new(parameters).map_err(Error::Zlib));
        Ok(Self { members: Members::new()?, streams: streams.collect::<Result<_, _>>()?, worked: 0, failures: 0 })
    }

    /// How `member` was packed.
    pub(super) fn deflated(&mut self, container: &[u8], member: Listed) -> Option<Deflated> {
        let tried = if self.failures < FAILURES_MAX { self.streams.len() } else { self.worked + MOST_USUAL };
        for n in 0..tried.min(self.streams.len()) {
            match replay(&mut self.members, &mut self.streams[n], container, member) {
                Replay::Same => {
                    self.worked += usize::from(n >= self.worked);
                    self.streams[..=n].rotate_right(1);
                    return Some(self.streams[0].parameters());
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
