//! What decoders of format 1 must agree on for ever.

mod layout;
mod x86;
