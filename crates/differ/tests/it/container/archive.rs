//! A tiny writer of archives, honest ones and others.

use proptest::prelude::*;
use updraft_delta::container::member::Deflate;
use updraft_delta::container::{Deflated, Zlib};
use updraft_delta::zlib::crc32;

/// How a member is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Stored,
    Zlib(Deflated),
    /// Valid deflate that zlib does not write: stored blocks of ten bytes.
    Foreign,
}

/// One member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) how: How,
    pub(crate) flags: u16,
    /// Of what is behind it: none, signed, signed and long, unsigned, unsigned and long.
    pub(crate) descriptor: u8,
    pub(crate) time: u32,
    pub(crate) extra: Vec<u8>,
    pub(crate) central_extra: Vec<u8>,
    pub(crate) comment: Vec<u8>,
    pub(crate) gap: Vec<u8>,
    /// What is added to the CRC that is told.
    pub(crate) crc_lie: u32,
    /// What is added to the length that is told.
    pub(crate) len_lie: u32,
    /// Whether the directory tells sizes and place in a field for long ones.
    pub(crate) is_long: bool,
}

impl Member {
    pub(crate) fn new(name: &str, content: &[u8], how: How) -> Self {
        Self {
            name: name.to_owned(),
            content: content.to_vec(),
            how,
            flags: 0,
            descriptor: 0,
            time: 0x5a21_0000,
            extra: Vec::new(),
            central_extra: Vec::new(),
            comment: Vec::new(),
            gap: Vec::new(),
            crc_lie: 0,
            len_lie: 0,
            is_long: false,
        }
    }
}

/// An archive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    pub(crate) front: Vec<u8>,
    /// Whether places are counted from behind `front`.
    pub(crate) is_shifted: bool,
    pub(crate) members: Vec<Member>,
    /// Whether the directory lists the last member first.
    pub(crate) is_turned: bool,
    pub(crate) comment: Vec<u8>,
    pub(crate) behind: Vec<u8>,
    /// Whether the end record is one of zip64.
    pub(crate) is_long: bool,
}

/// Packed with these parameters.
pub(crate) fn deflated(content: &[u8], parameters: Deflated) -> Vec<u8> {
    if content.is_empty() {
        return vec![3, 0];
    }
    let mut packed = Vec::new();
    let mut each = |bytes: &[u8]| {
        packed.extend_from_slice(bytes);
        Ok(())
    };
    let mut deflate = Deflate::new(parameters).unwrap();
    deflate.write(content, &mut each).unwrap();
    deflate.finish(&mut each).unwrap();
    packed
}

fn foreign(content: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for block in content.chunks(10) {
        packed.push(0);
        packed.extend((block.len() as u16).to_le_bytes());
        packed.extend((!(block.len() as u16)).to_le_bytes());
        packed.extend_from_slice(block);
    }
    packed.extend([1, 0, 0, 0xff, 0xff]);
    packed
}

impl Member {
    fn packed(&self) -> Vec<u8> {
        match self.how {
            How::Stored => self.content.clone(),
            How::Zlib(parameters) => deflated(&self.content, parameters),
            How::Foreign => foreign(&self.content),
        }
    }

    /// Version, flags, method and time, as they are in both places.
    fn fixed(&self) -> Vec<u8> {
        let flags = self.flags | if self.descriptor > 0 { 8 } else { 0 };
        let method = if self.how == How::Stored { 0 } else { 8_u16 };
        let words = [20_u16, flags, method].map(u16::to_le_bytes).concat();
        [words, self.time.to_le_bytes().to_vec()].concat()
    }

    /// CRC, packed length, length.
    fn sizes(&self, packed: &[u8]) -> [u32; 3] {
        let crc = crc32(0, &self.content).wrapping_add(self.crc_lie);
        [crc, packed.len() as u32, (self.content.len() as u32).wrapping_add(self.len_lie)]
    }

    fn put_local(&self, out: &mut Vec<u8>) {
        let packed = self.packed();
        let sizes = self.sizes(&packed);
        let in_front = if self.descriptor > 0 { [0; 3] } else { sizes };
        out.extend(*b"PK\x03\x04");
        out.extend(self.fixed());
        out.extend(in_front.map(u32::to_le_bytes).concat());
        out.extend([self.name.len(), self.extra.len()].map(|len| (len as u16).to_le_bytes()).concat());
        out.extend([self.name.as_bytes(), &self.extra, &packed].concat());
        let [crc, lens @ ..] = sizes;
        if self.descriptor > 0 {
            if self.descriptor <= 2 {
                out.extend(*b"PK\x07\x08");
            }
            out.extend(crc.to_le_bytes());
            let is_long = self.descriptor.is_multiple_of(2);
            lens.iter().for_each(|len| out.extend(&u64::from(*len).to_le_bytes()[..if is_long { 8 } else { 4 }]));
        }
        out.extend(&self.gap);
    }

