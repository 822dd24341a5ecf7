//! One certificate of a chain: strict DER, X.509 v3, P-384, ecdsa-with-SHA384.

use x509_cert::der::asn1::{ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _, Header, Reader as _, SliceReader, Tag};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::{CertificateError, LinkError};
use crate::signature::{Encoding, Point, Verify};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Extensions that may be critical: key usage and basic constraints, which are enforced.
const KNOWN_CRITICAL: [ObjectIdentifier; 2] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    certificate: x509_cert::Certificate,
    signed: Vec<u8>,
    pub(super) key: Point,
    constraints: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
}

impl Certificate {
    pub(super) fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = x509_cert::Certificate::from_der(der).map_err(reason)?;
        if certificate.to_der().map_err(reason)? != der {
            return Err(CertificateError::NotStrict);
        }
        let tbs = &certificate.tbs_certificate;
        if tbs.version != x509_cert::Version::V3 {
            return Err(CertificateError::Version);
        }
        algorithm(&tbs.signature, &certificate.signature_algorithm)?;
        extensions(tbs.extensions.as_deref().unwrap_or_default())?;
        let constraints = tbs.get::<BasicConstraints>().map_err(reason)?;
        let usage = tbs.get::<KeyUsage>().map_err(reason)?;
        Ok(Self {
            signed: signed_part(der).map_err(reason)?.to_vec(),
            key: key(&tbs.subject_public_key_info)?,
            constraints: constraints.map(|(_, constraints)| constraints),
            usage: usage.map(|(_, usage)| usage),
            certificate,
        })
    }

    pub(super) fn subject(&self) -> String {
        self.certificate.tbs_certificate.subject.to_string()
    }

    pub(super) fn issuer(&self) -> String {
        self.certificate.tbs_certificate.issuer.to_string()
    }

    /// Whether its issuer has the name of `issuer`.
    pub(super) fn names(&self, issuer: &Certificate) -> bool {
        self.certificate.tbs_certificate.issuer == issuer.certificate.tbs_certificate.subject
    }

    /// The common name; empty where there is none, or more than one.
    pub(super) fn common_name(&self) -> String {
        let names = &self.certificate.tbs_certificate.subject.0;
        let mut names = names
            .iter()
            .flat_map(|name| name.0.iter())
            .filter(|part| part.oid == COMMON_NAME);
        let text = match (names.next(), names.next()) {
            (Some(part), None) => {
                let utf8 = part.value.decode_as::<Utf8StringRef<'_>>().ok();
                let printable = part.value.decode_as::<PrintableStringRef<'_>>().ok();
                let printable = printable.map(|text| text.as_str().to_owned());
                utf8.map(|text| text.as_str().to_owned()).or(printable)
            }
            _ => None,
        };
        text.unwrap_or_default()
    }

    pub(super) fn serial(&self) -> &[u8] {
        self.certificate.tbs_certificate.serial_number.as_bytes()
    }

    /// First and last second.
    pub(super) fn validity(&self) -> (u64, u64) {
        let validity = &self.certificate.tbs_certificate.validity;
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        (seconds(&validity.not_before), seconds(&validity.not_after))
    }

    /// DER of SubjectPublicKeyInfo as it stands in the certificate: the whole re-encodes to its own bytes, so its parts do.
    pub(super) fn spki(&self) -> Vec<u8> {
        let spki = &self.certificate.tbs_certificate.subject_public_key_info;
        spki.to_der().unwrap_or_default()
    }

    /// Value of the extension called `oid`.
    pub(super) fn extension(&self, oid: &str) -> Option<&[u8]> {
        let oid = ObjectIdentifier::new(oid).ok()?;
        let extensions = self.certificate.tbs_certificate.extensions.as_deref()?;
        let extension = extensions.iter().find(|found| found.extn_id == oid)?;
        Some(extension.extn_value.as_bytes())
    }

    /// Whether the holder of `key` signed the bytes as they were read.
    pub(super) fn signed_by(&self, key: &Point, verify: Verify) -> bool {
        let signature = self.certificate.signature.as_bytes().unwrap_or_default();
        verify(key, Encoding::Der, &self.signed, signature)
    }

    /// Whether it may issue, with `below` authorities between it and the leaf.
    pub(super) fn may_issue(&self, place: &'static str, below: u8) -> Result<(), LinkError> {
        let constraints = self.constraints.as_ref().filter(|found| found.ca);
        let Some(constraints) = constraints else {
            return Err(LinkError::NotAuthority { place });
        };
        if let Some(limit) = constraints.path_len_constraint
            && below > limit
        {
            return Err(LinkError::PathLength {
                place,
                limit,
                found: below,
            });
        }
        match self.usage.as_ref().is_some_and(KeyUsage::key_cert_sign) {
            true => Ok(()),
            false => Err(LinkError::KeyUsage {
                place,
                wanted: "keyCertSign",
            }),
        }
    }

    /// Whether its key signs reports and nothing above it.
    pub(super) fn may_be_leaf(&self) -> Result<(), LinkError> {
        if self.constraints.as_ref().is_some_and(|found| found.ca) {
            return Err(LinkError::LeafIsAuthority);
        }
        match self.usage.as_ref().is_some_and(KeyUsage::digital_signature) {
            true => Ok(()),
            false => Err(LinkError::KeyUsage {
                place: "leaf",
                wanted: "digitalSignature",
            }),
        }
    }
}

fn algorithm(
    inner: &AlgorithmIdentifierOwned,
    outer: &AlgorithmIdentifierOwned,
) -> Result<(), CertificateError> {
    if inner.oid == ECDSA_SHA384 && inner.parameters.is_none() && inner == outer {
        return Ok(());
    }
    let found = match inner.oid == outer.oid {
        true => inner.oid.to_string(),
        false => format!("{} and {}", inner.oid, outer.oid),
    };
    Err(CertificateError::Algorithm { found })
}

fn extensions(extensions: &[Extension]) -> Result<(), CertificateError> {
    let mut seen = std::collections::BTreeSet::new();
    for extension in extensions {
        let oid = extension.extn_id;
        if extension.critical && !KNOWN_CRITICAL.contains(&oid) {
            let oid = oid.to_string();
            return Err(CertificateError::Critical { oid });
        }
        if !seen.insert(oid) {
            let oid = oid.to_string();
            return Err(CertificateError::Twice { oid });
        }
    }
    Ok(())
}

fn key(spki: &SubjectPublicKeyInfoOwned) -> Result<Point, CertificateError> {
    let parameters = spki.algorithm.parameters.as_ref();
    let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    let point = spki.subject_public_key.as_bytes().unwrap_or_default();
    match (spki.algorithm.oid, curve, point.first()) {
        (EC_PUBLIC_KEY, Some(P384), Some(4)) => point.try_into().ok(),
        _ => None,
    }
    .ok_or(CertificateError::Key)
}

/// The first element of the outer sequence, byte for byte.
fn signed_part(der: &[u8]) -> x509_cert::der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    Header::decode(&mut reader)?.tag.assert_eq(Tag::Sequence)?;
    reader.tlv_bytes()
}

fn reason(error: x509_cert::der::Error) -> CertificateError {
    let reason = error.to_string();
    CertificateError::Der { reason }
}
