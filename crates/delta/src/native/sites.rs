//! The references of an old file that its tables name: pointers by relocations, and what unwinding needs.

mod exceptions;

use super::layout::{Layout, Range, RangeKind, Space};
use super::walk::Form;

/// Most references that are remembered.
pub const SITES_MAX: usize = 4 << 20;

/// Bytes of a table that are read at a time; whole entries of every table.
const PIECE_LEN: u64 = 24 << 10;

/// A reference of the old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// Twice its place, and one more where it is an offset.
    packed: u32,
}

impl Site {
    fn new(place: u64, is_offset: bool) -> Option<Self> {
        let packed = u32::try_from(place << 1).ok()? | u32::from(is_offset);
        Some(Self { packed })
    }

    /// Where it lies in the file.
    pub fn place(self) -> u64 {
        u64::from(self.packed >> 1)
    }

    /// What it says.
    pub fn form(self) -> Form {
        if self.packed & 1 == 1 { Form::FromImage } else { Form::Pointer }
    }
}

/// The references in the old file that the tables of `layout` name, in order. `read` fills a buffer from a place of the old
/// file.
///
/// # Errors
/// Whatever `read` answers.
pub fn sites<E>(layout: &Layout, mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>) -> Result<Vec<Site>, E> {
    let mut found = Found {
        space: Space::new(layout.regions.iter().map(|region| region.old)),
        image_base: layout.image_base.0,
        sites: Vec::new(),
    };
    for table in &layout.old_tables {
        let mut reader = Reader { read: &mut read, table: *table, piece: Vec::new(), at: 0 };
        match table.kind {
            RangeKind::Rela64 => found.rela(&mut reader)?,
            RangeKind::Relr64 => found.relr(&mut reader)?,
            RangeKind::BaseReloc => found.base_reloc(&mut reader)?,
            RangeKind::Exceptions => exceptions::find(&mut found, reader)?,
            _ => {}
        }
    }
    found.sites.sort_unstable();
    found.sites.dedup();
    Ok(found.sites)
}

/// A table, read from its beginning.
struct Reader<'r, R> {
    read: &'r mut R,
    table: Range,
    piece: Vec<u8>,
    at: usize,
}

impl<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>> Reader<'_, R> {
    /// The next `N` bytes; `None` at the end.
    fn next<const N: usize>(&mut self) -> Result<Option<[u8; N]>, E> {
        if self.piece.len() - self.at < N {
            let kept = self.piece.split_off(self.at);
            let more = (PIECE_LEN.min(self.table.len)) as usize;
            if kept.len() + more < N {
                return Ok(None);
            }
            self.piece = kept;
            let from = self.piece.len();
            self.piece.resize(from + more, 0);
            (self.read)(self.table.offset, &mut self.piece[from..])?;
            self.table.offset += more as u64;
            self.table.len -= more as u64;
            self.at = 0;
        }
        let bytes = self.piece[self.at..][..N].try_into().expect("as many bytes");
        self.at += N;
        Ok(Some(bytes))
    }
}

struct Found {
    space: Space,
    image_base: u64,
    sites: Vec<Site>,
}

impl Found {
    fn is_full(&self) -> bool {
        self.sites.len() >= SITES_MAX
    }

    fn add(&mut self, address: u64) {
        let place = self.space.place_of(address).and_then(|(_, place)| place);
        if !self.is_full() {
            self.sites.extend(place.and_then(|place| Site::new(place, false)));
        }
    }

    fn rela<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>>(&mut self, table: &mut Reader<'_, R>) -> Result<(), E> {
        while !self.is_full()
            && let Some(entry) = table.next::<24>()?
        {
            let (address, _) = entry.split_first_chunk().expect("24 bytes");
            self.add(u64::from_le_bytes(*address));
        }
        Ok(())
    }

    /// An even word is an address; an odd one says which of the 63 words behind the last are, too.
    fn relr<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>>(&mut self, table: &mut Reader<'_, R>) -> Result<(), E> {
        let mut next = 0_u64;
        while !self.is_full()
            && let Some(entry) = table.next::<8>()?
        {
            let entry = u64::from_le_bytes(entry);
            if entry & 1 == 0 {
                self.add(entry);
                next = entry.wrapping_add(8);
                continue;
            }
            for bit in (0..63).filter(|bit| entry >> (bit + 1) & 1 == 1) {
                self.add(next.wrapping_add(bit * 8));
            }
            next = next.wrapping_add(63 * 8);
        }
        Ok(())
    }

    /// Blocks of a page each: its offset from the image's base, the block's length, and two bytes for each pointer.
    fn base_reloc<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>>(&mut self, table: &mut Reader<'_, R>) -> Result<(), E> {
        const POINTER: u16 = 10;
        while !self.is_full()
            && let Some(head) = table.next::<8>()?
        {
            let page = u64::from(u32::from_le_bytes([head[0], head[1], head[2], head[3]]));
            let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            for _ in 0..len.saturating_sub(8) / 2 {
                let Some(entry) = table.next::<2>()? else { return Ok(()) };
                let entry = u16::from_le_bytes(entry);
                if entry >> 12 == POINTER {
                    self.add(self.image_base.wrapping_add(page).wrapping_add(u64::from(entry & 0x0fff)));
                }
            }
        }
        Ok(())
    }
}
