//! ATTESTATION_REPORT: 1184 bytes, read field by field from the bytes that were signed.
//!
//! Spec: AMD 56860, table "ATTESTATION_REPORT Structure"; integers little-endian. Versions 2, 3 and 5; version 4 was
//! never published. Reserved bytes must be zero, also behind the signature: nothing in a report goes unread.

use thiserror::Error;

/// Length of a report in bytes.
pub const LENGTH: usize = 0x4a0;
/// Length of the part that is signed.
pub const SIGNED: usize = 0x2a0;
/// Length of r and s of a P-384 signature.
const SCALAR: usize = 48;
/// SIGNATURE_ALGO: ECDSA P-384 with SHA-384.
const ECDSA_P384_SHA384: u32 = 1;

/// Why bytes are not a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Another length.
    #[error("SNP report has {found} bytes, wanted {LENGTH}")]
    Length {
        /// Length in bytes.
        found: usize,
    },
    /// A version that is not known.
    #[error("SNP report has version {found}, wanted 2, 3 or 5")]
    Version {
        /// VERSION.
        found: u32,
    },
    /// Another signature algorithm.
    #[error("SNP report has SIGNATURE_ALGO {found}, wanted 1 (ECDSA P-384 with SHA-384)")]
    Algorithm {
        /// SIGNATURE_ALGO.
        found: u32,
    },
    /// A reserved byte or bit that is not zero.
    #[error("SNP report is not zero in the reserved field at {offset:#x}")]
    Reserved {
        /// Where the field starts.
        offset: usize,
    },
}

/// CPUID of the processor, versions 3 and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpuid {
    /// Family, extended part added.
    pub family: u8,
    /// Model, extended part added.
    pub model: u8,
    /// Stepping.
    pub stepping: u8,
}

/// A version of the SNP firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmwareVersion {
    /// Major, 1 for SNP.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// A report, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The signed part, as it was read.
    pub signed: [u8; SIGNED],
    /// r and s, big-endian, 48 bytes each.
    pub signature: [u8; 2 * SCALAR],
    /// VERSION.
    pub version: u32,
    /// GUEST_SVN.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: u64,
    /// FAMILY_ID.
    pub family_id: [u8; 16],
    /// IMAGE_ID.
    pub image_id: [u8; 16],
    /// VMPL.
    pub vmpl: u32,
    /// CURRENT_TCB, see [`super::Tcb::parse`].
    pub current_tcb: [u8; 8],
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// AUTHOR_KEY_EN, MASK_CHIP_KEY and SIGNING_KEY.
    pub key_info: u32,
    /// REPORT_DATA.
    pub report_data: [u8; 64],
    /// MEASUREMENT.
    pub measurement: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST.
    pub id_key_digest: [u8; 48],
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: [u8; 48],
    /// REPORT_ID.
    pub report_id: [u8; 32],
    /// REPORT_ID_MA: all ones without migration agent.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB.
    pub reported_tcb: [u8; 8],
    /// CPUID_FAM_ID, CPUID_MOD_ID, CPUID_STEP; absent in version 2.
    pub cpuid: Option<Cpuid>,
    /// CHIP_ID.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB.
    pub committed_tcb: [u8; 8],
    /// CURRENT_MAJOR, CURRENT_MINOR, CURRENT_BUILD.
    pub current: FirmwareVersion,
    /// COMMITTED_MAJOR, COMMITTED_MINOR, COMMITTED_BUILD.
    pub committed: FirmwareVersion,
    /// LAUNCH_TCB.
    pub launch_tcb: [u8; 8],
    /// LAUNCH_MIT_VECTOR; absent before version 5.
    pub launch_mit_vector: Option<u64>,
    /// CURRENT_MIT_VECTOR; absent before version 5.
    pub current_mit_vector: Option<u64>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn parse(input: &[u8]) -> Result<Self, ReportError> {
        let length = ReportError::Length { found: input.len() };
        let raw: &[u8; LENGTH] = input.try_into().map_err(|_| length)?;
        let mut fields = Fields { rest: raw };
        let version = fields.u32()?;
        if !matches!(version, 2 | 3 | 5) {
            return Err(ReportError::Version { found: version });
        }
        let (guest_svn, policy) = (fields.u32()?, fields.u64()?);
        let (family_id, image_id) = (fields.take()?, fields.take()?);
        let vmpl = fields.u32()?;
        let found = fields.u32()?;
        if found != ECDSA_P384_SHA384 {
            return Err(ReportError::Algorithm { found });
        }
        let (current_tcb, platform_info) = (fields.take()?, fields.u64()?);
        let key_info = fields.u32()?;
        if key_info >> 5 != 0 {
            return Err(ReportError::Reserved { offset: 0x48 });
        }
        fields.reserved::<4>()?;
        Ok(Self {
            version,
            guest_svn,
            policy,
            family_id,
            image_id,
            vmpl,
            current_tcb,
            platform_info,
            key_info,
            report_data: fields.take()?,
            measurement: fields.take()?,
            host_data: fields.take()?,
            id_key_digest: fields.take()?,
            author_key_digest: fields.take()?,
            report_id: fields.take()?,
            report_id_ma: fields.take()?,
            reported_tcb: fields.take()?,
            cpuid: fields.cpuid(version)?,
            chip_id: fields.take()?,
            committed_tcb: fields.take()?,
            current: fields.firmware()?,
            committed: fields.firmware()?,
            launch_tcb: fields.take()?,
            launch_mit_vector: fields.mitigations(version)?,
            current_mit_vector: fields.mitigations(version)?,
            signature: fields.signature()?,
            signed: *raw.first_chunk().ok_or(length)?,
        })
    }

    /// SIGNING_KEY: 0 VCEK, 1 VLEK, 7 none.
    pub fn signing_key(&self) -> u32 {
        self.key_info >> 2 & 7
    }
}

