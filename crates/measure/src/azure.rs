//! Azure's HCL report: what a confidential VM there can show of the hardware under it.
//!
//! A guest cannot ask the hardware for a report of its own. Microsoft's paravisor does once at boot, and leaves the answer in
//! vTPM NV index `0x01400001` together with claims: the vTPM's attestation key and the VM's configuration. The report's
//! REPORT_DATA is the hash of the claims, which ties the key, and so every later TPM quote, to the hardware.
//!
//! Spec: microsoft/openvmm `openhcl_attestation_protocol/src/igvm_attest/get.rs`; AMD 56860 table 23 (SNP report); Intel TDX
//! Module ABI, TDREPORT_STRUCT. Integers are little-endian. Version 1 of the request is seen in two public evidences, version
//! 2 and TDX are only read. Not covered: signatures of the report, which the verifier checks.

mod claims;
mod tee;

use thiserror::Error;

use crate::digest::{Bank, Digest};

pub use claims::{Claims, ClaimsError, JsonWebKey, VmConfiguration};
pub use tee::{SnpFacts, TdxFacts, TeeReport};

/// `HCLA`.
const SIGNATURE: u32 = u32::from_le_bytes(*b"HCLA");
/// Header, room for the hardware's report, fixed part of the request data.
const HEADER: usize = 32;
const REPORT: usize = 1184;
/// TDREPORT_STRUCT, which leaves the rest of the room empty.
const TDREPORT: usize = 1024;
const REQUEST: usize = 20;
/// Request data that version 2 puts between its fixed part and the claims, in bytes.
const EXTENSION: u32 = 4;
/// Largest claims that are read; real ones have about 1100 bytes.
const MAX_CLAIMS: u32 = 64 << 10;

/// Why bytes are not an HCL report.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HclError {
    /// Cut off.
    #[error("HCL report is cut off: {need} bytes needed, {have} there")]
    Truncated {
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
    /// A field with a value that is not read here.
    #[error("HCL report has {what} {found:#x}, wanted {wanted}")]
    Field {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u32,
        /// What is read here.
        wanted: &'static str,
    },
    /// Lengths that contradict each other.
    #[error("HCL report has {what} {found}, but its parts make {wanted}")]
    Length {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u32,
        /// The value that fits.
        wanted: u32,
    },
    /// A byte that the format reserves or does not use, and that is not zero.
    #[error("HCL report is not zero in the unused bytes at {offset}")]
    NotZero {
        /// Where the unused bytes start.
        offset: usize,
    },
    /// REPORT_DATA is not the hash of the claims, so the claims are not the hardware's.
    #[error("REPORT_DATA of the hardware's report is not the {bank} of the claims and zeros")]
    NotBound {
        /// The hash that the report names.
        bank: Bank,
    },
    /// The claims themselves.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
}

/// An HCL report whose claims are those that the hardware's report commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    /// Version of the header, 1 or 2.
    pub version: u32,
    /// Version of the request data, 1 or 2.
    pub request_version: u32,
    /// The hardware's report.
    pub report: TeeReport,
    /// The same as it stood there: ATTESTATION_REPORT of 1184 bytes, or TDREPORT_STRUCT of 1024.
    pub hardware_report: Vec<u8>,
    /// Hash of the claims, at the start of REPORT_DATA.
    pub claims_digest: Digest,
    /// The claims.
    pub claims: Claims,
}

impl HclReport {
    /// Parses the contents of the NV index; what follows the report there must be zero, like every byte without meaning.
    ///
    /// # Errors
    /// See [`HclError`].
    pub fn parse(bytes: &[u8]) -> Result<HclReport, HclError> {
        let fields = Fields::read(bytes)?;
        let report = TeeReport::parse(fields.report_type, fields.report)?;
        let claims_digest = fields.bank.hash(&[fields.claims]);
        let (bound, rest) = report
            .report_data()
            .split_at_checked(fields.bank.len())
            .unwrap_or_default();
        if bound != claims_digest.as_bytes() || rest.iter().any(|byte| *byte != 0) {
            return Err(HclError::NotBound { bank: fields.bank });
        }
        let hardware_report = match report {
            TeeReport::Snp(_) => fields.report,
            TeeReport::Tdx(_) => fields.report.get(..TDREPORT).unwrap_or_default(),
        };
        Ok(HclReport {
            version: fields.version,
            request_version: fields.request_version,
            hardware_report: hardware_report.to_vec(),
            report,
            claims_digest,
            claims: Claims::parse(fields.claims)?,
        })
    }
}

