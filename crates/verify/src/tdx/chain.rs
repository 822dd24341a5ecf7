//! From the pinned root to the bytes of the quote, and to the collateral.
//!
//! `dcap-qvl` follows the same chains ([`super::dcap`]) and gives one error for all; here each link is a check of its own, made
//! also where collateral is missing, so that a forged quote is rejected and not merely undecided.

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use x509_cert::der::asn1::ObjectIdentifier;

use super::quote::Endorsement;
use super::{Quote, rules};
use crate::checks::{Checks, Rule};
use crate::collateral::{Der, Signed, TdxCollateral};
use crate::signature::{PublicKey, Scheme, SignatureError};
use crate::x509::{Crl, CrlError, LinkError, ValidityError, X509, X509Error};

/// Extension of a PCK certificate with FMSPC, PPID and TCB.
const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
/// Common name of the certificate that signs TCB info and QE identity.
const TCB_SIGNER: &str = "CN=Intel SGX TCB Signing";
/// Where REPORTDATA starts in a QE report, in bytes.
const REPORT_DATA: usize = 320;

/// Why a chain does not lead to the pinned root.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum ChainError {
    #[error("pinned root: {0}")]
    Pinned(X509Error),
    #[error(transparent)]
    Format(#[from] X509Error),
    #[error("line {line} of the chain belongs to no certificate")]
    Text { line: usize },
    #[error("chain has {found} certificates, wanted {wanted}")]
    Length { wanted: &'static str, found: usize },
    #[error("chain ends with `{subject}`, which is not the pinned root")]
    ForeignRoot { subject: String },
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("PCK certificate has no SGX extension")]
    NoSgxExtension,
    #[error("signed by `{subject}`, wanted `{TCB_SIGNER}`")]
    Signer { subject: String },
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
}

