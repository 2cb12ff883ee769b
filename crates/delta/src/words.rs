//! What a copied byte is likely to have become, beyond "the same".
//!
//! Minified scripts rename their short names by the thousand in every release, and rename them alike: where `e` became `t`
//! once, it becomes `t` the next time too. So for text a copy is read word by word, and each word is replaced by what it
//! became when it was copied last, if that has as many bytes. What the patch adds, it adds to that. A wrong prediction
//! costs bytes of the patch and nothing else.
//!
//! Encoder and decoder run this same code, which is therefore part of the format: a word is up to 24 letters, digits, `_`
//! and `$` in a row, cut where a copy begins and ends; the table has 65,536 places, and a word whose place is taken takes
//! it over.

use std::fmt;

/// Longest word, in bytes; a longer one is several.
pub const WORD_LEN_MAX: usize = 24;

/// Places in the table, as a power of two. It takes 3.3 MB.
const PLACES_LOG: u32 = 16;

/// What each word became when it was copied last.
#[derive(Clone)]
pub struct Words {
    places: Vec<Place>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    len: u8,
    old: [u8; WORD_LEN_MAX],
    new: [u8; WORD_LEN_MAX],
}

impl Default for Words {
    fn default() -> Self {
        Self { places: vec![Place::default(); 1 << PLACES_LOG] }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.places.iter().filter(|place| place.len > 0).count())
    }
}

impl Words {
    /// What `word`, of 1 to 24 bytes, became last; itself when that is not known.
    pub fn predicted<'a>(&'a self, word: &'a [u8]) -> &'a [u8] {
        let place = &self.places[place_of(word)];
        let len = usize::from(place.len);
        if place.old[..len] == *word { &place.new[..len] } else { word }
    }

    /// Remembers that `old` became `new`, which has as many bytes.
    pub fn learn(&mut self, old: &[u8], new: &[u8]) {
        let place = &mut self.places[place_of(old)];
        place.len = old.len() as u8;
        place.old[..old.len()].copy_from_slice(old);
        place.new[..new.len()].copy_from_slice(new);
    }
}

/// FNV-1a of the word, folded.
fn place_of(word: &[u8]) -> usize {
    let hash = word.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    ((hash >> PLACES_LOG) ^ (hash & ((1 << PLACES_LOG) - 1))) as usize
}

/// Whether a byte can be part of a word.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// Length of the word, or of the row of other bytes, that `bytes` begin with; 0 for none. A row that reaches the end of
/// `bytes` may go on behind it.
pub fn next_len(bytes: &[u8]) -> usize {
    let Some(first) = bytes.first() else { return 0 };
    let in_word = is_word(*first);
    let max = if in_word { WORD_LEN_MAX } else { usize::MAX };
    bytes.iter().take(max).take_while(|byte| is_word(**byte) == in_word).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_becomes_what_it_became_last() {
        let mut words = Words::default();
        assert_eq!(words.predicted(b"e"), b"e");
        words.learn(b"e", b"t");
        assert_eq!((words.predicted(b"e"), words.predicted(b"ee")), (&b"t"[..], &b"ee"[..]));
        words.learn(b"e", b"n");
        assert_eq!(words.predicted(b"e"), b"n");
        let long = [b'x'; WORD_LEN_MAX];
        words.learn(&long, &[b'y'; WORD_LEN_MAX]);
        assert_eq!(words.predicted(&long), [b'y'; WORD_LEN_MAX]);
    }

    #[test]
    fn words_and_what_is_between_them() {
        assert_eq!((next_len(b"ab_$9(x"), next_len(b"(+x"), next_len(b""), next_len(&[b'a'; 99])), (5, 2, 0, 24));
    }
}
