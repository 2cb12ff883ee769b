//! The bytes in front of a patch: what it is made from, what comes out, what it costs.
//!
//! ```text
//!  0   8  8D 55 50 44 50 0D 0A 01     a byte that no text has, "UPDP", a line end that text modes spoil, the format: 1
//!  8   4  length of the header behind these 20 bytes, little endian
//! 12   8  length of the whole patch, little endian
//! 20      32 bytes that name the bases together, 32 that name the outputs together
//!         coder of the lists, their length decoded; the lists, coded, to the end of the header:
//!           number of bases; for each: how many numbers are left out before it, its length, its image
//!           number of groups; for each: its method, number of streams; for each: kind, coder, length decoded, length coded
//!           number of outputs; for each: its group, its length, its image
//! ```
//!
//! An image is 0 for what is taken as it is, else the parameters of a container ([`crate::container::Params`]) and the length of
//! its image.
//!
//! All numbers behind the names are varints ([`crate::varint`]). The coded streams follow in the order of the list.

use std::io::Read;

use crate::container::Params;
use crate::container::params::ROWS_MAX;
use crate::error::Error;
use crate::limits::{
    BASES_MAX, DICTIONARIES_LEN_MAX, GROUPS_MAX, HEADER_LEN_MAX, IMAGE_LEN_MAX, LISTS_LEN_MAX, OUTPUTS_MAX,
    container_image_len_max,
};
use crate::parts::{byte, image_len, list, name, number};
use crate::read_at::ReadAt;
use crate::stream::{Coder, KINDS_END, Kind, Reader, Stream};
use crate::varint;

/// The first bytes of every patch, but for the format behind them.
const MAGIC: [u8; 7] = *b"\x8dUPDP\r\n";
/// The format that is written and read here.
const FORMAT: u8 = 1;
/// Bytes in front of the header proper.
pub const PREFIX_LEN: usize = 20;

/// A container, taken as what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// How it is unpacked, or packed.
    pub params: Params,
    /// How long its image is, in bytes.
    pub len: u64,
}

/// A file that a patch reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its number among the files that `from` names.
    pub index: u64,
    /// Its length in bytes.
    pub len: u64,
    /// What stands for it in the old image, if not its own bytes do.
    pub image: Option<Image>,
}

impl Base {
    /// How many bytes of the old image it has.
    pub fn image_len(&self) -> u64 {
        self.image.as_ref().map_or(self.len, |image| image.len)
    }
}

/// A file that a patch makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The group whose streams it is made from.
    pub group: usize,
    /// Its length in bytes.
    pub len: u64,
    /// What its instructions make and it is packed from, if they do not make itself.
    pub image: Option<Image>,
}

impl Output {
    /// How many bytes its instructions make.
    pub fn image_len(&self) -> u64 {
        self.image.as_ref().map_or(self.len, |image| image.len)
    }
}

/// How the copies of an output are predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Method {
    /// They stay what they are.
    #[default]
    Same = 0,
    /// Word by word, as the same word was copied last ([`crate::words`]).
    Words = 1,
    /// References follow their targets ([`crate::native`]).
    Native = 2,
}

impl Method {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Same, Self::Words, Self::Native];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Words => "words",
            Self::Native => "native",
        }
    }
}

/// Outputs that are alike, and the streams that they are made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// How their copies are predicted.
    pub method: Method,
    /// The streams, in growing order of their kinds.
    pub streams: Vec<Stream>,
}

/// What a patch is made from, what comes out, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Names the files that bases are numbered among; what it means is the caller's business.
    pub from: [u8; 32],
    /// Names what comes out.
    pub to: [u8; 32],
    /// The files that are read, in growing order of their numbers. Together they are the *old image*.
    pub bases: Vec<Base>,
    /// What the outputs are made from. They are made group by group, and their streams lie in this order.
    pub groups: Vec<Group>,
    /// The files that come out. The first belongs to the first group.
    pub outputs: Vec<Output>,
}

impl Header {
    /// The bytes in front of the streams. `code` makes the lists smaller, if it can; [`Header::plain`] does not try.
    ///
    /// # Panics
    /// When the bases are not in order.
    pub fn encode(&self, code: impl FnOnce(&[u8]) -> (Coder, Vec<u8>)) -> Vec<u8> {
        let lists = self.lists();
        let (coder, coded) = code(&lists);
        let mut body = [self.from, self.to].concat();
        coder.encode(&mut body);
        varint::write(&mut body, lists.len() as u64);
        body.extend(coded);

        let total = (PREFIX_LEN + body.len()) as u64 + self.coded_len();
        let mut out = MAGIC.to_vec();
        out.push(FORMAT);
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(total.to_le_bytes());
        out.extend(body);
        out
    }

