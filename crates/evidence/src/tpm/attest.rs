//! `TPMS_ATTEST` of a quote.

use super::{Cursor, TpmError};

/// `TPM_GENERATED_VALUE`: 0xff, "TCG" (Part 2, table "Definition of (UINT32) TPM_GENERATED Constants").
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE` (table "Definition of (UINT16) TPM_ST Constants").
const ATTEST_QUOTE: u16 = 0x8018;
const WHAT: &str = "TPMS_ATTEST";
/// A name is a `u16` algorithm and a digest of at most 64 bytes.
const MAX_NAME: usize = 66;
/// `TPM2B_DATA` holds at most a `TPMT_HA`.
const MAX_DATA: usize = 66;
const MAX_DIGEST: usize = 64;
/// Banks in a selection; a TPM has a handful.
const MAX_BANKS: usize = 16;
/// Bytes of a bitmap: `PCR_SELECT_MAX` is 3 on PC clients.
const MAX_SELECT: usize = 4;

/// One bank of `TPML_PCR_SELECTION` (table "Definition of TPMS_PCR_SELECTION Structure").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrSelection {
    /// Hash algorithm of the bank, `TPM_ALG_ID`.
    pub hash: u16,
    /// Bitmap: bit `n % 8` of byte `n / 8` selects PCR `n`.
    pub select: Vec<u8>,
}

/// `TPMS_CLOCK_INFO` (table "Definition of TPMS_CLOCK_INFO Structure").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockInfo {
    /// Milliseconds that the TPM has been powered, over its life.
    pub clock: u64,
    /// TPM resets since the last clear.
    pub reset_count: u32,
    /// Restarts or resumes since the last reset.
    pub restart_count: u32,
    /// Whether no value of `clock` has been reported that is greater than the present one.
    pub safe: bool,
}

/// `TPMS_ATTEST` with `TPMS_QUOTE_INFO` (tables "Definition of TPMS_ATTEST Structure" and "Definition
/// of TPMS_QUOTE_INFO Structure").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Qualified name of the signing key.
    pub qualified_signer: Vec<u8>,
    /// Qualifying data of the caller.
    pub extra_data: Vec<u8>,
    /// Clock and counters of the TPM.
    pub clock_info: ClockInfo,
    /// Version of the TPM's firmware, as its vendor counts.
    pub firmware_version: u64,
    /// Banks and PCRs that the quote covers.
    pub pcr_select: Vec<PcrSelection>,
    /// Digest over the selected PCRs.
    pub pcr_digest: Vec<u8>,
}

impl Quote {
    /// Parses `TPMS_ATTEST`; magic and type must be those of a quote.
    ///
    /// # Errors
    /// When `input` is anything but one quote.
    pub fn parse(input: &[u8]) -> Result<Self, TpmError> {
        let mut cursor = Cursor::new(WHAT, input)?;
        let magic = cursor.u32("magic")?;
        cursor.equal("magic", GENERATED, magic)?;
        cursor.exact("type", ATTEST_QUOTE)?;
        let qualified_signer = cursor.sized("qualifiedSigner", MAX_NAME)?.to_owned();
        let extra_data = cursor.sized("extraData", MAX_DATA)?.to_owned();
        let clock_info = clock_info(&mut cursor)?;
        let firmware_version = cursor.u64("firmwareVersion")?;
        let pcr_select = pcr_select(&mut cursor)?;
        let pcr_digest = cursor.sized("pcrDigest", MAX_DIGEST)?.to_owned();
        cursor.finish()?;
        Ok(Self {
            qualified_signer,
            extra_data,
            clock_info,
            firmware_version,
            pcr_select,
            pcr_digest,
        })
    }
}

fn clock_info(cursor: &mut Cursor<'_>) -> Result<ClockInfo, TpmError> {
    let clock = cursor.u64("clock")?;
    let reset_count = cursor.u32("resetCount")?;
    let restart_count = cursor.u32("restartCount")?;
    let safe = cursor.u8("safe")?; // TPMI_YES_NO
    if safe > 1 {
        cursor.equal("safe", 1, safe.into())?;
    }
    Ok(ClockInfo {
        clock,
        reset_count,
        restart_count,
        safe: safe == 1,
    })
}

fn pcr_select(cursor: &mut Cursor<'_>) -> Result<Vec<PcrSelection>, TpmError> {
    let count = usize::try_from(cursor.u32("pcrSelect.count")?).unwrap_or(usize::MAX);
    let limit = MAX_BANKS;
    if count > limit {
        let field = "pcrSelect.count";
        return Err(TpmError::Length {
            what: WHAT,
            field,
            limit,
            found: count,
        });
    }
    let mut banks = Vec::with_capacity(count);
    for _ in 0..count {
        let hash = cursor.u16("pcrSelect.hash")?;
        let found = usize::from(cursor.u8("pcrSelect.sizeofSelect")?);
        if found > MAX_SELECT {
            let field = "pcrSelect.sizeofSelect";
            return Err(TpmError::Length {
                what: WHAT,
                field,
                limit: MAX_SELECT,
                found,
            });
        }
        let select = cursor.take("pcrSelect.pcrSelect", found)?.to_owned();
        banks.push(PcrSelection { hash, select });
    }
    Ok(banks)
}
