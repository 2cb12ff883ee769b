//! From the image of a zip, which comes in pieces, to the zip.
//!
//! What is in front of a member tells how long it is packed. So a member is kept, packed, until it is whole; a long one is not,
//! and the row says those numbers instead.

use std::io::{self, Write};

use super::Error;
use super::columns::{COLUMNS_LEN_MAX, Columns, Rows};
use super::member::Deflate;
use super::params::{Deflated, Each, Method, Params};
use super::record::{Said, Sizes, Way, end_record};
use super::unzip::{HEAD_LEN, MEMBER_HEAD_LEN};
use super::zip::{DIRECTORY_LEN_MAX, END_LEN, MEMBERS_MAX};
use crate::zlib::crc32;

/// What comes next in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    Table,
    /// Bytes in front of the first member.
    Front,
    MemberHead,
    /// Name, extra fields, comment.
    Texts,
    Content,
    /// Bytes behind a member.
    Gap,
    /// Bytes between the directory and its end record.
    BeforeEnd,
    End,
    Rest,
}

/// Packs the image of a zip.
#[derive(Debug)]
pub(super) struct Rezip {
    next: Next,
    /// How many bytes of it are still to come.
    left: u64,
    /// What came of it, where it is needed in one piece.
    kept: Vec<u8>,
    head: [u32; 4],
    rows: Option<Rows>,
    methods: Each,
    members_left: u32,
    member: Option<Member>,
    deflate: Option<Deflate>,
    directory: Directory,
    /// How many bytes of the zip were written.
    written: u64,
}

/// The member that is being packed.
#[derive(Debug)]
struct Member {
    said: Said,
    method: Method,
    len: u32,
    name_len: u16,
    /// Name, extra fields, comment.
    texts: Vec<u8>,
    place: u64,
    /// Whether its packed bytes are written as they come.
    is_known_before: bool,
    packed: Vec<u8>,
    found: Sizes,
}

/// The directory, in the order of the members until it is written.
#[derive(Debug, Default)]
struct Directory {
    bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<u32>,
    /// See [`Said::order`].
    orders: Vec<u32>,
    at: u64,
}

