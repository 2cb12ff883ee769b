//! How much of anything a patch may ask for, and why that much. Raising a limit is a compatible change, lowering one is not.

/// Longest header, in bytes: three numbers for each of a million files fit.
pub const HEADER_LEN_MAX: u64 = 16 << 20;

/// Most bases: the files of one installed product.
pub const BASES_MAX: usize = 1_000_000;

/// Most outputs: as many files, and a list of them.
pub const OUTPUTS_MAX: usize = 1_000_001;

/// Largest base or output, and largest sum of either, in bytes: 16 TiB. Two of them still fit into an `i64`.
pub const IMAGE_LEN_MAX: u64 = 16 << 40;

/// Longest lists in a header, in bytes: some numbers for each of a million bases and outputs.
pub const LISTS_LEN_MAX: u64 = 32 << 20;

/// Longest image of a container of `len` bytes. Deflate can make a thousand bytes of one, and so cost a thousand times the work that a
/// container of this length is worth; what real ones hold is far from that.
pub fn container_image_len_max(len: u64) -> u64 {
    len.saturating_mul(64).saturating_add(1 << 20)
}

/// Most groups of outputs.
pub const GROUPS_MAX: usize = 16;

/// Most instructions of an output whose references are predicted: they are kept in memory while it is made.
pub const NATIVE_INSTRUCTIONS_MAX: usize = 1 << 20;

/// Largest dictionary of an LZMA stream, as a power of two: 8 MiB. A decoder allocates one for each stream.
pub const DICT_LOG_MAX: u8 = 23;

/// Longest dictionaries of the streams of a group together, as far as they are used: those of one group are in memory at a time.
pub const DICTIONARIES_LEN_MAX: u64 = 96 << 20;

/// How much is read, added and written at a time, in bytes.
pub const PIECE_LEN: usize = 64 << 10;
