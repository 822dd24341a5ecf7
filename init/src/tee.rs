//! The CPU's attestation device: one trait, and detection among the real ones.

mod configfs_tsm;
mod vtpm;

use std::path::Path;

use cloister_evidence::binding::ReportData;
use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::log::Event;

use crate::tpm::TpmError;

pub use configfs_tsm::ConfigfsTsm;
pub use vtpm::Vtpm;

/// A source of hardware evidence. PID 1 alone holds one.
pub trait Tee {
    /// Of which kind its evidence is.
    fn kind(&self) -> CpuKind;

    /// Extends the register that carries Cloister's event log, where the platform has one.
    ///
    /// # Errors
    /// [`TeeError`].
    fn extend(&mut self, event: &Event) -> Result<(), TeeError>;

    /// The firmware's event log, empty where the platform has none.
    ///
    /// # Errors
    /// [`TeeError`].
    fn firmware_log(&self) -> Result<Vec<u8>, TeeError>;

    /// Evidence that commits to all 64 bytes of `report_data`.
    ///
    /// # Errors
    /// [`TeeError`].
    fn evidence(&mut self, report_data: &ReportData) -> Result<CpuSection, TeeError>;
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TeeError {
    /// The machine has none of the devices Cloister knows.
    #[error(
        "no attestation device: neither {} nor {}",
        configfs_tsm::REPORTS,
        vtpm::DEVICE
    )]
    DeviceMissing,
    /// A file of the device cannot be opened, read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A TPM command failed.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The TPM's own digest of an event is not the one that was predicted.
    #[error("TPM hashed event `{0}` to another digest")]
    EventDigest(String),
    /// PCR 15 was used before PID 1 came to it.
    #[error("PCR 15 is {found} after Cloister's events, wanted {wanted}")]
    Pcr15 {
        /// What the TPM says.
        found: String,
        /// What the events give.
        wanted: String,
    },
    /// The quote does not cover the PCR values that were read.
    #[error("TPM quote does not cover the PCR values")]
    Inconsistent,
    /// configfs names a provider whose reports are not understood here.
    #[error("report provider `{0}`, wanted `sev_guest`")]
    Provider(String),
    /// Somebody else used the report entry.
    #[error("report generation is {found}, wanted {wanted}")]
    Generation {
        /// What was found.
        found: String,
        /// What was wanted.
        wanted: u64,
    },
    /// A report has the wrong length.
    #[error("SNP report has {0} bytes, wanted 1184")]
    ReportLength(usize),
}

/// The device of this machine: a hardware report where there is one, else a TPM.
///
/// # Errors
/// [`TeeError::DeviceMissing`] where there is neither, and the device's own.
pub fn detect() -> Result<Box<dyn Tee>, TeeError> {
    if Path::new(configfs_tsm::REPORTS).is_dir() {
        return Ok(Box::new(ConfigfsTsm::new(Path::new(
            configfs_tsm::REPORTS,
        ))?));
    }
    if Path::new(vtpm::DEVICE).exists() {
        return Ok(Box::new(Vtpm::open()?));
    }
    Err(TeeError::DeviceMissing)
}
