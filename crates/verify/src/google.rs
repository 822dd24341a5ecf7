//! Google's launch endorsement: what the firmware of a confidential VM on Compute Engine measures to, signed by Google.
//!
//! Spec: google/gce-tcb-verifier, `proto/endorsement.proto` (the messages), `verify` (order of the checks, provenance since August
//! 2024) and `sign/ops` (RSASSA-PSS with SHA-256, a root that issues the signer directly).
//! The root is an argument: it is published at an address of Google's and in no standard, and this crate pins no copy of it.
//! Left out: fetching, the bundle of intermediate authorities (production has none) and the ID block's certificates.

mod message;

use std::collections::BTreeMap;

use prost::Message as _;
use thiserror::Error;

use crate::signature::{Scheme, SignatureError};
use crate::x509::{LinkError, ValidityError, X509, X509Error};

/// Longest endorsement that is read, in bytes. Real ones have some 20 KiB.
pub const MAX_BYTES: usize = 1 << 20;
/// Since then (2024-08-02) an endorsement names the sources that the firmware was built from, in seconds since the Unix epoch.
const PROVENANCE_SINCE: i64 = 1_722_556_800;

/// Why bytes are not an endorsement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// Longer than anybody makes them.
    #[error("endorsement has {found} bytes, wanted at most {MAX_BYTES}")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Not the protobuf message.
    #[error("{message} is not read: {reason}")]
    Message {
        /// Name of the message.
        message: &'static str,
        /// The reader's reason.
        reason: String,
    },
    /// Fields that nothing signs: unknown ones, or known ones twice or in another order.
    #[error("VMLaunchEndorsement has other bytes than its two fields")]
    NotCanonical,
    /// A field of another length.
    #[error("{field} has {found} bytes, wanted {wanted}")]
    Length {
        /// Name in the message.
        field: &'static str,
        /// Length in bytes.
        found: usize,
        /// Length of such a value.
        wanted: usize,
    },
    /// The signer's certificate.
    #[error("certificate of the signer: {0}")]
    Certificate(#[from] X509Error),
}

/// Why an endorsement is not one of the given root's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignerError {
    /// The root did not issue the signer's certificate.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Root or signer at another time.
    #[error(transparent)]
    Validity(#[from] ValidityError),
    /// The signature itself.
    #[error("signature by `{signer}`: {error}")]
    Signature {
        /// Subject of the signer's certificate.
        signer: String,
        /// What is wrong.
        error: SignatureError,
    },
    /// No sources named.
    #[error("names neither change list nor commit, as every endorsement since 2024-08-02 does")]
    Provenance,
}

/// An endorsement as it was read, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    signed: Vec<u8>,
    signature: Vec<u8>,
    /// Certificate of the signer.
    pub certificate: X509,
    /// What it says.
    pub firmware: Firmware,
}

/// What an endorsement says of one build of the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// When it was signed, in seconds since the Unix epoch.
    pub timestamp: i64,
    /// Change list that it was built from; 0 for none.
    pub cl_spec: u64,
    /// Commit that it was built from.
    pub commit: Vec<u8>,
    /// SHA-384 of the firmware.
    pub digest: [u8; 48],
    /// On SEV-SNP.
    pub snp: Option<SnpFirmware>,
    /// On TDX.
    pub tdx: Option<TdxFirmware>,
}

/// What the firmware measures to on SEV-SNP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpFirmware {
    /// Security version by Google's count.
    pub svn: u32,
    /// Launch policy.
    pub policy: u64,
    /// Launch digests by number of VMSAs.
    pub measurements: BTreeMap<u32, [u8; 48]>,
    /// Launch digest of the firmware in an SVSM.
    pub svsm: Option<[u8; 48]>,
}

/// What the firmware measures to on TDX.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxFirmware {
    /// Security version by Google's count.
    pub svn: u32,
    /// One for each shape of machine.
    pub measurements: Vec<TdxMeasurement>,
}

/// MRTD on one shape of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxMeasurement {
    /// Memory in GiB.
    pub ram_gib: u32,
    /// Whether the firmware accepts all memory before it starts the guest.
    pub early_accept: bool,
    /// MRTD.
    pub mrtd: [u8; 48],
}

