//! What decoders of format 1 must agree on for ever.

mod frames;
mod layout;
mod sites;
mod x86;
