//! What the programs gzip and zip pack is packed again to the byte: they are run, and compared with.
//!
//! Both must be installed (`scripts/test` sees to it); without, these tests fail and say so.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use updraft_delta::container::Kind;
use updraft_delta::container::gnu::{self, Gnu, Program};
use updraft_delta::container::zip::{Packed, Zip};
use updraft_delta::container::{Deflated, Method, Params, gzip};
use updraft_differ::container::recognise;

use super::archive::text;
use super::{ROOM, assert_packed_again, contents};

/// What a program answers that must be there.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?} must be installed: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The file that the program makes of this content.
fn file_of(program: Program, level: u8, content: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("content"), dir.path().join("content.zip"));
    fs::write(&old, content).unwrap();
    let level = format!("-{level}");
    match program {
        // From a file: what comes through a pipe is read in other pieces.
        Program::Gzip => run(Command::new("gzip").args(["-c", &level]).stdin(File::open(&old).unwrap())).stdout,
        Program::Zip => {
            run(Command::new("zip").args(["-q", "-X", &level, "content.zip", "content"]).current_dir(dir.path()));
            fs::read(Path::new(&new)).unwrap()
        }
    }
}

/// The file of a program is what we make of the content, at any level that it has.
#[track_caller]
fn assert_alike(program: Program, level: u8, content: &[u8]) {
    let file = file_of(program, level, content);
    let theirs = match program {
        Program::Gzip => &file[10..file.len() - gzip::TRAILER_LEN as usize],
        Program::Zip => {
            let member = Zip::read(&file).unwrap().members().next().unwrap();
            if member.packed == Packed::Stored {
                // What does not become shorter.
                return;
            }
            &file[member.data as usize..][..member.packed_len as usize]
        }
    };
    let mut ours = Vec::new();
    let mut each = |bytes: &[u8]| {
        ours.extend_from_slice(bytes);
        Ok(())
    };
    let mut deflate = gnu::Deflate::new(Gnu::new(program, level));
    deflate.write(content, &mut each).unwrap();
    deflate.finish(&mut each).unwrap();
    assert!(ours == theirs, "{program:?} -{level}: {} bytes", content.len());
}

const PROGRAMS: [Program; 2] = [Program::Gzip, Program::Zip];

/// Pieces of a content: what a block, a window and a repeat end at.
#[derive(Debug, Clone)]
enum Piece {
    Text(usize, u32),
    Noise(Vec<u8>),
    Run(u8, usize),
    /// So many bytes again, from so far before.
    Again(usize, usize),
}

fn any_piece() -> impl Strategy<Value = Piece> {
    let near_32_kib = prop_oneof![32_500..32_512_usize, 32_760..32_770_usize, 4_090..4_100_usize, 1..40_000_usize];
    let len = prop_oneof![1..300_usize, 3_000..50_000_usize];
    prop_oneof![
        2 => (len, any::<u32>()).prop_map(|(len, seed)| Piece::Text(len, seed)),
        1 => proptest::collection::vec(any::<u8>(), 0..5_000).prop_map(Piece::Noise),
        1 => (prop_oneof![Just(0_u8), Just(b'a')], 1..5_000_usize).prop_map(|(byte, len)| Piece::Run(byte, len)),
        3 => (1..600_usize, near_32_kib).prop_map(|(len, from)| Piece::Again(len, from)),
    ]
}

