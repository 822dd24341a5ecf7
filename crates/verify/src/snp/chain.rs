//! From the signing key's certificate to the pinned ARK.

use thiserror::Error;

use super::policy::{Policy, SigningKey};
use super::{Product, Root, rules};
use crate::checks::{Checks, Rule};
use crate::signature::PublicKey;
use crate::verdict::instant;
use crate::x509::{Crl, CrlError, LinkError, ValidityError, X509, X509Error};

/// What came with a report, or beside it: each is PEM, or one structure in DER. None of it adds trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endorsements<'a> {
    /// VCEK or VLEK; what follows it in a PEM counts as `chain`.
    pub vek: Option<&'a [u8]>,
    /// ASK or ASVK and ARK; those that are built in are taken otherwise.
    pub chain: &'a [&'a [u8]],
    /// Revocation lists of the ARK.
    pub crls: &'a [&'a [u8]],
}

/// Why a chain does not lead to the pinned ARK.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum ChainError {
    #[error("pinned certificate: {0}")]
    Pinned(X509Error),
    #[error("given chain: {0}")]
    Given(X509Error),
    #[error(
        "given chain has `{subject}`, self-signed with another key than {product}'s pinned ARK"
    )]
    ForeignRoot { subject: String, product: Product },
    #[error("certificate of the key: {0}")]
    Vek(LinkError),
    #[error("certificate of the key is issued by `{found}`, wanted {wanted}")]
    Issuer { wanted: String, found: String },
    #[error("ASK or ASVK: {0}")]
    Authority(LinkError),
    #[error("pinned ARK, as given: {0}")]
    Ark(LinkError),
}

