//! What every form shares: a strict certificate, whole and valid.

use sha2::{Digest as _, Sha256};
use x509_cert::der::asn1::ObjectIdentifier;

use super::rules;
use crate::checks::{Checks, Rule};
use crate::x509::{LinkError, X509};

/// A certificate that a peer showed, with those that came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// The certificate with the evidence, DER.
    pub der: &'a [u8],
    /// Certificates of possible signers, each PEM or DER. They show that the leaf is whole, and add no trust.
    pub issuers: &'a [&'a [u8]],
}

impl Leaf<'_> {
    /// Makes the checks of [`rules::LEAF`]; gives the certificate when it parses.
    pub(super) fn open(&self, at: u64, checks: &mut Checks) -> Option<X509> {
        let wanted = "one strict DER certificate";
        let leaf = checks.take(&rules::CERTIFICATE_FORMAT, wanted, X509::from_der(self.der))?;
        self.signature(&leaf, checks);
        let valid = leaf.valid_at(at);
        let wanted = "a time within the validity";
        checks.take(&rules::CERTIFICATE_VALIDITY, wanted, valid);
        Some(leaf)
    }

    fn signature(&self, leaf: &X509, checks: &mut Checks) {
        let rule = &rules::CERTIFICATE_SIGNATURE;
        if leaf.issuer() == leaf.subject() {
            let signed = leaf.signed_by(leaf.key());
            // An authority may have the leaf's name.
            if signed.is_ok() || self.issuers.is_empty() {
                checks.take(rule, "a signature by its own key", signed);
                return;
            }
        }
        let mut refused: Option<String> = None;
        for input in self.issuers {
            let read = X509::read_all(input);
            let issuers = match read {
                Ok(issuers) => issuers,
                Err(error) => {
                    refused = Some(error.to_string());
                    continue;
                }
            };
            for issuer in &issuers {
                match leaf.issued_by(issuer, 0) {
                    Ok(()) => {
                        let found = format!("signed by `{}`", issuer.subject());
                        checks.require(rule, true, "a signature by a given issuer", found);
                        return;
                    }
                    // The signer may stand among certificates of others: the reason that is about it says more.
                    Err(error @ LinkError::Issuer { .. }) => {
                        refused.get_or_insert(error.to_string());
                    }
                    Err(error) => refused = Some(error.to_string()),
                }
            }
        }
        match refused {
            Some(found) => {
                checks.require(rule, false, "a signature by a given issuer", found);
            }
            None => checks.missing(rule, "issuer"),
        }
    }
}

/// SHA-256 of the DER SubjectPublicKeyInfo.
pub(super) fn spki_sha256(leaf: &X509) -> [u8; 32] {
    Sha256::digest(leaf.spki()).into()
}

/// The value of the extension `oid`, dotted.
pub(super) fn extension<'c>(certificate: &'c X509, oid: &str) -> Option<&'c [u8]> {
    let oid = ObjectIdentifier::new(oid).ok()?;
    certificate.extension(&oid)
}

/// Records a check of an extension's value, which may be absent, and gives what it holds.
pub(super) fn parsed<T, E: std::fmt::Display>(
    rule: &Rule,
    wanted: &str,
    value: Option<&[u8]>,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
    checks: &mut Checks,
) -> Option<T> {
    match value {
        Some(value) => checks.take(rule, wanted, parse(value)),
        None => {
            checks.require(rule, false, wanted, "no such extension");
            None
        }
    }
}
