//! X.509 certificates and revocation lists of other parties: strict reading, and who signed what.
//!
//! Specs: RFC 5280 (profile, path length, key usage, CRL), RFC 4055 and RFC 8017 (RSASSA-PSS parameters),
//! RFC 5758 (ECDSA), RFC 7468 (PEM). Times are seconds since the Unix epoch.
//! Left out: name constraints, policies and delta CRLs (refused where critical); building a path, which is for
//! the platform that knows its chain; Cloister's own leaf ([`crate::certificate`]).

mod crl;
pub(crate) mod pem;

use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

use crate::signature::{KeyError, PublicKey, Scheme, SignatureError};
use crate::verdict::instant;

pub use crl::{Crl, CrlError};
pub use pem::MAX_CERTIFICATES;

/// Longest certificate or CRL that is read, in bytes.
pub const MAX_DER: usize = 64 << 10;

/// RSASSA-PSS.
const PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const SHA256_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SHA384_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const NULL: &[u8] = &[0x05, 0x00];
/// RSASSA-PSS-params: SHA-256, MGF1 with SHA-256, salt of 32 bytes, trailer left to its default.
const PSS_SHA256: &[u8] = &[
    0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x01, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
    0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0xa2, 0x03, 0x02, 0x01, 0x20,
];
/// RSASSA-PSS-params: SHA-384, MGF1 with SHA-384, salt of 48 bytes, trailer left to its default.
const PSS_SHA384: &[u8] = &[
    0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
    0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
/// The same with the trailer written out, as AMD does against DER.
const PSS_SHA384_TRAILER: &[u8] = &[
    0x30, 0x39, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
    0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
    0x00, 0xa2, 0x03, 0x02, 0x01, 0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
];
/// Extensions that may be critical: basic constraints and key usage are enforced; alternative names and
/// extended key usage say what a leaf is for, which is the caller's question.
const KNOWN_CRITICAL: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];

/// Why bytes are not certificates.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum X509Error {
    /// Too long to read.
    #[error("certificate has {found} bytes, at most {MAX_DER} are read")]
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
    /// The signature algorithm stands differently inside and outside of the signed part.
    #[error("signature algorithm is {outer} outside and {inner} inside, or has other parameters")]
    AlgorithmDiffers {
        /// Object identifier beside the signature.
        outer: String,
        /// Object identifier in the signed part.
        inner: String,
    },
    /// A signature algorithm that nobody's chain uses, or parameters that are not exactly right.
    #[error("signature algorithm {oid} is not known, or its parameters are not the wanted ones")]
    Algorithm {
        /// Object identifier found.
        oid: String,
    },
    /// A critical extension that the verifier does not know.
    #[error("extension {oid} is critical and not known")]
    Critical {
        /// Object identifier of the extension.
        oid: String,
    },
    /// An extension that stands twice.
    #[error("extension {oid} stands twice")]
    Twice {
        /// Object identifier of the extension.
        oid: String,
    },
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Neither DER nor PEM with certificates.
    #[error("no certificate in the input: wanted PEM or DER")]
    None,
    /// More certificates than any chain has.
    #[error("more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    /// A PEM block that is not closed or not base64.
    #[error("PEM block {number} is not closed, or not base64")]
    Pem {
        /// Which block, from 1 on.
        number: usize,
    },
}

/// Why one certificate did not issue another.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The names do not chain.
    #[error("issued by `{found}`, not by `{wanted}`")]
    Issuer {
        /// Subject of the would-be issuer.
        wanted: String,
        /// Issuer in the certificate.
        found: String,
    },
    /// The issuer is no authority.
    #[error("`{issuer}` has no CA flag")]
    NotAuthority {
        /// Subject of the issuer.
        issuer: String,
    },
    /// The issuer may not stand that far above the leaf.
    #[error("`{issuer}` has path length {limit}, and {found} authorities stand below it")]
    PathLength {
        /// Subject of the issuer.
        issuer: String,
        /// pathLenConstraint.
        limit: u8,
        /// Authorities between issuer and leaf.
        found: u8,
    },
    /// The issuer's key is not for certificates.
    #[error("key usage of `{issuer}` is not keyCertSign")]
    KeyUsage {
        /// Subject of the issuer.
        issuer: String,
    },
    /// The issuer did not sign.
    #[error("signature of `{issuer}`: {error}")]
    Signature {
        /// Subject of the issuer.
        issuer: String,
        /// What is wrong.
        error: SignatureError,
    },
}

/// A time outside of the validity of a certificate or CRL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{subject}` is valid from {} to {}, not at {}", instant(*.not_before), instant(*.not_after), instant(*.at))]
pub struct ValidityError {
    /// Whose validity.
    pub subject: String,
    /// Start, inclusive, seconds.
    pub not_before: u64,
    /// End, inclusive, seconds.
    pub not_after: u64,
    /// Time asked for, seconds.
    pub at: u64,
}

