//! Patches that are damaged or lie: an error or another file, never a panic, never more than was asked for.

use std::io;

use proptest::prelude::*;
use updraft_delta::stream::{Coder, Kind, Lane, Stream};
use updraft_delta::{Base, Error, Group, Header, Method, Output, Patch, ReadAt, Sink, varint};

use crate::support::{any_pair, applied, made};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn bytes_that_were_changed(
        (old, new) in any_pair(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let made = made(&old, &new);
        let mut patch = made.patch.clone();
        for (at, byte) in changes {
            let at = at.index(patch.len());
            patch[at] = byte;
        }
        if let Ok(files) = applied(&patch, &old, &made.bases) {
            let lens: u64 = files.iter().map(|file| file.len() as u64).sum();
            let promised = Header::read(&patch).unwrap().0.new_len();
            prop_assert_eq!(lens, promised);
        }
    }

    #[test]
    fn bytes_that_are_missing((old, new) in any_pair(), at in any::<prop::sample::Index>()) {
        let made = made(&old, &new);
        let cut = made.patch[..at.index(made.patch.len())].to_vec();
        prop_assert!(matches!(applied(&cut, &old, &made.bases), Err(Error::Format(_))));
        let longer = [&made.patch[..], b"x"].concat();
        prop_assert!(matches!(applied(&longer, &old, &made.bases), Err(Error::Format(_))));
    }

    #[test]
    fn bytes_that_are_none_of_ours(patch in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Patch::open(&patch).is_err());
    }
}

/// A patch of one base of 8 bytes, whose streams are not compressed.
fn by_hand(outputs: &[u64], streams: &[(Kind, &[u64])]) -> Vec<u8> {
    let coded: Vec<(Kind, Vec<u8>)> = streams
        .iter()
        .map(|(kind, numbers)| {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| varint::write(&mut bytes, *number));
            (*kind, bytes)
        })
        .collect();
    let stream = |(kind, bytes): &(Kind, Vec<u8>)| {
        let len = bytes.len() as u64;
        Stream { kind: *kind, coder: Coder::Raw, len, coded: len }
    };
    let header = Header {
        from: [0; 32],
        to: [0; 32],
        bases: vec![Base { index: 3, len: 8, image: None }],
        groups: vec![Group { method: Method::Same, streams: coded.iter().map(stream).collect() }],
        outputs: outputs.iter().map(|len| Output { group: 0, len: *len, image: None }).collect(),
    };
    let mut patch = header.plain();
    coded.iter().for_each(|(_, bytes)| patch.extend_from_slice(bytes));
    patch
}

const SEEK_BACK: u64 = 1;

#[test]
fn instructions_that_lie() {
    use Kind::{CopyLen, InsertLen, Seek};
    const INSERT: Kind = Kind::Insert(Lane::Plain);
    const GAP: Kind = Kind::DiffGap(Lane::Plain);
    const BYTE: Kind = Kind::DiffByte(Lane::Plain);
    let base = vec![b"01234567".to_vec()];
    let run = |patch: Vec<u8>| applied(&patch, &base, &[0]);
    let good = by_hand(&[4], &[(InsertLen, &[1]), (CopyLen, &[3]), (Seek, &[4]), (INSERT, &[65])]);
    assert_eq!(run(good).unwrap(), [b"A234"]);
    for (why, outputs, streams) in [
        ("an instruction that makes nothing", 4, vec![(InsertLen, &[0_u64][..]), (CopyLen, &[0])]),
        ("more than there is to make", 4, vec![(InsertLen, &[0]), (CopyLen, &[5]), (Seek, &[0])]),
        ("lengths that overflow", 4, vec![(InsertLen, &[u64::MAX]), (CopyLen, &[u64::MAX])]),
        ("a copy before the beginning", 4, vec![(InsertLen, &[0]), (CopyLen, &[4]), (Seek, &[SEEK_BACK])]),
        ("a copy over the end", 8, vec![(InsertLen, &[0]), (CopyLen, &[8]), (Seek, &[2])]),
        ("a seek out of this world", 4, vec![(InsertLen, &[0]), (CopyLen, &[4]), (Seek, &[u64::MAX - 1])]),
        ("new bytes that are not there", 4, vec![(InsertLen, &[4]), (CopyLen, &[0])]),
        ("instructions that end too early", 4, vec![(InsertLen, &[1]), (CopyLen, &[0]), (INSERT, &[65])]),
        ("more than is needed", 1, vec![(InsertLen, &[1]), (CopyLen, &[0]), (INSERT, &[65, 66])]),
        (
            "a difference behind the end",
            2,
            vec![(InsertLen, &[0]), (CopyLen, &[2]), (Seek, &[0]), (GAP, &[2]), (BYTE, &[1])],
        ),
        (
            "a gap without end",
            2,
            vec![(InsertLen, &[0]), (CopyLen, &[2]), (Seek, &[0]), (GAP, &[u64::MAX]), (BYTE, &[1])],
        ),
        ("a stream that is empty", 1, vec![(InsertLen, &[1]), (CopyLen, &[0]), (Seek, &[]), (INSERT, &[65])]),
        ("gaps without bytes", 2, vec![(InsertLen, &[0]), (CopyLen, &[2]), (Seek, &[0]), (GAP, &[0])]),
    ] {
        let error = run(by_hand(&[outputs], &streams)).expect_err(why);
        assert!(matches!(error, Error::Format(_)), "{why}: {error}");
    }
}

