//! The five certificates of a device, leaf first, and what they say about it.
//!
//! Leaf (key of the firmware, GSP FMC), BROM (key of the device), provisioner, identity, root. Specs: RFC 5280 (profile, path
//! length, key usage), RFC 5758 (ECDSA), RFC 7468 (PEM), TCG DICE Attestation Architecture (FWID). Times are seconds since the
//! Unix epoch. The device is known by the serial number of its BROM certificate: the leaf changes with the firmware.
//!
//! Only P-384 with SHA-384 is read, because nothing else stands in a chain of NVIDIA's. Revocation is not covered: it needs a
//! network, and the answer of the day is the business of whoever relies on the evidence.

mod certificate;
mod read;

use thiserror::Error;

use crate::Digest;
use crate::signature::{Point, Verify};
use certificate::Certificate;

/// Certificates in a chain.
pub const LENGTH: usize = 5;
/// Longest input that is read, in bytes; NVML's own buffer has 5120.
pub const MAX_INPUT: usize = 64 << 10;
/// Names of the certificates by place, for messages.
pub const PLACES: [&str; LENGTH] = ["leaf", "BROM", "provisioner", "identity", "root"];

/// The public key of a root, an uncompressed point of P-384: 4, x, y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootKey(pub Point);

impl RootKey {
    /// "NVIDIA Device Identity CA", valid from 2021-11-05 to 9999-12-31.
    ///
    /// Taken from `verifier_device_root.pem` of NVIDIA's `nv-local-gpu-verifier` 2.7.3, whose DER has SHA-256
    /// 102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48; every genuine chain seen ends in it.
    pub const fn nvidia() -> Self {
        Self([
            0x04, 0x0e, 0x4c, 0x14, 0xa3, 0x3b, 0xf8, 0xa5, 0x62, 0x66, 0x58, 0xdb, 0x41, 0x29,
            0x60, 0x7e, 0x4c, 0xbf, 0x45, 0x19, 0xc4, 0x41, 0x27, 0x16, 0xf4, 0xd0, 0xd9, 0x17,
            0xc4, 0x97, 0x80, 0x05, 0xbd, 0xea, 0xbe, 0xae, 0xfd, 0x57, 0xbc, 0x66, 0x08, 0x2d,
            0x71, 0x8a, 0x4f, 0x8b, 0x60, 0x52, 0xe1, 0x51, 0x6e, 0xe8, 0xa7, 0xc4, 0x22, 0xb8,
            0x4d, 0xe8, 0x57, 0x07, 0x1b, 0xb5, 0x8f, 0xd3, 0x95, 0xbe, 0xa0, 0xcf, 0xa1, 0xc6,
            0x3e, 0xe7, 0xc8, 0x0d, 0x6b, 0xd6, 0x39, 0x01, 0xd9, 0x1c, 0xbb, 0xd1, 0x87, 0xd3,
            0x85, 0x7d, 0xc1, 0x6b, 0x5c, 0xce, 0xaf, 0x23, 0x8f, 0xf8, 0xc2, 0x7d, 0xbd,
        ])
    }
}

/// Why bytes are not a chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Too long to read.
    #[error("chain has {found} bytes, at most {MAX_INPUT} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Another number of certificates.
    #[error("{found} certificates, wanted {LENGTH}, leaf first")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// A PEM block that is not closed, or not strict base64.
    #[error("PEM block {number} is not closed, or not strict PEM of a certificate")]
    Pem {
        /// Which block, from 1 on.
        number: usize,
    },
    /// Bytes between or behind the certificates.
    #[error("bytes at offset {offset} belong to no certificate")]
    Stray {
        /// Where they start.
        offset: usize,
    },
    /// A certificate that cannot be used.
    #[error("{place} certificate: {error}")]
    Certificate {
        /// Which one.
        place: &'static str,
        /// What is wrong.
        error: CertificateError,
    },
}

/// Why DER is not a certificate of such a chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not one certificate.
    #[error("not DER: {reason}")]
    Der {
        /// What the DER reader says.
        reason: String,
    },
    /// The same certificate has another, strict encoding.
    #[error("not in strict DER")]
    NotStrict,
    /// Not X.509 v3.
    #[error("not X.509 v3")]
    Version,
    /// Signed with something else, or with parameters.
    #[error(
        "signature algorithm is {found}, wanted ecdsa-with-SHA384 without parameters in both places"
    )]
    Algorithm {
        /// Object identifier in the signed part, and beside the signature where that differs.
        found: String,
    },
    /// A key that is not an uncompressed point of P-384.
    #[error("key is not an uncompressed point of P-384")]
    Key,
    /// A critical extension that is not known.
    #[error("extension {oid} is critical and not known")]
    Critical {
        /// Its object identifier.
        oid: String,
    },
    /// An extension that stands twice.
    #[error("extension {oid} stands twice")]
    Twice {
        /// Its object identifier.
        oid: String,
    },
}

