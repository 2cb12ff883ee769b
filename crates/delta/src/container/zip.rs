//! Where the members of a zip lie, as its directory at the end says.
//!
//! Anything that is put together oddly is no zip here, and stays as it is: members that overlap, a directory with something
//! between its entries, a name that is another in front of the member. What is tolerated is what is met in earnest: bytes in front
//! (programs that unpack themselves), between (signing blocks, padding) and behind, a directory in another order, the
//! longer numbers of zip64.

use super::Error;
use super::record::{CENTRAL, Central, Descriptor, LOCAL, Local, Sizes};
use crate::read_at::ReadAt;

/// Most members.
pub const MEMBERS_MAX: usize = 1 << 18;
/// Longest directory, in bytes. It is kept in memory.
pub const DIRECTORY_LEN_MAX: u64 = 64 << 20;

/// Lengths of the fixed parts of each record.
pub(super) const LOCAL_LEN: usize = 30;
pub(super) const CENTRAL_LEN: usize = 46;
pub(super) const END_LEN: usize = 22;
const LOCATOR_LEN: usize = 20;
const LONG_END_LEN: usize = 56;

const END: &[u8] = b"PK\x05\x06";
const LOCATOR: &[u8] = b"PK\x06\x07";
const LONG_END: &[u8] = b"PK\x06\x06";

/// A number that stands for "see the extra field".
const ELSEWHERE: u32 = u32::MAX;

/// One member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) local: Local,
    pub(super) central: Central,
    pub(super) sizes: Sizes,
    /// Where the record in front of it begins, and where its packed bytes do.
    pub(super) place: u64,
    pub(super) data: u64,
    /// Where its name lies in the directory.
    pub(super) name: usize,
    pub(super) descriptor_form: u32,
    /// How many bytes nobody knows lie behind it.
    pub(super) gap: u32,
}

/// How the bytes of a member are packed, as the directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    /// Not at all.
    Stored,
    /// By deflate.
    Deflated,
    /// In a way that is not known here, or encrypted.
    Otherwise,
}

/// What the maker of a patch wants to know of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// How its bytes are packed.
    pub packed: Packed,
    /// Where those begin.
    pub data: u64,
    /// How many there are.
    pub packed_len: u64,
    /// How many it says there are inside.
    pub len: u64,
    /// And with which CRC-32.
    pub crc: u32,
}

/// What a zip is made of.
#[derive(Debug)]
pub struct Zip {
    /// In the order in which they lie.
    pub(super) members: Vec<Member>,
    /// For each entry of the directory, the number of its member.
    pub(super) order: Vec<u32>,
    /// The directory.
    pub(super) directory: Vec<u8>,
    pub(super) directory_at: u64,
    /// Where its end record is, and where everything ends.
    pub(super) end_at: u64,
    pub(super) len: u64,
}

impl Zip {
    /// Reads the directory of `container`, and the record in front of each member.
    ///
    /// # Errors
    /// When it is no zip, an odd one, or a very large one.
    pub fn read(container: &dyn ReadAt) -> Result<Self, Error> {
        let ends = Ends::find(container)?;
        let mut directory = vec![0; (ends.directory.end - ends.directory.start) as usize];
        container.read_exact_at(&mut directory, ends.directory.start).map_err(Error::Read)?;
        let entries = entries(&directory, ends.shift)?;
        let mut sorted: Vec<u32> = (0..entries.len() as u32).collect();
        sorted.sort_by_key(|n| entries[*n as usize].place);
        let mut order = vec![0; entries.len()];
        let mut members = Vec::with_capacity(entries.len());
        for (n, entry) in sorted.iter().enumerate() {
            order[*entry as usize] = n as u32;
            let end = sorted.get(n + 1).map_or(ends.directory.start, |next| entries[*next as usize].place);
            members.push(member(container, &directory, &entries[*entry as usize], end)?);
        }
        Ok(Self { members, order, directory, directory_at: ends.directory.start, end_at: ends.end_at, len: ends.len })
    }

