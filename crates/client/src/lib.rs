//! Being built.
pub mod belief;
pub mod check;
pub mod download;
pub mod fetch;
pub mod progress;
pub mod source;
pub mod staged;
