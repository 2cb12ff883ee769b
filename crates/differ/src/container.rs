//! Which containers can be unpacked and packed again to the byte, and how each member was packed.
//!
//! Nobody writes into an archive who packed it and how, so it is found out by trying: inflate, deflate, compare, and stop at the
//! first byte that differs. What worked for the member before works for the next one as a rule. What nothing works for stays
//! as it is, inside an image in which the others lie inflated. In the end the whole container is unpacked, packed and compared:
//! only then anybody hears of it.

mod search;

use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::Range;

use updraft_delta::container::member::Members;
use updraft_delta::container::zip::{Listed, Packed, Zip};
use updraft_delta::container::{Deflated, Error, Kind, Method, Packer, Params, gzip, unpack};
use updraft_delta::limits::PIECE_LEN;
use updraft_delta::zlib::{crc32, is_stock};

use search::Search;

/// A container that was unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// How its members are packed.
    pub params: Params,
    /// Its image.
    pub image: Vec<u8>,
    /// Where the contents of the members lie in it, in order.
    pub contents: Vec<Range<u64>>,
    /// CRC-32 and length of the packed members that stayed as they are.
    raw: HashSet<(u32, u64)>,
}

/// The image of `container` and what is needed to pack it again, which was tried; none when it is no container, when nothing in
/// it can be packed again, or when its image has more than `image_len_max` bytes.
pub fn recognise(container: &[u8], image_len_max: u64) -> Option<Unpacked> {
    let (params, raw) = if is_gzip(container) {
        let mut search = Search::in_gzip(container).ok()?;
        (gzip_params(container, image_len_max, |member| search.deflated(container, member))?, HashSet::new())
    } else {
        let mut search = Search::in_zip().ok()?;
        zip_params(container, image_len_max, |member| match member.packed {
            Packed::Deflated => search.deflated(container, member).map(Method::Deflated),
            Packed::Stored => is_stored(container, member).then_some(Method::Stored),
            Packed::Otherwise => None,
        })?
    };
    let unpacked = unpacked(container, params, raw, image_len_max)?;
    is_packed_again(&unpacked, container).then_some(unpacked)
}

/// The image of a container that is only read: nobody has to pack it again, so it does not matter how it was packed. Members that
/// stayed as they are in one of `new` stay so here too, because that is what they are compared with.
pub fn as_base(container: &[u8], new: &[&Unpacked], image_len_max: u64) -> Option<Unpacked> {
    let any = Deflated::usual(1);
    let is_raw = |member: Listed| new.iter().any(|new| new.raw.contains(&(member.crc, member.packed_len)));
    if is_gzip(container) {
        let params = gzip_params(container, image_len_max, |_| Some(any))?;
        return unpacked(container, params, HashSet::new(), image_len_max);
    }
    let trusting = |member: Listed| match member.packed {
        _ if is_raw(member) => None,
        Packed::Deflated => Some(Method::Deflated(any)),
        Packed::Stored => Some(Method::Stored),
        Packed::Otherwise => None,
    };
    let (params, raw) = zip_params(container, image_len_max, trusting)?;
    if let Some(unpacked) = unpacked(container, params, raw, image_len_max) {
        return Some(unpacked);
    }
    // Some member is not what the directory says of it: look at each.
    let mut members = Members::new().ok()?;
    let (params, raw) = zip_params(container, image_len_max, |member| {
        trusting(member).filter(|method| match method {
            Method::Deflated(_) => is_inflated(container, member, &mut members),
            _ => is_stored(container, member),
        })
    })?;
    unpacked(container, params, raw, image_len_max)
}

/// What `bytes` look like at first sight.
pub(crate) fn kind(bytes: &[u8]) -> Option<Kind> {
    if is_gzip(bytes) {
        return Some(Kind::Gzip);
    }
    (is_stock() && Zip::read(&bytes).is_ok()).then_some(Kind::Zip)
}

