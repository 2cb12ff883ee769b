//! What a long task tells whoever watches it.
//!
//! Numbers only: the command line draws them, folder mode logs them, tests count them.

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading and hashing the directory. How much there is, is not known before.
    Scan,
    /// Compressing and sending what the server lacks; counted in bytes as they are on this disk.
    Upload,
    /// Signing, and handing in.
    Commit,
    /// Reading what a patch is made from, here or from the server, and making it; counted in bytes that were read.
    Patch,
}

/// Somebody who watches. Called from several threads; it had better be quick.
pub trait Progress: Sync {
    /// A phase begins; `total` is how many bytes it will count, where that is known.
    fn begin(&self, phase: Phase, total: Option<u64>);

    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
}