/// Why the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The names do not chain.
    #[error("{place} certificate is issued by `{found}`, and the next one is of `{wanted}`")]
    Issuer {
        /// Which one.
        place: &'static str,
        /// Subject of the next certificate.
        wanted: String,
        /// Issuer in this certificate.
        found: String,
    },
    /// The issuer did not sign.
    #[error("{place} certificate is not signed by its issuer")]
    Signature {
        /// Which one was not signed.
        place: &'static str,
    },
    /// An issuer without the CA flag.
    #[error("{place} certificate has no CA flag")]
    NotAuthority {
        /// Which one.
        place: &'static str,
    },
    /// An issuer whose key is not for certificates, or a leaf whose key is not for signatures.
    #[error("{place} certificate lacks the key usage {wanted}")]
    KeyUsage {
        /// Which one.
        place: &'static str,
        /// The bit that is missing.
        wanted: &'static str,
    },
    /// An issuer that may not stand that far above the leaf.
    #[error("{place} certificate has path length {limit}, and {found} authorities stand below it")]
    PathLength {
        /// Which one.
        place: &'static str,
        /// pathLenConstraint.
        limit: u8,
        /// Authorities between it and the leaf.
        found: u8,
    },
    /// A leaf that could sign certificates.
    #[error("leaf certificate has the CA flag")]
    LeafIsAuthority,
    /// The last certificate is under none of the pinned keys.
    #[error("root `{found}` has a key that is not pinned")]
    Root {
        /// Its name.
        found: String,
    },
}

/// A certificate that is not valid at the time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place} certificate is valid from {not_before} to {not_after}, not at {at}", not_before = instant(*.not_before), not_after = instant(*.not_after), at = instant(*.at))]
pub struct ValidityError {
    /// Which one.
    pub place: &'static str,
    /// First second.
    pub not_before: u64,
    /// Last second.
    pub not_after: u64,
    /// The time asked for.
    pub at: u64,
}

/// Why the leaf does not say which firmware holds its key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FwidError {
    /// No extension 2.23.133.5.4.1.
    #[error("leaf certificate has no extension 2.23.133.5.4.1")]
    Absent,
    /// An extension that does not bind the BROM's key and a SHA-384.
    #[error("extension 2.23.133.5.4.1 is not version 1, the BROM's key and a SHA-384")]
    Form,
}

/// What kind of device a chain is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// GH100, the chip of H100 and H200: the only one that is appraised.
    Gh100,
    /// A chip of the Blackwell family.
    Blackwell,
    /// LS10, the third generation of NVSwitch.
    Ls10,
    /// None of these.
    Unknown,
}

impl core::fmt::Display for Model {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Model::Gh100 => "GH100",
            Model::Blackwell => "a Blackwell GPU",
            Model::Ls10 => "an LS10 NVSwitch",
            Model::Unknown => "a device that is not known",
        })
    }
}

/// A chain: five certificates that can be used, of which nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    brom: Certificate,
    provisioner: Certificate,
    identity: Certificate,
    root: Certificate,
}

impl Chain {
    /// Reads PEM, or the DER of the certificates one behind the other; leaf first.
    ///
    /// # Errors
    /// See [`ChainError`].
    pub fn parse(input: &[u8]) -> Result<Self, ChainError> {
        let found = input.len();
        if found > MAX_INPUT {
            return Err(ChainError::TooLarge { found });
        }
        let blocks = read::blocks(input)?;
        let found = blocks.len();
        let blocks: [Vec<u8>; LENGTH] =
            blocks.try_into().map_err(|_| ChainError::Count { found })?;
        let [leaf, brom, provisioner, identity, root] = blocks;
        let certificate = |place, der: Vec<u8>| {
            Certificate::from_der(&der).map_err(|error| ChainError::Certificate { place, error })
        };
        Ok(Self {
            leaf: certificate("leaf", leaf)?,
            brom: certificate("BROM", brom)?,
            provisioner: certificate("provisioner", provisioner)?,
            identity: certificate("identity", identity)?,
            root: certificate("root", root)?,
        })
    }

    /// The certificates with the names of their places, leaf first.
    fn places(&self) -> impl Iterator<Item = (&'static str, &Certificate)> {
        let certificates = [
            &self.leaf,
            &self.brom,
            &self.provisioner,
            &self.identity,
            &self.root,
        ];
        PLACES.into_iter().zip(certificates)
    }

    /// Common names of the subjects, leaf first; empty where there is none.
    pub fn names(&self) -> Vec<String> {
        self.places()
            .map(|(_, certificate)| certificate.common_name())
            .collect()
    }

