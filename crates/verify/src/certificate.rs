//! The leaf certificate of "cloister-ra/1".
//!
//! Specs: RFC 5280 (X.509), RFC 5480 (elliptic-curve keys), RFC 5758 (ecdsa-with-SHA256),
//! draft-ietf-rats-msg-wrap (the extension). Leaves are self-signed: what vouches for them is the
//! evidence, not a certificate authority.

use cloister_evidence::binding::{self, MAX_LEAF_VALIDITY, Mode};
use cloister_evidence::bundle::{EXTENSION_OID, LeafExtension};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{DerSignature, VerifyingKey};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::Policy;
use crate::checks::{self, Checks};
use crate::verdict::instant;

/// Longest leaf certificate read, in bytes.
pub const MAX_LEAF: usize = 128 * 1024;
/// Longest SubjectPublicKeyInfo read, in bytes; one of P-256 has 91.
const MAX_SPKI: usize = 256;

const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const CMW: ObjectIdentifier = ObjectIdentifier::new_unwrap(EXTENSION_OID);
/// Critical extensions that may stand in a leaf: key usage, names, constraints, extended key usage.
/// They restrict what a TLS library accepts, and mean nothing to the evidence.
const KNOWN_CRITICAL: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// Why bytes are not a leaf certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// Too long to read.
    #[error("leaf has {found} bytes, at most {MAX_LEAF} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Not one DER certificate.
    #[error("not a DER certificate: {reason}")]
    Der {
        /// What the DER reader says.
        reason: String,
    },
    /// The same certificate has another, strict encoding.
    #[error("certificate is not in strict DER")]
    NotStrict,
    /// Not an X.509 v3 certificate.
    #[error("certificate is not X.509 v3")]
    Version,
    /// The signature algorithm is not the wanted one, or stands differently in two places.
    #[error("certificate is signed with {found}, wanted ecdsa-with-SHA256")]
    Algorithm {
        /// Object identifier found.
        found: String,
    },
    /// A critical extension that the verifier does not know.
    #[error("extension {oid} is critical and not known")]
    Critical {
        /// Object identifier of the extension.
        oid: String,
    },
}

/// Gives the DER SubjectPublicKeyInfo of a leaf, as [`crate::tpm::appraise_session`] takes it.
///
/// # Errors
/// When `leaf_der` is not one strict DER certificate; its other properties are not looked at.
pub fn spki(leaf_der: &[u8]) -> Result<Vec<u8>, LeafError> {
    let leaf = parse(leaf_der)?;
    leaf.tbs_certificate
        .subject_public_key_info
        .to_der()
        .map_err(der)
}

/// The nonce that the GPU of the leaf's guest was asked with; `None` for what is not a leaf of "cloister-ra/1".
pub(crate) fn gpu_nonce(leaf_der: &[u8]) -> Option<[u8; 32]> {
    let leaf = parse(leaf_der).ok()?;
    let spki = leaf.tbs_certificate.subject_public_key_info.to_der().ok()?;
    let validity = &leaf.tbs_certificate.validity;
    let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
    let mode = Mode::Leaf {
        not_before: seconds(&validity.not_before),
        not_after: seconds(&validity.not_after),
    };
    Some(binding::gpu_nonce(&mode, &Sha256::digest(spki).into()))
}

/// The nonce that the GPU was asked with for a session over a leaf, where the client's `nonce` came with the wish for new evidence.
pub(crate) fn session_gpu_nonce(leaf_der: &[u8], nonce: &[u8; 32]) -> Option<[u8; 32]> {
    let spki = Sha256::digest(spki(leaf_der).ok()?).into();
    let mode = Mode::Session {
        nonce: *nonce,
        exporter: [0; 32],
    };
    Some(binding::gpu_nonce(&mode, &spki))
}

/// What the evidence has to match.
pub(crate) struct Leaf {
    pub(crate) spki_sha256: [u8; 32],
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) extension: Option<LeafExtension>,
}

/// Makes the checks of a leaf; `None` when it does not parse.
pub(crate) fn appraise(
    leaf_der: &[u8],
    policy: &Policy,
    now: u64,
    checks: &mut Checks,
) -> Option<Leaf> {
    let wanted = "an X.509 v3 certificate in strict DER";
    let parsed = parse(leaf_der).and_then(well_formed);
    let certificate = checks.take(&checks::CERTIFICATE_FORMAT, wanted, parsed)?;
    let spki = &certificate.tbs_certificate.subject_public_key_info;
    let spki_sha256 = Sha256::digest(spki.to_der().ok()?).into();
    if let Some(key) = key(spki, checks) {
        signature(&certificate, &key, checks);
    }
    let validity = &certificate.tbs_certificate.validity;
    let not_before = validity.not_before.to_unix_duration().as_secs();
    let not_after = validity.not_after.to_unix_duration().as_secs();
    lifetime(not_before, not_after, policy, checks);
    current(not_before, not_after, now, checks);
    let extension = evidence(&certificate, checks);
    Some(Leaf {
        spki_sha256,
        not_before,
        not_after,
        extension,
    })
}

