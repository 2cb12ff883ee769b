//! What a PE file for x86-64 needs to unwind its functions, from its `.pdata` on.
//!
//! Each entry of `.pdata` names a function and its unwind information. That names a part of the function that it goes on
//! from, or a handler and what this knows of the function: for C++ a tree of tables, for C a table of scopes.

use super::{Found, Reader, SITES_MAX, Site};

/// Bytes of the file that are read at a time.
const PIECE_LEN: usize = 16 << 10;

/// `FuncInfo` begins with one of these, and three bits of flags above them.
const CXX: std::ops::RangeInclusive<u32> = 0x1993_0520..=0x1993_0522;

/// What is smaller is no offset of a table: headers lie there.
const HEADERS_LEN: u32 = 4_096;

/// Most scopes of one function.
const SCOPES_MAX: u32 = 4_096;

/// Adds the references of the unwind information that `table` names.
pub(super) fn find<E, R>(found: &mut Found, mut table: Reader<'_, R>) -> Result<(), E>
where
    R: FnMut(u64, &mut [u8]) -> Result<(), E>,
{
    let mut infos = Vec::new();
    while let Some(entry) = table.next::<12>()?
        && infos.len() < SITES_MAX
    {
        infos.push(u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]));
    }
    infos.sort_unstable();
    infos.dedup();
    let mut image = Image { found, read: table.read, at: 0, piece: Vec::new() };
    for info in infos {
        if image.found.is_full() {
            break;
        }
        image.unwind(info)?;
    }
    Ok(())
}

/// The file, by offsets from the image's base.
struct Image<'a, R> {
    found: &'a mut Found,
    read: &'a mut R,
    /// A part of the file that is in memory.
    at: u64,
    piece: Vec<u8>,
}

impl<E, R: FnMut(u64, &mut [u8]) -> Result<(), E>> Image<'_, R> {
    /// The place of four bytes, if they are in the file.
    fn place(&self, offset: u32) -> Option<u64> {
        let at = |offset: u64| self.found.space.place_of(self.found.image_base + offset)?.1;
        let first = at(offset.into())?;
        (at(u64::from(offset) + 3)? == first + 3).then_some(first)
    }

    /// The four bytes there.
    fn number(&mut self, offset: u32) -> Result<Option<u32>, E> {
        let Some(place) = self.place(offset) else { return Ok(None) };
        let is_there = place >= self.at && place + 4 <= self.at + self.piece.len() as u64;
        if !is_there {
            // No further than the part of the file goes that has an address.
            let len = [PIECE_LEN, 256, 4].into_iter().find(|len| {
                let last = self.found.space.place_of(self.found.image_base + u64::from(offset) + *len as u64 - 1);
                last.and_then(|(_, last)| last) == Some(place + *len as u64 - 1)
            });
            self.piece.resize(len.unwrap_or(4), 0);
            self.at = place;
            (self.read)(place, &mut self.piece)?;
        }
        let bytes = &self.piece[(place - self.at) as usize..][..4];
        Ok(Some(u32::from_le_bytes(bytes.try_into().expect("four bytes"))))
    }

    /// Adds a reference, and answers with it.
    fn reference(&mut self, offset: u32) -> Result<Option<u32>, E> {
        let value = self.number(offset)?;
        if value.is_some() && !self.found.is_full() {
            let site = self.place(offset).and_then(|place| Site::new(place, true));
            self.found.sites.extend(site);
        }
        Ok(value)
    }

    /// `UNWIND_INFO`.
    fn unwind(&mut self, info: u32) -> Result<(), E> {
        let Some(head) = self.number(info)? else { return Ok(()) };
        let [first, _, codes, _] = head.to_le_bytes();
        let (flags, behind) = (first >> 3, info.wrapping_add(4 + 2 * u32::from(codes).next_multiple_of(2)));
        match flags {
            4 => (0..3).try_for_each(|n| self.reference(behind.wrapping_add(4 * n)).map(drop)),
            1..=3 => {
                self.reference(behind)?;
                self.handled(behind.wrapping_add(4))
            }
            _ => Ok(()),
        }
    }

    /// What a handler knows: where the tables of C++ are, or how many scopes follow. Else it is something of its own.
    fn handled(&mut self, data: u32) -> Result<(), E> {
        let Some(value) = self.number(data)? else { return Ok(()) };
        if value >= HEADERS_LEN
            && let Some(magic) = self.number(value)?
        {
            self.reference(data)?;
            return if CXX.contains(&(magic & 0x1fff_ffff)) { self.cxx(value) } else { Ok(()) };
        }
        let (first, last) = (self.number(data.wrapping_add(4))?, self.number(data.wrapping_add(8))?);
        let is_scope = matches!((first, last), (Some(first), Some(last)) if first < last && self.place(last).is_some());
        if is_scope && value <= SCOPES_MAX {
            self.rows(data.wrapping_add(4), value, 4, &[0, 1, 2, 3], |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// `FuncInfo` of C++, in its form of four-byte fields.
    fn cxx(&mut self, info: u32) -> Result<(), E> {
        let field = |n: u32| info.wrapping_add(4 * n);
        let (unwinds, unwind_map) = (self.number(field(1))?, self.reference(field(2))?);
        let (tries, try_map) = (self.number(field(3))?, self.reference(field(4))?);
        let (states, state_map) = (self.number(field(5))?, self.reference(field(6))?);
        self.reference(field(8))?;
        if let (Some(count), Some(map)) = (unwinds, unwind_map) {
            self.rows(map, count, 2, &[1], |_, _| Ok(()))?;
        }
        if let (Some(count), Some(map)) = (states, state_map) {
            self.rows(map, count, 2, &[0], |_, _| Ok(()))?;
        }
        if let (Some(count), Some(map)) = (tries, try_map) {
            self.rows(map, count, 5, &[4], |image, row| {
                let (count, map) = (image.number(row.wrapping_add(12))?, image.number(row.wrapping_add(16))?);
                let (Some(count), Some(map)) = (count, map) else { return Ok(()) };
                image.rows(map, count, 5, &[1, 3], |_, _| Ok(()))
            })?;
        }
        Ok(())
    }

    /// `count` rows of `width` fields, of which some are references; no more than there are in the file.
    fn rows(
        &mut self,
        table: u32,
        count: u32,
        width: u32,
        references: &[u32],
        mut row: impl FnMut(&mut Self, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = table;
        for _ in 0..count {
            for n in references {
                if self.found.is_full() || self.reference(at.wrapping_add(4 * n))?.is_none() {
                    return Ok(());
                }
            }
            row(self, at)?;
            at = at.wrapping_add(4 * width);
        }
        Ok(())
    }
}
