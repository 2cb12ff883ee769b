//! Where the operands of an x86-64 instruction lie.
//!
//! Instructions are not understood here, only measured: which bytes are opcode, how many bytes of displacement and
//! immediate follow, and whether the displacement is relative to the next instruction. Encoder and decoder of a patch must
//! agree on that for ever, so this table is part of format 1. It follows the opcode maps of the architecture manuals (AMD64
//! Architecture Programmer's Manual, volume 3, appendix A; Intel SDM, volume 2, appendix A); what is not an instruction
//! there is measured somehow, and always in the same way.

/// What follows the opcode (and ModRM and SIB) of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operands {
    /// Bytes of displacement.
    pub displacement: u8,
    /// Whether the displacement is 4 bytes and relative to the next instruction.
    pub is_relative: bool,
    /// Bytes of immediate, behind the displacement.
    pub immediate: u8,
    /// Whether the immediate is 4 bytes and a branch target relative to the next instruction.
    pub is_branch: bool,
    /// Whether that branch is a call.
    pub is_call: bool,
    /// With two registers and four bytes of displacement: the power of two that the second is multiplied by.
    pub scale: Option<u8>,
}

/// What an opcode says of what follows it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Follow {
    /// Nothing.
    N,
    /// A byte.
    B,
    /// Two bytes.
    W,
    /// Four bytes, or two with an operand-size prefix.
    Z,
    /// As `Z`, but eight with REX.W.
    V,
    /// An address: eight bytes, or four with an address-size prefix.
    A,
    /// A branch target of four bytes.
    J,
    /// Three bytes.
    E,
    /// ModRM.
    M,
    /// ModRM and a byte.
    Mb,
    /// ModRM and four bytes, or two.
    Mz,
    /// ModRM, and a byte if its register field is 0 or 1.
    Gb,
    /// ModRM, and four bytes, or two, if its register field is 0 or 1.
    Gz,
    /// ModRM that always names registers.
    R,
}

use Follow::{A, B, E, Gb, Gz, J, M, Mb, Mz, N, R, V, W, Z};

/// Opcodes of one byte. Prefixes and escapes do not get here.
#[rustfmt::skip]
const ONE: [Follow; 256] = [
    M, M, M, M, B, Z, N, N, M, M, M, M, B, Z, N, N, // 00
    M, M, M, M, B, Z, N, N, M, M, M, M, B, Z, N, N, // 10
    M, M, M, M, B, Z, N, N, M, M, M, M, B, Z, N, N, // 20
    M, M, M, M, B, Z, N, N, M, M, M, M, B, Z, N, N, // 30
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, // 40
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, // 50
    N, N, N, M, N, N, N, N, Z, Mz, B, Mb, N, N, N, N, // 60
    B, B, B, B, B, B, B, B, B, B, B, B, B, B, B, B, // 70
    Mb, Mz, Mb, Mb, M, M, M, M, M, M, M, M, M, M, M, M, // 80
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, // 90
    A, A, A, A, N, N, N, N, B, Z, N, N, N, N, N, N, // a0
    B, B, B, B, B, B, B, B, V, V, V, V, V, V, V, V, // b0
    Mb, Mb, W, N, N, N, Mb, Mz, E, N, W, N, N, B, N, N, // c0
    M, M, M, M, N, N, N, N, M, M, M, M, M, M, M, M, // d0
    B, B, B, B, B, B, B, B, J, J, N, B, N, N, N, N, // e0
    N, N, N, N, N, N, Gb, Gz, N, N, N, N, N, N, M, M, // f0
];

/// Opcodes behind 0F.
#[rustfmt::skip]
const TWO: [Follow; 256] = [
    M, M, M, M, N, N, N, N, N, N, N, N, N, M, N, Mb, // 00
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // 10
    R, R, R, R, N, N, N, N, M, M, M, M, M, M, M, M, // 20
    N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, // 30
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // 40
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // 50
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // 60
    Mb, Mb, Mb, Mb, M, M, M, N, M, M, N, N, M, M, M, M, // 70
    J, J, J, J, J, J, J, J, J, J, J, J, J, J, J, J, // 80
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // 90
    N, N, N, M, Mb, M, R, R, N, N, N, M, Mb, M, M, M, // a0
    M, M, M, M, M, M, M, M, M, M, Mb, M, M, M, M, M, // b0
    M, M, Mb, M, Mb, Mb, Mb, M, N, N, N, N, N, N, N, N, // c0
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // d0
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // e0
    M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, // f0
];