    fn put_central(&self, place: u32, out: &mut Vec<u8>) {
        let mut sizes = self.sizes(&self.packed());
        let mut extra = self.central_extra.clone();
        let mut told = place;
        if self.is_long {
            extra.extend([1, 0, 24, 0]);
            [sizes[2], sizes[1], place].iter().for_each(|number| extra.extend(u64::from(*number).to_le_bytes()));
            (sizes[1], sizes[2], told) = (u32::MAX, u32::MAX, u32::MAX);
        }
        out.extend(*b"PK\x01\x02\x14\x03");
        out.extend(self.fixed());
        out.extend(sizes.map(u32::to_le_bytes).concat());
        let lens = [self.name.len(), extra.len(), self.comment.len()];
        out.extend(lens.map(|len| (len as u16).to_le_bytes()).concat());
        out.extend([0, 0, 0, 0, 0, 0, 0xa4, 0x81]);
        out.extend(told.to_le_bytes());
        out.extend([self.name.as_bytes(), &extra, &self.comment].concat());
    }
}

impl Archive {
    pub(crate) fn of(members: Vec<Member>) -> Self {
        Self { members, ..Self::default() }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = self.front.clone();
        let shift = if self.is_shifted { self.front.len() } else { 0 };
        let mut places = Vec::new();
        for member in &self.members {
            places.push((out.len() - shift) as u32);
            member.put_local(&mut out);
        }
        let at = out.len() - shift;
        let mut listed: Vec<usize> = (0..self.members.len()).collect();
        if self.is_turned {
            listed.reverse();
        }
        listed.iter().for_each(|n| self.members[*n].put_central(places[*n], &mut out));
        let len = out.len() - shift - at;
        self.put_end(at, len, &mut out);
        out
    }

    fn put_end(&self, at: usize, len: usize, out: &mut Vec<u8>) {
        let count = self.members.len() as u64;
        let mut numbers = [count, count, len as u64, at as u64];
        if self.is_long {
            let record_at = out.len() as u64;
            out.extend(*b"PK\x06\x06");
            out.extend(44_u64.to_le_bytes());
            out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            out.extend(numbers.map(u64::to_le_bytes).concat());
            out.extend(*b"PK\x06\x07\0\0\0\0");
            out.extend(record_at.to_le_bytes());
            out.extend(1_u32.to_le_bytes());
            numbers = [u64::MAX; 4];
        }
        out.extend(*b"PK\x05\x06\0\0\0\0");
        let widths = [2, 2, 4, 4];
        numbers.iter().zip(widths).for_each(|(number, width)| out.extend(&number.to_le_bytes()[..width]));
        out.extend((self.comment.len() as u16).to_le_bytes());
        out.extend([&self.comment[..], &self.behind].concat());
    }
}

/// One gzip member.
pub(crate) fn gzip(content: &[u8], parameters: Deflated, name: Option<&str>) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, if name.is_some() { 8 } else { 0 }, 1, 2, 3, 4, 0, 3];
    if let Some(name) = name {
        out.extend([name.as_bytes(), &[0]].concat());
    }
    out.extend(deflated(content, parameters));
    out.extend(crc32(0, content).to_le_bytes());
    out.extend((content.len() as u32).to_le_bytes());
    out
}

/// Something that is worth deflating, and that levels treat differently.
pub(crate) fn text(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        state >> 16
    };
    let mut out = Vec::new();
    while out.len() < len {
        // A number that never was, and one of many that were.
        out.extend([next(), next() % 2000 * 7919].map(|word| word.to_le_bytes()[..3].to_vec()).concat());
    }
    out.truncate(len);
    out
}

fn any_how() -> impl Strategy<Value = How> {
    let parameters = (1..=9_u8, 8..=9_u8);
    let zlib =
        parameters.prop_map(|(level, memory)| How::Zlib(Deflated::Zlib(Zlib::usual(level).with_memory_level(memory))));
    let usual = Just(How::Zlib(Deflated::usual(6)));
    prop_oneof![Just(How::Stored), zlib, usual, Just(How::Foreign)]
}

fn few_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => Just(Vec::new()), 1 => proptest::collection::vec(any::<u8>(), 0..20)]
}

fn any_member() -> impl Strategy<Value = Member> {
    let content = (prop_oneof![3 => 0..2_000_usize, 1 => 65_000..70_000_usize], any::<u32>())
        .prop_map(|(len, seed)| text(len, seed));
    let texts = (few_bytes(), few_bytes(), few_bytes(), few_bytes());
    (("[a-z/]{0,12}", content, any_how()), (0..=4_u8, any::<u32>()), texts, any::<bool>()).prop_map(
        |((name, content, how), (descriptor, time), (extra, central_extra, comment, gap), is_long)| Member {
            descriptor,
            time,
            extra,
            // Something in front of the field for long numbers could be taken for one.
            central_extra: if is_long { Vec::new() } else { central_extra },
            comment,
            gap,
            is_long,
            ..Member::new(&name, &content, how)
        },
    )
}

/// Archives as they are met, and stranger ones.
pub(crate) fn any_archive() -> impl Strategy<Value = Archive> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (few_bytes(), proptest::collection::vec(any_member(), 1..8), few_bytes(), few_bytes(), flags).prop_map(
        |(front, members, comment, behind, (is_shifted, is_turned, is_long))| Archive {
            // Zip64 says where it is, from the very beginning.
            is_shifted: is_shifted && !is_long,
            front,
            members,
            is_turned,
            comment,
            behind,
            is_long,
        },
    )
}
