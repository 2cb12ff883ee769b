//! Layouts: written and read back, and hostile ones refused.

use proptest::prelude::*;
use updraft_delta::native::layout::{RANGES_MAX, REGIONS_MAX};
use updraft_delta::native::{Layout, Range, RangeKind, Region, Span};

const OLD_LEN: u64 = 1 << 20;
const NEW_LEN: u64 = 1 << 21;

fn any_span(file_len: u64) -> impl Strategy<Value = Span> {
    (0..file_len, 0..file_len, 0..1_u64 << 61, 0..1_u64 << 40).prop_map(move |(offset, len, address, more)| {
        let len = len.min(file_len - offset);
        Span { offset, len, address, size: more }
    })
}

fn any_ranges(file_len: u64) -> impl Strategy<Value = Vec<Range>> {
    let places = proptest::collection::btree_set(0..file_len, 0..40);
    (places, proptest::collection::vec(0..RangeKind::ALL.len(), 20)).prop_map(|(places, kinds)| {
        let places: Vec<u64> = places.into_iter().collect();
        let pairs = places.chunks_exact(2).zip(kinds);
        pairs.map(|(at, kind)| Range { kind: RangeKind::ALL[kind], offset: at[0], len: at[1] - at[0] }).collect()
    })
}

fn any_layout() -> impl Strategy<Value = Layout> {
    let region = (any_span(OLD_LEN), any_span(NEW_LEN)).prop_map(|(old, new)| Region { old, new });
    (
        0..3_usize,
        proptest::collection::vec(region, 0..20),
        (0..1_u64 << 61, 0..1_u64 << 61),
        any_ranges(OLD_LEN),
        any_ranges(NEW_LEN),
    )
        .prop_map(|(base, regions, image_base, old_tables, ranges)| Layout {
            new: (0, NEW_LEN),
            base,
            old: (0, OLD_LEN),
            regions,
            image_base,
            old_tables,
            ranges,
        })
}

fn read(bytes: &[u8]) -> Result<Vec<Layout>, updraft_delta::Error> {
    Layout::read_all(&mut &*bytes, NEW_LEN, |base| (base < 3).then_some(OLD_LEN))
}

fn encode(layout: &Layout) -> Vec<u8> {
    Layout::encode_all(std::slice::from_ref(layout))
}

proptest! {
    #[test]
    fn what_is_written_is_read(layout in any_layout()) {
        prop_assert_eq!(read(&encode(&layout)).unwrap(), [layout]);
    }

    /// Whatever is read lies inside of its file.
    #[test]
    fn what_is_damaged_is_refused_or_harmless(layout in any_layout(), at in any::<usize>(), by in 1..=255_u8) {
        let mut bytes = encode(&layout);
        let at = at % bytes.len();
        bytes[at] ^= by;
        for layout in read(&bytes).unwrap_or_default() {
            prop_assert!(layout.regions.iter().all(|region| region.old.offset + region.old.len <= OLD_LEN));
            prop_assert!(layout.regions.iter().all(|region| region.new.offset + region.new.len <= NEW_LEN));
            prop_assert!(layout.ranges.iter().all(|range| range.end() <= NEW_LEN));
            prop_assert!(layout.old_tables.iter().all(|range| range.end() <= OLD_LEN));
        }
    }
}

#[test]
fn what_is_too_much_or_elsewhere_is_refused() {
    let region = Region::default();
    let range = Range { kind: RangeKind::Rva32, offset: 0, len: 1 };
    let bad = [
        Layout { base: 3, ..Layout::default() },
        Layout { image_base: (1 << 62, 0), ..Layout::default() },
        Layout { regions: vec![region; REGIONS_MAX + 1], ..Layout::default() },
        Layout {
            ranges: (0..=RANGES_MAX as u64).map(|offset| Range { offset, ..range }).collect(),
            ..Layout::default()
        },
        Layout { ranges: vec![Range { len: 0, ..range }], ..Layout::default() },
        Layout { ranges: vec![Range { len: NEW_LEN + 1, ..range }], ..Layout::default() },
        Layout { old_tables: vec![Range { offset: OLD_LEN, len: 1, ..range }], ..Layout::default() },
        Layout {
            regions: vec![Region { old: Span { len: OLD_LEN + 1, ..Span::default() }, ..region }],
            ..Layout::default()
        },
    ];
    for layout in bad {
        let layout = Layout { new: (0, NEW_LEN), old: (0, OLD_LEN), ..layout };
        assert!(read(&encode(&layout)).is_err(), "{layout:?}");
    }
    assert!(read(&[]).is_err());
    let nothing = Layout { new: (5, 0), ..Layout::default() };
    assert!(read(&encode(&nothing)).is_err(), "an executable of no bytes");
    let much = Range { len: OLD_LEN, ..range };
    let small = Layout { new: (0, 9), old: (0, OLD_LEN), old_tables: vec![much], ..Layout::default() };
    assert!(read(&encode(&small)).is_err(), "tables that are not worth it");
}