impl Endorsement {
    /// Reads a `VMLaunchEndorsement`. Fields of what is signed that this version does not know are ignored.
    ///
    /// # Errors
    /// See [`EndorsementError`].
    pub fn parse(input: &[u8]) -> Result<Self, EndorsementError> {
        let found = input.len();
        if found > MAX_BYTES {
            return Err(EndorsementError::TooLarge { found });
        }
        let outer: message::LaunchEndorsement = read("VMLaunchEndorsement", input)?;
        if outer.encode_to_vec() != input {
            return Err(EndorsementError::NotCanonical);
        }
        let golden: message::GoldenMeasurement =
            read("VMGoldenMeasurement", &outer.serialized_uefi_golden)?;
        Ok(Self {
            certificate: X509::from_der(&golden.cert)?,
            firmware: Firmware::from_message(golden)?,
            signed: outer.serialized_uefi_golden,
            signature: outer.signature,
        })
    }

    /// Checks that the holder of a certificate that `root` issued signed it; `at` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// See [`SignerError`].
    pub fn signed_under(&self, root: &X509, at: u64) -> Result<(), SignerError> {
        self.certificate.issued_by(root, 0)?;
        root.valid_at(at)?;
        self.certificate.valid_at(at)?;
        let key = self.certificate.key();
        key.verify(Scheme::RsaPssSha256, &self.signed, &self.signature)
            .map_err(|error| SignerError::Signature {
                signer: self.certificate.subject().to_string(),
                error,
            })?;
        let firmware = &self.firmware;
        let named = firmware.cl_spec != 0 || !firmware.commit.is_empty();
        if firmware.timestamp > PROVENANCE_SINCE && !named {
            return Err(SignerError::Provenance);
        }
        Ok(())
    }
}

impl Firmware {
    fn from_message(golden: message::GoldenMeasurement) -> Result<Self, EndorsementError> {
        Ok(Self {
            timestamp: golden.timestamp.map_or(0, |timestamp| timestamp.seconds),
            cl_spec: golden.cl_spec,
            commit: golden.commit,
            digest: sha384("digest", &golden.digest)?,
            snp: golden.sev_snp.map(SnpFirmware::from_message).transpose()?,
            tdx: golden.tdx.map(TdxFirmware::from_message).transpose()?,
        })
    }
}

impl SnpFirmware {
    fn from_message(snp: message::SevSnp) -> Result<Self, EndorsementError> {
        let measured = |(vmsas, digest): (u32, Vec<u8>)| {
            sha384("sev_snp.measurements", &digest).map(|digest| (vmsas, digest))
        };
        let svsm = Some(snp.svsm_measurement).filter(|digest| !digest.is_empty());
        Ok(Self {
            svn: snp.svn,
            policy: snp.policy,
            measurements: snp
                .measurements
                .into_iter()
                .map(measured)
                .collect::<Result<_, _>>()?,
            svsm: svsm
                .map(|digest| sha384("sev_snp.svsm_measurement", &digest))
                .transpose()?,
        })
    }
}

impl TdxFirmware {
    fn from_message(tdx: message::Tdx) -> Result<Self, EndorsementError> {
        let measured = |found: message::TdxMeasurement| {
            Ok(TdxMeasurement {
                ram_gib: found.ram_gib,
                early_accept: found.early_accept,
                mrtd: sha384("tdx.measurements.mrtd", &found.mrtd)?,
            })
        };
        let measurements = tdx.measurements.into_iter().map(measured);
        Ok(Self {
            svn: tdx.svn,
            measurements: measurements.collect::<Result<_, EndorsementError>>()?,
        })
    }
}

fn read<M: prost::Message + Default>(
    message: &'static str,
    input: &[u8],
) -> Result<M, EndorsementError> {
    M::decode(input).map_err(|error| EndorsementError::Message {
        message,
        reason: error.to_string(),
    })
}

fn sha384(field: &'static str, value: &[u8]) -> Result<[u8; 48], EndorsementError> {
    value.try_into().map_err(|_| EndorsementError::Length {
        field,
        found: value.len(),
        wanted: 48,
    })
}
