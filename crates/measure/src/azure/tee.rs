//! The hardware's report inside an HCL report, as far as an appraisal compares it.
//!
//! On Azure it describes Microsoft's paravisor, never the guest's image.

use super::{HclError, long};
use crate::digest::{Bank, Digest};

/// Report versions of SEV-SNP that have the fields at these places.
const SNP_VERSIONS: [u32; 4] = [2, 3, 4, 5];
/// TYPE of a TDREPORT.
const TDX_TYPE: u8 = 0x81;

/// The hardware's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeeReport {
    /// ATTESTATION_REPORT of SEV-SNP.
    Snp(Box<SnpFacts>),
    /// TDREPORT_STRUCT of TDX.
    Tdx(Box<TdxFacts>),
}

/// What a SEV-SNP report says of the paravisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpFacts {
    /// Version of the report.
    pub version: u32,
    /// Security version of the paravisor, from Microsoft's ID block.
    pub guest_svn: u32,
    /// Guest policy.
    pub policy: u64,
    /// Family, from the ID block.
    pub family_id: [u8; 16],
    /// Image, from the ID block.
    pub image_id: [u8; 16],
    /// Privilege level that asked for the report.
    pub vmpl: u32,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// MEASUREMENT: the paravisor's launch digest.
    pub measurement: Digest,
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// SHA-384 of the key that signed the ID block.
    pub id_key_digest: Digest,
    /// SHA-384 of the author key, zeros for none.
    pub author_key_digest: Digest,
}

/// What a TDREPORT says of the paravisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxFacts {
    /// REPORTDATA.
    pub report_data: [u8; 64],
    /// ATTRIBUTES; bit 0 is debugging.
    pub attributes: u64,
    /// MRTD: the paravisor.
    pub mrtd: Digest,
    /// MRCONFIGID, MROWNER and MROWNERCONFIG: set by the host.
    pub config: [Digest; 3],
    /// RTMR0 to RTMR3.
    pub rtmrs: [Digest; 4],
}

impl TeeReport {
    pub(super) fn parse(report_type: u32, bytes: &[u8]) -> Result<TeeReport, HclError> {
        let truncated = HclError::Truncated {
            need: super::REPORT,
            have: bytes.len(),
        };
        if report_type == 2 {
            let version = long(bytes, 0);
            if !SNP_VERSIONS.contains(&version) {
                return Err(HclError::Field {
                    what: "SNP report version",
                    found: version,
                    wanted: "2 to 5",
                });
            }
            return snp(bytes)
                .map(|facts| TeeReport::Snp(Box::new(facts)))
                .ok_or(truncated);
        }
        match bytes.first() {
            Some(&TDX_TYPE) => tdx(bytes)
                .map(|facts| TeeReport::Tdx(Box::new(facts)))
                .ok_or(truncated),
            found => Err(HclError::Field {
                what: "TDREPORT type",
                found: found.copied().unwrap_or_default().into(),
                wanted: "0x81",
            }),
        }
    }

    /// Returns the 64 bytes that the paravisor chose.
    pub fn report_data(&self) -> &[u8; 64] {
        match self {
            TeeReport::Snp(facts) => &facts.report_data,
            TeeReport::Tdx(facts) => &facts.report_data,
        }
    }
}

fn snp(bytes: &[u8]) -> Option<SnpFacts> {
    Some(SnpFacts {
        version: long(bytes, 0),
        guest_svn: long(bytes, 4),
        policy: u64::from_le_bytes(chunk(bytes, 8)?),
        family_id: chunk(bytes, 0x10)?,
        image_id: chunk(bytes, 0x20)?,
        vmpl: long(bytes, 0x30),
        report_data: chunk(bytes, 0x50)?,
        measurement: digest(bytes, 0x90)?,
        host_data: chunk(bytes, 0xc0)?,
        id_key_digest: digest(bytes, 0xe0)?,
        author_key_digest: digest(bytes, 0x110)?,
    })
}

fn tdx(bytes: &[u8]) -> Option<TdxFacts> {
    let at = |index: usize| digest(bytes, 528 + 48 * index);
    Some(TdxFacts {
        report_data: chunk(bytes, 128)?,
        attributes: u64::from_le_bytes(chunk(bytes, 512)?),
        mrtd: at(0)?,
        config: [at(1)?, at(2)?, at(3)?],
        rtmrs: [at(4)?, at(5)?, at(6)?, at(7)?],
    })
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn digest(bytes: &[u8], at: usize) -> Option<Digest> {
    Digest::from_bytes(Bank::Sha384, bytes.get(at..)?.get(..48)?).ok()
}