/// What is left of a report.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn offset(&self) -> usize {
        LENGTH - self.rest.len()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ReportError> {
        let found = self.offset();
        let (field, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ReportError::Length { found })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, ReportError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ReportError> {
        self.take().map(u64::from_le_bytes)
    }

    fn reserved<const N: usize>(&mut self) -> Result<(), ReportError> {
        let offset = self.offset();
        if self.take::<N>()? != [0; N] {
            return Err(ReportError::Reserved { offset });
        }
        Ok(())
    }

    fn cpuid(&mut self, version: u32) -> Result<Option<Cpuid>, ReportError> {
        if version == 2 {
            return self.reserved::<24>().map(|()| None);
        }
        let [family, model, stepping] = self.take()?;
        self.reserved::<21>()?;
        Ok(Some(Cpuid {
            family,
            model,
            stepping,
        }))
    }

    fn firmware(&mut self) -> Result<FirmwareVersion, ReportError> {
        let [build, minor, major] = self.take()?;
        self.reserved::<1>()?;
        Ok(FirmwareVersion {
            major,
            minor,
            build,
        })
    }

    fn mitigations(&mut self, version: u32) -> Result<Option<u64>, ReportError> {
        match version {
            5 => self.u64().map(Some),
            _ => self.reserved::<8>().map(|()| None),
        }
    }

    /// The reserved bytes before the signature, r and s of 72 little-endian bytes each, and the zeros behind them.
    fn signature(&mut self) -> Result<[u8; 2 * SCALAR], ReportError> {
        self.reserved::<152>()?;
        let mut signature = [0; 2 * SCALAR];
        for half in signature.chunks_exact_mut(SCALAR) {
            let scalar: [u8; SCALAR] = self.take()?;
            self.reserved::<24>()?;
            for (to, from) in half.iter_mut().zip(scalar.iter().rev()) {
                *to = *from;
            }
        }
        self.reserved::<368>()?;
        Ok(signature)
    }
}
