//! PCR values of the SHA-256 bank by index, and the list of them that tpm2-tools writes.
//!
//! Spec: tpm2-tools, `tpm2_quote(1)`, option `--pcrs_format=serialized`: the memory of a `TPML_PCR_SELECTION`, a count, and that many
//! `TPML_DIGEST`, integers little-endian, with unused places filled (sizes from the structures of tpm2-tss: 16 banks of 8
//! bytes, 8 digests of 66 bytes). Everything that is unused must be zero.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{ALG_SHA256, PcrBank, PcrSelection};

/// PCRs that a PC client has: 0 to 23.
pub const MAX_PCRS: u8 = 24;

/// Bytes of the bitmap of a PC client.
const SELECT: usize = 3;
/// `TPML_PCR_SELECTION` in memory: count, and 16 banks.
const BANKS: usize = 16;
const BANK: usize = 8;
/// `TPML_DIGEST` in memory: count, and 8 digests with their length.
const DIGESTS: usize = 8;
const DIGEST: usize = 2 + 64;
const VALUE: usize = 32;

/// Why a selection is not one of PCRs of the SHA-256 bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// Not one bank.
    #[error("{found} banks, wanted 1")]
    Banks {
        /// Banks selected.
        found: usize,
    },
    /// Another bank.
    #[error("bank {} ({found:#06x}), wanted SHA-256 (0x000b)", algorithm(*.found))]
    Bank {
        /// `TPM_ALG_ID` of the bank.
        found: u16,
    },
    /// A bitmap that is not of a PC client.
    #[error("a bitmap of {found} bytes, wanted {SELECT}")]
    Bitmap {
        /// Bytes of the bitmap.
        found: usize,
    },
}

fn algorithm(id: u16) -> &'static str {
    match id {
        0x0004 => "SHA-1",
        0x000b => "SHA-256",
        0x000c => "SHA-384",
        0x000d => "SHA-512",
        0x0012 => "SM3-256",
        _ => "unknown",
    }
}

/// Why bytes are not a list of PCR values as tpm2-tools write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PcrListError {
    /// Another length than its counts give.
    #[error("PCR list has {found} bytes, wanted {wanted}")]
    Length {
        /// Bytes that the counts give, or the shortest list.
        wanted: usize,
        /// Length in bytes.
        found: usize,
    },
    /// A count that cannot be.
    #[error("PCR list has `{field}` {found} at byte {offset}, wanted {wanted}")]
    Count {
        /// The field.
        field: &'static str,
        /// Where it is.
        offset: usize,
        /// What can be.
        wanted: &'static str,
        /// What is there.
        found: u32,
    },
    /// The selection.
    #[error("PCR list is of {0}")]
    Selection(#[from] SelectionError),
    /// Bytes that stand for nothing, and are not zero.
    #[error("PCR list is not zero in the unused bytes at {offset}")]
    Unused {
        /// Where the unused bytes start.
        offset: usize,
    },
    /// More or fewer values than PCRs are selected.
    #[error("PCR list selects {wanted} PCRs and has {found} values")]
    Values {
        /// PCRs selected.
        wanted: usize,
        /// Values there.
        found: usize,
    },
}

impl PcrSelection {
    /// The PCRs that a quote or list selects: of one bank, SHA-256, with the bitmap of a PC client.
    ///
    /// # Errors
    /// See [`SelectionError`].
    pub fn sha256(banks: &[PcrSelection]) -> Result<BTreeSet<u8>, SelectionError> {
        let [bank] = banks else {
            let found = banks.len();
            return Err(SelectionError::Banks { found });
        };
        if bank.hash != ALG_SHA256 {
            return Err(SelectionError::Bank { found: bank.hash });
        }
        if bank.select.len() != SELECT {
            let found = bank.select.len();
            return Err(SelectionError::Bitmap { found });
        }
        Ok(selected(&bank.select))
    }
}

/// Bit `n % 8` of byte `n / 8` is PCR `n`.
fn selected(bitmap: &[u8]) -> BTreeSet<u8> {
    let bit = |index: &u8| {
        let byte = bitmap.get(usize::from(index / 8));
        byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    };
    (0..MAX_PCRS).filter(bit).collect()
}

/// Values of PCRs of the SHA-256 bank by index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PcrValues(pub BTreeMap<u8, [u8; 32]>);

impl From<&PcrBank> for PcrValues {
    fn from(bank: &PcrBank) -> Self {
        Self((0..).zip(bank.0).collect())
    }
}

