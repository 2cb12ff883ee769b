//! `apply(make(old, new), old)` is `new`, and small where it can be.

use proptest::prelude::*;
use updraft_delta::{Header, Method};

use crate::support::{any_pair, applied, made};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_was_made_is_what_comes_out((old, new) in any_pair()) {
        let made = made(&old, &new);
        prop_assert_eq!(applied(&made.patch, &old, &made.bases).unwrap(), new);
        let (header, _) = Header::read(&made.patch).unwrap();
        let numbers: Vec<usize> = header.bases.iter().map(|base| base.index as usize).collect();
        prop_assert_eq!((numbers, header.from, header.to), (made.bases, [1; 32], [2; 32]));
    }
}

fn text(seed: u64, words: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    const NAMES: [&str; 12] = ["render", "e", "t", "n", "r", "state", "i", "props", "o", "a", "update", "s"];
    const MARKS: [&str; 6] = [".", "(", ")", ",", ";", "="];
    let mut text = String::new();
    for _ in 0..words {
        text.push_str(NAMES[next() % NAMES.len()]);
        text.push_str(MARKS[next() % MARKS.len()]);
    }
    text.into_bytes()
}

#[test]
fn files_that_are_nothing() {
    for (old, new) in [(vec![], vec![]), (vec![vec![]], vec![vec![]]), (vec![], vec![vec![], vec![7], vec![]])] {
        let made = made(&old, &new);
        assert!(made.bases.is_empty());
        assert_eq!(applied(&made.patch, &old, &made.bases).unwrap(), new);
    }
}

#[test]
fn the_same_file_again_costs_a_header_and_one_instruction() {
    let file = text(1, 20_000);
    let made = made(std::slice::from_ref(&file), std::slice::from_ref(&file));
    assert!(made.patch.len() < 140, "{}", made.patch.len());
}

#[test]
fn what_moved_to_another_file_is_found_there() {
    let files: Vec<Vec<u8>> = (0..6).map(|n| text(n, 4_000)).collect();
    // One file of the middle of each.
    let new: Vec<u8> = files[1..5].iter().flat_map(|file| &file[1_000..9_000]).copied().collect();
    let made = made(&files, std::slice::from_ref(&new));
    assert_eq!(made.bases, [1, 2, 3, 4]);
    assert!(made.patch.len() < 300, "{}", made.patch.len());
}

#[test]
fn files_that_are_hardly_used_are_not_needed() {
    let old = vec![text(1, 5_000), b"a few bytes that the new file has, too".to_vec()];
    let new = vec![[&old[0][..], &old[1][..]].concat()];
    let made = made(&old, &new);
    assert_eq!(made.bases, [0]);
    assert_eq!(applied(&made.patch, &old, &made.bases).unwrap(), new);
}

#[test]
fn names_that_were_renamed_alike_cost_next_to_nothing() {
    let old = text(3, 50_000);
    let renamed = |word: &str| match word {
        "e" => "t".to_owned(),
        "t" => "n".to_owned(),
        "n" => "e".to_owned(),
        other => other.to_owned(),
    };
    let mut new = String::new();
    let mut word = String::new();
    for c in String::from_utf8(old.clone()).unwrap().chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c);
        } else {
            new.push_str(&renamed(&word));
            new.push(c);
            word.clear();
        }
    }
    let new = new.into_bytes();
    let changed = old.iter().zip(&new).filter(|(a, b)| a != b).count();
    let made = made(&[old], &[new]);
    let (header, _) = Header::read(&made.patch).unwrap();
    assert_eq!(header.groups[header.outputs[0].group].method, Method::Words);
    assert!(changed > 10_000 && made.patch.len() < 200, "{changed} bytes changed, {}", made.patch.len());
}
