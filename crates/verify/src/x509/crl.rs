//! Certificate revocation lists: RFC 5280, section 5.

use thiserror::Error;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode as _, Encode as _};

use super::{MAX_DER, ValidityError, X509, X509Error, pem, scheme, signed_part};
use crate::signature::{Scheme, SignatureError};

/// Why bytes are not a CRL, or not one of this issuer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Too long to read.
    #[error("CRL has {found} bytes, at most {MAX_DER} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Not PEM, not DER, or not signed with a known algorithm.
    #[error("CRL: {0}")]
    Format(#[from] X509Error),
    /// The same list has another, strict encoding.
    #[error("CRL is not in strict DER")]
    NotStrict,
    /// A list without end can be replayed for ever.
    #[error("CRL has no nextUpdate")]
    NoNextUpdate,
    /// A critical extension, which could narrow what the list is about.
    #[error("CRL has critical extension {oid}")]
    Critical {
        /// Object identifier of the extension.
        oid: String,
    },
    /// A list of another issuer.
    #[error("CRL is by `{found}`, not by `{wanted}`")]
    Issuer {
        /// Subject of the would-be issuer.
        wanted: String,
        /// Issuer of the list.
        found: String,
    },
    /// The issuer's key is not for CRLs.
    #[error("key usage of `{issuer}` is not cRLSign")]
    KeyUsage {
        /// Subject of the issuer.
        issuer: String,
    },
    /// The issuer did not sign.
    #[error("signature of the CRL: {0}")]
    Signature(SignatureError),
}

/// A revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    tbs: Vec<u8>,
    list: CertificateList,
    scheme: Scheme,
    this_update: u64,
    next_update: u64,
}

impl Crl {
    /// Reads one DER list.
    ///
    /// # Errors
    /// See [`CrlError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CrlError> {
        let found = der.len();
        if found > MAX_DER {
            return Err(CrlError::TooLarge { found });
        }
        let list = CertificateList::from_der(der).map_err(reason)?;
        if list.to_der().map_err(reason)? != der {
            return Err(CrlError::NotStrict);
        }
        let body = &list.tbs_cert_list;
        let scheme = scheme(&list.signature_algorithm, &body.signature)?;
        let entries = body.revoked_certificates.iter().flatten();
        let extensions = entries.flat_map(|entry| entry.crl_entry_extensions.iter().flatten());
        let mut extensions = extensions.chain(body.crl_extensions.iter().flatten());
        if let Some(extension) = extensions.find(|extension| extension.critical) {
            let oid = extension.extn_id.to_string();
            return Err(CrlError::Critical { oid });
        }
        let next = body.next_update.as_ref().ok_or(CrlError::NoNextUpdate)?;
        Ok(Self {
            tbs: signed_part(der).map_err(reason)?.to_vec(),
            scheme,
            this_update: body.this_update.to_unix_duration().as_secs(),
            next_update: next.to_unix_duration().as_secs(),
            list,
        })
    }

    /// Reads the lists of a file: one in DER, or PEM blocks.
    ///
    /// # Errors
    /// See [`CrlError`].
    pub fn read_all(input: &[u8]) -> Result<Vec<Self>, CrlError> {
        let blocks = pem::blocks(input, "X509 CRL")?;
        blocks.iter().map(|der| Self::from_der(der)).collect()
    }

    /// Checks that `issuer` made the list: name, key usage, and the signature over the bytes as they were read.
    ///
    /// # Errors
    /// See [`CrlError`].
    pub fn issued_by(&self, issuer: &X509) -> Result<(), CrlError> {
        if self.list.tbs_cert_list.issuer != *issuer.subject() {
            return Err(CrlError::Issuer {
                wanted: issuer.subject().to_string(),
                found: self.list.tbs_cert_list.issuer.to_string(),
            });
        }
        if !issuer.signs_crls() {
            return Err(CrlError::KeyUsage {
                issuer: issuer.subject().to_string(),
            });
        }
        let signature = self.list.signature.as_bytes().unwrap_or_default();
        let verified = issuer.key().verify(self.scheme, &self.tbs, signature);
        verified.map_err(CrlError::Signature)
    }

    /// Checks thisUpdate <= `at` <= nextUpdate.
    ///
    /// # Errors
    /// [`ValidityError`] when `at` lies outside.
    pub fn valid_at(&self, at: u64) -> Result<(), ValidityError> {
        let (not_before, not_after) = (self.this_update, self.next_update);
        if (not_before..=not_after).contains(&at) {
            return Ok(());
        }
        Err(ValidityError {
            subject: format!("CRL of {}", self.list.tbs_cert_list.issuer),
            not_before,
            not_after,
            at,
        })
    }

    /// Whether the serial number of `certificate` is listed; the list must be by its issuer.
    pub fn revokes(&self, certificate: &X509) -> bool {
        let entries = self
            .list
            .tbs_cert_list
            .revoked_certificates
            .iter()
            .flatten();
        entries
            .map(|entry| entry.serial_number.as_bytes())
            .any(|serial| serial == certificate.serial())
    }
}

fn reason(error: x509_cert::der::Error) -> CrlError {
    CrlError::Format(super::reason(error))
}
