//! Machine code: a copied reference is predicted from where its target went.
//!
//! When a function grows, everything behind it moves, and every call, jump and address that crosses it changes, although
//! nobody wrote it anew. The copies of a patch tell where everything went. So whoever knows where the references lie in a
//! file can compute most of them, and the patch carries those few that came out wrong.
//!
//! What a decoder must know of executables is little, and frozen: how long an x86-64 instruction is and where its operands
//! lie ([`x86`]), which instructions of arm64 refer to something ([`a64`]), and the shape of a few tables ([`walk`](mod@walk)).
//! Where code and tables lie, and at which addresses, the patch says itself, in a [`Layout`] of some 100 bytes: ELF,
//! PE and Mach-O are read by the encoder only, which may learn of new ones whenever it likes.
//!
//! - [`layout`]: where what lies in the old and the new file;
//! - [`walk`](mod@walk): from its first byte to its last, which bytes of a file are references;
//! - [`map`]: where an old address went;
//! - [`sites`]: the pointers of the old file that its relocations name;
//! - [`rebuild`](mod@rebuild): all of them together, for encoder and decoder alike.

pub mod a64;
pub mod layout;
pub mod map;
pub mod rebuild;
pub mod sites;
pub mod walk;
pub mod x86;

pub use layout::{Layout, Range, RangeKind, Region, Span};
pub use rebuild::{Copied, Side, rebuild};
pub use walk::{Form, Tape, walk};

/// Up to eight bytes as a number, the lowest first, as executables write them.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