/// The parts of a report, by length and version.
struct Fields<'a> {
    version: u32,
    request_version: u32,
    report_type: u32,
    bank: Bank,
    report: &'a [u8],
    claims: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Fields<'a>, HclError> {
        let need = HEADER + REPORT + REQUEST;
        let truncated = HclError::Truncated {
            need,
            have: bytes.len(),
        };
        let (fixed, rest) = bytes.split_at_checked(need).ok_or(truncated)?;
        let field = |what, at, wanted, allowed: &[u32]| match long(fixed, at) {
            found if allowed.contains(&found) => Ok(found),
            found => Err(HclError::Field {
                what,
                found,
                wanted,
            }),
        };
        field("signature", 0, "`HCLA`", &[SIGNATURE])?;
        let version = field("version", 4, "1 or 2", &[1, 2])?;
        field("request type", 12, "2, an AK certificate request", &[2])?;
        field("status", 16, "0", &[0])?;
        let request = HEADER + REPORT;
        let request_version = field("request version", request + 4, "1 or 2", &[1, 2])?;
        let report_type = field("report type", request + 8, "2 (SNP) or 4 (TDX)", &[2, 4])?;
        let bank = match field(
            "hash type",
            request + 12,
            "1 to 3 (SHA-256, SHA-384, SHA-512)",
            &[1, 2, 3],
        )? {
            1 => Bank::Sha256,
            2 => Bank::Sha384,
            _ => Bank::Sha512,
        };
        let claims = Fields::claims(fixed, rest, request_version)?;
        let report = fixed.get(HEADER..request).unwrap_or_default();
        unused(bytes, 20..HEADER)?;
        if report_type == 4 {
            unused(bytes, HEADER + TDREPORT..request)?;
        }
        unused(bytes, long(fixed, 8) as usize..bytes.len())?;
        Ok(Fields {
            version,
            request_version,
            report_type,
            bank,
            report,
            claims,
        })
    }

    /// Finds the claims: behind the extension, where the lengths say that there is one.
    fn claims(fixed: &[u8], rest: &'a [u8], request_version: u32) -> Result<&'a [u8], HclError> {
        let request = HEADER + REPORT;
        let (total, size, length) = (
            long(fixed, 8),
            long(fixed, request),
            long(fixed, request + 16),
        );
        if !(1..=MAX_CLAIMS).contains(&length) {
            return Err(HclError::Field {
                what: "length of claims",
                found: length,
                wanted: "1 byte to 64 KiB",
            });
        }
        let plain = length.saturating_add(20);
        let extension = match size.checked_sub(plain) {
            Some(0) => 0,
            Some(EXTENSION) if request_version == 2 => EXTENSION,
            _ => {
                return Err(HclError::Length {
                    what: "data size",
                    found: size,
                    wanted: plain,
                });
            }
        };
        let wanted = size.saturating_add(1216);
        if total != wanted {
            return Err(HclError::Length {
                what: "report size",
                found: total,
                wanted,
            });
        }
        let claims = rest
            .get(extension as usize..)
            .and_then(|rest| rest.get(..length as usize));
        let have = fixed.len() + rest.len();
        claims.ok_or(HclError::Truncated {
            need: total as usize,
            have,
        })
    }
}

/// Checks that bytes without meaning are zero.
fn unused(bytes: &[u8], range: core::ops::Range<usize>) -> Result<(), HclError> {
    let offset = range.start;
    let bytes = bytes.get(range).unwrap_or_default();
    match bytes.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(HclError::NotZero { offset }),
    }
}

/// Returns the integer at byte `at`; where it is missing, 0.
fn long(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
