//! Files one behind the other, without copying them together.

use crate::matcher::Copy;

/// Files one behind the other. Not all of them need to be at hand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image<'a> {
    files: Vec<&'a [u8]>,
    /// Where each begins.
    starts: Vec<usize>,
    /// Where the last one ends.
    len: usize,
}

impl<'a> Image<'a> {
    /// Files that are all at hand.
    pub(crate) fn new(files: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::of(files.into_iter().map(|file| (file.len(), file)))
    }

    /// The length of each file, and its bytes; none of those where they are not at hand.
    pub(crate) fn of(files: impl IntoIterator<Item = (usize, &'a [u8])>) -> Self {
        let mut image = Self::default();
        for (len, bytes) in files {
            image.files.push(bytes);
            image.starts.push(image.len);
            image.len += len;
        }
        image
    }

    /// The file that has byte `at`, and where in it.
    fn locate(&self, at: usize) -> (usize, usize) {
        let file = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        (file, at - self.starts[file])
    }

    /// Where a file begins, and how long it is.
    pub(crate) fn span(&self, file: usize) -> (usize, usize) {
        (self.starts[file], self.starts.get(file + 1).unwrap_or(&self.len) - self.starts[file])
    }

    /// `len` bytes from `at` on, which lie in one file that is at hand.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> &'a [u8] {
        let (file, from) = self.locate(at);
        &self.files[file][from..from + len]
    }

    /// A copy, split where one old file ends and the next begins, each part with its file.
    pub(crate) fn split(&self, copy: Copy) -> impl Iterator<Item = (usize, Copy)> {
        let mut rest = copy;
        std::iter::from_fn(move || {
            if rest.len == 0 {
                return None;
            }
            let (file, from) = self.locate(rest.old);
            let len = rest.len.min(self.span(file).1 - from);
            let part = Copy { len, ..rest };
            rest = Copy { new: rest.new + len, old: rest.old + len, len: rest.len - len };
            Some((file, part))
        })
    }
}