#[test]
fn bytes_behind_the_end_of_a_stream() {
    // Text that LZMA makes smaller; then one more byte in each coded stream in turn.
    let text: Vec<u8> = (0..2_000_u32).flat_map(|n| (n * n).to_string().into_bytes()).collect();
    let made = made(&[], std::slice::from_ref(&text));
    let (header, start) = Header::read(&made.patch).unwrap();
    let streams = &header.groups[0].streams;
    assert!(streams.iter().any(|stream| matches!(stream.coder, Coder::Lzma { .. })));
    for n in (0..streams.len()).filter(|n| matches!(streams[*n].coder, Coder::Lzma { .. })) {
        let mut longer = header.clone();
        longer.groups[0].streams[n].coded += 1;
        let end: u64 = start + streams[..=n].iter().map(|stream| stream.coded).sum::<u64>();
        let (before, behind) = made.patch.split_at(end as usize);
        let patch = [&longer.plain(), &before[start as usize..], b"x", behind].concat();
        assert!(matches!(applied(&patch, &[], &[]), Err(Error::Format(_))), "stream {n}");
    }
}

#[test]
fn a_patch_that_says_much_in_few_bytes_is_explained_at_once() {
    use updraft_delta::limits::IMAGE_LEN_MAX;
    let header = Header {
        from: [0; 32],
        to: [0; 32],
        bases: vec![Base { index: 0, len: IMAGE_LEN_MAX, image: None }],
        groups: vec![],
        outputs: vec![Output { group: 0, len: IMAGE_LEN_MAX, image: None }],
    };
    let numbers = [(Kind::InsertLen, 0), (Kind::CopyLen, IMAGE_LEN_MAX), (Kind::Seek, 0)];
    let coded: Vec<Vec<u8>> = numbers
        .iter()
        .map(|(_, number)| {
            let mut bytes = Vec::new();
            varint::write(&mut bytes, *number);
            bytes
        })
        .collect();
    let stream = |(kind, bytes): (Kind, &Vec<u8>)| Stream {
        kind,
        coder: Coder::Raw,
        len: bytes.len() as u64,
        coded: bytes.len() as u64,
    };
    let streams = numbers.iter().map(|(kind, _)| *kind).zip(&coded).map(stream).collect();
    let groups = vec![Group { method: Method::Same, streams }];
    let patch = [Header { groups, ..header }.plain(), coded.concat()].concat();
    let survey = Patch::open(&patch).unwrap().survey().unwrap();
    assert_eq!((survey[0].copied, survey[0].differing), (IMAGE_LEN_MAX, Some(0)));
}

#[test]
fn more_than_the_limits() {
    use updraft_delta::limits::IMAGE_LEN_MAX;
    let huge = by_hand(&[IMAGE_LEN_MAX, 1], &[]);
    assert!(matches!(Patch::open(&huge), Err(Error::Limit { .. })));
    let mut newer = by_hand(&[0], &[]);
    newer[7] = 2;
    assert!(matches!(Patch::open(&newer), Err(Error::Newer(2))));
}

#[test]
fn a_base_of_another_length_is_named() {
    let patch = by_hand(&[0], &[]);
    let error = applied(&patch, &[b"short".to_vec()], &[0]).unwrap_err();
    assert!(matches!(error, Error::Base { index: 3, found: 5, expected: 8 }), "{error}");
    assert!(matches!(applied(&patch, &[], &[]), Err(Error::Format(_))));
}

/// A base that was longer when it was opened than it is now.
struct Shrinking;

impl ReadAt for Shrinking {
    fn size(&self) -> io::Result<u64> {
        Ok(8)
    }

    fn read_exact_at(&self, _buf: &mut [u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// A disk that is full.
struct Full;

impl Sink for Full {
    fn begin(&mut self, _index: usize, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_file_that_shrinks_and_a_disk_that_is_full_are_named() {
    let copying = by_hand(&[4], &[(Kind::InsertLen, &[0]), (Kind::CopyLen, &[4]), (Kind::Seek, &[0])]);
    let patch = Patch::open(&copying).unwrap();
    assert!(matches!(patch.apply(&[&Shrinking], &mut Vec::new(), &mut Full), Err(Error::Old { index: 3, .. })));
    let base = b"01234567".to_vec();
    assert!(matches!(patch.apply(&[&base], &mut Vec::new(), &mut Full), Err(Error::Output { index: 0, .. })));
}