fn is_gzip(container: &[u8]) -> bool {
    container.starts_with(&[0x1f, 0x8b, 8])
}

/// The parameters of a zip, and which of its packed members stay as they are.
fn zip_params(
    container: &[u8],
    image_len_max: u64,
    mut method: impl FnMut(Listed) -> Option<Method>,
) -> Option<(Params, HashSet<(u32, u64)>)> {
    // What has no end record is no zip, and most files have none.
    if !is_stock() {
        return None;
    }
    let zip = Zip::read(&container).ok()?;
    let len = zip.members().try_fold(0_u64, |sum, member| sum.checked_add(member.len));
    if len? > image_len_max {
        return None;
    }
    let mut raw = HashSet::new();
    let mut methods = Vec::new();
    for member in zip.members() {
        let found = method(member);
        if found.is_none() && member.packed_len > 0 {
            raw.insert((member.crc, member.packed_len));
        }
        methods.push(found.unwrap_or(Method::Raw));
    }
    let is_worth_it = methods.iter().any(|method| matches!(method, Method::Deflated(_)));
    is_worth_it.then(|| (Params::of_zip(methods), raw))
}

/// The parameters of a gzip file, up to the first member that `method` does not know.
fn gzip_params(
    container: &[u8],
    image_len_max: u64,
    mut method: impl FnMut(Listed) -> Option<Deflated>,
) -> Option<Params> {
    let mut members = Members::new().ok().filter(|_| is_stock())?;
    let (mut at, mut rows, mut left) = (0, Vec::new(), image_len_max);
    let size = container.len() as u64;
    while let Some(header) = gzip::header(&container, at).ok()? {
        let data = at + header.len() as u64;
        let Ok(found) = members.inflate(&container, data, size, left, &mut |_| Ok(())) else { break };
        let end = data + found.packed;
        let is_whole = container[end as usize..].starts_with(&gzip::trailer(found.crc, found.len));
        let listed =
            Listed { packed: Packed::Deflated, data, packed_len: found.packed, len: found.len, crc: found.crc };
        let Some(method) = is_whole.then(|| method(listed)).flatten() else { break };
        rows.push((found.len, method));
        (at, left) = (end + gzip::TRAILER_LEN, left - found.len);
    }
    (!rows.is_empty()).then(|| Params::of_gzip(rows))
}

/// The packed bytes of a member.
fn packed(container: &[u8], member: Listed) -> &[u8] {
    &container[member.data as usize..][..member.packed_len as usize]
}

fn is_stored(container: &[u8], member: Listed) -> bool {
    member.packed_len == member.len && crc32(0, packed(container, member)) == member.crc
}

fn is_inflated(container: &[u8], member: Listed, members: &mut Members) -> bool {
    let end = member.data + member.packed_len;
    let found = members.inflate(&container, member.data, end, member.len, &mut |_| Ok(()));
    found.is_ok_and(|found| (found.packed, found.len, found.crc) == (member.packed_len, member.len, member.crc))
}

fn unpacked(container: &[u8], params: Params, raw: HashSet<(u32, u64)>, image_len_max: u64) -> Option<Unpacked> {
    let mut image = Vec::new();
    let contents = unpack(&container, &params, image_len_max, &mut image).ok()?.contents;
    Some(Unpacked { params, image, contents, raw })
}

fn is_packed_again(unpacked: &Unpacked, container: &[u8]) -> bool {
    let mut compare = Compare(container);
    let mut pack = || -> Result<(), Error> {
        let mut packer = Packer::new(&unpacked.params)?;
        unpacked.image.chunks(PIECE_LEN).try_for_each(|piece| packer.write(piece, &mut compare))?;
        packer.finish()
    };
    pack().is_ok() && compare.0.is_empty()
}

/// Takes what it was given, and nothing else.
struct Compare<'a>(&'a [u8]);

impl Write for Compare<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