fn any_content() -> impl Strategy<Value = Vec<u8>> {
    let ends = [0, 1, 2, 3, 4_096, 32_768, 65_280, 65_400, 65_535, 65_536, 65_537, 98_100, 98_304, 131_072, 131_300];
    let len_max = prop_oneof![1 => proptest::sample::select(ends.to_vec()), 2 => 0..200_000_usize];
    (proptest::collection::vec(any_piece(), 1..30), len_max).prop_map(|(pieces, len_max)| {
        let mut content = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(len, seed) => content.extend(text(len, seed)),
                Piece::Noise(bytes) => content.extend(bytes),
                Piece::Run(byte, len) => content.resize(content.len() + len, byte),
                Piece::Again(len, from) if !content.is_empty() => {
                    let from = from.min(content.len());
                    (0..len).for_each(|_| content.push(content[content.len() - from]));
                }
                Piece::Again(..) => {}
            }
        }
        content.truncate(len_max);
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_packed(content in any_content(), level in 1..=9_u8) {
        PROGRAMS.iter().for_each(|program| assert_alike(*program, level, &content));
    }
}

#[test]
fn all_levels_at_every_length_where_something_ends() {
    let long: Vec<u8> =
        [text(50_000, 3), vec![0; 600], text(50_000, 3), text(40_000, 9), b"ab\0".repeat(2_000)].concat();
    let lens = [0, 1, 2, 3, 4, 257, 258, 259, 261, 262, 263, 4_096, 32_767, 32_768, 32_769, 65_274, 65_275, 65_280];
    let more = [65_534, 65_535, 65_536, 65_537, 65_800, 98_042, 98_043, 98_303, 98_304, 98_305, 131_072, 146_600];
    for level in 1..=9 {
        for len in lens.into_iter().chain(more) {
            PROGRAMS.iter().for_each(|program| assert_alike(*program, level, &long[..len]));
        }
    }
}

/// A few MiB of what we are made of, and of what was packed.
fn large() -> Vec<u8> {
    let itself = fs::read(std::env::current_exe().unwrap()).unwrap();
    [&itself[..itself.len().min(3 << 20)], &text(300_000, 1), &[7; 300_000]].concat()
}

#[test]
fn large_files() {
    let large = large();
    for level in [1, 3, 4, 6, 9] {
        PROGRAMS.iter().for_each(|program| assert_alike(*program, level, &large));
    }
}

/// The number that parameters have for a program at a level; see docs/format.md.
fn number(program: Program, level: u8) -> u64 {
    (if program == Program::Gzip { 2836 } else { 2845 }) + u64::from(level) - 1
}

#[test]
fn files_of_the_programs_are_recognised() {
    let content = large();
    for program in PROGRAMS {
        for level in 1..=9 {
            let content = &content[..200_000];
            let unpacked = assert_packed_again(&file_of(program, level, content));
            assert!(contents(&unpacked) == [content]);
            let number = number(program, level);
            let number = [number as u8 | 0x80, (number >> 7) as u8];
            assert!(unpacked.params.encode().ends_with(&number), "{program:?} -{level}: {:?}", unpacked.params);
        }
    }
}

#[test]
fn several_gzip_members_one_behind_the_other() {
    let content = &large()[..200_000];
    let members = [9, 9, 6].map(|level| file_of(Program::Gzip, level, content));
    let two = [&members[0][..], &members[1], b"behind"].concat();
    assert_eq!(contents(&assert_packed_again(&two)), [content, content]);
    // What no header says first is not looked for: the third stays as it is.
    let three = members.concat();
    let unpacked = assert_packed_again(&three);
    assert_eq!(contents(&unpacked).len(), 2);
    assert!(unpacked.image.ends_with(&members[2]));
}

#[test]
fn a_header_that_cannot_be_of_gzip_is_believed() {
    let mut file = file_of(Program::Gzip, 6, &large()[..200_000]);
    assert_eq!(recognise(&file, ROOM).unwrap().params.kind(), Kind::Gzip);
    file[9] = 255;
    assert!(recognise(&file, ROOM).is_none());
}

#[test]
fn parameters_are_as_short_as_those_of_zlib() {
    let gnu = Method::Deflated(Deflated::Gnu(Gnu::new(Program::Zip, 6)));
    assert_eq!(Params::of_zip([gnu; 1_000]).encode(), [1, 1, 0, 0xa2, 0x16]);
}
