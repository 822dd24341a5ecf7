//! Evidence of a machine with a TPM 2.0 and no better device: a quote over PCRs 0 to 15.
//!
//! Where the TPM holds an HCL report, it is the vTPM of Azure's paravisor: the quote is by the key that the report
//! names, and the report goes with it. Elsewhere the quote is by a key of the owner hierarchy.
//!
//! Spec: `docs/evidence-format.md`, "TPM quote" and "Azure"; Linux `Documentation/ABI/testing/securityfs-tpm`
//! (the firmware log).

use std::fs::File;
use std::io::{Read, Write};

use cloister_evidence::azure::{AK_HANDLE, AzureEvidence, HCL_REPORT_INDEX, MAX_HCL_REPORT};
use cloister_evidence::binding::ReportData;
use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::log::{Event, predict_pcr15};
use cloister_evidence::tpm::{PcrBank, Quote, TpmEvidence};

use super::{Tee, TeeError};
use crate::tpm::{Key, SignedQuote, Tpm};

/// The TPM behind the kernel's resource manager.
pub(super) const DEVICE: &str = "/dev/tpmrm0";

const FIRMWARE_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// The PCR of Cloister's event log.
const LOG_PCR: u32 = 15;

/// Reads of the PCRs until a quote covers them: only the log's PCR changes, and PID 1 changes it.
const ATTEMPTS: usize = 3;

/// A TPM with an attestation key.
#[derive(Debug)]
pub struct Vtpm<S = File> {
    tpm: Tpm<S>,
    key: Key,
    /// Azure's HCL report, which names the key.
    hcl_report: Option<Vec<u8>>,
    events: Vec<Event>,
    bank: Option<PcrBank>,
}

impl Vtpm {
    /// Opens the machine's TPM and finds or makes the attestation key.
    ///
    /// # Errors
    /// [`TeeError`].
    pub fn open() -> Result<Self, TeeError> {
        let stream = File::options()
            .read(true)
            .write(true)
            .open(DEVICE)
            .map_err(|source| TeeError::File {
                path: DEVICE.to_owned(),
                source,
            })?;
        Self::new(stream)
    }
}

impl<S: Read + Write> Vtpm<S> {
    /// Finds or makes the attestation key in the TPM behind `stream`.
    ///
    /// # Errors
    /// [`TeeError`].
    pub fn new(stream: S) -> Result<Self, TeeError> {
        Self::from_tpm(Tpm::new(stream))
    }

    /// Finds the attestation key of an HCL report in `tpm`, or makes one.
    ///
    /// # Errors
    /// [`TeeError`].
    pub fn from_tpm(mut tpm: Tpm<S>) -> Result<Self, TeeError> {
        let hcl_report = tpm.nv_read(HCL_REPORT_INDEX, MAX_HCL_REPORT)?;
        let key = match hcl_report {
            Some(_) => Key::persistent(AK_HANDLE),
            None => tpm.create_attestation_key()?,
        };
        Ok(Self {
            tpm,
            key,
            hcl_report,
            events: Vec::new(),
            bank: None,
        })
    }

    /// The PCR values, read once after the last event, and checked against the events.
    fn bank(&mut self) -> Result<PcrBank, TeeError> {
        if let Some(bank) = self.bank {
            return Ok(bank);
        }
        let bank = self.tpm.read_pcrs()?;
        let wanted = predict_pcr15(&self.events);
        let found = bank.0.last().copied().unwrap_or_default();
        if found != wanted {
            return Err(TeeError::Pcr15 {
                found: hex::encode(found),
                wanted: hex::encode(wanted),
            });
        }
        self.bank = Some(bank);
        Ok(bank)
    }

    /// The `cpu` section around a quote.
    fn section(&self, attest: Vec<u8>, signature: Vec<u8>, pcrs: PcrBank) -> CpuSection {
        let (kind, value) = match self.hcl_report.clone() {
            Some(hcl_report) => {
                let evidence = AzureEvidence {
                    attest,
                    signature,
                    hcl_report,
                    pcrs,
                };
                (CpuKind::Azure, evidence.encode())
            }
            None => {
                let ak_public = self.key.public.clone();
                let evidence = TpmEvidence {
                    attest,
                    signature,
                    ak_public,
                    pcrs,
                };
                (CpuKind::TpmQuote, evidence.encode())
            }
        };
        CpuSection { kind, value }
    }
}

impl<S: Read + Write> Tee for Vtpm<S> {
    fn kind(&self) -> CpuKind {
        match self.hcl_report {
            Some(_) => CpuKind::Azure,
            None => CpuKind::TpmQuote,
        }
    }

    fn extend(&mut self, event: &Event) -> Result<(), TeeError> {
        let digest = self.tpm.pcr_event(LOG_PCR, &event.framed())?;
        if digest != *event.digest() {
            return Err(TeeError::EventDigest(event.name().to_owned()));
        }
        self.events.push(event.clone());
        self.bank = None;
        Ok(())
    }

    fn firmware_log(&self) -> Result<Vec<u8>, TeeError> {
        match std::fs::read(FIRMWARE_LOG) {
            Ok(log) => Ok(log),
            // Firmware that keeps no log, as under direct boot without UEFI.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(TeeError::File {
                path: FIRMWARE_LOG.to_owned(),
                source,
            }),
        }
    }

    fn evidence(&mut self, report_data: &ReportData) -> Result<CpuSection, TeeError> {
        let qualifying = report_data.qualifying_data();
        for _ in 0..ATTEMPTS {
            let pcrs = self.bank()?;
            let SignedQuote { attest, signature } = self.tpm.quote(&self.key, &qualifying)?;
            let covered =
                Quote::parse(&attest).is_ok_and(|quote| quote.pcr_digest == pcrs.digest());
            if covered {
                return Ok(self.section(attest, signature, pcrs));
            }
            self.bank = None;
        }
        Err(TeeError::Inconsistent)
    }
}