    /// The bytes in front of the streams, with lists that are not compressed.
    ///
    /// # Panics
    /// As [`Header::encode`].
    pub fn plain(&self) -> Vec<u8> {
        self.encode(|lists| (Coder::Raw, lists.to_vec()))
    }

    fn lists(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::write(&mut out, self.bases.len() as u64);
        let mut next = 0;
        for base in &self.bases {
            varint::write(&mut out, base.index.checked_sub(next).expect("bases are in order"));
            varint::write(&mut out, base.len);
            Image::encode(base.image.as_ref(), &mut out);
            next = base.index + 1;
        }
        varint::write(&mut out, self.groups.len() as u64);
        for group in &self.groups {
            out.push(group.method as u8);
            varint::write(&mut out, group.streams.len() as u64);
            group.streams.iter().for_each(|stream| stream.encode(&mut out));
        }
        varint::write(&mut out, self.outputs.len() as u64);
        for output in &self.outputs {
            varint::write(&mut out, output.group as u64);
            varint::write(&mut out, output.len);
            Image::encode(output.image.as_ref(), &mut out);
        }
        out
    }

    /// The header of `patch`, and where the first stream begins.
    ///
    /// # Errors
    /// When it is no patch, claims more than the limits allow, or is not as long as it says.
    pub fn read(patch: &dyn ReadAt) -> Result<(Self, u64), Error> {
        let found = patch.size().map_err(Error::Patch)?;
        let mut prefix = [0; PREFIX_LEN];
        if found < PREFIX_LEN as u64 {
            return Err(Error::format("it ends within its first bytes"));
        }
        patch.read_exact_at(&mut prefix, 0).map_err(Error::Patch)?;
        let (len, total) = parse_prefix(&prefix)?;
        if total != found {
            return Err(Error::format(format!("it has {found} bytes and says that it has {total}")));
        }
        if len > found - PREFIX_LEN as u64 {
            return Err(Error::format("it ends within its header"));
        }
        let mut body = vec![0; len as usize];
        patch.read_exact_at(&mut body, PREFIX_LEN as u64).map_err(Error::Patch)?;
        let header = Self::decode(&body)?;
        let start = PREFIX_LEN as u64 + len;
        if header.coded_len().checked_add(start) != Some(total) {
            return Err(Error::format("its streams do not fill it exactly"));
        }
        Ok((header, start))
    }

    fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut rest = body;
        let (from, to) = (name(&mut rest)?, name(&mut rest)?);
        let (coder, len) = (Coder::decode(&mut rest)?, number(&mut rest)?);
        if len > LISTS_LEN_MAX {
            return Err(Error::Limit { what: "bytes in its lists", found: len, max: LISTS_LEN_MAX });
        }
        let lists = decoded(coder, len, rest)?;
        let mut rest = lists.as_slice();
        // Containers share what one may have.
        let mut rows = ROWS_MAX;
        let mut next = 0_u64;
        let bases = list(&mut rest, "bases", BASES_MAX, |rest| {
            let index = next.checked_add(number(rest)?).filter(|index| *index < u64::MAX);
            let index = index.ok_or_else(|| Error::format("a base's number is too large"))?;
            next = index + 1;
            let len = image_len(rest)?;
            if len == 0 {
                return Err(Error::format("it has a base that is empty"));
            }
            Ok(Base { index, len, image: Image::decode(rest, len, &mut rows)? })
        })?;
        let groups = list(&mut rest, "groups", GROUPS_MAX, Group::decode)?;
        let outputs = list(&mut rest, "outputs", OUTPUTS_MAX, |rest| {
            let group = number(rest)?;
            let known = usize::try_from(group).ok().filter(|group| *group < groups.len());
            let group = known.ok_or_else(|| Error::format("an output belongs to a group that there is not"))?;
            let len = image_len(rest)?;
            Ok(Output { group, len, image: Image::decode(rest, len, &mut rows)? })
        })?;
        if !rest.is_empty() {
            return Err(Error::format("something follows its lists"));
        }
        if outputs.first().is_some_and(|first| first.group != 0) {
            return Err(Error::format("its first output does not come first"));
        }
        let header = Self { from, to, bases, groups, outputs };
        let images = header.outputs.iter().fold(0, |sum: u64, output| sum.saturating_add(output.image_len()));
        for (what, len) in [
            ("bytes in all bases", header.old_len()),
            ("bytes in all outputs", header.new_len()),
            ("bytes in all old images", header.old_image_len()),
            ("bytes in all new images", images),
        ] {
            if len > IMAGE_LEN_MAX {
                return Err(Error::Limit { what, found: len, max: IMAGE_LEN_MAX });
            }
        }
        Ok(header)
    }

    /// Every stream, in the order in which they lie in the patch.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.groups.iter().flat_map(|group| &group.streams)
    }

    /// Length of all streams as they lie in the patch; more than there can be where they claim that.
    pub fn coded_len(&self) -> u64 {
        self.streams().fold(0, |sum, stream| sum.saturating_add(stream.coded))
    }

    /// Length of all bases together.
    pub fn old_len(&self) -> u64 {
        self.bases.iter().fold(0, |sum, base| sum.saturating_add(base.len))
    }

    /// Length of the old image.
    pub fn old_image_len(&self) -> u64 {
        self.bases.iter().fold(0, |sum, base| sum.saturating_add(base.image_len()))
    }

    /// How many bytes of scratch space it takes to unpack bases.
    pub fn scratch_len(&self) -> u64 {
        let images = self.bases.iter().filter_map(|base| base.image.as_ref());
        images.fold(0, |sum, image| sum.saturating_add(image.len))
    }

    /// Length of all outputs together.
    pub fn new_len(&self) -> u64 {
        self.outputs.iter().fold(0, |sum, output| sum.saturating_add(output.len))
    }
}

