//! What is said of one member of a zip, twice: in front of it and in the directory. And as one row, in which what follows
//! from other things is 0.

use super::columns::Row;
use super::params::Method;
use super::zip::{CENTRAL_LEN, END_LEN, LOCAL_LEN, Packed};

/// "PK" and what kind of record it is.
pub(super) const LOCAL: [u8; 4] = *b"PK\x03\x04";
pub(super) const CENTRAL: [u8; 4] = *b"PK\x01\x02";
pub(super) const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// A member up to this many inflated bytes is kept until its packed length is known.
pub(super) const KEPT_LEN_MAX: u64 = 4 << 20;

/// Version needed and flags, in front of the member.
const NEEDED: usize = 0;
const METHOD: usize = 1;
const TIME: usize = 2;
/// Length of the extra field in front of the member.
const EXTRA_LEN: usize = 3;
/// What the record in front of the member says, less what it should.
const LOCAL_SIZES: usize = 4;
const MADE_BY: usize = 7;
/// What the directory says, less what the record in front of the member says.
const CENTRAL_NEEDED: usize = 8;
const CENTRAL_METHOD: usize = 9;
const CENTRAL_TIME: usize = 10;
/// What the directory says, less what it should.
const CENTRAL_SIZES: usize = 11;
const CENTRAL_EXTRA_LEN: usize = 14;
const COMMENT_LEN: usize = 15;
const INTERNAL: usize = 16;
const EXTERNAL: usize = 17;
/// Where the directory says that the member begins, less where it does.
const PLACE: usize = 18;
/// Belongs to the directory's entry with the number of this row: the number of its member, less that of the entry before, less 1.
const ORDER: usize = 19;
/// CRC, packed and unpacked length, where they do not follow.
const CARRIED: usize = 20;
const DESCRIPTOR_FORM: usize = 23;
/// How many bytes nobody knows lie behind the member.
const GAP: usize = 24;

/// Flags of a member.
const ENCRYPTED: u32 = 1;
const SIZES_FOLLOW: u32 = 8;

/// What the directory should say of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sizes {
    pub(super) crc: u32,
    pub(super) packed: u32,
    pub(super) len: u32,
}

impl Sizes {
    fn fields(self) -> [u32; 3] {
        [self.crc, self.packed, self.len]
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u32 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u16_at(bytes, at) | u16_at(bytes, at + 2) << 16
}

fn put_u16(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// The record in front of a member, without what is of variable length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Local(pub(super) [u8; LOCAL_LEN]);

impl Local {
    pub(super) fn name_len(&self) -> usize {
        u16_at(&self.0, 26) as usize
    }

    pub(super) fn extra_len(&self) -> usize {
        u16_at(&self.0, 28) as usize
    }

    pub(super) fn flags(&self) -> u32 {
        u16_at(&self.0, 6)
    }
}

/// An entry of the directory, without what is of variable length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Central(pub(super) [u8; CENTRAL_LEN]);

impl Central {
    pub(super) fn packed(&self) -> Packed {
        packed(u16_at(&self.0, 8), u16_at(&self.0, 10))
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { crc: u32_at(&self.0, 16), packed: u32_at(&self.0, 20), len: u32_at(&self.0, 24) }
    }

    /// Lengths of name, extra field and comment.
    pub(super) fn lens(&self) -> [usize; 3] {
        [28, 30, 32].map(|at| u16_at(&self.0, at) as usize)
    }

    pub(super) fn place(&self) -> u32 {
        u32_at(&self.0, 42)
    }
}

/// What lies behind a member whose sizes were not known in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    bytes: [u8; 24],
    len: usize,
}

impl Descriptor {
    /// The forms in which it comes; 0 for none.
    pub(super) const FORMS: [u32; 4] = [1, 2, 3, 4];

