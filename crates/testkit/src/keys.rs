//! Fixed keys. Each is grown from the digest of its name, so that a key can be had for any purpose by saying what for.

use updraft_core::digest::Digest;
use updraft_core::key::SigningKey;

/// The key called `name`; the same name is the same key.
pub fn named(name: &str) -> SigningKey {
    SigningKey::from_seed(*Digest::of(name.as_bytes()).as_bytes())
}

/// The publisher's root key.
pub fn root() -> SigningKey {
    named("root")
}

/// The publisher's targets key.
pub fn targets() -> SigningKey {
    named("targets")
}

/// The server's key for timestamp, snapshot and channels.
pub fn online() -> SigningKey {
    named("online")
}

/// A key that nobody trusts.
pub fn thief() -> SigningKey {
    named("thief")
}

/// The same key again: a [`SigningKey`] does not clone itself, so that a program cannot do it in passing.
pub fn copy(key: &SigningKey) -> SigningKey {
    SigningKey::from_seed(*key.seed())
}
