//! Which bytes of a resource a `Range` header asks for (RFC 9110, section 14).
//!
//! A header that is malformed, that is in other units, or that asks for more than the whole in pieces is ignored, as the
//! RFC allows: the whole is the cheaper answer, and always a correct one.

use std::ops::Range;

/// Most ranges that one answer is made of. A player or a downloader asks for one; a hostile client asks for thousands.
const RANGES_MAX: usize = 16;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// These pieces, at least one, none empty, in the order in which they were asked for.
    Pieces(Vec<Range<u64>>),
    /// Nothing that was asked for lies inside.
    Unsatisfiable,
}

/// What the `Range` header `header` means for a resource of `len` bytes.
pub(super) fn parse(header: &str, len: u64) -> Wanted {
    let Some(specs) = specs(header) else { return Wanted::Whole };
    let pieces: Vec<_> = specs.into_iter().filter_map(|spec| spec.within(len)).collect();
    // Overlaps are the way to turn a small request into a large answer: never send more than the whole.
    let sum = pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.end - piece.start));
    match sum {
        Some(0) => Wanted::Unsatisfiable,
        Some(sum) if sum <= len => Wanted::Pieces(pieces),
        _ => Wanted::Whole,
    }
}

/// One range as it was asked for.
#[derive(Debug, Clone, Copy)]
enum Spec {
    /// `10-`
    From(u64),
    /// `10-19`, both ends included.
    Between(u64, u64),
    /// `-10`: the last ten.
    Last(u64),
}

impl Spec {
    /// The part of it that exists, if any does.
    fn within(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first) => first..len,
            Self::Between(first, last) => first..last.saturating_add(1).min(len),
            Self::Last(count) => len.saturating_sub(count)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

/// The ranges in `header`; `None` when it is to be ignored.
fn specs(header: &str) -> Option<Vec<Spec>> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = Vec::new();
    // RFC 9110, 5.6.1: a list may have empty elements, which do not count.
    for item in set.split(',').map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty()) {
        if specs.len() == RANGES_MAX {
            return None;
        }
        specs.push(spec(item)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn spec(item: &str) -> Option<Spec> {
    let (first, last) = item.split_once('-')?;
    match (first, last) {
        ("", last) => Some(Spec::Last(number(last)?)),
        (first, "") => Some(Spec::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::Between(first, last))
        }
    }
}

/// Digits only (`u64::from_str` would take a `+`); a number over 2^64 means "to the end", as any past it does.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table() {
        let pieces = |ranges: &[(u64, u64)]| Wanted::Pieces(ranges.iter().map(|(start, end)| *start..*end).collect());
        let table = [
            ("bytes=0-0", pieces(&[(0, 1)])),
            ("bytes=0-99", pieces(&[(0, 100)])),
            ("bytes=0-", pieces(&[(0, 100)])),
            ("bytes=90-1000", pieces(&[(90, 100)])),
            ("bytes=-10", pieces(&[(90, 100)])),
            ("bytes=-1000", pieces(&[(0, 100)])),
            ("bytes=50-18446744073709551615", pieces(&[(50, 100)])),
            ("bytes=50-99999999999999999999999", pieces(&[(50, 100)])),
            ("BYTES = 1-2", pieces(&[(1, 3)])),
            ("bytes= 1-2 ,\t5-6", pieces(&[(1, 3), (5, 7)])),
            ("bytes=,1-2,,", pieces(&[(1, 3)])),
            ("bytes=5-6,1-2", pieces(&[(5, 7), (1, 3)])),
            ("bytes=0-9,200-300", pieces(&[(0, 10)])),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=100-200", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=18446744073709551615-", Wanted::Unsatisfiable),
            ("bytes=", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=2-1", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=1-2-3", Wanted::Whole),
            ("bytes=0x1-2", Wanted::Whole),
            ("bytes=1 -2", Wanted::Whole),
            ("bytes=--1", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=0-1,x", Wanted::Whole),
            ("bytes=0-60,0-60", Wanted::Whole),
        ];
        for (header, wanted) in table {
            assert_eq!(parse(header, 100), wanted, "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Wanted::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn thousands_of_ranges_are_the_whole() {
        let many = |n: usize| format!("bytes={}", vec!["0-0"; n].join(","));
        assert!(matches!(parse(&many(RANGES_MAX), 100), Wanted::Pieces(_)));
        assert_eq!(parse(&many(RANGES_MAX + 1), 100), Wanted::Whole);
        assert_eq!(parse(&many(5_000), 100), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn never_outside_and_never_more_than_the_whole(header in "bytes=[0-9,\\- ]{0,40}", len in 0_u64..300) {
            if let Wanted::Pieces(pieces) = parse(&header, len) {
                prop_assert!(!pieces.is_empty() && pieces.len() <= RANGES_MAX);
                prop_assert!(pieces.iter().all(|p| p.start < p.end && p.end <= len));
                prop_assert!(pieces.iter().map(|p| p.end - p.start).sum::<u64>() <= len);
            }
        }
    }
}
