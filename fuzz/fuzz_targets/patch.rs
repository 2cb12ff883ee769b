//! Patches: whatever one says, memory and output stay within what its header claims.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io;
use updraft_delta::{Header, Patch, ReadAt, Sink};

/// Most bytes of bases that are made up, and of outputs that are taken.
const OLD_LEN_MAX: u64 = 64 << 10;
const NEW_LEN_MAX: u64 = 1 << 20;

fn noise(len: u64) -> Vec<u8> {
    (0..len).map(|n| (n * 31 % 251) as u8).collect()
}

/// Counts what comes out, and has enough of it at some point.
struct Counted {
    claimed: u64,
    written: u64,
}

impl Sink for Counted {
    fn begin(&mut self, _: usize, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        assert!(self.written <= self.claimed, "more than was claimed");
        if self.written > NEW_LEN_MAX { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok((_, start)) = Header::read(&bytes) else { return };
    let patch = Patch::open(&bytes).expect("its header was read");
    let header = patch.header();
    let streams = &bytes[usize::try_from(start).expect("it lies in memory")..];
    let again = [header.plain().as_slice(), streams].concat();
    assert_eq!(Header::read(&again.as_slice()).expect("it was one before").0, *header);
    if header.old_len() > OLD_LEN_MAX {
        return;
    }
    let bases: Vec<Vec<u8>> = header.bases.iter().map(|base| noise(base.len)).collect();
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    let bases: Vec<&dyn ReadAt> = bases.iter().map(|base| base as &dyn ReadAt).collect();
    let mut counted = Counted { claimed: header.new_len(), written: 0 };
    if patch.apply(&bases, &mut Vec::new(), &mut counted).is_ok() {
        assert_eq!(counted.written, counted.claimed);
    }
    let _ = patch.survey();
});
