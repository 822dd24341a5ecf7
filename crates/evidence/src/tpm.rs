//! TPM 2.0 structures of a quote: parsing, and the `cpu` section that carries them.
//!
//! Spec: TCG TPM 2.0 Library, Part 2 "Structures" (table titles are named where they are used) and
//! Part 1 "Architecture" for names and qualified names. Integers are big-endian; a `TPM2B` is a `u16`
//! length in bytes and the bytes. Two kinds of key are accepted, with SHA-256 everywhere: ECDSA P-256, which Cloister's
//! guest makes, and RSASSA, which Azure's paravisor makes. Not covered: other hash algorithms, the commands.

mod attest;
mod pcrs;
mod public;
mod rsa;
mod signature;

pub use attest::{ClockInfo, PcrSelection, Quote};
pub use pcrs::{MAX_PCRS, PcrListError, PcrValues, SelectionError};
pub use public::{
    AK_ATTRIBUTES, AttestationKey, FIXED_PARENT, FIXED_TPM, RESTRICTED, SENSITIVE_DATA_ORIGIN,
    SIGN, ak_template,
};
pub use rsa::{RsaAttestationKey, rsa_signature};
pub use signature::EcdsaSignature;

use core::fmt;

use sha2::{Digest, Sha256};

use crate::cbor::{CborError, Reader, Writer};

/// `TPM_ALG_NULL` (Part 2, table "Definition of (UINT16) TPM_ALG_ID Constants", like the next ones).
pub const ALG_NULL: u16 = 0x0010;
/// `TPM_ALG_SHA256`.
pub const ALG_SHA256: u16 = 0x000b;
/// `TPM_ALG_ECDSA`.
pub const ALG_ECDSA: u16 = 0x0018;
/// `TPM_ALG_RSA`.
pub const ALG_RSA: u16 = 0x0001;
/// `TPM_ALG_RSASSA`: PKCS #1 v1.5.
pub const ALG_RSASSA: u16 = 0x0014;
/// `TPM_ALG_ECC`.
pub const ALG_ECC: u16 = 0x0023;
/// `TPM_ECC_NIST_P256` (table "Definition of (UINT16) {ECC} TPM_ECC_CURVE Constants").
pub const ECC_NIST_P256: u16 = 0x0003;
/// `TPM_RH_OWNER` (table "Definition of (UINT32) TPM_RH Constants").
pub const RH_OWNER: u32 = 0x4000_0001;

/// PCRs that a quote covers: 0 to 15.
pub const PCRS: usize = 16;
/// The bitmap of those PCRs in a `TPMS_PCR_SELECTION`: bit `n % 8` of byte `n / 8` is PCR `n`.
pub const PCR_BITMAP: [u8; 3] = [0xff, 0xff, 0x00];

/// Longest TPM structure in the `cpu` section, in bytes.
pub const MAX_STRUCTURE: usize = 1024;

const WHAT: &str = "cpu section (TPM quote)";
const MAX_ENCODED: usize = 3 * MAX_STRUCTURE + 1024;

/// Why bytes are not the TPM structure wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// The structure ends too early.
    #[error("{what} ends inside `{field}`: {need} bytes wanted, {have} left")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Bytes wanted.
        need: usize,
        /// Bytes left.
        have: usize,
    },
    /// Bytes follow the structure.
    #[error("{what} is followed by {found} more bytes")]
    Trailing {
        /// The structure.
        what: &'static str,
        /// Number of bytes.
        found: usize,
    },
    /// A fixed field has another value.
    #[error("{what}: `{field}` is {found:#x}, wanted {wanted:#x}")]
    Value {
        /// The structure.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// What the format demands.
        wanted: u32,
        /// What stands there.
        found: u32,
    },
    /// A field has a length that the format does not allow.
    #[error("{what}: `{field}` has {found} bytes, at most {limit} are allowed")]
    Length {
        /// The structure.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Most bytes allowed.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// A number that is not as long as an RSA modulus.
    #[error("{what}: `{field}` has {found} bytes, wanted 256, 384 or 512")]
    Modulus {
        /// The structure.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Bytes found.
        found: usize,
    },
}

/// The values of PCRs 0 to 15, SHA-256 bank.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PcrBank(pub [[u8; 32]; PCRS]);

impl PcrBank {
    /// The value of PCR `index`, if it is one of 0 to 15.
    pub fn get(&self, index: usize) -> Option<&[u8; 32]> {
        self.0.get(index)
    }

    /// `pcrDigest` of a quote over all of them: the SHA-256 of the values in the order of their
    /// indices (Part 3, `TPM2_Quote`).
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_flattened()).into()
    }

    /// Writes `[[index, value], ...]`.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.array(PCRS);
        for (index, value) in (0_u64..).zip(&self.0) {
            writer.array(2).uint(index).bytes(value);
        }
    }

    /// Reads `[[index, value], ...]`, all of them in order.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        reader.array(PCRS)?;
        let mut pcrs = PcrBank([[0; 32]; PCRS]);
        for (index, value) in (0_u64..).zip(&mut pcrs.0) {
            reader.array(2)?;
            reader.exact_uint(index, "the next PCR index")?;
            *value = reader.digest()?;
        }
        Ok(pcrs)
    }
}