/// Most bytes of an instruction that are looked at as prefixes.
const PREFIXES_MAX: usize = 14;

/// Measures the next instruction. `next` gives its bytes one by one, up to the first byte of displacement or immediate.
///
/// # Errors
/// Whatever `next` answers.
pub fn measure<E>(mut next: impl FnMut() -> Result<u8, E>) -> Result<Operands, E> {
    let mut prefixes = Prefixes::default();
    let mut byte = next()?;
    for _ in 0..PREFIXES_MAX {
        if !prefixes.take(byte) {
            break;
        }
        byte = next()?;
    }
    let is_call = byte == 0xe8;
    let follow = match byte {
        0x0f => match next()? {
            0x38 => {
                next()?;
                M
            }
            0x3a => {
                next()?;
                Mb
            }
            two => TWO[usize::from(two)],
        },
        0xc5 => {
            next()?;
            vector(1, next()?)
        }
        0xc4 => {
            let map = next()? & 0x1f;
            next()?;
            vector(map, next()?)
        }
        0x62 => {
            let map = next()? & 0x07;
            next()?;
            next()?;
            vector(map, next()?)
        }
        one => ONE[usize::from(one)],
    };
    Ok(Operands { is_call, ..operands(follow, prefixes, next)? })
}

/// What follows an opcode of a VEX or EVEX instruction.
fn vector(map: u8, opcode: u8) -> Follow {
    match (map, opcode) {
        (3, _) | (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) => Mb,
        (1, 0x77) => N,
        _ => M,
    }
}

#[derive(Clone, Copy, Default)]
struct Prefixes {
    has_small_operand: bool,
    has_small_address: bool,
    is_wide: bool,
}

impl Prefixes {
    /// Whether `byte` is a prefix; then it is taken note of.
    fn take(&mut self, byte: u8) -> bool {
        let is_rex = byte & 0xf0 == 0x40;
        match byte {
            0x66 => self.has_small_operand = true,
            0x67 => self.has_small_address = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
            _ if is_rex => {}
            _ => return false,
        }
        // REX counts only right before the opcode.
        self.is_wide = is_rex && byte & 0x08 != 0;
        true
    }

    /// Bytes of an immediate that follows the operand size.
    fn size(self) -> u8 {
        if self.has_small_operand && !self.is_wide { 2 } else { 4 }
    }
}

fn operands<E>(follow: Follow, prefixes: Prefixes, mut next: impl FnMut() -> Result<u8, E>) -> Result<Operands, E> {
    let immediate = |immediate| Ok(Operands { immediate, ..Operands::default() });
    match follow {
        N => return immediate(0),
        B => return immediate(1),
        W => return immediate(2),
        E => return immediate(3),
        Z => return immediate(prefixes.size()),
        V => return immediate(if prefixes.is_wide { 8 } else { prefixes.size() }),
        A => return immediate(if prefixes.has_small_address { 4 } else { 8 }),
        J => return Ok(Operands { immediate: 4, is_branch: true, ..Operands::default() }),
        R => {
            next()?;
            return immediate(0);
        }
        M | Mb | Mz | Gb | Gz => {}
    }
    let modrm = next()?;
    let (mode, register, memory) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    let sib = if mode < 3 && memory == 4 { Some(next()?) } else { None };
    let base = sib.unwrap_or(memory) & 7;
    let scale = sib.filter(|sib| mode == 2 && sib >> 3 & 7 != 4).map(|sib| sib >> 6);
    let displacement = match (mode, base) {
        (1, _) => 1,
        (2, _) | (0, 5) => 4,
        _ => 0,
    };
    let immediate = match follow {
        Mb => 1,
        Mz => prefixes.size(),
        Gb if register < 2 => 1,
        Gz if register < 2 => prefixes.size(),
        _ => 0,
    };
    Ok(Operands { displacement, is_relative: mode == 0 && memory == 5, immediate, scale, ..Operands::default() })
}
