//! `TPMT_SIGNATURE` of a quote.

use super::{ALG_ECDSA, ALG_SHA256, Cursor, TpmError};

const WHAT: &str = "TPMT_SIGNATURE";

/// An ECDSA P-256 signature over a SHA-256 digest (Part 2, tables "Definition of TPMT_SIGNATURE
/// Structure" and "Definition of TPMS_SIGNATURE_ECC Structure").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EcdsaSignature {
    /// r, 32 bytes big-endian.
    pub r: [u8; 32],
    /// s, 32 bytes big-endian.
    pub s: [u8; 32],
}

impl EcdsaSignature {
    /// Parses `TPMT_SIGNATURE`; the algorithms must be ECDSA and SHA-256.
    ///
    /// # Errors
    /// When `input` is anything but one such signature.
    pub fn parse(input: &[u8]) -> Result<Self, TpmError> {
        let mut cursor = Cursor::new(WHAT, input)?;
        cursor.exact("sigAlg", ALG_ECDSA)?;
        cursor.exact("hash", ALG_SHA256)?;
        let r = cursor.coordinate("signatureR")?;
        let s = cursor.coordinate("signatureS")?;
        cursor.finish()?;
        Ok(Self { r, s })
    }
}
