//! Bits, packed into bytes from the lowest on (RFC 1951, 3.1.1).

/// Bytes that are written bit by bit.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// What does not fill a byte yet: its bits, and how many.
    last: u64,
    last_len: u32,
}

impl Bits {
    /// Writes the lowest `len` bits of `value`, which has no others; 32 at most.
    pub(super) fn put(&mut self, value: u32, len: u32) {
        self.last |= u64::from(value) << self.last_len;
        self.last_len += len;
        while self.last_len >= 8 {
            self.bytes.push(self.last as u8);
            self.last >>= 8;
            self.last_len -= 8;
        }
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        if self.last_len > 0 {
            self.put(0, 8 - self.last_len);
        }
    }

    /// Writes whole bytes; the last one must have been filled.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.last_len, 0, "bytes begin at a byte");
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes that are full.
    pub(super) fn full(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets those.
    pub(super) fn clear_full(&mut self) {
        self.bytes.clear();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.last, self.last_len) = (0, 0);
    }
}
