//! Files that are compared in parts give patches that are right, and nearly as small.

use proptest::prelude::*;
use updraft_delta::ReadAt;
use updraft_differ::{Error, MEMORY_MIN, Made, Options, fits, make_in_parts};

use crate::support::{any_pair, applied, made};

fn in_parts(old: &[Vec<u8>], new: &[Vec<u8>]) -> Result<Made, Error> {
    let old: Vec<&dyn ReadAt> = old.iter().map(|file| file as &dyn ReadAt).collect();
    let new: Vec<&dyn ReadAt> = new.iter().map(|file| file as &dyn ReadAt).collect();
    make_in_parts(&old, &new, &Options { from: [1; 32], to: [2; 32], memory: MEMORY_MIN })
}

/// Bytes that look random, the same for the same `seed`.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// More than fits into the least memory at once.
const LARGE: usize = 12 << 20;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_was_made_in_parts_is_what_comes_out((old, new) in any_pair()) {
        let made = in_parts(&old, &new).unwrap();
        prop_assert_eq!(applied(&made.patch, &old, &made.bases).unwrap(), new);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]
    #[test]
    fn a_large_file_with_edits_costs_its_edits(
        edits in proptest::collection::vec((0..LARGE, 0..100_usize, 0..100_usize), 0..40),
        seed: u64,
    ) {
        prop_assert!(!fits(MEMORY_MIN, LARGE as u64, LARGE as u64), "so it is a part of its own");
        let old = noise(seed, LARGE);
        let mut new = old.clone();
        for (n, (at, gone, come)) in edits.iter().enumerate() {
            let at = *at % new.len();
            let end = (at + gone).min(new.len());
            new.splice(at..end, noise(n as u64, *come));
        }
        let (old, new) = ([old], [new]);
        let made = in_parts(&old, &new).unwrap();
        prop_assert_eq!(applied(&made.patch, &old, &made.bases).unwrap(), new);
        let most: usize = edits.iter().map(|(_, _, come)| come + 24).sum();
        prop_assert!(made.patch.len() < 300 + most, "{} {most}", made.patch.len());
    }
}

#[test]
fn files_that_fit_by_themselves_are_compared_with_their_own() {
    // Together too much; each new file is like one old one, and one is like two.
    let mut old: Vec<Vec<u8>> = (0..6).map(|n| noise(n, 3 << 20)).collect();
    let new: Vec<Vec<u8>> = [&old[5][..], &old[0][1..], &[&old[2][..1 << 20], &old[3][2 << 20..]].concat(), &old[1]]
        .into_iter()
        .map(|file| [b"new ", file].concat())
        .collect();
    old.push(b"short".to_vec());
    let made = in_parts(&old, &new).unwrap();
    assert_eq!(applied(&made.patch, &old, &made.bases).unwrap(), new);
    assert_eq!(made.bases, [0, 1, 2, 3, 5]);
    assert!(made.patch.len() < 500, "{}", made.patch.len());
}

#[test]
fn what_is_all_new_is_refused_when_it_is_much() {
    let said = in_parts(&[noise(1, 1_000)], &[noise(2, 40 << 20)]).unwrap_err().to_string();
    assert!(said.starts_with("the new files are too unlike the old ones"), "{said}");
}

#[test]
fn what_differs_everywhere_is_refused_when_it_is_much() {
    // Every fourth byte: no anchor is the same, and what differs would be kept.
    let old = noise(1, 48 << 20);
    let mut new = old.clone();
    new.iter_mut().step_by(4).for_each(|byte| *byte ^= 0x55);
    let said = in_parts(&[old], &[new]).unwrap_err().to_string();
    assert!(said.starts_with("the new files are too unlike the old ones"), "{said}");
}

#[test]
fn many_parts_of_one_large_file_are_found_in_it() {
    let old = noise(1, LARGE);
    let new: Vec<Vec<u8>> = old.chunks(LARGE / 40).map(|part| [b"part ", part].concat()).collect();
    let made = in_parts(std::slice::from_ref(&old), &new).unwrap();
    assert_eq!(applied(&made.patch, &[old], &made.bases).unwrap(), new);
    assert!(made.patch.len() < 900, "{}", made.patch.len());
}

#[test]
fn files_that_are_nearly_the_same_are_compared_with_their_own() {
    let common = noise(1, 1 << 20);
    let images = |tail: u8| (0..24_u8).map(move |n| (n, tail));
    let image = |(n, tail): (u8, u8)| [&common[..], &noise(u64::from(n) + 9, 100_000), &[tail]].concat();
    let (old, new): (Vec<_>, Vec<_>) = (images(1).map(image).collect(), images(2).map(image).collect());
    let made = in_parts(&old, &new).unwrap();
    assert_eq!(applied(&made.patch, &old, &made.bases).unwrap(), new);
    assert!(made.patch.len() < 2_000, "{}", made.patch.len());
}

#[test]
fn in_parts_or_not_a_small_pair_is_the_same() {
    let old = [noise(1, 100_000), noise(2, 50_000)];
    let new = [[&old[1][..], &old[0][500..]].concat()];
    let (parts, whole) = (in_parts(&old, &new).unwrap(), made(&old, &new));
    assert_eq!(parts, whole);
}

/// A file that cannot be read from some place on.
struct Shrunk {
    len: u64,
    readable: u64,
}

impl ReadAt for Shrunk {
    fn size(&self) -> std::io::Result<u64> {
        Ok(self.len)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        let end = offset + buf.len() as u64;
        if end > self.readable {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(7);
        Ok(())
    }
}

#[test]
fn a_file_that_shrinks_is_named() {
    let (whole, shrunk) = (noise(1, LARGE), Shrunk { len: LARGE as u64, readable: 5 << 20 });
    let options = Options { memory: MEMORY_MIN, ..Options::default() };
    let failed = |old: &dyn ReadAt, new: &dyn ReadAt| make_in_parts(&[old], &[new], &options).unwrap_err().to_string();
    assert!(failed(&shrunk, &whole).starts_with("old file 0: "));
    assert!(failed(&whole, &shrunk).starts_with("new file 0: "));
    let whole = Shrunk { len: 40 << 40, readable: 0 };
    assert!(failed(&whole, &shrunk).starts_with("old files of 43980465111040 bytes together"));
}
