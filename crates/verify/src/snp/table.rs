//! The certificate table behind an extended SNP report.
//!
//! Spec: AMD 56421 (GHCB), "SNP Extended Guest Request": entries of GUID, offset and length (u32, little-endian, bytes from the start
//! of the table), closed by an entry of zeros. GUIDs stand in the order in which they are written. Unknown kinds are passed over.

use thiserror::Error;

const VCEK: [u8; 16] = guid(0x63da_758d_e664_4564_adc5_f4b9_3be8_accd);
const VLEK: [u8; 16] = guid(0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1);
const ASK: [u8; 16] = guid(0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782);
const ARK: [u8; 16] = guid(0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae);
const CRL: [u8; 16] = guid(0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea);
/// Most entries that are read.
const MAX_ENTRIES: usize = 16;

const fn guid(value: u128) -> [u8; 16] {
    value.to_be_bytes()
}

/// Why bytes are not such a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TableError {
    /// No closing entry.
    #[error(
        "certificate table has no closing entry within {MAX_ENTRIES} entries and {found} bytes"
    )]
    NotClosed {
        /// Length in bytes.
        found: usize,
    },
    /// A certificate that lies outside, or inside of the entries.
    #[error("entry {entry} of the certificate table lies outside of it")]
    Outside {
        /// Which entry, from 0 on.
        entry: usize,
    },
    /// Two certificates of one kind.
    #[error("entry {entry} of the certificate table has a kind that stands twice")]
    Twice {
        /// Which entry, from 0 on.
        entry: usize,
    },
}

/// The certificates, as they stand in the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table<'a> {
    /// VCEK or VLEK.
    pub vek: Option<&'a [u8]>,
    /// ASK and ARK.
    pub chain: Vec<&'a [u8]>,
    /// Revocation lists.
    pub crls: Vec<&'a [u8]>,
}

impl<'a> Table<'a> {
    /// Reads a table; no bytes are one without certificates.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn parse(input: &'a [u8]) -> Result<Self, TableError> {
        let mut table = Self::default();
        if input.is_empty() {
            return Ok(table);
        }
        let rows = rows(input)?;
        let entries = 24 * (rows.len() + 1);
        let mut seen = Vec::new();
        for (entry, row) in rows.into_iter().enumerate() {
            let (guid, place) = row.split_at(16);
            let signer = [VCEK, VLEK].iter().any(|known| known == guid);
            // One key signs a report: a VCEK and a VLEK are two of a kind.
            let kind = if signer { &VCEK[..] } else { guid };
            if seen.contains(&kind) {
                return Err(TableError::Twice { entry });
            }
            seen.push(kind);
            let number = |at: usize| {
                let bytes = place.get(at..).and_then(|rest| rest.first_chunk());
                u32::from_le_bytes(bytes.copied().unwrap_or_default()) as usize
            };
            let (start, length) = (number(0), number(4));
            let bytes = input.get(start..).and_then(|rest| rest.get(..length));
            let bytes = bytes.filter(|_| start >= entries);
            let bytes = bytes.ok_or(TableError::Outside { entry })?;
            if signer {
                table.vek = Some(bytes);
            } else if guid == ASK || guid == ARK {
                table.chain.push(bytes);
            } else if guid == CRL {
                table.crls.push(bytes);
            }
        }
        Ok(table)
    }
}

/// The entries in front of the closing one.
fn rows(input: &[u8]) -> Result<Vec<&[u8; 24]>, TableError> {
    let not_closed = TableError::NotClosed { found: input.len() };
    let mut rows = Vec::new();
    let mut rest = input;
    loop {
        let (row, behind) = rest.split_first_chunk().ok_or(not_closed)?;
        if *row == [0; 24] {
            return Ok(rows);
        }
        if rows.len() == MAX_ENTRIES {
            return Err(not_closed);
        }
        rows.push(row);
        rest = behind;
    }
}
