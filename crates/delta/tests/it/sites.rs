//! The references that tables of an old file name, each format by hand.

use std::convert::Infallible;

use updraft_delta::native::sites::sites;
use updraft_delta::native::{Form, Layout, Range, RangeKind, Region, Span};

/// A table at the beginning of a file, and 4 KiB of data behind it at address 0x1_0000.
fn found(kind: RangeKind, table: &[u8], image_base: u64) -> Vec<(u64, Form)> {
    let offset = table.len() as u64;
    let old = Span { offset, len: 4_096, address: 0x1_0000, size: 4_096 };
    let layout = Layout {
        regions: vec![Region { old, new: old }],
        image_base: (image_base, 0),
        old_tables: vec![Range { kind, offset: 0, len: offset }],
        ..Layout::default()
    };
    let file = [table, &[0; 4_096]].concat();
    let Ok(sites) = sites(&layout, |at, buf| {
        buf.copy_from_slice(&file[at as usize..][..buf.len()]);
        Ok::<(), Infallible>(())
    });
    sites.into_iter().map(|site| (site.place() - offset, site.form())).collect()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn pointers(places: &[u64]) -> Vec<(u64, Form)> {
    places.iter().map(|place| (*place, Form::Pointer)).collect()
}

#[test]
fn rela_names_places_in_any_order_and_some_that_are_elsewhere() {
    let table = words(&[0x1_0020, 8, 7, 0x1_0008, 8, 7, 0x9_0000, 8, 7, 0x1_0008, 6, 0]);
    assert_eq!(found(RangeKind::Rela64, &table, 0), pointers(&[0x08, 0x20]));
    // An entry that ends too early is none.
    assert_eq!(found(RangeKind::Rela64, &table[..40], 0), pointers(&[0x20]));
}

#[test]
fn relr_has_an_address_and_bits_for_what_follows() {
    // 0x100, then bits 0, 2 and 62 of the words behind it, then bit 0 of the next 63.
    let bits = 1 | (1 | 1 << 2 | 1 << 62) << 1;
    let table = words(&[0x1_0100, bits, 1 | 1 << 1]);
    let first = 0x108;
    assert_eq!(
        found(RangeKind::Relr64, &table, 0),
        pointers(&[0x100, first, first + 16, first + 62 * 8, first + 63 * 8])
    );
}

#[test]
fn base_reloc_has_blocks_of_a_page() {
    let mut table = Vec::new();
    let pages: [(u32, &[u16]); 2] = [(0x1_0000, &[0xa010, 0x0000, 0xa008]), (0x1_1000, &[0xa000])];
    for (page, entries) in pages {
        table.extend((page - 0x1000).to_le_bytes());
        table.extend((8 + 2 * entries.len() as u32).to_le_bytes());
        table.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    }
    // The second page is behind the end of the region, but for its first byte, which is an address without a place.
    assert_eq!(found(RangeKind::BaseReloc, &table, 0x1000), pointers(&[0x08, 0x10]));
}

#[test]
fn a_table_longer_than_what_is_read_at_a_time() {
    let entry = |n: u64| [0x1_0000 + n % 512 * 8, 8, 0];
    let table: Vec<u64> = (0..5_000).flat_map(entry).collect();
    let all: Vec<u64> = (0..512).map(|n| n * 8).collect();
    assert_eq!(found(RangeKind::Rela64, &words(&table), 0), pointers(&all));
}
