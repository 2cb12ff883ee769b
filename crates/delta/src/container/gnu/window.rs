//! The bytes among which repeats are looked for, and where each three of them were met before.
//!
//! This is twice the 32 KiB that a repeat may reach back. It is filled to its end, then looked through until fewer than
//! [`AHEAD_MIN`] bytes are ahead; then its second half moves to the first, which leaves the second as it was. Behind the last byte of
//! all are two zeros, and then zeros where nothing ever was, else what was moved: gzip compares those like any other.

use super::Program;

/// How far a repeat may reach back, but for [`AHEAD_MIN`].
const HALF_LEN: usize = 1 << 15;
/// Length of the window.
const LEN: usize = 2 * HALF_LEN;
/// Shortest and longest repeat.
pub(super) const MATCH_LEN_MIN: usize = 3;
const MATCH_LEN_MAX: usize = 258;
/// Repeats are looked for with so many bytes ahead, unless there are no more.
const AHEAD_MIN: usize = MATCH_LEN_MAX + MATCH_LEN_MIN + 1;
/// How far a repeat reaches back at most.
const DISTANCE_MAX: usize = HALF_LEN - AHEAD_MIN;
/// Past this place gzip looks for nothing: a repeat could reach beyond the window.
const AT_MAX: usize = LEN - AHEAD_MIN;

/// How many bits of a hash there are, and by how many it moves with each byte: the third byte later, nothing is left of the first.
const HASH_LOG: usize = 15;
const HASH_SHIFT: usize = 5;

/// A repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    /// How many bytes are repeated.
    pub(super) len: usize,
    /// From how many bytes before.
    pub(super) from: usize,
}

impl Repeat {
    /// What is no repeat, but shorter than any.
    pub(super) const NONE: Self = Self { len: MATCH_LEN_MIN - 1, from: 0 };

    /// Whether it is one.
    pub(super) fn is_some(self) -> bool {
        self.len >= MATCH_LEN_MIN
    }
}

/// How hard somebody looks for a repeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// How many places are looked at.
    pub(super) places: usize,
    /// A quarter of those, if the repeat that is to be beaten is so long.
    pub(super) good_len: usize,
    /// And no more, when one is found that is so long.
    pub(super) nice_len: usize,
}

/// The window.
#[derive(Debug)]
pub(super) struct Window {
    /// And zeros, so that there are as many bytes as a repeat may have wherever we are.
    bytes: Box<[u8; LEN + MATCH_LEN_MAX]>,
    /// For each hash, where it was met last; 0 when it was not, so nothing ever repeats the first byte of all.
    heads: Box<[u16; 1 << HASH_LOG]>,
    /// For each place, by its lowest bits, where its hash was met before.
    before: Box<[u16; HALF_LEN]>,
    hash: usize,
    /// Where we are, and how many bytes are ahead.
    at: usize,
    ahead: usize,
    /// How many bytes were moved out of it.
    gone: u64,
    is_over: bool,
    program: Program,
}

/// An array of zeros, which was never on the stack.
fn zeros<T: Default + Copy, const N: usize>() -> Box<[T; N]> {
    let zeros: Box<[T]> = vec![T::default(); N].into_boxed_slice();
    zeros.try_into().unwrap_or_else(|_| unreachable!("it has that length"))
}

impl Window {
    /// An empty one.
    pub(super) fn new(program: Program) -> Self {
        let (bytes, heads, before) = (zeros(), zeros(), zeros());
        Self { bytes, heads, before, hash: 0, at: 0, ahead: 0, gone: 0, is_over: false, program }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.bytes.fill(0);
        self.heads.fill(0);
        (self.hash, self.at, self.ahead, self.gone, self.is_over) = (0, 0, 0, 0, false);
    }

