//! How much of anything there may be, and why that much.
//!
//! Every decoder takes its bound from here before it reads a byte. Raising a limit is a compatible change, lowering one
//! is not: something that was published must stay readable.

/// Longest app, channel or platform name, in bytes: it is a path segment and a label in metrics.
pub const NAME_LEN_MAX: usize = 64;

/// Longest version text, in bytes.
pub const VERSION_LEN_MAX: usize = 64;

/// Most numbers in a version (`2026.11.22.1` has four).
pub const VERSION_NUMBERS_MAX: usize = 8;

/// Longest path inside a tree, in bytes: PATH_MAX is 4,096 with the directory that holds the tree in front of it.
pub const PATH_LEN_MAX: usize = 3_072;

/// Longest component of a path, in bytes: the limit of ext4, XFS, Btrfs, APFS and (in UTF-16 units) NTFS.
pub const COMPONENT_LEN_MAX: usize = 255;

/// Deepest path inside a tree, in components.
pub const PATH_DEPTH_MAX: usize = 128;

/// Longest target of a symlink, in bytes.
pub const SYMLINK_LEN_MAX: usize = 1_024;

/// Most entries in one tree. A Chromium checkout has about 400,000 files; no installed product comes near.
pub const TREE_ENTRIES_MAX: usize = 1_000_000;

/// Largest tree document, decoded: a million entries of about 100 bytes and the hint behind them.
pub const TREE_LEN_MAX: u64 = 128 << 20;

/// Largest single file, in bytes (16 TiB, ext4's own limit): sums of a million of them stay inside a `u64`.
pub const FILE_LEN_MAX: u64 = 16 << 40;

/// Largest metadata file that a device reads, in bytes. python-tuf allows 5 MB for targets; ours list live releases only.
pub const METADATA_LEN_MAX: u64 = 4 << 20;

/// Largest root metadata, in bytes (python-tuf's default).
pub const ROOT_LEN_MAX: u64 = 512_000;

/// Largest timestamp metadata, in bytes (python-tuf's default).
pub const TIMESTAMP_LEN_MAX: u64 = 16_384;

/// Largest snapshot metadata, in bytes (python-tuf's default).
pub const SNAPSHOT_LEN_MAX: u64 = 2_000_000;

/// Largest head, in bytes: a header line, one timestamp and a snapshot of the few roles that an app has.
pub const HEAD_LEN_MAX: u64 = 64 << 10;

/// Largest release document, in bytes: notes in every locale are most of it.
pub const RELEASE_LEN_MAX: u64 = 1 << 20;

/// Most trees from which a release document prices an update: the releases that devices are likely to have, in about
/// 100 bytes each.
pub const FROM_TREES_MAX: usize = 16;

/// Longest notes of one locale, in bytes.
pub const NOTES_LEN_MAX: usize = 64 << 10;

/// Most locales in the notes of a release.
pub const NOTES_LOCALES_MAX: usize = 64;

/// Most releases that one `targets` role lists; it lists live ones only, so that a device's check stays small.
pub const LIVE_RELEASES_MAX: usize = 1_000;

/// Most channels of an app.
pub const CHANNELS_MAX: usize = 200;

/// Most operating systems whose version a release limits.
pub const MIN_OS_MAX: usize = 16;

/// Most stepping stones of a release: a device that has slept through all of them makes as many updates.
pub const STEPPING_STONES_MAX: usize = 32;

/// Most yanked releases that a channel remembers, to tell the devices that still have one.
pub const YANKED_MAX: usize = 64;

/// Longest reason for stopping a rollout or yanking a release, in characters: a sentence or two.
pub const REASON_LEN_MAX: usize = 300;

/// Longest ramp, in seconds: a year.
pub const RAMP_SECS_MAX: u64 = 366 * 86_400;

/// Deepest nesting of metadata, in levels. TUF itself needs eight.
pub const JSON_DEPTH_MAX: usize = 32;

/// Most values (numbers, texts, lists, members) in one metadata file. A thousand releases take about twenty thousand; each
/// costs a reader some hundred bytes of memory, however short it is written.
pub const JSON_VALUES_MAX: usize = 200_000;

/// Largest integer in metadata: what every JSON reader represents exactly (RFC 8259, section 6).
pub const JSON_INT_MAX: i64 = (1 << 53) - 1;

/// Most roots that a device follows in one update. TUF 5.3.3 asks for a limit; python-tuf's is 256.
pub const ROOT_ROTATIONS_MAX: u64 = 256;

/// Most roles that the search for one target visits (TUF 5.6.7.1). python-tuf's limit is 32; our own apps have two roles.
pub const DELEGATIONS_VISITED_MAX: usize = 32;

/// Most signatures on one metadata file.
pub const SIGNATURES_MAX: usize = 64;

/// Most digests in one question "which of these do you lack?".
pub const MISSING_BATCH_MAX: usize = 10_000;

/// Largest body of an API call that is not an upload, in bytes.
pub const API_BODY_LEN_MAX: usize = 16 << 20;

/// Largest window that a zstd frame may ask for, as a power of two: 8 MiB. It bounds what a decoder allocates, once for
/// each of its threads; the levels that publishers use (up to 19) stay within it.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
