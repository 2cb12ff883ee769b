//! Making patches: what is alike in old and new files, and how to say the rest in few bytes.
//!
//! The work is done in memory, on a publisher's machine or in a child process of the server; nothing of this crate is ever
//! shipped inside somebody's app.
//!
//! - `file`: what a file is, and what stands for it; [`container`]: archives that can be unpacked and packed again;
//! - `suffix`: every place of the old image, sorted, so that the longest match is found;
//! - `relevant`: which old files have anything in common with new ones;
//! - `matcher`: which of them to copy from;
//! - `image`: old files one behind the other;
//! - `exe`: where code and tables lie in executables, and what they look like without their references;
//! - `encode`: instructions as streams, compressed in the way that is smallest;
//! - `make`: from files to a patch that was proven.
#![forbid(unsafe_code)]

pub mod container;
mod encode;
mod exe;
mod file;
mod image;
mod make;
mod matcher;
mod relevant;
mod suffix;

pub use make::{Error, Made, Options, make};
/// Most bytes of old files together, and of new ones.
pub use suffix::TEXT_LEN_MAX as IMAGE_LEN_MAX;