impl fmt::Debug for PcrBank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(hex::encode).enumerate())
            .finish()
    }
}

/// The `cpu` section of a machine with a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmEvidence {
    /// `TPMS_ATTEST`, the bytes that were signed; [`Quote::parse`].
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`; [`EcdsaSignature::parse`].
    pub signature: Vec<u8>,
    /// `TPMT_PUBLIC` of the attestation key; [`AttestationKey::parse`].
    pub ak_public: Vec<u8>,
    /// The PCR values that the quote is said to cover.
    pub pcrs: PcrBank,
}

impl TpmEvidence {
    /// The CBOR of the section: `{1: attest, 2: signature, 3: public, 4: [[index, value]...]}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer
            .map(4)
            .uint(1)
            .bytes(&self.attest)
            .uint(2)
            .bytes(&self.signature);
        writer.uint(3).bytes(&self.ak_public).uint(4);
        self.pcrs.write(&mut writer);
        writer.finish()
    }

    /// Reads the CBOR of the section; the TPM structures in it are not looked into.
    ///
    /// # Errors
    /// When `input` is not the deterministic encoding of a section within the limits.
    pub fn decode(input: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(WHAT, input, MAX_ENCODED)?;
        reader.map(4)?;
        reader.exact_uint(1, "key 1 (TPMS_ATTEST)")?;
        let attest = reader.bytes(MAX_STRUCTURE)?.to_owned();
        reader.exact_uint(2, "key 2 (TPMT_SIGNATURE)")?;
        let signature = reader.bytes(MAX_STRUCTURE)?.to_owned();
        reader.exact_uint(3, "key 3 (TPMT_PUBLIC)")?;
        let ak_public = reader.bytes(MAX_STRUCTURE)?.to_owned();
        reader.exact_uint(4, "key 4 (PCR values)")?;
        let pcrs = PcrBank::read(&mut reader)?;
        let evidence = Self {
            attest,
            signature,
            ak_public,
            pcrs,
        };
        reader.finish(&evidence.encode())?;
        Ok(evidence)
    }
}

/// Reads a TPM structure from its front.
struct Cursor<'b> {
    what: &'static str,
    rest: &'b [u8],
}

impl<'b> Cursor<'b> {
    fn new(what: &'static str, input: &'b [u8]) -> Result<Self, TpmError> {
        let (limit, found) = (MAX_STRUCTURE, input.len());
        if found > limit {
            return Err(TpmError::Length {
                what,
                field: "the structure",
                limit,
                found,
            });
        }
        Ok(Self { what, rest: input })
    }

    fn take(&mut self, field: &'static str, need: usize) -> Result<&'b [u8], TpmError> {
        let have = self.rest.len();
        let truncated = TpmError::Truncated {
            what: self.what,
            field,
            need,
            have,
        };
        let (taken, rest) = self.rest.split_at_checked(need).ok_or(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], TpmError> {
        let have = self.rest.len();
        let truncated = TpmError::Truncated {
            what: self.what,
            field,
            need: N,
            have,
        };
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, TpmError> {
        self.array(field).map(u8::from_be_bytes)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, TpmError> {
        self.array(field).map(u16::from_be_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, TpmError> {
        self.array(field).map(u32::from_be_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, TpmError> {
        self.array(field).map(u64::from_be_bytes)
    }

    /// A `u16` that can only have one value.
    fn exact(&mut self, field: &'static str, wanted: u16) -> Result<(), TpmError> {
        let found = self.u16(field)?;
        self.equal(field, wanted.into(), found.into())
    }

    fn equal(&self, field: &'static str, wanted: u32, found: u32) -> Result<(), TpmError> {
        let what = self.what;
        if wanted == found {
            Ok(())
        } else {
            Err(TpmError::Value {
                what,
                field,
                wanted,
                found,
            })
        }
    }

    /// A `TPM2B` of at most `limit` bytes.
    fn sized(&mut self, field: &'static str, limit: usize) -> Result<&'b [u8], TpmError> {
        let found = usize::from(self.u16(field)?);
        if found > limit {
            return Err(TpmError::Length {
                what: self.what,
                field,
                limit,
                found,
            });
        }
        self.take(field, found)
    }

    /// A `TPM2B_ECC_PARAMETER` of P-256: up to 32 bytes, filled with zeros from the left.
    fn coordinate(&mut self, field: &'static str) -> Result<[u8; 32], TpmError> {
        let found = self.sized(field, 32)?;
        let mut padded = [0; 32];
        padded
            .iter_mut()
            .rev()
            .zip(found.iter().rev())
            .for_each(|(to, from)| *to = *from);
        Ok(padded)
    }

    fn finish(self) -> Result<(), TpmError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(TpmError::Trailing {
            what: self.what,
            found: self.rest.len(),
        })
    }
}
