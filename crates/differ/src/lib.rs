//! Making patches: what is alike in old and new files, and how to say the rest in few bytes.
//!
//! The work is done on a publisher's machine or in a child process of the server; nothing of this crate is ever shipped inside
//! somebody's app. All files are compared at once where there is memory for it, and in parts where there is not.
//!
//! - `file`: what a file is, and what stands for it; [`container`]: archives that can be unpacked and packed again;
//! - `suffix`: every place of the old image, sorted, so that the longest match is found;
//! - `gear`: places that are found again; `relevant`: which old files have anything in common with new ones;
//! - `matcher`: which matches to copy from;
//! - `image`: old files one behind the other;
//! - `exe`: where code and tables lie in executables, and what they look like without their references;
//! - `encode`: instructions as streams, compressed in the way that is smallest;
//! - `memory`: how much is compared at a time; `together`: everything; `parts`: what does not fit; `large`: files that do not fit
//!   even by themselves;
//! - `compose`: from copies to a patch; `make`: from files to a patch that was proven.
#![forbid(unsafe_code)]

mod compose;
pub mod container;
mod encode;
mod exe;
mod file;
mod gear;
mod image;
mod large;
mod make;
mod matcher;
mod memory;
mod parts;
mod relevant;
mod suffix;
#[cfg(test)]
mod testing;
mod together;

pub use make::{Error, Made, Options, fits, make, make_in_parts, new_bytes_max};
pub use memory::MEMORY_MIN;
/// Most bytes of old files together, and of new ones.
pub use updraft_delta::limits::IMAGE_LEN_MAX;
/// What files are read from, and written to where they do not fit into memory.
pub use updraft_delta::{ReadAt, Scratch};
