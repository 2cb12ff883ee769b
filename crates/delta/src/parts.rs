//! The parts that a header is made of, read one after the other. What they claim is bounded before it is believed.

use crate::error::Error;
use crate::limits::IMAGE_LEN_MAX;
use crate::varint;

/// The next 32 bytes.
pub(crate) fn name(rest: &mut &[u8]) -> Result<[u8; 32], Error> {
    let (name, behind) = rest.split_first_chunk().ok_or_else(|| Error::format("its header ends too early"))?;
    *rest = behind;
    Ok(*name)
}

/// The next number.
pub(crate) fn number(rest: &mut &[u8]) -> Result<u64, Error> {
    varint::read(rest).map_err(|e| Error::format(format!("its header: {e}")))
}

/// The next byte of a header.
pub(crate) fn byte(rest: &mut &[u8]) -> Result<u8, Error> {
    let (byte, behind) = rest.split_first().ok_or_else(|| Error::format("its header ends too early"))?;
    *rest = behind;
    Ok(*byte)
}

/// The next number, if a file can be so long.
pub(crate) fn image_len(rest: &mut &[u8]) -> Result<u64, Error> {
    let found = number(rest)?;
    let limit = Error::Limit { what: "bytes in one file", found, max: IMAGE_LEN_MAX };
    if found > IMAGE_LEN_MAX { Err(limit) } else { Ok(found) }
}

/// A list whose length is in front. Every item takes a byte at least, so none is longer than what is left.
pub(crate) fn list<T>(
    rest: &mut &[u8],
    what: &'static str,
    max: usize,
    mut item: impl FnMut(&mut &[u8]) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let found = number(rest)?;
    if found > max as u64 {
        return Err(Error::Limit { what, found, max: max as u64 });
    }
    if found > rest.len() as u64 {
        return Err(Error::format(format!("its header ends within its {what}")));
    }
    (0..found).map(|_| item(rest)).collect()
}