/// A certificate: strict DER, X.509 v3, with a usable key and a known signature algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct X509 {
    der: Vec<u8>,
    tbs: Vec<u8>,
    certificate: Certificate,
    scheme: Scheme,
    key: PublicKey,
    constraints: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
}

impl X509 {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// See [`X509Error`].
    pub fn from_der(der: &[u8]) -> Result<Self, X509Error> {
        let found = der.len();
        if found > MAX_DER {
            return Err(X509Error::TooLarge { found });
        }
        let certificate = Certificate::from_der(der).map_err(reason)?;
        if certificate.to_der().map_err(reason)? != der {
            return Err(X509Error::NotStrict);
        }
        let tbs = &certificate.tbs_certificate;
        if tbs.version != x509_cert::Version::V3 {
            return Err(X509Error::Version);
        }
        let scheme = scheme(&certificate.signature_algorithm, &tbs.signature)?;
        check_extensions(tbs.extensions.as_deref().unwrap_or_default())?;
        let constraints = tbs.get::<BasicConstraints>().map_err(reason)?;
        let usage = tbs.get::<KeyUsage>().map_err(reason)?;
        Ok(Self {
            tbs: signed_part(der).map_err(reason)?.to_vec(),
            der: der.to_vec(),
            scheme,
            key: PublicKey::from_spki(&tbs.subject_public_key_info)?,
            constraints: constraints.map(|(_, constraints)| constraints),
            usage: usage.map(|(_, usage)| usage),
            certificate,
        })
    }

    /// Reads the certificates of a file: one in DER, or PEM blocks with any text around them.
    ///
    /// # Errors
    /// See [`X509Error`]; an input without any certificate is [`X509Error::None`].
    pub fn read_all(input: &[u8]) -> Result<Vec<Self>, X509Error> {
        certificates(input)?
            .iter()
            .map(|der| Self::from_der(der))
            .collect()
    }

    /// The bytes it was read from.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The subject's key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// DER of SubjectPublicKeyInfo, as it stands in the certificate.
    pub fn spki(&self) -> Vec<u8> {
        let spki = &self.certificate.tbs_certificate.subject_public_key_info;
        // The whole certificate re-encodes to its own bytes, so its parts do.
        spki.to_der().unwrap_or_default()
    }

    /// The subject's name.
    pub fn subject(&self) -> &Name {
        &self.certificate.tbs_certificate.subject
    }

    /// The issuer's name.
    pub fn issuer(&self) -> &Name {
        &self.certificate.tbs_certificate.issuer
    }

    /// The serial number, big-endian as it is encoded.
    pub fn serial(&self) -> &[u8] {
        self.certificate.tbs_certificate.serial_number.as_bytes()
    }

    /// All extensions, in order.
    pub fn extensions(&self) -> &[Extension] {
        let extensions = &self.certificate.tbs_certificate.extensions;
        extensions.as_deref().unwrap_or_default()
    }

    /// The value of the extension `oid`.
    pub fn extension(&self, oid: &ObjectIdentifier) -> Option<&[u8]> {
        let extension = self.extensions().iter().find(|found| found.extn_id == *oid);
        extension.map(|extension| extension.extn_value.as_bytes())
    }

    /// First and last second of the validity.
    pub fn validity(&self) -> (u64, u64) {
        let validity = &self.certificate.tbs_certificate.validity;
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        (seconds(&validity.not_before), seconds(&validity.not_after))
    }

    /// Checks that `at` lies within the validity.
    ///
    /// # Errors
    /// [`ValidityError`] when it does not.
    pub fn valid_at(&self, at: u64) -> Result<(), ValidityError> {
        let (not_before, not_after) = self.validity();
        if (not_before..=not_after).contains(&at) {
            return Ok(());
        }
        Err(ValidityError {
            subject: self.subject().to_string(),
            not_before,
            not_after,
            at,
        })
    }