    /// How it looks in one form: with or without a signature, its lengths of four or of eight bytes.
    pub(super) fn new(form: u32, sizes: Sizes) -> Option<Self> {
        let (is_signed, is_long) = match form {
            0 => return Some(Self { bytes: [0; 24], len: 0 }),
            1 => (true, false),
            2 => (true, true),
            3 => (false, false),
            4 => (false, true),
            _ => return None,
        };
        let mut descriptor = Self { bytes: [0; 24], len: 0 };
        let mut put = |bytes: &[u8]| {
            descriptor.bytes[descriptor.len..descriptor.len + bytes.len()].copy_from_slice(bytes);
            descriptor.len += bytes.len();
        };
        if is_signed {
            put(&DESCRIPTOR);
        }
        put(&sizes.crc.to_le_bytes());
        for len in [sizes.packed, sizes.len] {
            put(&len.to_le_bytes());
            if is_long {
                put(&[0; 4]);
            }
        }
        Some(descriptor)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What is known of a member in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) local: Local,
    pub(super) central: Central,
    pub(super) method: Method,
    pub(super) sizes: Sizes,
    /// Where it begins.
    pub(super) place: u64,
    /// See [`ORDER`].
    pub(super) order: u32,
    pub(super) descriptor_form: u32,
    pub(super) gap: u32,
}

impl Known {
    /// The row.
    pub(super) fn row(&self) -> Row {
        let (local, central) = (&self.local.0, &self.central.0);
        let mut row = [0; _];
        row[NEEDED] = u32_at(local, 4);
        row[METHOD] = u16_at(local, 8);
        row[TIME] = u32_at(local, 10);
        row[EXTRA_LEN] = u16_at(local, 28);
        row[MADE_BY] = u16_at(central, 4);
        row[CENTRAL_NEEDED] = u32_at(central, 6).wrapping_sub(row[NEEDED]);
        row[CENTRAL_METHOD] = u16_at(central, 10).wrapping_sub(row[METHOD]);
        row[CENTRAL_TIME] = u32_at(central, 12).wrapping_sub(row[TIME]);
        row[CENTRAL_EXTRA_LEN] = u16_at(central, 30);
        row[COMMENT_LEN] = u16_at(central, 32);
        row[INTERNAL] = u32_at(central, 34);
        row[EXTERNAL] = u32_at(central, 38);
        row[PLACE] = self.central.place().wrapping_sub(self.place as u32);
        row[ORDER] = self.order;
        let said_in_front = if follows(&row) { [0; 3] } else { self.sizes.fields() };
        for (n, (size, in_front)) in self.sizes.fields().into_iter().zip(said_in_front).enumerate() {
            row[LOCAL_SIZES + n] = u32_at(local, 14 + 4 * n).wrapping_sub(in_front);
            row[CENTRAL_SIZES + n] = u32_at(central, 16 + 4 * n).wrapping_sub(size);
        }
        let carried = match self.method {
            Method::Raw => [self.sizes.crc, 0, self.sizes.len],
            _ if self.sizes.len as u64 > KEPT_LEN_MAX && !follows(&row) => [self.sizes.crc, self.sizes.packed, 0],
            _ => [0; 3],
        };
        row[CARRIED..CARRIED + 3].copy_from_slice(&carried);
        row[DESCRIPTOR_FORM] = self.descriptor_form;
        row[GAP] = self.gap;
        row
    }
}

/// How a member with such flags and such a method is packed.
fn packed(flags: u32, method: u32) -> Packed {
    match method as u16 {
        0 if flags & ENCRYPTED == 0 => Packed::Stored,
        8 if flags & ENCRYPTED == 0 => Packed::Deflated,
        _ => Packed::Otherwise,
    }
}

/// Whether sizes are behind the member, not in front.
fn follows(row: &Row) -> bool {
    row[NEEDED] >> 16 & SIZES_FOLLOW != 0
}

/// What a row says before its member is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said(pub(super) Row);

impl Said {
    /// Lengths of the extra fields in front of the member and in the directory, and of the comment.
    pub(super) fn lens(&self) -> [usize; 3] {
        [EXTRA_LEN, CENTRAL_EXTRA_LEN, COMMENT_LEN].map(|column| usize::from(self.0[column] as u16))
    }

    /// How the directory says that the member is packed.
    pub(super) fn packed(&self) -> Packed {
        let flags = self.0[CENTRAL_NEEDED].wrapping_add(self.0[NEEDED]) >> 16;
        packed(flags, self.0[CENTRAL_METHOD].wrapping_add(self.0[METHOD]))
    }

    pub(super) fn gap(&self) -> u64 {
        self.0[GAP].into()
    }

    pub(super) fn order(&self) -> u32 {
        self.0[ORDER]
    }

