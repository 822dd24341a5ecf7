//! The DER of each certificate of a chain: PEM blocks, or DER one behind the other.

use x509_cert::der::{Decode as _, Header, Reader as _, SliceReader, pem};

use super::{ChainError, LENGTH};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Splits the input; at most one certificate more than a chain has is looked at.
pub(super) fn blocks(input: &[u8]) -> Result<Vec<Vec<u8>>, ChainError> {
    match core::str::from_utf8(input) {
        Ok(text) if text.trim_start().starts_with(BEGIN) => pem_blocks(text),
        _ => der_blocks(input),
    }
}

/// Nothing but white space may stand between the blocks; zeros may follow, as in NVML's buffer.
fn pem_blocks(text: &str) -> Result<Vec<Vec<u8>>, ChainError> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(block) = next(rest) {
        let number = blocks.len() + 1;
        if number > LENGTH {
            return Err(ChainError::Count { found: number });
        }
        let (block, behind) = block.split_once(END).ok_or(ChainError::Pem { number })?;
        let block = format!("{block}{END}\n");
        let (label, der) =
            pem::decode_vec(block.as_bytes()).map_err(|_| ChainError::Pem { number })?;
        if label != "CERTIFICATE" {
            return Err(ChainError::Pem { number });
        }
        blocks.push(der);
        rest = behind;
    }
    let stray = rest.trim_start_matches(|found: char| found.is_ascii_whitespace());
    match stray.trim_end_matches('\0') {
        "" => Ok(blocks),
        _ => Err(ChainError::Stray {
            offset: text.len() - stray.len(),
        }),
    }
}

/// The input from the next block on, where white space alone stands before it.
fn next(rest: &str) -> Option<&str> {
    let start = rest.trim_start_matches(|found: char| found.is_ascii_whitespace());
    start.starts_with(BEGIN).then_some(start)
}

fn der_blocks(input: &[u8]) -> Result<Vec<Vec<u8>>, ChainError> {
    let mut blocks = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let stray = ChainError::Stray {
            offset: input.len() - rest.len(),
        };
        let Some((block, behind)) = first(rest) else {
            return Err(stray);
        };
        if blocks.len() == LENGTH {
            return Err(ChainError::Count { found: LENGTH + 1 });
        }
        blocks.push(block.to_vec());
        rest = behind;
    }
    Ok(blocks)
}

/// Splits the first DER sequence off.
fn first(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(input).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    header.tag.assert_eq(x509_cert::der::Tag::Sequence).ok()?;
    let length = usize::try_from(reader.position()).ok()? + usize::try_from(header.length).ok()?;
    input.split_at_checked(length)
}
