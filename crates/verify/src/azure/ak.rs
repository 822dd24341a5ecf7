//! The certificate that Microsoft issues for the attestation key of a vTPM.
//!
//! It adds nothing where the hardware commits to the key in the claims, which is always demanded; but where it comes along it must be
//! right. Specs: RFC 5280; TCG EK Credential Profile for the key purpose. NV index `0x01c101d0` holds it with zeros behind.

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::ExtendedKeyUsage;

use super::rules;
use crate::checks::{Checks, Rule};
use crate::signature::PublicKey;
use crate::verdict::instant;
use crate::x509::{LinkError, X509, X509Error, pem};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
/// tcg-kp-AIKCertificate.
const AIK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.3");
/// How the names of confidential VMs end; those of other VMs with a vTPM say `TrustedVM`.
const CONFIDENTIAL: &str = ".ConfidentialVM.Azure.windows.net";
/// Certificates from the key's to the root, at most.
const MAX_CHAIN: u8 = 4;

/// Why a certificate is not one of the attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum CertificateError {
    #[error(transparent)]
    X509(#[from] X509Error),
    #[error("a certificate of another key")]
    Key,
    #[error("no key purpose 2.23.133.8.3 (attestation key of a TPM)")]
    Purpose,
    #[error("a certificate of `{subject}`")]
    Subject { subject: String },
}

/// Why a chain does not lead to a pinned root.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum ChainError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("certificate of `{issuer}` was not given")]
    Missing { issuer: String },
    #[error("`{subject}` is a root, but not a pinned one: SHA-256 {sha256}")]
    Foreign { subject: String, sha256: String },
    #[error("more than {MAX_CHAIN} certificates above it")]
    TooLong,
}

/// The certificate, and those that stand behind it in the same input. Zeros behind the first are those of the NV index.
fn read(input: &[u8]) -> Result<(X509, Vec<X509>), X509Error> {
    let mut blocks = pem::blocks(input, "CERTIFICATE")?.into_iter();
    let first = blocks.next().ok_or(X509Error::None)?;
    let first = X509::from_der(without_padding(&first))?;
    let behind = blocks
        .map(|der| X509::from_der(&der))
        .collect::<Result<_, _>>();
    Ok((first, behind?))
}

/// Cuts zeros behind a DER sequence, whose length says where they begin.
fn without_padding(der: &[u8]) -> &[u8] {
    let long = |high: u8, low: u8| 4 + usize::from(u16::from_be_bytes([high, low]));
    let length = match der {
        [0x30, 0x82, high, low, ..] => long(*high, *low),
        _ => der.len(),
    };
    match der.split_at_checked(length) {
        Some((certificate, padding)) if padding.iter().all(|byte| *byte == 0) => certificate,
        _ => der,
    }
}

/// Those of `given` that stand above the certificate `input` by name. What an unreadable input has above it is nothing.
pub(super) fn above(input: Option<&[u8]>, given: &[X509]) -> Vec<X509> {
    let Some(Ok((certificate, behind))) = input.map(read) else {
        return Vec::new();
    };
    let (mut found, mut names) = (Vec::new(), vec![certificate.issuer().clone()]);
    for certificate in behind {
        names.push(certificate.issuer().clone());
        found.push(certificate);
    }
    while let Some(name) = names.pop() {
        for candidate in given
            .iter()
            .filter(|candidate| *candidate.subject() == name)
        {
            if !found.contains(candidate) {
                names.push(candidate.issuer().clone());
                found.push(candidate.clone());
            }
        }
    }
    found
}

