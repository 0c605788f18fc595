//! Compressing and decompressing, with what that needs kept by each thread: zstd's tables take
//! longer to make, and to give back to the allocator, than a message takes to compress.

use std::{cell::RefCell, io};

use zstd::bulk::{Compressor, Decompressor};

/// The fastest level that still finds what repeats: what is compressed is small and is written once
/// on the way of a message.
const LEVEL: i32 = 1;

/// The compressed bytes.
///
/// # Errors
/// zstd finds no memory.
pub(crate) fn compress(plain: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    }
    KEPT.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL)?),
        };
        compressor.compress(plain)
    })
}

/// What was compressed, at most `most` bytes of it.
///
/// # Errors
/// It is damaged, or longer than `most`; or zstd finds no memory.
pub(crate) fn decompress(compressed: &[u8], most: usize) -> io::Result<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    KEPT.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new()?),
        };
        decompressor.decompress(compressed, most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_damaged_before_does_not_show_in_what_comes_after() {
        let plain = b"one line and again one line and again one line".repeat(20);
        let good = compress(&plain).unwrap();
        // Nothing at all is a well-formed nothing; who decompresses knows how long it must be.
        for cut in 1..good.len() {
            decompress(good.get(..cut).unwrap(), plain.len()).unwrap_err();
            assert_eq!(decompress(&good, plain.len()).unwrap(), plain, "after {cut} octets");
        }
        decompress(&good, plain.len() - 1).unwrap_err();
        assert_eq!(compress(&plain).unwrap(), good);
    }
}
