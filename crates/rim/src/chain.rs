//! The four certificates of a RIM's signer, leaf first, and the root they must lead to.
//!
//! Signer, issuer of reference values ("L3"), authority of the chip, "NVIDIA CoRIM signing Root CA". Specs: RFC 5280 (names, CA flag, path length,
//! key usage, validity), RFC 5758. The root certificate in the file is checked like the others, and its key must be a pinned one.

use cloister_verify::signature::PublicKey;
use cloister_verify::x509::{LinkError, ValidityError, X509, X509Error};
use thiserror::Error;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

/// Certificates in a chain.
pub const LENGTH: usize = 4;
/// Names of the certificates by place, for messages.
pub const PLACES: [&str; LENGTH] = ["leaf", "L3", "authority", "root"];
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");

/// The public key of a root for RIMs, an uncompressed point of P-384: 4, x, y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootKey(pub [u8; 97]);

impl RootKey {
    /// "NVIDIA CoRIM signing Root CA", valid from 2023-03-16 to 2053-03-08.
    ///
    /// Taken from `verifier_RIM_root.pem` of NVIDIA's `nv-local-gpu-verifier` 2.7.3, whose DER has SHA-256
    /// 12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1; every genuine RIM seen carries the same certificate.
    pub const fn nvidia() -> Self {
        Self([
            0x04, 0xb8, 0x40, 0xb2, 0x8b, 0xdb, 0xcd, 0x33, 0xe2, 0x30, 0xda, 0x57, 0xd4, 0xcf,
            0x20, 0x65, 0x74, 0x70, 0x30, 0x68, 0x2d, 0x47, 0x17, 0xb4, 0xc2, 0x82, 0x9d, 0x76,
            0x41, 0xc1, 0x32, 0x51, 0x39, 0xb7, 0x4d, 0xa8, 0x31, 0xc2, 0xbe, 0x3c, 0x77, 0x9e,
            0x7e, 0x2b, 0x65, 0x48, 0x95, 0x66, 0x08, 0x0e, 0x4e, 0xcd, 0x94, 0x02, 0x10, 0x75,
            0xc5, 0x7f, 0x15, 0xfe, 0xde, 0xb8, 0x62, 0xc8, 0xf9, 0x06, 0xae, 0x8f, 0xdd, 0xc7,
            0xb1, 0x22, 0x38, 0x59, 0x7d, 0xbd, 0xf0, 0xfa, 0x56, 0xe7, 0x84, 0x53, 0x83, 0x3f,
            0x6d, 0x0b, 0xe4, 0x3a, 0xf3, 0x87, 0x1a, 0x47, 0xf0, 0x57, 0x58, 0x47, 0x99,
        ])
    }
}

/// Why certificates are not the chain of a signer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Another number of certificates.
    #[error("{found} certificates in the signature, wanted {LENGTH}, leaf first")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// A certificate that cannot be used.
    #[error("certificate {number} of the signature: {error}")]
    Certificate {
        /// Which one, from 1 on.
        number: usize,
        /// What is wrong.
        error: X509Error,
    },
    /// The leaf's key is for something else.
    #[error("leaf `{subject}` is not for signatures: wanted digitalSignature and no CA flag")]
    Leaf {
        /// Its name.
        subject: String,
    },
    /// A certificate that the next one did not issue.
    #[error("{place} certificate: {error}")]
    Link {
        /// Which one.
        place: &'static str,
        /// What is wrong.
        error: LinkError,
    },
    /// The last certificate is under none of the pinned keys.
    #[error("root `{found}` has a key that is not pinned")]
    Root {
        /// Its name.
        found: String,
    },
}

/// A certificate that is not valid at the time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TimeError {
    /// Its last second lies before the time.
    #[error("{place} certificate has expired: {error}")]
    Expired {
        /// Which one.
        place: &'static str,
        /// Name, dates and time.
        error: ValidityError,
    },
    /// Its first second lies behind the time.
    #[error("{place} certificate is not valid yet: {error}")]
    NotYetValid {
        /// Which one.
        place: &'static str,
        /// Name, dates and time.
        error: ValidityError,
    },
}

/// Certificates that can be used, of which nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    leaf: X509,
    above: Vec<X509>,
}

impl Chain {
    /// Reads the certificates of a signature; how many there are is for [`Chain::verify`].
    pub(crate) fn read(certificates: &[Vec<u8>]) -> Result<Self, ChainError> {
        let read = |(number, der): (usize, &Vec<u8>)| {
            X509::from_der(der).map_err(|error| ChainError::Certificate { number, error })
        };
        let mut certificates = (1..).zip(certificates).map(read);
        Ok(Self {
            leaf: certificates
                .next()
                .ok_or(ChainError::Count { found: 0 })??,
            above: certificates.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn leaf_key(&self) -> &PublicKey {
        self.leaf.key()
    }

    /// Checks what the leaf is for, names, signatures, CA flags, key usages and path lengths from the leaf up, and the root's key.
    pub(crate) fn verify(&self, roots: &[RootKey]) -> Result<(), ChainError> {
        let found = 1 + self.above.len();
        let [l3, authority, root] = self.above.as_slice() else {
            return Err(ChainError::Count { found });
        };
        if !may_sign(&self.leaf) {
            return Err(ChainError::Leaf {
                subject: self.leaf.subject().to_string(),
            });
        }
        let links = [
            ("leaf", &self.leaf, l3, 0),
            ("L3", l3, authority, 1),
            ("authority", authority, root, 2),
            ("root", root, root, 2),
        ];
        for (place, subject, issuer, below) in links {
            subject
                .issued_by(issuer, below)
                .map_err(|error| ChainError::Link { place, error })?;
        }
        let pinned = |pinned: &RootKey| *root.key() == PublicKey::P384(pinned.0);
        match roots.iter().any(pinned) {
            true => Ok(()),
            false => Err(ChainError::Root {
                found: root.subject().to_string(),
            }),
        }
    }

    /// Checks that every certificate is valid at `at`, from the root down as RFC 5280, section 6.1, goes.
    pub(crate) fn valid_at(&self, at: u64) -> Result<(), TimeError> {
        let all: Vec<_> = PLACES.into_iter().zip(self.all()).collect();
        for (place, certificate) in all.into_iter().rev() {
            certificate
                .valid_at(at)
                .map_err(|error| match at > error.not_after {
                    true => TimeError::Expired { place, error },
                    false => TimeError::NotYetValid { place, error },
                })?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &X509> {
        core::iter::once(&self.leaf).chain(&self.above)
    }

    pub(crate) fn certificates(&self) -> Vec<(String, u64, u64)> {
        let dates = self.all().map(|found| (found.subject(), found.validity()));
        dates
            .map(|(subject, (from, until))| (subject.to_string(), from, until))
            .collect()
    }

    pub(crate) fn validity(&self) -> (u64, u64) {
        let dates = self.all().map(X509::validity);
        dates.fold((0, u64::MAX), |(from, until), (start, end)| {
            (from.max(start), until.min(end))
        })
    }
}

/// Whether a leaf's key signs documents, and nothing above it.
fn may_sign(leaf: &X509) -> bool {
    let constraints = leaf.extension(&BASIC_CONSTRAINTS);
    let is_authority = constraints.is_some_and(|der| {
        BasicConstraints::from_der(der).map_or(true, |constraints| constraints.ca)
    });
    let usage = leaf.extension(&KEY_USAGE);
    let usage = usage.and_then(|der| KeyUsage::from_der(der).ok());
    !is_authority && usage.is_some_and(|usage| usage.digital_signature())
}