/// What the first 20 bytes say: the length of the header behind them, and of the whole patch.
///
/// # Errors
/// When they are not the first bytes of a patch, or the header is too long.
pub fn parse_prefix(prefix: &[u8; PREFIX_LEN]) -> Result<(u64, u64), Error> {
    if prefix[..7] != MAGIC {
        return Err(Error::format("it does not begin as patches do"));
    }
    if prefix[7] != FORMAT {
        return Err(Error::Newer(prefix[7]));
    }
    let len = u32::from_le_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]).into();
    if len > HEADER_LEN_MAX {
        return Err(Error::Limit { what: "header bytes", found: len, max: HEADER_LEN_MAX });
    }
    let (_, total) = prefix.split_at(12);
    Ok((len, u64::from_le_bytes(total.try_into().expect("8 of 20 bytes"))))
}

impl Image {
    fn encode(image: Option<&Self>, out: &mut Vec<u8>) {
        let Some(Self { params, len }) = image else { return out.push(0) };
        out.extend(params.encode());
        varint::write(out, *len);
    }

    /// The image of a container of `container_len` bytes.
    fn decode(rest: &mut &[u8], container_len: u64, rows: &mut usize) -> Result<Option<Self>, Error> {
        if rest.first() == Some(&0) {
            byte(rest)?;
            return Ok(None);
        }
        let params = Params::decode_within(rest, rows).map_err(|e| Error::format(e.to_string()))?;
        let (found, max) = (image_len(rest)?, container_image_len_max(container_len));
        if found > max {
            return Err(Error::Limit { what: "bytes in the image of a container", found, max });
        }
        Ok(Some(Self { params, len: found }))
    }
}

impl Group {
    fn decode(rest: &mut &[u8]) -> Result<Self, Error> {
        let byte = byte(rest)?;
        let known = Method::ALL.into_iter().find(|method| *method as u8 == byte);
        let method = known.ok_or_else(|| {
            Error::format(format!("it predicts copies in way {byte}, which this program does not know"))
        })?;
        let streams = list(rest, "streams in a group", KINDS_END, Stream::decode)?;
        let dictionaries = streams.iter().map(Stream::dictionary_len).sum();
        if dictionaries > DICTIONARIES_LEN_MAX {
            let (found, max) = (dictionaries, DICTIONARIES_LEN_MAX);
            return Err(Error::Limit { what: "bytes in the dictionaries of a group", found, max });
        }
        if !streams.is_sorted_by(|one, next| one.kind.number() < next.kind.number()) {
            return Err(Error::format("its streams are not in order"));
        }
        Ok(Self { method, streams })
    }
}

/// What `coded`, which is all of a stream, decodes to: `len` bytes.
fn decoded(coder: Coder, len: u64, coded: &[u8]) -> Result<Vec<u8>, Error> {
    let stream = Stream { kind: Kind::Layout, coder, len, coded: coded.len() as u64 };
    let damaged = |e: std::io::Error| Error::format(format!("its lists: {e}"));
    let mut reader = Reader::open(&stream, &coded, 0)?;
    let mut lists = vec![0; len as usize];
    reader.read_exact(&mut lists).map_err(damaged)?;
    let is_whole = reader.was_used_up();
    is_whole.then_some(lists).ok_or_else(|| Error::format("something follows its lists"))
}
