//! What the instructions of arm64 refer to.
//!
//! Each has four bytes. Branches hold the distance to their target; other addresses are made by two instructions, one that
//! holds the distance to the target's page (`ADRP`) and one, mostly the next, that adds its place in the page (`ADD`, or a
//! load or store). Encodings: Arm Architecture Reference Manual for A-profile, C4.1. What is found here is part of format 1.

/// Bytes of a page.
const PAGE_LEN: u64 = 4_096;

/// How many bytes behind an `ADRP` its page is remembered, and looked for what uses it.
pub const REACH: u64 = 64;

/// An instruction that refers to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The distance in instructions, in `bits` bits from bit `at` on.
    Branch { at: u32, bits: u32 },
    /// `ADR`: the distance in bytes.
    Near,
    /// `ADRP`: the distance in pages.
    Page,
    /// The place in the page that register `base` holds, in units of `1 << scale`.
    InPage { base: usize, scale: u32 },
}

fn kind(word: u32) -> Option<Kind> {
    let base = (word >> 5 & 31) as usize;
    if word & 0x7c00_0000 == 0x1400_0000 {
        Some(Kind::Branch { at: 0, bits: 26 })
    } else if word & 0xff00_0000 == 0x5400_0000
        || word & 0x7e00_0000 == 0x3400_0000
        || word & 0x3b00_0000 == 0x1800_0000
    {
        Some(Kind::Branch { at: 5, bits: 19 })
    } else if word & 0x7e00_0000 == 0x3600_0000 {
        Some(Kind::Branch { at: 5, bits: 14 })
    } else if word & 0x9f00_0000 == 0x1000_0000 {
        Some(Kind::Near)
    } else if word & 0x9f00_0000 == 0x9000_0000 {
        Some(Kind::Page)
    } else if word & 0xffc0_0000 == 0x9100_0000 {
        Some(Kind::InPage { base, scale: 0 })
    } else if word & 0x3b00_0000 == 0x3900_0000 {
        let is_quad = word & 0x0480_0000 == 0x0480_0000;
        Some(Kind::InPage { base, scale: if is_quad { 4 } else { word >> 30 } })
    } else {
        None
    }
}

fn signed(value: u32, bits: u32) -> i64 {
    i64::from((value << (32 - bits)) as i32 >> (32 - bits))
}

/// The 21 bits of `ADR` and `ADRP`.
fn split(word: u32) -> i64 {
    signed((word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3, 21)
}

const SPLIT_MASK: u32 = 0x60ff_ffe0;
const IN_PAGE_MASK: u32 = 0x003f_fc00;

fn with_split(word: u32, value: u64) -> u32 {
    let value = value as u32;
    word & !SPLIT_MASK | (value & 3) << 29 | (value >> 2 & 0x7_ffff) << 5
}

/// The pages that registers hold, as far as the last instructions tell.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// For each register: a page, and up to which address that is believed.
    held: [(u64, u64); 32],
}

impl Pages {
    fn of(&self, register: usize, address: u64) -> Option<u64> {
        let (page, until) = self.held[register];
        (address < until).then_some(page)
    }

    /// Takes note of an instruction at `address`.
    pub fn note(&mut self, word: u32, address: u64) {
        if kind(word) == Some(Kind::Page) {
            let page = page_of(word, address);
            self.held[(word & 31) as usize] = (page, address.saturating_add(REACH));
        }
    }
}

fn page_of(word: u32, address: u64) -> u64 {
    (address / PAGE_LEN).wrapping_add_signed(split(word)).wrapping_mul(PAGE_LEN)
}

/// The address that `word` at `address` refers to. `behind` are the instructions behind it, which tell the place in a page.
pub fn target(word: u32, address: u64, pages: &Pages, behind: &[u8]) -> Option<u64> {
    match kind(word)? {
        Kind::Branch { at, bits } => Some(address.wrapping_add_signed(signed(word >> at & mask(bits), bits) * 4)),
        Kind::Near => Some(address.wrapping_add_signed(split(word))),
        Kind::Page => {
            let register = (word & 31) as usize;
            let words = behind.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            let place = words.filter_map(|word| match kind(word)? {
                Kind::InPage { base, scale } if base == register => Some(place_in_page(word, scale)),
                _ => None,
            });
            Some(page_of(word, address).wrapping_add(place.into_iter().next().unwrap_or_default()))
        }
        Kind::InPage { base, scale } => Some(pages.of(base, address)?.wrapping_add(place_in_page(word, scale))),
    }
}

fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

fn place_in_page(word: u32, scale: u32) -> u64 {
    u64::from(word >> 10 & 0xfff) << scale
}

