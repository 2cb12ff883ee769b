//! From copies to a patch.

use updraft_delta::{Base, Header, Image as Container, Output};

use crate::encode::{self, Encoded, Plain};
use crate::image::Image;
use crate::make::Options;
use crate::matcher::Copy;

/// A base that less than this is copied from is not named: whoever lacks it could not use the patch.
const BASE_WORTH: usize = 64;

/// What an output is copied from: each part with the number of an old file, and its place in that file's image.
pub(crate) type Parts = Vec<(usize, Copy)>;

/// The old files that a patch reads.
pub(crate) struct Bases {
    /// Their numbers, growing.
    pub(crate) numbers: Vec<usize>,
    /// Where the image of each begins in the old image, and its length.
    spans: Vec<(usize, usize)>,
}

impl Bases {
    /// Those that are read enough by `outputs`. `len` tells the length of an old file's image.
    pub(crate) fn of(outputs: &[Parts], olds: usize, len: impl Fn(usize) -> usize) -> Self {
        let mut read = vec![0; olds];
        for (number, part) in outputs.iter().flatten() {
            read[*number] += part.len;
        }
        let numbers: Vec<usize> = (0..olds).filter(|number| read[*number] >= BASE_WORTH).collect();
        let mut start = 0;
        let span = |number: &usize| {
            start += len(*number);
            (start - len(*number), len(*number))
        };
        let spans = numbers.iter().map(span).collect();
        Self { numbers, spans }
    }

    /// The place of an old file among them.
    pub(crate) fn place(&self, number: usize) -> Option<usize> {
        self.numbers.binary_search(&number).ok()
    }

    /// The old image, with those of the bytes that `bytes` has at hand.
    pub(crate) fn image<'a>(&self, bytes: impl Fn(usize) -> Option<&'a [u8]>) -> Image<'a> {
        let files = self.numbers.iter().zip(&self.spans);
        Image::of(files.map(|(number, (_, len))| (*len, bytes(*number).unwrap_or_default())))
    }

    /// The same parts as copies of the old image; those of files that are not read are left out.
    pub(crate) fn copies(&self, parts: &Parts) -> Vec<Copy> {
        let copy = |(number, part): &(usize, Copy)| {
            let (start, _) = self.spans[self.place(*number)?];
            Some(Copy { old: start + part.old, ..*part })
        };
        parts.iter().filter_map(copy).collect()
    }
}

/// What a patch says of a file beside its content: how long it is, and how it becomes its image or is made from that.
pub(crate) struct Listed {
    pub(crate) number: usize,
    pub(crate) len: u64,
    pub(crate) image: Option<Container>,
}

/// The patch that reads `bases` and makes `outputs`, with what `plain` has for each of those.
pub(crate) fn patch(options: &Options, bases: Vec<Listed>, outputs: Vec<Listed>, plain: &Plain) -> Vec<u8> {
    let Encoded { groups, bytes } = plain.encode();
    let base = |base: Listed| Base { index: base.number as u64, len: base.len, image: base.image };
    let output = |(output, group): (Listed, &usize)| Output { group: *group, len: output.len, image: output.image };
    let header = Header {
        from: options.from,
        to: options.to,
        bases: bases.into_iter().map(base).collect(),
        groups,
        outputs: outputs.into_iter().zip(&plain.group_of).map(output).collect(),
    };
    let mut patch = header.encode(encode::smallest);
    patch.extend(bytes);
    patch
}
