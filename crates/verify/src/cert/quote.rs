//! As much of an SGX or TDX quote as tells its kind and its user data. Nothing here says that a quote is genuine.
//!
//! Specs: Intel SGX ECDSA Quote Library Reference (version 3, also header), Intel TDX DCAP Quoting Library (versions 4 and 5).
//! Integers little-endian.

use thiserror::Error;

/// Length of the header of every version.
const HEADER: usize = 48;
/// Where REPORTDATA stands in an SGX report body.
const SGX_DATA: usize = 320;
/// Where REPORTDATA stands in a TD report body.
const TD_DATA: usize = 520;
/// TEE type of TDX.
const TDX: u32 = 0x81;

/// What made a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteKind {
    /// An SGX enclave.
    Sgx,
    /// A trust domain.
    Tdx,
}

/// Why bytes are not a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Ends before its user data does.
    #[error("quote has {found} bytes, wanted at least {wanted}")]
    Truncated {
        /// Length in bytes.
        found: usize,
        /// Length that its version needs up to the user data.
        wanted: usize,
    },
    /// A version or kind that is not known.
    #[error("quote of version {version}, type {kind:#x}, wanted SGX 3, TDX 4, or SGX or TDX 5")]
    Kind {
        /// Version.
        version: u16,
        /// TEE type, or body type of version 5.
        kind: u32,
    },
}

/// A quote's kind and user data, not yet judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Version of the format.
    pub version: u16,
    /// What made it.
    pub kind: QuoteKind,
    /// REPORTDATA.
    pub user_data: [u8; 64],
}

impl Quote {
    /// Reads header and user data.
    ///
    /// # Errors
    /// See [`QuoteError`].
    pub fn parse(input: &[u8]) -> Result<Self, QuoteError> {
        let truncated = |wanted| QuoteError::Truncated {
            found: input.len(),
            wanted,
        };
        let version = u16::from_le_bytes(array(input, 0).ok_or(truncated(HEADER))?);
        let tee = u32::from_le_bytes(array(input, 4).ok_or(truncated(HEADER))?);
        let (kind, body) = match (version, tee) {
            (3, 0) => (QuoteKind::Sgx, HEADER),
            (4, TDX) => (QuoteKind::Tdx, HEADER),
            (5, _) => {
                let body = HEADER + 6;
                let found = array(input, HEADER).ok_or(truncated(body))?;
                match (u16::from_le_bytes(found), tee) {
                    (1, 0) => (QuoteKind::Sgx, body),
                    (2 | 3, TDX) => (QuoteKind::Tdx, body),
                    (found, _) => {
                        let kind = u32::from(found);
                        return Err(QuoteError::Kind { version, kind });
                    }
                }
            }
            (version, kind) => return Err(QuoteError::Kind { version, kind }),
        };
        let start = body
            + match kind {
                QuoteKind::Sgx => SGX_DATA,
                QuoteKind::Tdx => TD_DATA,
            };
        let user_data = array(input, start).ok_or(truncated(start + 64))?;
        Ok(Self {
            version,
            kind,
            user_data,
        })
    }
}

fn array<const N: usize>(input: &[u8], start: usize) -> Option<[u8; N]> {
    input.get(start..)?.first_chunk().copied()
}

impl std::fmt::Display for Quote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            QuoteKind::Sgx => "SGX",
            QuoteKind::Tdx => "TDX",
        };
        write!(f, "{kind} quote of version {}", self.version)
    }
}
