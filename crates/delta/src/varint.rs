//! Numbers of few bytes: seven bits at a time, the lowest first, the top bit of each byte says that another follows.

use std::io::{self, Read};

/// Appends `value`.
pub fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads one number.
///
/// # Errors
/// `InvalidData` for what [`write()`] never writes (more than 64 bits, or a needless last byte), and whatever `input`
/// answers.
pub fn read(input: &mut impl Read) -> io::Result<u64> {
    let invalid = |reason| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        if shift == 63 && bits > 1 || shift > 63 {
            return invalid("a number of more than 64 bits");
        }
        value |= bits << shift;
        if byte[0] < 0x80 {
            return if bits == 0 && shift > 0 { invalid("a number with a needless byte") } else { Ok(value) };
        }
        shift += 7;
    }
}

/// A signed number as an unsigned one: small ones stay small.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The signed number that [`zigzag`] made `value` of.
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(value: u64, signed: i64) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            prop_assert_eq!(read(&mut &bytes[..]).unwrap(), value);
            prop_assert!(read(&mut &bytes[..bytes.len() - 1]).is_err());
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn one_way_to_write_a_number(bytes in proptest::collection::vec(any::<u8>(), 1..12)) {
            let mut rest = &bytes[..];
            if let Ok(value) = read(&mut rest) {
                let mut again = Vec::new();
                write(&mut again, value);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