    /// Its members, in the order in which they lie.
    pub fn members(&self) -> impl Iterator<Item = Listed> {
        self.members.iter().map(|member| Listed {
            packed: member.central.packed(),
            data: member.data,
            packed_len: member.sizes.packed.into(),
            len: member.sizes.len.into(),
            crc: member.sizes.crc,
        })
    }

    /// Where the directory ends.
    pub(super) fn directory_end(&self) -> u64 {
        self.directory_at + self.directory.len() as u64
    }
}

/// Where the directory lies, and the record that says so.
struct Ends {
    directory: std::ops::Range<u64>,
    /// What has to be added to every place, because there is something in front that does not count.
    shift: u64,
    end_at: u64,
    len: u64,
}

impl Ends {
    fn find(container: &dyn ReadAt) -> Result<Self, Error> {
        let no_zip = || Error::Shape("it has no directory");
        let len = container.size().map_err(Error::Read)?;
        // A comment is behind the end record, of 65,535 bytes at most.
        let mut tail = vec![0; len.min(END_LEN as u64 + 0xffff) as usize];
        let tail_at = len - tail.len() as u64;
        container.read_exact_at(&mut tail, tail_at).map_err(Error::Read)?;
        let end = tail.windows(END_LEN).rposition(|bytes| bytes.starts_with(END)).ok_or_else(no_zip)?;
        let end_at = tail_at + end as u64;
        let end = &tail[end..end + END_LEN];
        let (mut directory_len, mut directory_at) = (long(end, 12, 4), long(end, 16, 4));
        let mut directory_end = end_at;
        let is_elsewhere = [directory_len, directory_at].contains(&ELSEWHERE.into()) || long(end, 10, 2) == 0xffff;
        if is_elsewhere && let Some((record_at, record)) = long_end(container, end_at)? {
            (directory_len, directory_at) = (long(&record, 40, 8), long(&record, 48, 8));
            directory_end = record_at;
        }
        if directory_len > DIRECTORY_LEN_MAX {
            return Err(Error::Limit { what: "a directory", found: directory_len, max: DIRECTORY_LEN_MAX });
        }
        let start = directory_end.checked_sub(directory_len).ok_or_else(no_zip)?;
        let shift = start.checked_sub(directory_at).ok_or_else(no_zip)?;
        Ok(Self { directory: start..directory_end, shift, end_at, len })
    }
}

/// The end record of zip64 and where it is, if there is one.
fn long_end(container: &dyn ReadAt, end_at: u64) -> Result<Option<(u64, [u8; LONG_END_LEN])>, Error> {
    let Some(at) = end_at.checked_sub(LOCATOR_LEN as u64) else { return Ok(None) };
    let mut locator = [0; LOCATOR_LEN];
    container.read_exact_at(&mut locator, at).map_err(Error::Read)?;
    let record_at = long(&locator, 8, 8);
    if !locator.starts_with(LOCATOR) || record_at.checked_add(LONG_END_LEN as u64).is_none_or(|end| end > at) {
        return Ok(None);
    }
    let mut record = [0; LONG_END_LEN];
    container.read_exact_at(&mut record, record_at).map_err(Error::Read)?;
    Ok(record.starts_with(LONG_END).then_some((record_at, record)))
}

