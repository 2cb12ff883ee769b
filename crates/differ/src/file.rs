//! A file, and what is in it.

use std::borrow::Cow;
use std::ops::Range;

use updraft_delta::Image;
use updraft_delta::container::params::ROWS_MAX;
use updraft_delta::limits::container_image_len_max;

use crate::container::{self, Unpacked as Container};
use crate::exe::{self, Exe};
use crate::matcher::Costs;
use crate::relevant::plausible;

/// The costs that were best for executables, for those with instructions of four bytes, and for text, of those that were measured.
const NATIVE: Costs = Costs { instruction: 5, distance: 14, mismatch: 16 };
const NATIVE_WORDS: Costs = Costs { instruction: 3, distance: 10, mismatch: 12 };
const TEXT: Costs = Costs { instruction: 6, distance: 16, mismatch: 12 };
/// Anything else may be anything, so these are tried: for tables and archives of classes, for what is like text, and for what is
/// mostly noise.
const OTHER: [Costs; 3] = [
    Costs { instruction: 5, distance: 4, mismatch: 24 },
    Costs { instruction: 6, distance: 16, mismatch: 12 },
    Costs { instruction: 40, distance: 48, mismatch: 12 },
];

/// How many bytes of a file are looked at to see whether it is text.
const TEXT_LOOK: usize = 32 << 10;

/// Members of a container that are shorter than this are not looked at as executables.
const EXE_LEN_MIN: usize = 4 << 10;

/// A file, and what is in it.
pub(crate) struct File<'a> {
    /// Its number among the files of its side.
    pub(crate) number: usize,
    bytes: &'a [u8],
    /// What stands for it if it is a container.
    unpacked: Option<Container>,
    /// The executables in it, in order, or the one that it is.
    pub(crate) exes: Vec<Part>,
}

/// An executable that is, or lies in, a file.
pub(crate) struct Part {
    /// Where it lies in the file's image.
    pub(crate) range: Range<usize>,
    pub(crate) exe: Exe,
}

/// What the new containers are that can be packed again.
pub(crate) struct Unpacked {
    of: Vec<Option<Container>>,
    /// How many of the new files look like containers.
    looked_like: usize,
}

impl Unpacked {
    /// Unpacks whatever can be packed again, as long as the images have no more than `room` bytes beyond those of the files.
    pub(crate) fn of(new: &[&[u8]], room: usize) -> Self {
        let mut room = Room::new(room);
        let of = new.iter().map(|bytes| room.unpack(bytes, |max| container::recognise(bytes, max))).collect();
        Self { of, looked_like: new.iter().filter(|bytes| container::kind(bytes).is_some()).count() }
    }

    /// Unpacks nothing.
    pub(crate) fn none(new: &[&[u8]]) -> Self {
        Self { of: new.iter().map(|_| None).collect(), looked_like: 0 }
    }

    /// Whether something was unpacked.
    pub(crate) fn is_any(&self) -> bool {
        self.of.iter().any(Option::is_some)
    }

    /// Whether everything was that looks like it could be.
    pub(crate) fn is_all(&self) -> bool {
        self.of.iter().flatten().count() == self.looked_like
    }

    /// The files of both sides, of the old ones those that may have something in common with new ones. Old containers are unpacked
    /// where new ones of their kind are, and there is room.
    pub(crate) fn files<'a>(self, old: &[&'a [u8]], new: &[&'a [u8]], room: usize) -> (Vec<File<'a>>, Vec<File<'a>>) {
        let mut room = Room::new(room);
        let news: Vec<&Container> = self.of.iter().flatten().collect();
        let plausible = plausible(old, new);
        let old = old.iter().enumerate().filter(|(number, _)| plausible[*number]).map(|(number, bytes)| {
            let kind = container::kind(bytes).filter(|kind| news.iter().any(|new| new.params.kind() == *kind));
            let unpacked = kind.and_then(|_| room.unpack(bytes, |max| container::as_base(bytes, &news, max)));
            File::new(number, bytes, unpacked)
        });
        let old = old.collect();
        let new = new.iter().zip(self.of).enumerate();
        let new = new.map(|(number, (bytes, unpacked))| File::new(number, bytes, unpacked)).collect();
        (old, new)
    }
}