    /// What the names of leaf, BROM and provisioner say the device is: only as good as the signatures ([`Chain::verify`]).
    pub fn model(&self) -> Model {
        let named = |certificate: &Certificate, start: &str, end: &str| {
            let name = certificate.common_name();
            name.strip_prefix(start)
                .is_some_and(|rest| rest.ends_with(end))
        };
        let brom = self.brom.common_name();
        match brom.split(' ').next().unwrap_or_default() {
            "GH100"
                if named(&self.brom, "GH100 ", " GSP BROM")
                    && named(&self.leaf, "GH100 ", " GSP FMC LF")
                    && named(&self.provisioner, "NVIDIA GH100 Provisioner ICA ", "") =>
            {
                Model::Gh100
            }
            "LS_10" | "LS10" => Model::Ls10,
            chip if chip.starts_with("GB") => Model::Blackwell,
            _ => Model::Unknown,
        }
    }

    /// Checks names, signatures (with `verify`), CA flags, key usages and path lengths from the leaf up, and that the root has one of `roots`.
    ///
    /// # Errors
    /// See [`LinkError`]; the first that is wrong from the leaf up.
    pub fn verify(&self, roots: &[RootKey], verify: Verify) -> Result<(), LinkError> {
        self.leaf.may_be_leaf()?;
        let issuers = self.places().skip(1).chain(self.places().last());
        for (below, (subject, issuer)) in (0..).zip(self.places().zip(issuers)) {
            // The root is its own issuer: four authorities never stand below it.
            let below = if subject.0 == issuer.0 {
                below - 1
            } else {
                below
            };
            link(subject, issuer, below, verify)?;
        }
        match roots.iter().any(|pinned| pinned.0 == self.root.key) {
            true => Ok(()),
            false => Err(LinkError::Root {
                found: self.root.subject(),
            }),
        }
    }

    /// Checks that every certificate is valid at `at`.
    ///
    /// # Errors
    /// [`ValidityError`] for the first that is not, from the leaf up.
    pub fn valid_at(&self, at: u64) -> Result<(), ValidityError> {
        for (place, certificate) in self.places() {
            let (not_before, not_after) = certificate.validity();
            if !(not_before..=not_after).contains(&at) {
                return Err(ValidityError {
                    place,
                    not_before,
                    not_after,
                    at,
                });
            }
        }
        Ok(())
    }

    /// SHA-384 of the firmware that holds the leaf's key, by the BROM's word.
    ///
    /// # Errors
    /// See [`FwidError`].
    pub fn fwid(&self) -> Result<Digest, FwidError> {
        let value = self.leaf.extension(FWID).ok_or(FwidError::Absent)?;
        let spki = self.brom.spki();
        let fwid = value.strip_prefix(FWID_HEAD);
        let fwid = fwid.and_then(|rest| rest.strip_prefix(spki.as_slice()));
        let fwid = fwid.and_then(|rest| rest.strip_prefix(FWID_DIGEST));
        let fwid = fwid.and_then(|digest| digest.try_into().ok());
        fwid.ok_or(FwidError::Form)
    }

    /// The device: serial number of the BROM certificate, big-endian.
    pub fn device(&self) -> &[u8] {
        self.brom.serial()
    }

    /// Serial number of the leaf, big-endian: changes with the firmware.
    pub fn leaf_serial(&self) -> &[u8] {
        self.leaf.serial()
    }

    /// Key of the leaf, which signs reports.
    pub fn leaf_key(&self) -> &[u8; 97] {
        &self.leaf.key
    }

    /// First and last second at which all five certificates are valid.
    pub fn validity(&self) -> (u64, u64) {
        self.places()
            .map(|(_, certificate)| certificate.validity())
            .fold((0, u64::MAX), |(from, to), (start, end)| {
                (from.max(start), to.min(end))
            })
    }
}

/// CompositeDeviceID of TCG DICE: DeviceID and FWID.
const FWID: &str = "2.23.133.5.4.1";
/// The sequence and version 1; the device's SubjectPublicKeyInfo of 120 bytes follows.
const FWID_HEAD: &[u8] = &[0x30, 0x81, 0xba, 0x02, 0x01, 0x01];
/// The sequence of SHA-384 (2.16.840.1.101.3.4.2.2) and the digest of 48 bytes that follows.
const FWID_DIGEST: &[u8] = &[
    0x30, 0x3d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x04, 0x30,
];

/// Checks that `issuer` issued `subject`, with `below` authorities between it and the leaf.
fn link(
    (place, subject): (&'static str, &Certificate),
    (above, issuer): (&'static str, &Certificate),
    below: u8,
    verify: Verify,
) -> Result<(), LinkError> {
    if !subject.names(issuer) {
        return Err(LinkError::Issuer {
            place,
            wanted: issuer.subject(),
            found: subject.issuer(),
        });
    }
    issuer.may_issue(above, below)?;
    match subject.signed_by(&issuer.key, verify) {
        true => Ok(()),
        false => Err(LinkError::Signature { place }),
    }
}

/// Seconds since the Unix epoch as a date, where there is one.
pub(crate) fn instant(seconds: u64) -> String {
    x509_cert::der::DateTime::from_unix_duration(core::time::Duration::from_secs(seconds))
        .map_or_else(|_| format!("{seconds} s"), |date| date.to_string())
}