/// Checks a SubjectPublicKeyInfo by itself and gives its SHA-256, for a session.
pub(crate) fn appraise_spki(spki_der: &[u8], checks: &mut Checks) -> Option<[u8; 32]> {
    let parsed = if spki_der.len() > MAX_SPKI {
        None
    } else {
        SubjectPublicKeyInfoOwned::from_der(spki_der).ok()
    };
    let strict = parsed.filter(|spki| spki.to_der().is_ok_and(|der| der == spki_der));
    let Some(spki) = strict else {
        let wanted = "a DER SubjectPublicKeyInfo";
        checks.require(&checks::CERTIFICATE_KEY, false, wanted, "other bytes");
        return None;
    };
    key(&spki, checks)?;
    Some(Sha256::digest(spki_der).into())
}

fn parse(leaf_der: &[u8]) -> Result<Certificate, LeafError> {
    let found = leaf_der.len();
    if found > MAX_LEAF {
        return Err(LeafError::TooLarge { found });
    }
    let certificate = Certificate::from_der(leaf_der).map_err(der)?;
    if certificate.to_der().map_err(der)? != leaf_der {
        return Err(LeafError::NotStrict);
    }
    Ok(certificate)
}

fn der(error: x509_cert::der::Error) -> LeafError {
    let reason = error.to_string();
    LeafError::Der { reason }
}

fn well_formed(certificate: Certificate) -> Result<Certificate, LeafError> {
    let tbs = &certificate.tbs_certificate;
    if tbs.version != x509_cert::Version::V3 {
        return Err(LeafError::Version);
    }
    let wanted = AlgorithmIdentifierOwned {
        oid: ECDSA_WITH_SHA256,
        parameters: None,
    };
    let algorithms = [&certificate.signature_algorithm, &tbs.signature];
    if let Some(found) = algorithms.into_iter().find(|found| **found != wanted) {
        let found = found.oid.to_string();
        return Err(LeafError::Algorithm { found });
    }
    let unknown =
        |extension: &&Extension| extension.critical && !KNOWN_CRITICAL.contains(&extension.extn_id);
    // The evidence extension has a rule of its own.
    let others = extensions(&certificate).filter(|extension| extension.extn_id != CMW);
    if let Some(extension) = others.into_iter().find(unknown) {
        let oid = extension.extn_id.to_string();
        return Err(LeafError::Critical { oid });
    }
    Ok(certificate)
}

fn extensions(certificate: &Certificate) -> impl Iterator<Item = &Extension> {
    certificate.tbs_certificate.extensions.iter().flatten()
}

fn key(spki: &SubjectPublicKeyInfoOwned, checks: &mut Checks) -> Option<VerifyingKey> {
    let curve = spki
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
    let named = spki.algorithm.oid == EC_PUBLIC_KEY && curve == Some(P256);
    let point = spki.subject_public_key.as_bytes().filter(|_| named);
    let key = point.and_then(|point| VerifyingKey::from_sec1_bytes(point).ok());
    let wanted = "an ECDSA P-256 key";
    let found = match (&key, named) {
        (Some(_), _) => wanted.to_owned(),
        (None, true) => "a point that is not on the curve".to_owned(),
        (None, false) => format!("a key with algorithm {}", spki.algorithm.oid),
    };
    checks.require(&checks::CERTIFICATE_KEY, key.is_some(), wanted, found);
    key
}

fn signature(certificate: &Certificate, key: &VerifyingKey, checks: &mut Checks) {
    let verified = || {
        let message = certificate.tbs_certificate.to_der().ok()?;
        let signature = DerSignature::from_bytes(certificate.signature.as_bytes()?).ok()?;
        key.verify(&message, &signature).ok()
    };
    let wanted = "a signature by the leaf's own key";
    let passed = verified().is_some();
    let found = if passed {
        wanted
    } else {
        "one that does not verify"
    };
    checks.require(&checks::CERTIFICATE_SIGNATURE, passed, wanted, found);
}

fn lifetime(not_before: u64, not_after: u64, policy: &Policy, checks: &mut Checks) {
    let limit = policy.max_leaf_validity.min(MAX_LEAF_VALIDITY);
    let wanted = format!("at most {limit} s");
    let (passed, found) = match not_after.checked_sub(not_before) {
        Some(seconds) => (seconds <= limit, format!("{seconds} s")),
        None => (false, "an end before the start".to_owned()),
    };
    checks.require(&checks::CERTIFICATE_LIFETIME, passed, wanted, found);
}

fn current(not_before: u64, not_after: u64, now: u64, checks: &mut Checks) {
    let wanted = format!("validity that contains {}", instant(now));
    let found = format!("{} to {}", instant(not_before), instant(not_after));
    let passed = (not_before..=not_after).contains(&now);
    checks.require(&checks::CERTIFICATE_CURRENT, passed, wanted, found);
}

fn evidence(certificate: &Certificate, checks: &mut Checks) -> Option<LeafExtension> {
    let rule = &checks::CERTIFICATE_EVIDENCE;
    let wanted = "one non-critical extension 1.3.6.1.5.5.7.1.35 with evidence";
    let mut carriers = extensions(certificate).filter(|extension| extension.extn_id == CMW);
    let (first, second) = (carriers.next(), carriers.next());
    let refusal = match (first, second) {
        (None, _) => "none",
        (_, Some(_)) => "more than one",
        (Some(extension), None) if extension.critical => "a critical one",
        (Some(extension), None) => {
            let decoded = LeafExtension::decode(extension.extn_value.as_bytes());
            return checks.take(rule, wanted, decoded);
        }
    };
    checks.require(rule, false, wanted, refusal);
    None
}
