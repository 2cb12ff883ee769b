//! From a zip to its image.
//!
//! ```text
//!  0   1  1: a zip
//!  1   4  number of members
//!  5   4  bytes in front of the first
//!  9   4  bytes between the directory and its end record
//! 13   4  length of the table
//! 17      the table: a row for each member (`record`), in columns (`columns`)
//!         the bytes in front of the first member
//!         for each member, as they lie:
//!   4       length of its content
//!   2       length of its name
//!           name; extra field in front of it; extra field and comment of the directory
//!           content: inflated, or as it was stored, or whatever it is
//!           the bytes behind it, a descriptor left out
//!         what is between the directory and the end record
//!         the end record, less what follows
//!         the rest
//! ```

use super::columns::Columns;
use super::member::{self, Members};
use super::params::{Method, Params};
use super::record::{Known, Sizes, Way, end_record};
use super::zip::{END_LEN, LOCAL_LEN, Member, Zip};
use super::{Error, Image};
use crate::read_at::ReadAt;

/// Bytes in front of the table.
pub(super) const HEAD_LEN: usize = 17;
/// Bytes in front of a member's name.
pub(super) const MEMBER_HEAD_LEN: usize = 6;

/// A zip that can be unpacked.
pub(super) struct Unzip<'a> {
    container: &'a dyn ReadAt,
    zip: Zip,
    methods: Vec<Method>,
    table: Vec<u8>,
}

impl<'a> Unzip<'a> {
    pub(super) fn open(container: &'a dyn ReadAt, params: &Params) -> Result<Self, Error> {
        let zip = Zip::read(container)?;
        let mut each = params.each();
        let methods: Vec<Method> =
            zip.members.iter().map(|member| each.next(member.central.packed())).collect::<Result<_, _>>()?;
        let mut columns = Columns::default();
        let mut before = u32::MAX;
        for ((member, method), number) in zip.members.iter().zip(&methods).zip(&zip.order) {
            if *method == Method::Stored && member.sizes.packed != member.sizes.len {
                return Err(Error::Shape("a stored member is longer or shorter than it says"));
            }
            let order = number.wrapping_sub(before).wrapping_sub(1);
            before = *number;
            columns.push(&known(member, *method, order).row());
        }
        Ok(Self { container, table: columns.encode()?, zip, methods })
    }

    pub(super) fn run(self, image: &mut Image<'_>) -> Result<(), Error> {
        let Self { container, zip, methods, table } = self;
        let first = zip.members.first().map_or(zip.directory_at, |member| member.place);
        image.put(&[1])?;
        for number in [zip.members.len() as u64, first, zip.end_at - zip.directory_end(), table.len() as u64] {
            let number = u32::try_from(number).map_err(|_| Error::Shape("there are 4 GiB of unknown bytes in it"))?;
            image.put(&number.to_le_bytes())?;
        }
        image.put(&table)?;
        let contents = zip.members.iter().zip(&methods).map(|(member, method)| u64::from(content_len(member, *method)));
        image.expect(contents.sum())?;
        literal(container, 0, first, image)?;
        let mut members = Members::new()?;
        for (member, method) in zip.members.iter().zip(methods) {
            put_member(container, &zip.directory, member, method, &mut members, image)?;
        }
        let behind = zip.directory_end();
        literal(container, behind, zip.end_at - behind, image)?;
        let mut end = [0; END_LEN];
        container.read_exact_at(&mut end, zip.end_at).map_err(Error::Read)?;
        let directory_len = zip.directory.len() as u64;
        image.put(&end_record(end, Way::Less, zip.members.len(), directory_len, zip.directory_at))?;
        let rest = zip.end_at + END_LEN as u64;
        literal(container, rest, zip.len - rest, image)
    }
}

fn literal(container: &dyn ReadAt, at: u64, len: u64, image: &mut Image<'_>) -> Result<(), Error> {
    image.expect(len)?;
    let mut put = |bytes: &[u8]| image.put(bytes).map_err(Error::into_io);
    member::copy(container, at, len, &mut put).map(drop)
}

fn known(member: &Member, method: Method, order: u32) -> Known {
    let Member { local, central, sizes, place, descriptor_form, gap, .. } = *member;
    Known { local, central, method, sizes, place, order, descriptor_form, gap }
}

fn content_len(member: &Member, method: Method) -> u32 {
    if method == Method::Raw { member.sizes.packed } else { member.sizes.len }
}

fn put_member(
    container: &dyn ReadAt,
    directory: &[u8],
    member: &Member,
    method: Method,
    members: &mut Members,
    image: &mut Image<'_>,
) -> Result<(), Error> {
    let [name_len, extra_len, comment_len] = member.central.lens();
    image.put(&content_len(member, method).to_le_bytes())?;
    image.put(&(name_len as u16).to_le_bytes())?;
    let (name, behind) = directory[member.name..].split_at(name_len);
    image.put(name)?;
    let extra_at = member.place + (LOCAL_LEN + name_len) as u64;
    literal(container, extra_at, member.local.extra_len() as u64, image)?;
    image.put(&behind[..extra_len + comment_len])?;
    let Sizes { crc, packed, len } = member.sizes;
    let (packed, len) = (u64::from(packed), u64::from(len));
    let end = member.data + packed;
    image.content(content_len(member, method).into());
    let mut put = |bytes: &[u8]| image.put(bytes).map_err(Error::into_io);
    let is_true = match method {
        Method::Raw => member::copy(container, member.data, packed, &mut put).map(|_| true)?,
        Method::Stored => member::copy(container, member.data, packed, &mut put)? == crc,
        Method::Deflated(_) => {
            let found = members.inflate(container, member.data, end, len, &mut put)?;
            (found.packed, found.len, found.crc) == (packed, len, crc)
        }
    };
    if !is_true {
        return Err(Error::Shape("a member is not what the directory says of it"));
    }
    let gap = u64::from(member.gap);
    literal(container, end + descriptor_len(member), gap, image)
}

fn descriptor_len(member: &Member) -> u64 {
    let descriptor = super::record::Descriptor::new(member.descriptor_form, member.sizes);
    descriptor.map_or(0, |descriptor| descriptor.bytes().len() as u64)
}
