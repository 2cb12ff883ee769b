//! Stock zlib, as safe types: the one file that calls foreign code.
//!
//! A container is re-packed to the byte only by the very compressor that packed it, and that is zlib. It is compiled from
//! the C sources that `libz-sys` carries, in one pinned version; [`is_stock`] tells whether that is what was linked.
//!
//! Why this is sound. A `z_stream` lies in a box of its own from its initialisation to its end and is never moved, because
//! zlib's state points back at it. It is touched through its raw pointer alone: its allocation functions are null until
//! zlib has set them, so no Rust value of that type ever exists. Pointers to input and output are set for one call, from
//! slices that live longer than that call, with their own lengths, and zlib keeps neither. A stream is ended once, by
//! `drop`, and one whose initialisation failed is never kept.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::sync::OnceLock;

use libz_sys::{Z_DEFLATED, Z_FINISH, Z_NO_FLUSH, Z_OK, Z_STREAM_END, z_stream};

use crate::container::Zlib;

/// How much is given to zlib at a time, in bytes, however it came: what comes out must not depend on that.
const FEED_LEN: usize = 64 << 10;
/// How much zlib gives at a time, in bytes.
const TAKE_LEN: usize = 32 << 10;
/// The version that is carried.
const VERSION: &CStr = c"1.3.2";

/// Where a `z_stream` lies. All zeros is how zlib wants to find one.
fn zeroed() -> Box<MaybeUninit<z_stream>> {
    Box::new(MaybeUninit::zeroed())
}

fn failed(what: &str, code: c_int) -> io::Error {
    io::Error::other(format!("zlib cannot {what}: code {code}"))
}

/// Packs bytes into raw deflate, as zlib does with one set of parameters.
pub struct Deflate {
    stream: Box<MaybeUninit<z_stream>>,
    parameters: Zlib,
    fed: Vec<u8>,
    taken: Vec<u8>,
}

impl std::fmt::Debug for Deflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deflate({:?})", self.parameters)
    }
}

impl Deflate {
    /// A stream that nothing was written to.
    ///
    /// # Errors
    /// When zlib has no memory, or no such parameters.
    pub fn new(parameters: Zlib) -> io::Result<Self> {
        let mut stream = zeroed();
        // SAFETY: the pointer is to a zeroed stream of the length that is told, and the version is a C string.
        let code = unsafe {
            libz_sys::deflateInit2_(
                stream.as_mut_ptr(),
                parameters.level().into(),
                Z_DEFLATED,
                -c_int::from(parameters.window_log()),
                parameters.memory_level().into(),
                parameters.strategy().into(),
                VERSION.as_ptr(),
                size_of::<z_stream>() as c_int,
            )
        };
        if code != Z_OK {
            return Err(failed("pack", code));
        }
        Ok(Self { stream, parameters, fed: Vec::new(), taken: vec![0; TAKE_LEN] })
    }

    /// Its parameters.
    pub fn parameters(&self) -> Zlib {
        self.parameters
    }

    /// Packs `bytes` as well, and tells `each` whatever is packed by then.
    ///
    /// # Errors
    /// What `each` answers.
    pub fn write(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while self.fed.len() + bytes.len() >= FEED_LEN {
            let (now, later) = bytes.split_at(FEED_LEN - self.fed.len());
            self.fed.extend_from_slice(now);
            bytes = later;
            self.run(Z_NO_FLUSH, each)?;
        }
        self.fed.extend_from_slice(bytes);
        Ok(())
    }

    /// Tells `each` the rest. What is written afterwards begins a new stream.
    ///
    /// # Errors
    /// What `each` answers.
    pub fn finish(&mut self, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.run(Z_FINISH, each)?;
        self.reset()
    }

    /// Forgets whatever was written.
    ///
    /// # Errors
    /// Never, unless zlib is broken.
    pub fn reset(&mut self) -> io::Result<()> {
        self.fed.clear();
        // SAFETY: the stream was initialised by `new`.
        let code = unsafe { libz_sys::deflateReset(self.stream.as_mut_ptr()) };
        if code == Z_OK { Ok(()) } else { Err(failed("begin again", code)) }
    }