/// Why a revocation list does not clear the chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum RevocationError {
    #[error(transparent)]
    Crl(#[from] CrlError),
    #[error(transparent)]
    Validity(#[from] ValidityError),
    #[error("`{subject}` is revoked")]
    Revoked { subject: String },
}

/// The checks that cannot be made without the certificate of the signing key.
const WAIT_FOR_VEK: [&Rule; 7] = [
    &rules::VEK_FORMAT,
    &rules::VEK_CHAIN,
    &rules::VEK_VALIDITY,
    &rules::VEK_EXTENSIONS,
    &rules::HWID,
    &rules::TCB_VEK,
    &rules::SIGNATURE,
];

/// A chain that holds.
pub(super) struct Chain {
    pub(super) ark: X509,
    pub(super) authority: X509,
}

/// Reads the certificate of the signing key, and those that stand behind it in the same file.
pub(super) fn read(
    endorsements: &Endorsements<'_>,
    policy: &Policy,
    checks: &mut Checks,
) -> Option<(X509, Vec<X509>)> {
    let rule = &rules::VEK_FORMAT;
    let Some(input) = endorsements.vek else {
        for rule in WAIT_FOR_VEK {
            checks.missing(rule, "vcek");
        }
        let csp_id = &rules::CSP_ID;
        checks.skip(
            csp_id.name,
            false,
            csp_id.meaning,
            "waits for collateral: vcek",
        );
        let revocation = &rules::REVOCATION;
        match policy.require_crl {
            true if endorsements.crls.is_empty() => checks.missing(revocation, "crl"),
            true => checks.missing(revocation, "vcek"),
            false => {
                let reason = "waits for collateral: vcek";
                checks.skip(revocation.name, false, revocation.meaning, reason);
            }
        }
        return None;
    };
    let wanted = "one strict DER certificate with a P-384 key";
    let mut all = match X509::read_all(input) {
        Ok(all) => all.into_iter(),
        Err(error) => {
            checks.require(rule, false, wanted, error.to_string());
            return None;
        }
    };
    let vek = all.next()?;
    let p384 = matches!(vek.key(), PublicKey::P384(_));
    let found = if p384 { wanted } else { "another key" };
    checks.require(rule, p384, wanted, found);
    p384.then(|| (vek, all.collect()))
}

/// Follows the chain from `vek` to the pinned ARK, and looks at everything that was given.
pub(super) fn follow(
    vek: &X509,
    behind: &[X509],
    given: &[&[u8]],
    root: &Root<'_>,
    (kind, product): (SigningKey, Product),
) -> Result<Chain, ChainError> {
    let ark = X509::from_der(root.ark).map_err(ChainError::Pinned)?;
    let built_in = match kind {
        SigningKey::Vcek => root.ask,
        SigningKey::Vlek => root.asvk,
    };
    let built_in = X509::from_der(built_in).map_err(ChainError::Pinned)?;
    // The name of ASK or ASVK, which is what tells a VCEK's chain from a VLEK's.
    if vek.issuer() != built_in.subject() {
        return Err(ChainError::Issuer {
            wanted: built_in.subject().to_string(),
            found: vek.issuer().to_string(),
        });
    }
    let mut others = Vec::new();
    for input in given {
        others.extend(X509::read_all(input).map_err(ChainError::Given)?);
    }
    let mut authority = None;
    for certificate in behind.iter().chain(&others) {
        if certificate.der() == vek.der() {
            continue;
        }
        if certificate.subject() == certificate.issuer() {
            foreign(certificate, &ark, product)?;
            continue;
        }
        let issued = certificate.issued_by(&ark, 1);
        issued.map_err(ChainError::Authority)?;
        if certificate.subject() == built_in.subject() {
            authority = Some(certificate.clone());
        }
    }
    let authority = match authority {
        Some(given) => given,
        None => {
            let issued = built_in.issued_by(&ark, 1);
            issued.map_err(ChainError::Authority)?;
            built_in
        }
    };
    vek.issued_by(&authority, 0).map_err(ChainError::Vek)?;
    Ok(Chain { ark, authority })
}

/// A root that was given must be the pinned one, untouched.
fn foreign(certificate: &X509, ark: &X509, product: Product) -> Result<(), ChainError> {
    if certificate.key() != ark.key() {
        let subject = certificate.subject().to_string();
        return Err(ChainError::ForeignRoot { subject, product });
    }
    certificate.issued_by(ark, 1).map_err(ChainError::Ark)
}

/// Checks the validity of the whole chain at `at`.
pub(super) fn validity(vek: &X509, chain: &Chain, at: u64, checks: &mut Checks) {
    let wanted = format!("validity that contains {}", instant(at));
    let all = [vek, &chain.authority, &chain.ark];
    let outcome = all.into_iter().try_for_each(|found| found.valid_at(at));
    let (start, end) = vek.validity();
    let found = match &outcome {
        Ok(()) => format!("{} to {}", instant(start), instant(end)),
        Err(error) => error.to_string(),
    };
    checks.require(&rules::VEK_VALIDITY, outcome.is_ok(), wanted, found);
}

/// Checks the revocation lists; without one the policy decides.
pub(super) fn revocation(
    chain: &Chain,
    crls: &[&[u8]],
    required: bool,
    at: u64,
    checks: &mut Checks,
) {
    let rule = &rules::REVOCATION;
    if crls.is_empty() {
        match required {
            true => checks.missing(rule, "crl"),
            false => checks.skip(
                rule.name,
                false,
                rule.meaning,
                "no revocation list was given",
            ),
        }
        return;
    }
    let wanted = "current lists of the ARK without ASK or ASVK";
    let cleared = crls.iter().try_for_each(|input| cleared(chain, input, at));
    checks.take(rule, wanted, cleared);
}

fn cleared(chain: &Chain, input: &[u8], at: u64) -> Result<(), RevocationError> {
    for crl in Crl::read_all(input)? {
        crl.issued_by(&chain.ark)?;
        crl.valid_at(at)?;
        for certificate in [&chain.authority, &chain.ark] {
            if crl.revokes(certificate) {
                let subject = certificate.subject().to_string();
                return Err(RevocationError::Revoked { subject });
            }
        }
    }
    Ok(())
}