impl Rezip {
    pub(super) fn new(params: &Params) -> Self {
        Self {
            next: Next::Head,
            left: HEAD_LEN as u64,
            kept: Vec::new(),
            head: [0; 4],
            rows: None,
            methods: params.each(),
            members_left: 0,
            member: None,
            deflate: None,
            directory: Directory::default(),
            written: 0,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.next == Next::Rest
    }

    pub(super) fn write(&mut self, mut bytes: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        while !bytes.is_empty() {
            let now = self.left.min(bytes.len() as u64) as usize;
            let (part, behind) = bytes.split_at(now);
            (bytes, self.left) = (behind, self.left - now as u64);
            match self.next {
                Next::Front | Next::Gap | Next::BeforeEnd | Next::Rest => self.put(part, out)?,
                Next::Content => self.content(part, out)?,
                Next::Head | Next::Table | Next::MemberHead | Next::Texts | Next::End => {
                    self.kept.extend_from_slice(part)
                }
            }
            while self.left == 0 {
                self.turn(out)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        self.written += bytes.len() as u64;
        out.write_all(bytes).map_err(Error::Write)
    }

    fn expect(&mut self, next: Next, len: u64) {
        (self.next, self.left) = (next, len);
        self.kept.clear();
    }

    /// What was to come has come.
    fn turn(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        match self.next {
            Next::Head => self.begin()?,
            Next::Table => {
                self.rows = Some(Columns::decode(&self.kept)?.into_rows());
                self.expect(Next::Front, self.head[1].into());
            }
            Next::Front | Next::Gap => self.next_member(out)?,
            Next::MemberHead => self.begin_member()?,
            Next::Texts => self.begin_content(out)?,
            Next::Content => self.end_content(out)?,
            Next::BeforeEnd => self.expect(Next::End, END_LEN as u64),
            Next::End => {
                let bytes = std::mem::take(&mut self.kept);
                let bytes = bytes.first_chunk().copied().expect("so many were waited for");
                let Directory { bytes: entries, ends, at, .. } = &self.directory;
                let end = end_record(bytes, Way::With, ends.len(), entries.len() as u64, *at);
                self.put(&end, out)?;
                self.expect(Next::Rest, u64::MAX);
            }
            Next::Rest => return Err(Error::Shape("its image does not end")),
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), Error> {
        let numbers =
            self.kept[1..].chunks_exact(4).map(|bytes| bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)));
        self.head.iter_mut().zip(numbers).for_each(|(field, number)| *field = number);
        let [members, _, _, table] = self.head;
        if self.kept[0] != 1 || members as usize > MEMBERS_MAX || table > COLUMNS_LEN_MAX || table == 0 {
            return Err(Error::Shape("its image does not begin as one"));
        }
        self.members_left = members;
        self.expect(Next::Table, table.into());
        Ok(())
    }

    fn next_member(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        if let Some(left) = self.members_left.checked_sub(1) {
            self.members_left = left;
            self.expect(Next::MemberHead, MEMBER_HEAD_LEN as u64);
            return Ok(());
        }
        self.directory.at = self.written;
        for part in self.directory.in_order()? {
            let bytes = self.directory.bytes[part].to_vec();
            self.put(&bytes, out)?;
        }
        self.expect(Next::BeforeEnd, self.head[2].into());
        Ok(())
    }

    fn begin_member(&mut self) -> Result<(), Error> {
        let [a, b, c, d, e, f] = *self.kept.first_chunk().expect("so many were waited for");
        let name_len = u16::from_le_bytes([e, f]);
        let rows = self.rows.as_mut().expect("the table is in front of the members");
        let said = Said(rows.next());
        let method = self.methods.next(said.packed())?;
        let len = u32::from_le_bytes([a, b, c, d]);
        self.expect(Next::Texts, u64::from(name_len) + said.lens().into_iter().sum::<usize>() as u64);
        self.member = Some(Member {
            said,
            method,
            len,
            name_len,
            texts: Vec::new(),
            place: self.written,
            is_known_before: said.is_known_before(method, len),
            packed: Vec::new(),
            found: Sizes::default(),
        });
        Ok(())
    }

    fn member(&mut self) -> &mut Member {
        self.member.as_mut().expect("a member is being packed")
    }

    fn begin_content(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        let texts = std::mem::take(&mut self.kept);
        let member = self.member();
        member.texts = texts;
        let (len, method) = (member.len, member.method);
        if member.is_known_before {
            self.put_local(out)?;
        }
        if let Method::Deflated(parameters) = method {
            self.use_deflate(parameters)?;
        }
        self.expect(Next::Content, len.into());
        Ok(())
    }

    /// The same stream serves all members that are packed alike.
    fn use_deflate(&mut self, parameters: Deflated) -> Result<(), Error> {
        if self.deflate.as_ref().is_none_or(|deflate| deflate.parameters() != parameters) {
            self.deflate = Some(Deflate::new(parameters).map_err(Error::Zlib)?);
        }
        Ok(())
    }

    /// The record in front of the member, its name and its extra field.
    fn put_local(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        let member = self.member.as_ref().expect("a member is being packed");
        let sizes = member.said.sizes(member.method, member.len, member.found);
        let local = member.said.local(member.name_len, sizes).0;
        let texts_len = usize::from(member.name_len) + member.said.lens()[0];
        let bytes = [&local, &member.texts[..texts_len]].concat();
        self.put(&bytes, out)
    }

    fn content(&mut self, bytes: &[u8], out: &mut dyn Write) -> Result<(), Error> {
        let member = self.member.as_mut().expect("a member is being packed");
        member.found.crc = crc32(member.found.crc, bytes);
        member.found.len += bytes.len() as u32;
        let mut packed = Packed { member, written: &mut self.written, out };
        match (packed.member.method, &mut self.deflate) {
            (Method::Deflated(_), Some(deflate)) => deflate.write(bytes, &mut |bytes| packed.put(bytes)),
            _ => packed.put(bytes),
        }
        .map_err(Error::Write)
    }

    fn end_content(&mut self, out: &mut dyn Write) -> Result<(), Error> {
        let member = self.member.as_mut().expect("a member is being packed");
        if let (Method::Deflated(_), Some(deflate)) = (member.method, &mut self.deflate) {
            let mut packed = Packed { member, written: &mut self.written, out };
            deflate.finish(&mut |bytes| packed.put(bytes)).map_err(Error::Write)?;
        }
        if !self.member().is_known_before {
            self.put_local(out)?;
            let packed = std::mem::take(&mut self.member().packed);
            self.put(&packed, out)?;
        }
        let member = self.member.take().expect("a member is being packed");
        let sizes = member.said.sizes(member.method, member.len, member.found);
        let descriptor =
            member.said.descriptor(sizes).ok_or(Error::Shape("a descriptor of a form that is not known"))?;
        self.put(descriptor.bytes(), out)?;
        self.directory.push(&member, sizes)?;
        self.expect(Next::Gap, member.said.gap());
        Ok(())
    }
}

/// Where packed bytes go.
struct Packed<'a> {
    member: &'a mut Member,
    written: &'a mut u64,
    out: &'a mut dyn Write,
}

impl Packed<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.member.found.packed = self.member.found.packed.wrapping_add(bytes.len() as u32);
        if !self.member.is_known_before {
            self.member.packed.extend_from_slice(bytes);
            return Ok(());
        }
        *self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

impl Directory {
    fn push(&mut self, member: &Member, sizes: Sizes) -> Result<(), Error> {
        let [extra_len, ..] = member.said.lens();
        let name_len = usize::from(member.name_len);
        self.bytes.extend(member.said.central(member.name_len, sizes, member.place).0);
        self.bytes.extend_from_slice(&member.texts[..name_len]);
        self.bytes.extend_from_slice(&member.texts[name_len + extra_len..]);
        let found = self.bytes.len() as u64;
        if found > DIRECTORY_LEN_MAX {
            return Err(Error::Limit { what: "a directory", found, max: DIRECTORY_LEN_MAX });
        }
        self.ends.push(found as u32);
        self.orders.push(member.said.order());
        Ok(())
    }

    /// The entries, in the order in which they are written.
    fn in_order(&self) -> Result<Vec<std::ops::Range<usize>>, Error> {
        let mut is_used = vec![false; self.ends.len()];
        let mut number = u32::MAX;
        let mut parts = Vec::with_capacity(self.ends.len());
        for order in &self.orders {
            number = number.wrapping_add(*order).wrapping_add(1);
            let n = number as usize;
            let is_free = is_used.get_mut(n).filter(|is_used| !**is_used);
            *is_free.ok_or(Error::Shape("its directory lists a member twice"))? = true;
            let begin = n.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            parts.push(begin..self.ends[n] as usize);
        }
        Ok(parts)
    }
}
