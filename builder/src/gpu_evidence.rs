//! Encodings in which evidence of NVIDIA GPUs comes: hex with decorations, and the JSON of NVIDIA's tools.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// One GPU or switch in the JSON of NVIDIA's tools, which may have more members than these.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    /// Base64 of the report.
    evidence: String,
    /// Base64 of the PEM chain.
    certificate: String,
    // Of any form: nobody relies on these two.
    #[serde(default)]
    nonce: serde_json::Value,
    #[serde(default)]
    arch: serde_json::Value,
}

impl Entry {
    /// The entries of a file.
    pub(crate) fn list(input: &[u8]) -> Result<Vec<Self>, serde_json::Error> {
        serde_json::from_slice(input)
    }

    /// The nonce that the tool says it asked with.
    pub(crate) fn nonce(&self) -> Option<&str> {
        self.nonce.as_str()
    }

    /// Generation of the chip, as the tool names it.
    pub(crate) fn arch(&self) -> Option<&str> {
        self.arch.as_str()
    }

    /// The report.
    pub(crate) fn report(&self) -> Result<Vec<u8>, base64::DecodeError> {
        STANDARD.decode(&self.evidence)
    }

    /// The chain.
    pub(crate) fn chain(&self) -> Result<Vec<u8>, base64::DecodeError> {
        STANDARD.decode(&self.certificate)
    }
}

/// The bytes that hex stands for, with what NVIDIA's files decorate it with; `None` for other input.
pub(crate) fn from_hex(input: &[u8]) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(input).ok()?;
    let digits: String = text
        .replace("\\x", "")
        .replace("0x", "")
        .split_whitespace()
        .collect();
    hex::decode(digits).ok()
}