/// A little-endian number.
fn long(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// An entry of the directory.
struct Entry {
    central: Central,
    sizes: Sizes,
    place: u64,
    name: usize,
}

fn entries(directory: &[u8], shift: u64) -> Result<Vec<Entry>, Error> {
    let damaged = || Error::Shape("its directory is damaged");
    let (mut entries, mut at) = (Vec::new(), 0);
    while at < directory.len() {
        if entries.len() == MEMBERS_MAX {
            let max = MEMBERS_MAX as u64;
            return Err(Error::Limit { what: "members in number", found: max + 1, max });
        }
        let central = Central(*directory[at..].first_chunk().ok_or_else(damaged)?);
        let [name_len, extra_len, comment_len] = central.lens();
        let name = at + CENTRAL_LEN;
        let extra = directory.get(name + name_len..name + name_len + extra_len).ok_or_else(damaged)?;
        at = name + name_len + extra_len + comment_len;
        if !central.0.starts_with(&CENTRAL) || at > directory.len() {
            return Err(damaged());
        }
        let (sizes, place) = long_sizes(&central, extra).ok_or(Error::Shape("a member has 4 GiB or more"))?;
        entries.push(Entry { central, sizes, place: place.checked_add(shift).ok_or_else(damaged)?, name });
    }
    Ok(entries)
}

/// Sizes and place of a member, from the extra field of zip64 where the directory says so.
fn long_sizes(central: &Central, mut extra: &[u8]) -> Option<(Sizes, u64)> {
    let Sizes { crc, packed, len } = central.sizes();
    let (mut packed, mut len, mut place) = (u64::from(packed), u64::from(len), u64::from(central.place()));
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let field_len = (long(head, 2, 2) as usize).min(rest.len());
        let (mut field, behind) = rest.split_at(field_len);
        extra = behind;
        if long(head, 0, 2) != 1 {
            continue;
        }
        // In this order, each only where it is needed.
        for number in [&mut len, &mut packed, &mut place] {
            if *number == u64::from(ELSEWHERE) {
                let (long_number, behind) = field.split_first_chunk::<8>()?;
                (*number, field) = (u64::from_le_bytes(*long_number), behind);
            }
        }
        break;
    }
    let [packed, len] = [packed, len].map(|len| u32::try_from(len).ok().filter(|len| *len < ELSEWHERE));
    Some((Sizes { crc, packed: packed?, len: len? }, place))
}

/// What lies in front of a member and behind it, up to `end`, where the next one begins.
fn member(container: &dyn ReadAt, directory: &[u8], entry: &Entry, end: u64) -> Result<Member, Error> {
    let odd = || Error::Shape("its members lie oddly");
    let read = |at: u64, buf: &mut [u8]| container.read_exact_at(buf, at).map_err(Error::Read);
    let record_end = entry.place.checked_add(LOCAL_LEN as u64).filter(|at| *at <= end).ok_or_else(odd)?;
    let mut local = [0; LOCAL_LEN];
    read(entry.place, &mut local)?;
    let local = Local(local);
    let data = record_end + (local.name_len() + local.extra_len()) as u64;
    let behind = data.checked_add(entry.sizes.packed.into()).filter(|at| *at <= end).ok_or_else(odd)?;
    let name = &directory[entry.name..entry.name + entry.central.lens()[0]];
    let mut local_name = vec![0; local.name_len()];
    read(record_end, &mut local_name)?;
    if !local.0.starts_with(&LOCAL) || local_name != name {
        return Err(odd());
    }
    let mut rest = [0; 24];
    let rest = &mut rest[..(end - behind).min(24) as usize];
    read(behind, rest)?;
    let (mut descriptor_form, mut descriptor_len) = (0, 0);
    if local.flags() & 8 != 0 {
        let forms = Descriptor::FORMS.into_iter();
        let found = forms.filter_map(|form| Some((form, Descriptor::new(form, entry.sizes)?)));
        if let Some((form, descriptor)) = found.into_iter().find(|(_, found)| rest.starts_with(found.bytes())) {
            (descriptor_form, descriptor_len) = (form, descriptor.bytes().len() as u64);
        }
    }
    let gap = u32::try_from(end - behind - descriptor_len).map_err(|_| odd())?;
    let Entry { central, sizes, place, name } = *entry;
    Ok(Member { local, central, sizes, place, data, name, descriptor_form, gap })
}