/// Why a revocation list does not clear a chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum RevocationError {
    #[error(transparent)]
    Crl(#[from] CrlError),
    #[error(transparent)]
    Validity(#[from] ValidityError),
    #[error("`{subject}` is revoked")]
    Revoked { subject: String },
}

/// Why the quoting enclave does not vouch for the attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum ReportError {
    #[error("signature of the PCK: {0}")]
    Signature(#[from] SignatureError),
    #[error("report names {found} and not the attestation key")]
    Key { found: String },
}

/// The certificates of a platform.
pub(super) struct Pck {
    leaf: X509,
    ca: X509,
    root: X509,
}

/// Checks the PCK's chain; the flag tells whether it is valid at `at`.
pub(super) fn pck(chain: &[u8], root: &[u8], at: u64, checks: &mut Checks) -> Option<(Pck, bool)> {
    let wanted = "a chain to the pinned Intel root";
    let pck = checks.take(&rules::PCK_CHAIN, wanted, followed(chain, root))?;
    let all = [&pck.leaf, &pck.ca, &pck.root];
    let valid = all
        .into_iter()
        .try_for_each(|certificate| certificate.valid_at(at));
    let wanted = "certificates that are valid at the time of the appraisal";
    let valid = checks.take(&rules::PCK_VALIDITY, wanted, valid).is_some();
    Some((pck, valid))
}

fn followed(chain: &[u8], root: &[u8]) -> Result<Pck, ChainError> {
    let pinned = X509::from_der(root).map_err(ChainError::Pinned)?;
    bare(chain)?;
    let mut certificates = X509::read_all(chain)?.into_iter();
    let (leaf, ca, last) = (
        certificates.next(),
        certificates.next(),
        certificates.next(),
    );
    let rest = certificates.count();
    let (Some(leaf), Some(ca), 0) = (&leaf, &ca, rest) else {
        let found = leaf.iter().chain(&ca).chain(&last).count() + rest;
        let wanted = "PCK, PCK CA and root";
        return Err(ChainError::Length { wanted, found });
    };
    ends_with(last.as_ref(), &pinned)?;
    leaf.issued_by(ca, 0)?;
    ca.issued_by(&pinned, 1)?;
    if leaf.extension(&SGX_EXTENSION).is_none() {
        return Err(ChainError::NoSgxExtension);
    }
    Ok(Pck {
        leaf: leaf.clone(),
        ca: ca.clone(),
        root: pinned,
    })
}

/// Nothing may stand around the certificates of a quote, which no signature covers, but empty lines and the NUL that some platforms
/// end it with.
fn bare(chain: &[u8]) -> Result<(), ChainError> {
    let chain = chain.strip_suffix(&[0]).unwrap_or(chain);
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || [b'+', b'/', b'='].contains(byte);
    let mut inside = false;
    for (line, row) in (1..).zip(chain.split(|byte| *byte == b'\n')) {
        inside = match (inside, row.strip_suffix(b"\r").unwrap_or(row)) {
            (false, b"-----BEGIN CERTIFICATE-----") => true,
            (true, b"-----END CERTIFICATE-----") => false,
            (true, row) if row.iter().all(base64) => true,
            (false, b"") => false,
            _ => return Err(ChainError::Text { line }),
        };
    }
    Ok(())
}

/// The root may be left out of a chain, but no other may stand for it.
fn ends_with(last: Option<&X509>, pinned: &X509) -> Result<(), ChainError> {
    match last {
        Some(last) if last.der() != pinned.der() => Err(ChainError::ForeignRoot {
            subject: last.subject().to_string(),
        }),
        _ => Ok(()),
    }
}

/// Checks that the quoting enclave, by the PCK, vouches for the attestation key, and that it signed the quote.
pub(super) fn quote(quote: &Quote<'_>, pck: &Pck, checks: &mut Checks) -> bool {
    let Endorsement {
        signature,
        attestation_key,
        ..
    } = &quote.endorsement;
    let wanted = "a report signed by the PCK that names the attestation key";
    let vouched = vouched(&quote.endorsement, pck);
    let reported = checks.take(&rules::QE_REPORT, wanted, vouched).is_some();
    let key = PublicKey::p256(attestation_key.iter());
    let signed = key.verify(Scheme::EcdsaSha256, quote.signed, signature.as_slice());
    let wanted = "a signature by the attestation key";
    checks
        .take(&rules::QUOTE_SIGNATURE, wanted, signed)
        .is_some()
        && reported
}

fn vouched(endorsement: &Endorsement<'_>, pck: &Pck) -> Result<(), ReportError> {
    let report = endorsement.qe_report.as_slice();
    let signature = endorsement.qe_report_signature.as_slice();
    pck.leaf
        .key()
        .verify(Scheme::EcdsaSha256, report, signature)?;
    let named = Sha256::new()
        .chain_update(endorsement.attestation_key)
        .chain_update(endorsement.qe_authentication)
        .finalize();
    let found = report.get(REPORT_DATA..).unwrap_or_default();
    let (digest, rest) = found.split_at_checked(32).unwrap_or_default();
    if digest != named.as_slice() || rest.iter().any(|byte| *byte != 0) {
        let found = hex::encode(found);
        return Err(ReportError::Key { found });
    }
    Ok(())
}

/// The signers of TCB info and QE identity.
pub(super) type Signers = Vec<X509>;

/// Checks the revocation list of the root against all that the root issued.
pub(super) fn root_crl(
    list: Option<&Der>,
    pck: &Pck,
    signers: &[X509],
    at: u64,
    checks: &mut Checks,
) -> bool {
    let issued: Vec<&X509> = [&pck.ca, &pck.root].into_iter().chain(signers).collect();
    let rule = (&rules::ROOT_CRL, "root-crl");
    revocation(rule, list, &pck.root, &issued, at, checks)
}

/// Checks the revocation list of the PCK CA against the PCK certificate.
pub(super) fn pck_crl(list: Option<&Der>, pck: &Pck, at: u64, checks: &mut Checks) -> bool {
    let rule = (&rules::PCK_CRL, "pck-crl");
    revocation(rule, list, &pck.ca, &[&pck.leaf], at, checks)
}

fn revocation(
    (rule, name): (&Rule, &str),
    list: Option<&Der>,
    issuer: &X509,
    issued: &[&X509],
    at: u64,
    checks: &mut Checks,
) -> bool {
    let Some(Der(der)) = list else {
        checks.missing(rule, name);
        return false;
    };
    let cleared = || -> Result<(), RevocationError> {
        let crl = Crl::from_der(der)?;
        crl.issued_by(issuer)?;
        crl.valid_at(at)?;
        match issued.iter().find(|certificate| crl.revokes(certificate)) {
            None => Ok(()),
            Some(revoked) => Err(RevocationError::Revoked {
                subject: revoked.subject().to_string(),
            }),
        }
    };
    let wanted = "a current list by its issuer that does not list the certificate";
    checks.take(rule, wanted, cleared()).is_some()
}

/// Checks who signed TCB info and QE identity; gives the signers of those that hold. The flag tells whether both do.
pub(super) fn documents(
    collateral: Option<&TdxCollateral>,
    pck: &Pck,
    checks: &mut Checks,
) -> (Signers, bool) {
    let documents = [
        (
            &rules::TCB_INFO,
            ["tcb-info", "tcb-info-issuer-chain"],
            collateral.and_then(|collateral| collateral.tcb_info.as_ref()),
        ),
        (
            &rules::QE_IDENTITY,
            ["qe-identity", "qe-identity-issuer-chain"],
            collateral.and_then(|collateral| collateral.qe_identity.as_ref()),
        ),
    ];
    let mut signers = Signers::new();
    for (rule, [body, chain], document) in documents {
        let Some(document) = document else {
            checks.missing(rule, body);
            continue;
        };
        let Some(issuers) = &document.issuer_chain else {
            checks.missing(rule, chain);
            continue;
        };
        let wanted = "a document signed under the pinned root";
        let signer = signer(document, issuers, &pck.root);
        signers.extend(checks.take(rule, wanted, signer));
    }
    let all = signers.len() == documents.len();
    (signers, all)
}

fn signer(document: &Signed, chain: &str, root: &X509) -> Result<X509, ChainError> {
    let mut certificates = X509::read_all(chain.as_bytes())?.into_iter();
    let (signer, last) = (certificates.next(), certificates.next());
    let rest = certificates.count();
    let (Some(signer), 0) = (&signer, rest) else {
        let found = signer.iter().chain(&last).count() + rest;
        let wanted = "signer and root";
        return Err(ChainError::Length { wanted, found });
    };
    ends_with(last.as_ref(), root)?;
    signer.issued_by(root, 0)?;
    let subject = signer.subject().to_string();
    if !subject.split(',').any(|part| part == TCB_SIGNER) {
        return Err(ChainError::Signer { subject });
    }
    let message = document.body.as_bytes();
    signer
        .key()
        .verify(Scheme::EcdsaSha256, message, &document.signature)?;
    Ok(signer.clone())
}