    pub(super) fn descriptor(&self, sizes: Sizes) -> Option<Descriptor> {
        Descriptor::new(self.0[DESCRIPTOR_FORM], sizes)
    }

    /// Whether the record in front of the member can be written before the member is packed.
    pub(super) fn is_known_before(&self, method: Method, len: u32) -> bool {
        follows(&self.0) || method == Method::Raw || u64::from(len) > KEPT_LEN_MAX
    }

    /// The sizes of a member whose content has `len` bytes in the image, from `found`, which is what came of packing it.
    pub(super) fn sizes(&self, method: Method, len: u32, found: Sizes) -> Sizes {
        let [crc, packed, raw_len] = [0, 1, 2].map(|n| self.0[CARRIED + n]);
        match method {
            Method::Raw => Sizes { crc, packed: len, len: raw_len },
            _ if u64::from(len) > KEPT_LEN_MAX && !follows(&self.0) => Sizes { crc, packed, len },
            _ => found,
        }
    }

    /// The record in front of the member.
    pub(super) fn local(&self, name_len: u16, sizes: Sizes) -> Local {
        let row = &self.0;
        let mut bytes = [0; LOCAL_LEN];
        bytes[..4].copy_from_slice(&LOCAL);
        put_u32(&mut bytes, 4, row[NEEDED]);
        put_u16(&mut bytes, 8, row[METHOD]);
        put_u32(&mut bytes, 10, row[TIME]);
        let in_front = if follows(row) { [0; 3] } else { sizes.fields() };
        for (n, size) in in_front.into_iter().enumerate() {
            put_u32(&mut bytes, 14 + 4 * n, row[LOCAL_SIZES + n].wrapping_add(size));
        }
        put_u16(&mut bytes, 26, name_len.into());
        put_u16(&mut bytes, 28, row[EXTRA_LEN]);
        Local(bytes)
    }

    /// Its entry in the directory.
    pub(super) fn central(&self, name_len: u16, sizes: Sizes, place: u64) -> Central {
        let row = &self.0;
        let mut bytes = [0; CENTRAL_LEN];
        bytes[..4].copy_from_slice(&CENTRAL);
        put_u16(&mut bytes, 4, row[MADE_BY]);
        put_u32(&mut bytes, 6, row[CENTRAL_NEEDED].wrapping_add(row[NEEDED]));
        put_u16(&mut bytes, 10, row[CENTRAL_METHOD].wrapping_add(row[METHOD]));
        put_u32(&mut bytes, 12, row[CENTRAL_TIME].wrapping_add(row[TIME]));
        for (n, size) in sizes.fields().into_iter().enumerate() {
            put_u32(&mut bytes, 16 + 4 * n, row[CENTRAL_SIZES + n].wrapping_add(size));
        }
        put_u16(&mut bytes, 28, name_len.into());
        put_u16(&mut bytes, 30, row[CENTRAL_EXTRA_LEN]);
        put_u16(&mut bytes, 32, row[COMMENT_LEN]);
        put_u32(&mut bytes, 34, row[INTERNAL]);
        put_u32(&mut bytes, 38, row[EXTERNAL]);
        put_u32(&mut bytes, 42, row[PLACE].wrapping_add(place as u32));
        Central(bytes)
    }
}

/// Where the end record of a zip says something that follows: number of entries (twice, two bytes each), length and place
/// of the directory (four each).
const END_FIELDS: [(usize, usize); 4] = [(8, 2), (10, 2), (12, 4), (16, 4)];

/// The end record, less what it should say, or, the other way round, with it.
pub(super) fn end_record(mut bytes: [u8; END_LEN], way: Way, entries: usize, len: u64, place: u64) -> [u8; END_LEN] {
    let should = [entries as u32, entries as u32, len as u32, place as u32];
    for ((at, width), should) in END_FIELDS.into_iter().zip(should) {
        let apply = |found: u32| match way {
            Way::Less => found.wrapping_sub(should),
            Way::With => found.wrapping_add(should),
        };
        if width == 2 {
            let value = apply(u16_at(&bytes, at));
            put_u16(&mut bytes, at, value);
        } else {
            let value = apply(u32_at(&bytes, at));
            put_u32(&mut bytes, at, value);
        }
    }
    bytes
}

/// To an image, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the image: what follows is taken away.
    Less,
    /// Back.
    With,
}