    fn run(&mut self, flush: c_int, each: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let stream = self.stream.as_mut_ptr();
        let mut done = 0;
        loop {
            let input = &mut self.fed[done..];
            // SAFETY: input and output are slices of ours that live beyond the call, each told with its own length, which is
            // FEED_LEN or TAKE_LEN at most. zlib does not write to its input.
            let (code, unread, room) = unsafe {
                (*stream).next_in = input.as_mut_ptr();
                (*stream).avail_in = input.len() as u32;
                (*stream).next_out = self.taken.as_mut_ptr();
                (*stream).avail_out = self.taken.len() as u32;
                let code = libz_sys::deflate(stream, flush);
                (code, (*stream).avail_in as usize, (*stream).avail_out as usize)
            };
            if code != Z_OK && code != Z_STREAM_END && code != libz_sys::Z_BUF_ERROR {
                return Err(failed("pack", code));
            }
            done = self.fed.len() - unread;
            each(&self.taken[..self.taken.len() - room])?;
            if code == Z_STREAM_END || flush == Z_NO_FLUSH && room > 0 {
                self.fed.clear();
                return Ok(());
            }
        }
    }
}

impl Drop for Deflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new`, and nobody uses it any more.
        unsafe { libz_sys::deflateEnd(self.stream.as_mut_ptr()) };
    }
}

/// What one step of [`Inflate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// How many bytes of its input it used.
    pub read: usize,
    /// How many bytes of its output it filled.
    pub written: usize,
    /// Whether the stream is over.
    pub is_over: bool,
}

/// Unpacks raw deflate.
pub struct Inflate {
    stream: Box<MaybeUninit<z_stream>>,
}

impl std::fmt::Debug for Inflate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inflate")
    }
}

impl Inflate {
    /// A stream that nothing was read from.
    ///
    /// # Errors
    /// When zlib has no memory.
    pub fn new() -> io::Result<Self> {
        let mut stream = zeroed();
        // SAFETY: as for deflate.
        let code = unsafe {
            libz_sys::inflateInit2_(stream.as_mut_ptr(), -15, VERSION.as_ptr(), size_of::<z_stream>() as c_int)
        };
        if code == Z_OK { Ok(Self { stream }) } else { Err(failed("unpack", code)) }
    }

    /// Begins a new stream.
    ///
    /// # Errors
    /// Never, unless zlib is broken.
    pub fn reset(&mut self) -> io::Result<()> {
        // SAFETY: the stream was initialised by `new`.
        let code = unsafe { libz_sys::inflateReset(self.stream.as_mut_ptr()) };
        if code == Z_OK { Ok(()) } else { Err(failed("begin again", code)) }
    }

    /// Unpacks some of `input` into `output`, as far as either reaches.
    ///
    /// # Errors
    /// `InvalidData` when the stream is damaged.
    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let stream = self.stream.as_mut_ptr();
        let (input_len, output_len) = (input.len().min(FEED_LEN), output.len().min(FEED_LEN));
        // SAFETY: both slices live beyond the call, and no more of either is told than there is. zlib does not write to its
        // input, whatever the type of the pointer says.
        let (code, unread, room) = unsafe {
            (*stream).next_in = input.as_ptr().cast_mut();
            (*stream).avail_in = input_len as u32;
            (*stream).next_out = output.as_mut_ptr();
            (*stream).avail_out = output_len as u32;
            let code = libz_sys::inflate(stream, Z_NO_FLUSH);
            (code, (*stream).avail_in as usize, (*stream).avail_out as usize)
        };
        match code {
            // Neither more input nor more room is there: the caller sees that from the counts.
            Z_OK | Z_STREAM_END | libz_sys::Z_BUF_ERROR => {
                Ok(Step { read: input_len - unread, written: output_len - room, is_over: code == Z_STREAM_END })
            }
            libz_sys::Z_MEM_ERROR => Err(failed("unpack", code)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its deflated bytes are damaged")),
        }
    }
}