/// The checks of the certificate, where there is one. `above` are the certificates that may lead to a root.
pub(super) fn appraise(
    input: Option<&[u8]>,
    above: &[X509],
    key: &PublicKey,
    roots: &[[u8; 32]],
    at: u64,
    checks: &mut Checks,
) {
    let all = [
        &rules::AK_CERTIFICATE,
        &rules::AK_VALIDITY,
        &rules::AK_CHAIN,
    ];
    let Some(input) = input else {
        let reason = "the evidence has none: the claims hash ties the key to the hardware";
        for rule in all {
            checks.skip(rule.name, false, rule.meaning, reason);
        }
        return;
    };
    let wanted = "a certificate of HCLAkPub for a confidential VM";
    let read = of_key(input, key);
    let Some(certificate) = checks.take(&rules::AK_CERTIFICATE, wanted, read) else {
        return;
    };
    validity(&certificate, above, at, checks);
    chain(&certificate, above, roots, checks);
}

fn of_key(input: &[u8], key: &PublicKey) -> Result<X509, CertificateError> {
    let (certificate, _) = read(input)?;
    if certificate.key() != key {
        return Err(CertificateError::Key);
    }
    let purposes = certificate.extension(&EXTENDED_KEY_USAGE);
    let purposes = purposes.and_then(|der| ExtendedKeyUsage::from_der(der).ok());
    if !purposes.is_some_and(|purposes| purposes.0.contains(&AIK_CERTIFICATE)) {
        return Err(CertificateError::Purpose);
    }
    match common_name(&certificate).is_some_and(|name| name.ends_with(CONFIDENTIAL)) {
        true => Ok(certificate),
        false => Err(CertificateError::Subject {
            subject: certificate.subject().to_string(),
        }),
    }
}

/// The one common name of the subject.
fn common_name(certificate: &X509) -> Option<&str> {
    let attributes = certificate
        .subject()
        .0
        .iter()
        .flat_map(|part| part.0.iter());
    let mut names = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
    let (first, second) = (names.next()?, names.next());
    core::str::from_utf8(first.value.value())
        .ok()
        .filter(|_| second.is_none())
}

fn validity(certificate: &X509, above: &[X509], at: u64, checks: &mut Checks) {
    let wanted = format!("validity that contains {}", instant(at));
    let mut all = core::iter::once(certificate).chain(above);
    let outcome = all.try_for_each(|found| found.valid_at(at));
    let (start, end) = certificate.validity();
    let found = match &outcome {
        Ok(()) => format!("{} to {}", instant(start), instant(end)),
        Err(error) => error.to_string(),
    };
    checks.require(&rules::AK_VALIDITY, outcome.is_ok(), wanted, found);
}

fn chain(certificate: &X509, above: &[X509], roots: &[[u8; 32]], checks: &mut Checks) {
    let rule: &Rule = &rules::AK_CHAIN;
    if above.is_empty() {
        let reason = "certificates of its issuers were not given: the claims hash ties the key to the hardware";
        checks.skip(rule.name, false, rule.meaning, reason);
        return;
    }
    let wanted = "a chain to a root pinned by its SHA-256";
    checks.take(rule, wanted, follow(certificate, above, roots));
}

fn follow(certificate: &X509, above: &[X509], roots: &[[u8; 32]]) -> Result<(), ChainError> {
    let mut current = certificate;
    for below in 0..MAX_CHAIN {
        let issuer = issuer(current, above, below)?;
        if issuer.subject() == issuer.issuer() {
            let sha256: [u8; 32] = Sha256::digest(issuer.der()).into();
            return match roots.contains(&sha256) {
                true => Ok(()),
                false => Err(ChainError::Foreign {
                    subject: issuer.subject().to_string(),
                    sha256: hex::encode(sha256),
                }),
            };
        }
        current = issuer;
    }
    Err(ChainError::TooLong)
}

/// The certificate that issued `current`: of several with the name, the one that signed.
fn issuer<'c>(current: &X509, above: &'c [X509], below: u8) -> Result<&'c X509, ChainError> {
    let mut outcome = Err(ChainError::Missing {
        issuer: current.issuer().to_string(),
    });
    let named = |candidate: &&X509| candidate.subject() == current.issuer();
    for candidate in above.iter().filter(named) {
        match current.issued_by(candidate, below) {
            Ok(()) => return Ok(candidate),
            Err(error) => outcome = Err(error.into()),
        }
    }
    outcome
}