impl PcrValues {
    /// The value of PCR `index`.
    pub fn get(&self, index: u8) -> Option<&[u8; 32]> {
        self.0.get(&index)
    }

    /// The PCRs that there are values of.
    pub fn indices(&self) -> BTreeSet<u8> {
        self.0.keys().copied().collect()
    }

    /// `pcrDigest` of a quote over all of them: the SHA-256 of the values in the order of their indices (Part 3, `TPM2_Quote`).
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.0.values().for_each(|value| hash.update(value));
        hash.finalize().into()
    }

    /// Reads the list that `tpm2_quote --pcrs` and `tpm2_pcrread -F serialized` write: 132 bytes of selection, a count, and lists of up
    /// to 8 digests of 532 bytes each.
    ///
    /// # Errors
    /// See [`PcrListError`].
    pub fn from_tools(input: &[u8]) -> Result<Self, PcrListError> {
        let mut list = List {
            rest: input,
            whole: input.len(),
        };
        let indices = list.selection()?;
        let lists = list.count("count of digest lists", 1..=u32::from(MAX_PCRS), "1 to 24")?;
        let mut values = Vec::new();
        for _ in 0..lists {
            list.digests(&mut values)?;
        }
        if !list.rest.is_empty() {
            return Err(PcrListError::Length {
                wanted: list.offset(),
                found: list.whole,
            });
        }
        if values.len() != indices.len() {
            return Err(PcrListError::Values {
                wanted: indices.len(),
                found: values.len(),
            });
        }
        Ok(Self(indices.into_iter().zip(values).collect()))
    }
}

/// What is left of a list.
struct List<'b> {
    rest: &'b [u8],
    whole: usize,
}

impl<'b> List<'b> {
    fn offset(&self) -> usize {
        self.whole - self.rest.len()
    }

    fn take<const N: usize>(&mut self) -> Result<&'b [u8; N], PcrListError> {
        let short = PcrListError::Length {
            wanted: self.offset() + N,
            found: self.whole,
        };
        let (taken, rest) = self.rest.split_first_chunk().ok_or(short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn count(
        &mut self,
        field: &'static str,
        allowed: core::ops::RangeInclusive<u32>,
        wanted: &'static str,
    ) -> Result<u32, PcrListError> {
        let offset = self.offset();
        let found = u32::from_le_bytes(*self.take()?);
        match allowed.contains(&found) {
            true => Ok(found),
            false => Err(PcrListError::Count {
                field,
                offset,
                wanted,
                found,
            }),
        }
    }

    fn unused<const N: usize>(&mut self) -> Result<(), PcrListError> {
        let offset = self.offset();
        match self.take::<N>()?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(PcrListError::Unused { offset }),
        }
    }

    /// One bank, and zeros in the place of 15 others.
    fn selection(&mut self) -> Result<BTreeSet<u8>, PcrListError> {
        let banks = self.count("count of banks", 0..=u32::MAX, "1")?;
        if banks != 1 {
            let found = usize::try_from(banks).unwrap_or(usize::MAX);
            return Err(SelectionError::Banks { found }.into());
        }
        let hash = u16::from_le_bytes(*self.take()?);
        let [size] = *self.take()?;
        let bitmap = *self.take::<SELECT>()?;
        self.unused::<2>()?; // fourth byte of the bitmap, and padding
        self.unused::<{ (BANKS - 1) * BANK }>()?;
        let select = bitmap.get(..usize::from(size)).unwrap_or_default().to_vec();
        if usize::from(size) != SELECT {
            let found = usize::from(size);
            return Err(SelectionError::Bitmap { found }.into());
        }
        Ok(PcrSelection::sha256(&[PcrSelection { hash, select }])?)
    }

    /// One list: digests, and zeros in the place of those that are missing to 8.
    fn digests(&mut self, values: &mut Vec<[u8; VALUE]>) -> Result<(), PcrListError> {
        let count = self.count("count of digests", 1..=8, "1 to 8")?;
        for place in 0..DIGESTS {
            if place >= usize::try_from(count).unwrap_or(usize::MAX) {
                self.unused::<DIGEST>()?;
                continue;
            }
            let offset = self.offset();
            let size = u16::from_le_bytes(*self.take()?);
            if usize::from(size) != VALUE {
                return Err(PcrListError::Count {
                    field: "size of a digest",
                    offset,
                    wanted: "32",
                    found: size.into(),
                });
            }
            values.push(*self.take()?);
            self.unused::<{ DIGEST - 2 - VALUE }>()?;
        }
        Ok(())
    }
}
