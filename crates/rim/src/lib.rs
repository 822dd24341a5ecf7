//! NVIDIA's reference integrity manifests (RIMs): signed XML, trust roots and a time in, measurements out.
//!
//! The crate is pure: no files, no network, no clock, no randomness, no panic on any input. Nothing in a file is used before the
//! signature over it and the chain of its signer hold ([`SignedRim::verify`]), and no content is given out without a time at which
//! every certificate is valid ([`SignedRim::content`]). It is a crate of its own so that the guest, which gets golden values as plain
//! data, links no XML.
//!
//! Specs: ISO/IEC 19770-2:2015 (SWID tag), TCG Reference Integrity Manifest Information Model, XML 1.0, Namespaces in XML 1.0, Canonical XML
//! 1.1, XML-Signature (enveloped; one reference), RFC 6931 (ecdsa-sha384), RFC 5280. Left out, and refused where a file needs it: document
//! types, entities beyond the five, processing instructions, attributes of the `xml` prefix, every other algorithm and transform.
//! Revocation is not covered: it needs a network.
//!
//! | module | holds |
//! |---|---|
//! | [`document`] | XML as a flat list of nodes |
//! | `canonical` | Canonical XML 1.1 of such a list |
//! | [`signature`] | the one signature: its form, digest and value |
//! | [`chain`] | the four certificates of the signer |
//! | [`content`] | measurements, versions and ids of the tag |

#![forbid(unsafe_code)]

mod canonical;
pub mod chain;
pub mod content;
pub mod document;
pub mod signature;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use chain::{ChainError, RootKey, TimeError};
pub use content::{ContentError, Kind, Rim};
pub use document::DocumentError;
pub use signature::SignatureError;

use document::Document;

/// A SHA-384 digest.
pub type Digest = [u8; 48];

/// Why a file is not a RIM that can be relied on. In the order of the checks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RimError {
    /// Not the XML that RIMs are.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Not signed as RIMs are, or the signature does not hold.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The signer's certificates do not lead to a pinned root.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A certificate is not valid at the time.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// What was signed is not a RIM that is understood.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// A RIM whose signature and chain hold; whether they do at some time is still to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRim {
    document: Document,
    /// The nodes of the document that are the signature, and so not signed.
    signature: core::ops::Range<usize>,
    chain: chain::Chain,
    sha256: [u8; 32],
}

impl SignedRim {
    /// Checks, in this order: XML, form of the one signature, digest of everything around it, signature value by the leaf's key,
    /// chain from the leaf to one of `roots`.
    ///
    /// # Errors
    /// [`RimError::Document`], [`RimError::Signature`] and [`RimError::Chain`].
    pub fn verify(file: &[u8], roots: &[RootKey]) -> Result<Self, RimError> {
        let document = Document::parse(file)?;
        let signed = signature::locate(&document)?;
        signed.digest(&document)?;
        let chain = chain::Chain::read(&signed.certificates)?;
        signed.value(&document, chain.leaf_key())?;
        chain.verify(roots)?;
        Ok(Self {
            signature: signed.nodes,
            document,
            chain,
            sha256: Sha256::digest(file).into(),
        })
    }

    /// Subject, first and last second of each certificate, leaf first. Seconds since the Unix epoch.
    pub fn certificates(&self) -> Vec<(String, u64, u64)> {
        self.chain.certificates()
    }

    /// First and last second at which all certificates are valid.
    pub fn validity(&self) -> (u64, u64) {
        self.chain.validity()
    }

    /// What the tag says, if every certificate is valid at `at`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// [`RimError::Time`] and [`RimError::Content`].
    pub fn content(&self, at: u64) -> Result<Rim, RimError> {
        self.chain.valid_at(at)?;
        let tag = content::read(&self.document, &self.signature)?;
        let (valid_from, valid_until) = self.validity();
        Ok(Rim {
            tag_id: tag.tag_id,
            product: tag.product,
            version: tag.version,
            kind: tag.kind,
            entries: tag.entries,
            values: tag.values,
            sha256: self.sha256,
            checked_at: at,
            valid_from,
            valid_until,
        })
    }
}

/// [`SignedRim::verify`] and [`SignedRim::content`] in one.
///
/// # Errors
/// See [`RimError`].
pub fn verify(file: &[u8], roots: &[RootKey], at: u64) -> Result<Rim, RimError> {
    SignedRim::verify(file, roots)?.content(at)
}

#[cfg(test)]
mod tests;
