//! Files one behind the other, without copying them together.

use crate::matcher::Copy;

/// Files one behind the other.
#[derive(Debug, Clone)]
pub(crate) struct Image<'a> {
    files: Vec<&'a [u8]>,
    /// Where each begins.
    starts: Vec<usize>,
}

impl<'a> Image<'a> {
    pub(crate) fn new(files: Vec<&'a [u8]>) -> Self {
        let mut starts = Vec::with_capacity(files.len());
        let mut len = 0;
        for file in &files {
            starts.push(len);
            len += file.len();
        }
        Self { files, starts }
    }

    /// The file that has byte `at`, and where in it.
    fn locate(&self, at: usize) -> (usize, usize) {
        let file = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        (file, at - self.starts[file])
    }

    /// Where a file begins, and how long it is.
    pub(crate) fn span(&self, file: usize) -> (usize, usize) {
        (self.starts[file], self.files[file].len())
    }

    /// `len` bytes from `at` on, which lie in one file.
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
            let len = rest.len.min(self.files[file].len() - from);
            let part = Copy { len, ..rest };
            rest = Copy { new: rest.new + len, old: rest.old + len, len: rest.len - len };
            Some((file, part))
        })
    }
}