    /// Checks that `issuer` issued this certificate: names, CA flag, path length, key usage, and the
    /// signature over the bytes as they were read. `below` is the number of authorities between `issuer`
    /// and the leaf: 0 when this is the leaf. Time is for [`X509::valid_at`], of both.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn issued_by(&self, issuer: &X509, below: u8) -> Result<(), LinkError> {
        if self.issuer() != issuer.subject() {
            return Err(LinkError::Issuer {
                wanted: issuer.subject().to_string(),
                found: self.issuer().to_string(),
            });
        }
        issuer.may_issue(below)?;
        self.signed_by(&issuer.key)
            .map_err(|error| LinkError::Signature {
                issuer: issuer.subject().to_string(),
                error,
            })
    }

    /// Checks that `key` signed this certificate, whatever its holder may do: a leaf signed by its own key is whole, no more.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn signed_by(&self, key: &PublicKey) -> Result<(), SignatureError> {
        let signature = self.certificate.signature.as_bytes().unwrap_or_default();
        // ecdsa-with-SHA256 names the hash and leaves the curve to the key.
        let scheme = match (self.scheme, key) {
            (Scheme::EcdsaSha256Der, PublicKey::P384(_)) => Scheme::EcdsaP384Sha256Der,
            (scheme, _) => scheme,
        };
        key.verify(scheme, &self.tbs, signature)
    }

    fn may_issue(&self, below: u8) -> Result<(), LinkError> {
        let issuer = || self.subject().to_string();
        let constraints = self.constraints.as_ref().filter(|found| found.ca);
        let Some(constraints) = constraints else {
            return Err(LinkError::NotAuthority { issuer: issuer() });
        };
        if let Some(limit) = constraints
            .path_len_constraint
            .filter(|limit| below > *limit)
        {
            return Err(LinkError::PathLength {
                issuer: issuer(),
                limit,
                found: below,
            });
        }
        match &self.usage {
            Some(usage) if !usage.key_cert_sign() => Err(LinkError::KeyUsage { issuer: issuer() }),
            // RFC 5280, 4.2.1.3: an authority's certificate must have the extension.
            None => Err(LinkError::KeyUsage { issuer: issuer() }),
            Some(_) => Ok(()),
        }
    }

    /// Whether the key may sign CRLs.
    fn signs_crls(&self) -> bool {
        self.usage.as_ref().is_some_and(KeyUsage::crl_sign)
    }
}

/// The DER of each certificate of a file, not yet read: the file itself, or the PEM blocks in it.
///
/// # Errors
/// [`X509Error::None`], [`X509Error::TooMany`], [`X509Error::TooLarge`] and [`X509Error::Pem`].
pub fn certificates(input: &[u8]) -> Result<Vec<Vec<u8>>, X509Error> {
    pem::blocks(input, "CERTIFICATE")
}

/// The first element of the outer sequence, byte for byte.
fn signed_part(der: &[u8]) -> x509_cert::der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    let header = x509_cert::der::Header::decode(&mut reader)?;
    header.tag.assert_eq(x509_cert::der::Tag::Sequence)?;
    reader.tlv_bytes()
}

/// The algorithm of a signature, which must be the same in both places.
fn scheme(
    outer: &AlgorithmIdentifierOwned,
    inner: &AlgorithmIdentifierOwned,
) -> Result<Scheme, X509Error> {
    if outer != inner {
        return Err(X509Error::AlgorithmDiffers {
            outer: outer.oid.to_string(),
            inner: inner.oid.to_string(),
        });
    }
    let parameters = outer.parameters.as_ref().map(|any| any.to_der());
    let parameters = parameters.transpose().map_err(reason)?;
    match (outer.oid, parameters.as_deref()) {
        (PSS, Some(PSS_SHA256)) => Ok(Scheme::RsaPssSha256),
        (PSS, Some(PSS_SHA384 | PSS_SHA384_TRAILER)) => Ok(Scheme::RsaPssSha384),
        (SHA256_RSA, Some(NULL)) => Ok(Scheme::RsaPkcs1Sha256),
        (SHA384_RSA, Some(NULL)) => Ok(Scheme::RsaPkcs1Sha384),
        // RFC 5758 leaves parameters out; Mbed TLS, and so Gramine, writes NULL.
        (ECDSA_SHA256, None | Some(NULL)) => Ok(Scheme::EcdsaSha256Der),
        (ECDSA_SHA384, None) => Ok(Scheme::EcdsaSha384Der),
        (other, _) => Err(X509Error::Algorithm {
            oid: other.to_string(),
        }),
    }
}

fn check_extensions(extensions: &[Extension]) -> Result<(), X509Error> {
    for (at, extension) in extensions.iter().enumerate() {
        let oid = || extension.extn_id.to_string();
        if extension.critical && !KNOWN_CRITICAL.contains(&extension.extn_id) {
            return Err(X509Error::Critical { oid: oid() });
        }
        let earlier = extensions.iter().take(at);
        if earlier
            .into_iter()
            .any(|found| found.extn_id == extension.extn_id)
        {
            return Err(X509Error::Twice { oid: oid() });
        }
    }
    Ok(())
}

fn reason(error: x509_cert::der::Error) -> X509Error {
    let reason = error.to_string();
    X509Error::Der { reason }
}
