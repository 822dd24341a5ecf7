//! A certification authority for tests, and SNP reports, TD quotes and reports of GPUs behind it: every field can be set, and what is set gets
//! signed.
//!
//! Only ever a dev-dependency: nothing that ships can make or trust these keys. Keys are fresh in every process, but those of GPUs.
//! Formats: RFC 5280, AMD 56860 (report), AMD 57230 (extensions of VCEK and VLEK), HCL reports and TPM quotes,
//! Intel's quote and PCK certificate.

#![forbid(unsafe_code)]

pub mod azure;
mod certificate;
pub mod gpu;
mod kept;
mod key;
pub mod snp;
pub mod tdx;

use thiserror::Error;

pub use certificate::{Certificate, Crl, Extension, Parameters};
pub use key::Key;

/// Why something could not be made. Tests unwrap it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PkiError {
    /// AWS-LC refused.
    #[error("key or signature cannot be made")]
    Crypto,
    /// A value that does not encode.
    #[error("cannot be encoded: {0}")]
    Der(#[from] x509_cert::der::Error),
}
