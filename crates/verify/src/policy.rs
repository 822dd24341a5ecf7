//! Policy: what a verifier may demand beyond the format, as values and as a file.
//!
//! The file is TOML, `schema-version = 1`, with a table for each kind of evidence; what it leaves out has the safe
//! default. It can tighten, and it can name what is refused otherwise; it cannot drop a check.

use cloister_evidence::binding::MAX_LEAF_VALIDITY;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use crate::{azure, snp, tdx, tpm};

/// The schema version of policy files.
pub const SCHEMA_VERSION: u32 = 1;
/// Longest policy file that is read, in bytes.
pub const MAX_BYTES: usize = 256 << 10;

/// What the verifier demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest validity of a leaf in seconds; the format's own limit of 24 h stays in force.
    pub max_leaf_validity: u64,
    /// Reject platforms that cannot keep the host out, such as `qemu-vtpm`.
    pub require_confidential: bool,
}

impl Default for Policy {
    /// The format's own limits. Which platform is accepted is then decided by the reference values,
    /// which name it.
    fn default() -> Self {
        Self {
            max_leaf_validity: MAX_LEAF_VALIDITY,
            require_confidential: false,
        }
    }
}

/// A policy file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicyFile {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// SEV-SNP reports.
    #[serde(default)]
    pub snp: snp::Policy,
    /// Confidential VMs on Azure.
    #[serde(default)]
    pub azure: azure::Policy,
    /// TPM quotes by themselves.
    #[serde(default)]
    pub tpm: tpm::QuotePolicy,
    /// TD quotes.
    #[serde(default)]
    pub tdx: tdx::Policy,
}

/// Why text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Longer than [`MAX_BYTES`].
    #[error("policy has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Not the TOML this schema describes; the reason names line and column.
    #[error("policy does not parse: {reason}")]
    Toml {
        /// The TOML reader's message.
        reason: String,
    },
    /// Written for another version of Cloister.
    #[error("policy has schema-version {found}, this program reads {SCHEMA_VERSION}")]
    SchemaVersion {
        /// The version in the file.
        found: u32,
    },
}

impl PolicyFile {
    /// Reads a policy file.
    ///
    /// # Errors
    /// See [`PolicyError`]; unknown keys are refused.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let found = text.len();
        if found > MAX_BYTES {
            return Err(PolicyError::TooLarge { found });
        }
        let file: PolicyFile = toml::from_str(text).map_err(|error| PolicyError::Toml {
            reason: error.to_string(),
        })?;
        let found = file.schema_version;
        if found != SCHEMA_VERSION {
            return Err(PolicyError::SchemaVersion { found });
        }
        Ok(file)
    }
}

/// Bytes that a policy writes in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(&text, &mut bytes)
            .map_err(|_| de::Error::custom(format_args!("wanted {N} bytes in hex")))?;
        Ok(Self(bytes))
    }
}