/// How much more may be unpacked on one side.
struct Room {
    /// Bytes that images may have beyond those of their containers.
    bytes: usize,
    /// Rows of parameters: those of both sides together are limited.
    rows: usize,
}

impl Room {
    fn new(bytes: usize) -> Self {
        Self { bytes, rows: ROWS_MAX / 2 }
    }

    /// What `unpack` makes of `container` with so many bytes at most, if there is room for it.
    fn unpack(&mut self, container: &[u8], unpack: impl FnOnce(u64) -> Option<Container>) -> Option<Container> {
        let max = container_image_len_max(container.len() as u64).min((self.bytes + container.len()) as u64);
        let unpacked = unpack(max)?;
        // Each row takes two bytes at least.
        self.rows = self.rows.checked_sub(unpacked.params.encode().len() / 2)?;
        self.bytes = self.bytes.saturating_sub(unpacked.image.len().saturating_sub(container.len()));
        Some(unpacked)
    }
}

impl<'a> File<'a> {
    pub(crate) fn new(number: usize, bytes: &'a [u8], unpacked: Option<Container>) -> Self {
        let part = |image: &[u8], range: Range<usize>| {
            let exe = exe::recognise(&image[range.clone()])?;
            Some(Part { range, exe })
        };
        let exes = match &unpacked {
            None => part(bytes, 0..bytes.len()).into_iter().collect(),
            Some(Container { image, contents, .. }) => {
                let ranges = contents.iter().map(|range| range.start as usize..range.end as usize);
                ranges.filter(|range| range.len() >= EXE_LEN_MIN).filter_map(|range| part(image, range)).collect()
            }
        };
        Self { number, bytes, unpacked, exes }
    }

    /// How long it is.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What stands for it: its bytes, or what is in them.
    pub(crate) fn image(&self) -> &[u8] {
        self.unpacked.as_ref().map_or(self.bytes, |unpacked| &unpacked.image)
    }

    /// How to get from it to its image, if that is another.
    pub(crate) fn to_unpack(&self) -> Option<Image> {
        let unpacked = self.unpacked.as_ref()?;
        Some(Image { params: unpacked.params.to_unpack(), len: unpacked.image.len() as u64 })
    }

    /// How to get from its image to it, if that is another.
    pub(crate) fn to_pack(&self) -> Option<Image> {
        let unpacked = self.unpacked.as_ref()?;
        Some(Image { params: unpacked.params.clone(), len: unpacked.image.len() as u64 })
    }

    /// What is compared with other files in its stead.
    pub(crate) fn matched(&self) -> Cow<'_, [u8]> {
        if self.exes.is_empty() {
            return Cow::Borrowed(self.image());
        }
        if let [Part { range, exe }] = self.exes.as_slice()
            && range.len() == self.image().len()
        {
            return Cow::Owned(exe::masked(self.image(), exe));
        }
        let mut matched = self.image().to_vec();
        for Part { range, exe } in &self.exes {
            let masked = exe::masked(&matched[range.clone()], exe);
            matched[range.clone()].copy_from_slice(&masked);
        }
        Cow::Owned(matched)
    }

    /// Whether it looks like text.
    pub(crate) fn is_text(&self) -> bool {
        let bytes = self.image();
        !bytes.is_empty() && !bytes[..bytes.len().min(TEXT_LOOK)].contains(&0)
    }

    /// Whether it consists of instructions of four bytes, more or less.
    pub(crate) fn has_words(&self) -> bool {
        self.unpacked.is_none() && self.exes.iter().any(|part| part.exe.has_words())
    }

    /// What instructions may cost in it; the best of them is found by trying.
    pub(crate) fn costs(&self) -> &'static [Costs] {
        let native: usize = self.exes.iter().map(|part| part.range.len()).sum();
        if native > self.image().len() / 2 {
            if self.has_words() { &[NATIVE_WORDS] } else { &[NATIVE] }
        } else if self.is_text() {
            &[TEXT]
        } else {
            &OTHER
        }
    }
}
