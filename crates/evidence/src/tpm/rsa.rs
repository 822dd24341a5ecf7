//! RSA: `TPMT_SIGNATURE` and `TPMT_PUBLIC` of an attestation key that signs with RSASSA and SHA-256.

use super::{ALG_NULL, ALG_RSA, ALG_RSASSA, ALG_SHA256, Cursor, TpmError};

const SIGNATURE: &str = "TPMT_SIGNATURE";
const PUBLIC: &str = "TPMT_PUBLIC";
/// Lengths of a modulus, and so of a signature, in bytes: 2048, 3072 and 4096 bits.
const LENGTHS: [usize; 3] = [256, 384, 512];
/// `exponent` of 0 means this (Part 2, table "Definition of {RSA} TPMS_RSA_PARMS Structure").
const DEFAULT_EXPONENT: u32 = 65537;
const MAX_POLICY: usize = 64;

/// Takes the RSASSA signature out of a `TPMT_SIGNATURE` (Part 2, tables "Definition of TPMT_SIGNATURE Structure" and
/// "Definition of {RSA} TPMS_SIGNATURE_RSA Structure"), or as it is where the input is as long as a modulus: 256, 384 or
/// 512 bytes, which no `TPMT_SIGNATURE` of these is.
///
/// # Errors
/// When `input` is anything but one such signature.
pub fn rsa_signature(input: &[u8]) -> Result<&[u8], TpmError> {
    if LENGTHS.contains(&input.len()) {
        return Ok(input);
    }
    let mut cursor = Cursor::new(SIGNATURE, input)?;
    cursor.exact("sigAlg", ALG_RSASSA)?;
    cursor.exact("hash", ALG_SHA256)?;
    let signature = cursor.sized("sig", 512)?;
    cursor.finish()?;
    modulus_long(SIGNATURE, "sig", signature)
}

/// The public area of an RSA key that signs SHA-256 digests with RSASSA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaAttestationKey {
    /// `objectAttributes`.
    pub attributes: u32,
    /// n, big-endian, 256, 384 or 512 bytes.
    pub modulus: Vec<u8>,
    /// e.
    pub exponent: u32,
}

impl RsaAttestationKey {
    /// Parses `TPMT_PUBLIC` (table "Definition of TPMT_PUBLIC Structure") with `TPMS_RSA_PARMS` and
    /// `TPM2B_PUBLIC_KEY_RSA`. Name algorithm SHA-256, no symmetric cipher and scheme RSASSA with SHA-256 are the only
    /// values accepted.
    ///
    /// # Errors
    /// When `input` is anything but one such public area.
    pub fn parse(input: &[u8]) -> Result<Self, TpmError> {
        let mut cursor = Cursor::new(PUBLIC, input)?;
        cursor.exact("type", ALG_RSA)?;
        cursor.exact("nameAlg", ALG_SHA256)?;
        let attributes = cursor.u32("objectAttributes")?;
        cursor.sized("authPolicy", MAX_POLICY)?;
        cursor.exact("parameters.symmetric.algorithm", ALG_NULL)?;
        cursor.exact("parameters.scheme.scheme", ALG_RSASSA)?;
        cursor.exact("parameters.scheme.details.hashAlg", ALG_SHA256)?;
        let bits = cursor.u16("parameters.keyBits")?;
        let exponent = match cursor.u32("parameters.exponent")? {
            0 => DEFAULT_EXPONENT,
            exponent => exponent,
        };
        let modulus = cursor.sized("unique", 512)?;
        cursor.finish()?;
        let modulus = modulus_long(PUBLIC, "unique", modulus)?.to_vec();
        let length = u32::try_from(modulus.len()).unwrap_or(u32::MAX);
        if u32::from(bits) != 8 * length {
            return Err(TpmError::Value {
                what: PUBLIC,
                field: "parameters.keyBits",
                wanted: 8 * length,
                found: bits.into(),
            });
        }
        Ok(Self {
            attributes,
            modulus,
            exponent,
        })
    }
}

fn modulus_long<'b>(
    what: &'static str,
    field: &'static str,
    bytes: &'b [u8],
) -> Result<&'b [u8], TpmError> {
    let found = bytes.len();
    match LENGTHS.contains(&found) {
        true => Ok(bytes),
        false => Err(TpmError::Modulus { what, field, found }),
    }
}