/// `word` at `address` as it is when it refers to `target`.
pub fn aimed(word: u32, address: u64, target: u64) -> u32 {
    match kind(word) {
        Some(Kind::Branch { at, bits }) => {
            let distance = (target.wrapping_sub(address) as i64 >> 2) as u32;
            word & !(mask(bits) << at) | (distance & mask(bits)) << at
        }
        Some(Kind::Near) => with_split(word, target.wrapping_sub(address)),
        Some(Kind::Page) => with_split(word, (target / PAGE_LEN).wrapping_sub(address / PAGE_LEN)),
        Some(Kind::InPage { scale, .. }) => {
            word & !IN_PAGE_MASK | (((target % PAGE_LEN) >> scale) as u32 & 0xfff) << 10
        }
        None => word,
    }
}

/// The address that `word` refers to if it was expected to refer to `target` and is not what was expected.
pub fn corrected(word: u32, address: u64, target: u64) -> u64 {
    match kind(word) {
        Some(Kind::Page) => page_of(word, address) | (target % PAGE_LEN),
        Some(Kind::InPage { scale, .. }) => (target & !(PAGE_LEN - 1)).wrapping_add(place_in_page(word, scale)),
        _ => self::target(word, address, &Pages::default(), &[]).unwrap_or(target),
    }
}

/// Whether both are the same instruction but for what they refer to.
pub fn is_same(one: u32, other: u32) -> bool {
    kind(one).is_some() && one & !bits(one) == other & !bits(one)
}

/// The bits of `word` that say what it refers to.
pub fn bits(word: u32) -> u32 {
    match kind(word) {
        Some(Kind::Branch { at, bits }) => mask(bits) << at,
        Some(Kind::Near | Kind::Page) => SPLIT_MASK,
        Some(Kind::InPage { .. }) => IN_PAGE_MASK,
        None => 0,
    }
}

/// Whether `word` is a call or an `ADRP`: what new code says as an address instead of a distance.
fn is_far(word: u32) -> bool {
    word & 0xfc00_0000 == 0x9400_0000 || kind(word) == Some(Kind::Page)
}

/// An instruction of new code as it is sent: a call or `ADRP` holds its target, modulo what fits, not the distance to it.
pub fn absolute(word: u32, address: u64) -> u32 {
    if !is_far(word) {
        return word;
    }
    match kind(word) {
        Some(Kind::Page) => with_split(word, (split(word) as u64).wrapping_add(address / PAGE_LEN)),
        _ => aimed(word, 0, u64::from(word << 2).wrapping_add(address & !3)),
    }
}

/// The inverse of [`absolute`].
pub fn relative(word: u32, address: u64) -> u32 {
    if !is_far(word) {
        return word;
    }
    match kind(word) {
        Some(Kind::Page) => with_split(word, (split(word) as u64).wrapping_sub(address / PAGE_LEN)),
        _ => aimed(word, 0, u64::from(word << 2).wrapping_sub(address & !3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn new_code_comes_back(word: u32, address in 0..1_u64 << 40) {
            prop_assert_eq!(relative(absolute(word, address), address), word);
        }

        #[test]
        fn an_instruction_is_aimed_where_it_aims(word: u32, address in 0..1_u64 << 40) {
            let address = address & !3;
            if let Some(target) = target(word, address, &Pages::default(), &[]) {
                prop_assert_eq!(aimed(word, address, target), word);
                prop_assert_eq!(corrected(word, address, target), target);
            }
        }
    }

    #[test]
    fn two_instructions_make_an_address() {
        // adrp x3, #+2 pages; add x0, x3, #0x123; ldr x1, [x3, #0x18]
        let (adrp, add, ldr) = (0xd000_0003, 0x9104_8c60, 0xf940_0c61);
        let behind: Vec<u8> = [add, ldr].into_iter().flat_map(u32::to_le_bytes).collect();
        let mut pages = Pages::default();
        assert_eq!(target(adrp, 0x1_0010, &pages, &behind), Some(0x1_2123));
        assert_eq!(target(add, 0x1_0014, &pages, &[]), None);
        pages.note(adrp, 0x1_0010);
        assert_eq!(target(add, 0x1_0014, &pages, &[]), Some(0x1_2123));
        assert_eq!(target(ldr, 0x1_0018, &pages, &[]), Some(0x1_2018));
        assert_eq!(target(ldr, 0x1_0010 + REACH, &pages, &[]), None, "too far behind");
        assert_eq!(aimed(adrp, 0x1_0010, 0x1_5004), 0xb000_0023);
        assert_eq!(aimed(ldr, 0x1_0018, 0x1_5008), 0xf940_0461);
    }
}