impl Drop for Inflate {
    fn drop(&mut self) {
        // SAFETY: the stream was initialised by `new`, and nobody uses it any more.
        unsafe { libz_sys::inflateEnd(self.stream.as_mut_ptr()) };
    }
}

/// The CRC-32 of what `crc` is the CRC-32 of (0 for nothing) and of `bytes` behind it.
pub fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(FEED_LEN).fold(crc, |crc, bytes| {
        // SAFETY: the pointer and the length are those of one slice.
        unsafe { libz_sys::crc32(crc.into(), bytes.as_ptr(), bytes.len() as u32) as u32 }
    })
}

/// Whether the zlib that was linked is the one that containers are proven with: its version, and what it makes of a sample.
/// Where it is not (a distributor may have replaced it), nothing is unpacked and nothing is packed.
pub fn is_stock() -> bool {
    static IS_STOCK: OnceLock<bool> = OnceLock::new();
    *IS_STOCK.get_or_init(|| {
        // SAFETY: zlib answers with a constant C string.
        let version = unsafe { CStr::from_ptr(libz_sys::zlibVersion()) };
        version == VERSION && samples().is_ok_and(|found| found == SAMPLES)
    })
}

/// The lengths and CRCs of the sample as stock zlib packs it, at levels 1, 6 and 9.
const SAMPLES: [(usize, u32); 3] = [(65532, 425_045_731), (59543, 2_264_307_266), (59543, 121_263_497)];

fn samples() -> io::Result<[(usize, u32); 3]> {
    let sample = sample();
    let mut found = [(0, 0); 3];
    for (found, level) in found.iter_mut().zip([1, 6, 9]) {
        let mut deflate = Deflate::new(Zlib::usual(level))?;
        let mut each = |bytes: &[u8]| {
            *found = (found.0 + bytes.len(), crc32(found.1, bytes));
            Ok(())
        };
        deflate.write(&sample, &mut each)?;
        deflate.finish(&mut each)?;
    }
    Ok(found)
}

/// Something like text, longer than zlib's window, and the same everywhere.
pub(crate) fn sample() -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        (state >> 16) as usize
    };
    let words: Vec<Vec<u8>> =
        (0..512).map(|_| (0..next() % 9 + 1).map(|_| b'a' + (next() % 26) as u8).collect()).collect();
    let mut text = Vec::new();
    while text.len() < 160_000 {
        text.extend_from_slice(&words[next() % (1 + next() % words.len())]);
        text.push(b" \n,.;"[next() % 5]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_stock() {
        assert_eq!(samples().unwrap(), SAMPLES);
        assert!(is_stock());
    }

    #[test]
    fn there_and_back_in_pieces_of_any_length() {
        let text = sample();
        let mut whole = Vec::new();
        for len in [1, 1000, FEED_LEN, FEED_LEN + 1, text.len()] {
            let mut deflate = Deflate::new(Zlib::usual(6)).unwrap();
            let mut packed = Vec::new();
            let mut each = |bytes: &[u8]| {
                packed.extend_from_slice(bytes);
                Ok(())
            };
            text.chunks(len).for_each(|bytes| deflate.write(bytes, &mut each).unwrap());
            deflate.finish(&mut each).unwrap();
            whole.push(packed);
        }
        assert!(whole.windows(2).all(|two| two[0] == two[1]));
        let (mut inflate, mut back, mut at, mut piece) = (Inflate::new().unwrap(), Vec::new(), 0, [0; 777]);
        loop {
            let step = inflate.step(&whole[0][at..], &mut piece).unwrap();
            back.extend_from_slice(&piece[..step.written]);
            at += step.read;
            if step.is_over {
                break;
            }
        }
        assert_eq!((back, at), (text, whole[0].len()));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_missing_ones_are_seen() {
        let mut inflate = Inflate::new().unwrap();
        assert!(inflate.step(&[0xff; 9], &mut [0; 9]).is_err());
        inflate.reset().unwrap();
        assert_eq!(inflate.step(&[], &mut [0; 9]).unwrap(), Step { read: 0, written: 0, is_over: false });
    }
}