    /// Takes as many bytes as there is room for, and answers how many those are.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let end = self.at + self.ahead;
        let len = bytes.len().min(LEN - end);
        self.bytes[end..end + len].copy_from_slice(&bytes[..len]);
        self.ahead += len;
        len
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.at + self.ahead == LEN
    }

    /// Whether more has to be known before anything is looked for.
    pub(super) fn wants_more(&self) -> bool {
        self.ahead < AHEAD_MIN && !self.is_over
    }

    /// Makes room, if we are so far that what moves out is out of reach.
    pub(super) fn slide(&mut self) {
        if self.at < HALF_LEN + DISTANCE_MAX {
            return;
        }
        self.bytes.copy_within(HALF_LEN..LEN, 0);
        self.at -= HALF_LEN;
        self.gone += HALF_LEN as u64;
        for place in self.heads.iter_mut().chain(&mut *self.before) {
            *place = place.saturating_sub(HALF_LEN as u16);
        }
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self) {
        let end = self.at + self.ahead;
        self.bytes[end..end + MATCH_LEN_MIN - 1].fill(0);
        self.is_over = true;
    }

    /// Whether all was looked through.
    pub(super) fn is_done(&self) -> bool {
        self.ahead == 0
    }

    /// Where we are, counted from the first byte of all.
    pub(super) fn place(&self) -> u64 {
        self.gone + self.at as u64
    }

    /// The bytes from that place to where we are; none when some of them have gone.
    pub(super) fn since(&self, place: u64) -> Option<&[u8]> {
        Some(&self.bytes[place.checked_sub(self.gone)? as usize..self.at])
    }

    /// The byte where we are.
    pub(super) fn byte(&self) -> u8 {
        self.bytes[self.at]
    }

    /// The byte before.
    pub(super) fn last_byte(&self) -> u8 {
        self.bytes[self.at - 1]
    }

    fn push_hash(&mut self, byte: u8) {
        self.hash = (self.hash << HASH_SHIFT ^ usize::from(byte)) % (1 << HASH_LOG);
    }

    /// Begins to hash with the two bytes from here on.
    pub(super) fn begin_hash(&mut self) {
        self.hash = 0;
        self.push_hash(self.bytes[self.at]);
        self.push_hash(self.bytes[self.at + 1]);
    }

    /// Notes the three bytes from here on, and answers where they were met before.
    pub(super) fn note(&mut self) -> u16 {
        self.push_hash(self.bytes[self.at + 2]);
        let before = std::mem::replace(&mut self.heads[self.hash], self.at as u16);
        self.before[self.at % HALF_LEN] = before;
        before
    }

    /// Goes so many bytes on.
    pub(super) fn skip(&mut self, len: usize) {
        self.at += len;
        self.ahead -= len;
    }

    /// Goes so many bytes on, and notes each that is passed but the one where we are, which was.
    pub(super) fn pass(&mut self, len: usize) {
        for _ in 1..len {
            self.skip(1);
            self.note();
        }
        self.skip(1);
    }

    /// The longest repeat of more than `beaten` bytes, where what is here was met at `first` and before.
    pub(super) fn repeat(&self, first: u16, beaten: usize, effort: &Effort) -> Option<Repeat> {
        let (at, first) = (self.at, usize::from(first));
        let (at_max, nice_len) = match self.program {
            Program::Gzip => (AT_MAX, effort.nice_len),
            Program::Zip => (LEN, effort.nice_len.min(self.ahead)),
        };
        if first == 0 || at - first > DISTANCE_MAX || at > at_max {
            return None;
        }
        let here: &[u8; MATCH_LEN_MAX] = self.bytes[at..].first_chunk()?;
        let (mut best, mut best_len) = (None, beaten);
        let mut places = if beaten >= effort.good_len { effort.places / 4 } else { effort.places };
        let mut place = first;
        loop {
            let there: &[u8; MATCH_LEN_MAX] = self.bytes[place..].first_chunk()?;
            // What cannot be longer is seen by its end.
            if there[best_len - 1..=best_len] == here[best_len - 1..=best_len] {
                let len = here.iter().zip(there).take_while(|(one, two)| one == two).count();
                if len > best_len {
                    (best, best_len) = (Some(place), len);
                    if len >= nice_len {
                        break;
                    }
                }
            }
            place = usize::from(self.before[place % HALF_LEN]);
            places -= 1;
            if place <= at.saturating_sub(DISTANCE_MAX) || places == 0 {
                break;
            }
        }
        best.map(|place| Repeat { len: best_len.min(self.ahead), from: at - place })
    }
}
