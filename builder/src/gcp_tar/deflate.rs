//! Pieces of one deflate stream, made apart from each other.
//!
//! Spec: RFC 1951, 3.2.3 (blocks) and 3.2.4 (stored blocks).
//! Units: bytes.
//! Determinism: a piece's encoding depends on its bytes alone. `miniz_oxide`, at the version of `Cargo.lock`, uses nothing of
//! the processor that changes a result; a golden test holds it.

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, TDEFLStatus, compress, create_comp_flags_from_zip_params,
};

use super::GcpTarError;

/// Level of the deflater: weights and shared libraries gain little by more, for twice the time and longer.
const LEVEL: i32 = 1;
/// No header and no checksum around the stream.
const RAW: i32 = -15;
/// Bytes that are tried before all of them are deflated: from [`SAMPLES`] places of a piece.
const SAMPLE: usize = 8 << 10;
const SAMPLES: usize = 4;
/// A piece is stored where its samples do not shrink to this part of them: what little there is to win takes the most time.
const WORTH: (usize, usize) = (4, 5);
/// Most bytes of a stored block.
const STORED: usize = 0xffff;
/// What a flush ends with: the lengths of an empty stored block.
const SYNC: [u8; 4] = [0, 0, 0xff, 0xff];

/// `plain` as a piece of a deflate stream that ends at a byte; the last one ends the stream.
pub(super) fn piece(plain: &[u8], last: bool) -> Result<Vec<u8>, GcpTarError> {
    if is_worth_it(plain)? {
        deflate(plain, last)
    } else {
        Ok(store(plain, last))
    }
}

/// Whether samples of `plain` shrink enough; what is not much longer than they are always is.
fn is_worth_it(plain: &[u8]) -> Result<bool, GcpTarError> {
    let step = plain.len() / SAMPLES;
    if step < 2 * SAMPLE {
        return Ok(true);
    }
    let mut deflated = 0;
    for sample in plain.chunks_exact(step) {
        deflated += deflate(sample.get(..SAMPLE).unwrap_or(sample), false)?.len();
    }
    Ok(deflated * WORTH.1 < SAMPLES * SAMPLE * WORTH.0)
}

fn deflate(plain: &[u8], last: bool) -> Result<Vec<u8>, GcpTarError> {
    let mut compressor = CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, RAW, 0));
    // No encoding is longer than 9 bits for a byte; a flush adds a few bytes.
    let room = plain.len() + plain.len() / 8 + 1024;
    let mut bytes = vec![0; room];
    let (flush, wanted) = if last {
        (TDEFLFlush::Finish, TDEFLStatus::Done)
    } else {
        (TDEFLFlush::Sync, TDEFLStatus::Okay)
    };
    let (status, taken, made) = compress(&mut compressor, plain, &mut bytes, flush);
    bytes.truncate(made);
    // A flush is complete only where room is left behind it.
    let complete = made < room && (last || bytes.ends_with(&SYNC));
    if status != wanted || taken != plain.len() || !complete {
        return Err(GcpTarError::Deflate {
            wanted: plain.len(),
            found: taken,
        });
    }
    Ok(bytes)
}

/// Stored blocks, which begin and end at bytes.
fn store(plain: &[u8], last: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(plain.len() + 5 * plain.len().div_ceil(STORED));
    let mut blocks = plain.chunks(STORED).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        bytes.push(u8::from(last && blocks.peek().is_none()));
        bytes.extend(length.to_le_bytes());
        bytes.extend((!length).to_le_bytes());
        bytes.extend(block);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rand::{RngCore as _, SeedableRng as _};

    use super::*;

    /// Read by another implementation (`zlib-rs`).
    fn inflated(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::DeflateDecoder::new(bytes)
            .read_to_end(&mut plain)
            .unwrap();
        plain
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        rand::rngs::StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn stored_blocks_are_read_whatever_their_number() {
        for length in [1, STORED - 1, STORED, STORED + 1, 2 * STORED, 1 << 20] {
            let plain = noise(length);
            let mut stream = store(&plain, false);
            assert_eq!(stream.len(), length + 5 * length.div_ceil(STORED));
            stream.extend(store(&plain, true));
            assert!(
                inflated(&stream) == [&plain[..], &plain[..]].concat(),
                "{length}"
            );
        }
    }

    #[test]
    fn only_what_shrinks_is_deflated() {
        let noise = noise(1 << 20);
        // As text: half of each byte.
        let half: Vec<u8> = noise.iter().map(|byte| byte & 15).collect();
        for (plain, deflates) in [(&noise, false), (&half, true), (&vec![0; 1 << 20], true)] {
            assert_eq!(is_worth_it(plain).unwrap(), deflates);
            let stream = [piece(plain, false).unwrap(), piece(b"end", true).unwrap()].concat();
            assert!(stream.len() < plain.len() + 1024, "longer than its input");
            assert_eq!(stream.len() < plain.len() * 3 / 4, deflates);
            assert!(inflated(&stream) == [plain, &b"end"[..]].concat());
        }
    }

    #[test]
    fn short_pieces_are_deflated_and_none_is_empty() {
        for length in [0, 1, 777, SAMPLES * 2 * SAMPLE - 1] {
            let plain = noise(length);
            assert!(is_worth_it(&plain).unwrap());
            assert!(inflated(&piece(&plain, true).unwrap()) == plain);
            let stream = [piece(&plain, false).unwrap(), piece(&plain, true).unwrap()].concat();
            assert!(inflated(&stream) == [&plain[..], &plain[..]].concat());
        }
    }
}
