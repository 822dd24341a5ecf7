//! Evidence of a machine with a TPM 2.0 and no better device: a quote by a key of the owner
//! hierarchy over PCRs 0 to 15.
//!
//! Spec: `docs/evidence-format.md`, "TPM quote"; Linux `Documentation/ABI/testing/securityfs-tpm`
//! (the firmware log).

use std::fs::File;
use std::io::{Read, Write};

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

/// A TPM with Cloister's attestation key.
#[derive(Debug)]
pub struct Vtpm<S = File> {
    tpm: Tpm<S>,
    key: Key,
    events: Vec<Event>,
    bank: Option<PcrBank>,
}

impl Vtpm {
    /// Opens the machine's TPM and makes the attestation key.
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
    /// Makes the attestation key in the TPM behind `stream`.
    ///
    /// # Errors
    /// [`TeeError`].
    pub fn new(stream: S) -> Result<Self, TeeError> {
        Self::from_tpm(Tpm::new(stream))
    }

    /// Makes the attestation key in `tpm`.
    ///
    /// # Errors
    /// [`TeeError`].
    pub fn from_tpm(mut tpm: Tpm<S>) -> Result<Self, TeeError> {
        let key = tpm.create_attestation_key()?;
        Ok(Self {
            tpm,
            key,
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
}

impl<S: Read + Write> Tee for Vtpm<S> {
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
                let ak_public = self.key.public.clone();
                let value = TpmEvidence {
                    attest,
                    signature,
                    ak_public,
                    pcrs,
                }
                .encode();
                return Ok(CpuSection {
                    kind: CpuKind::TpmQuote,
                    value,
                });
            }
            self.bank = None;
        }
        Err(TeeError::Inconsistent)
    }
}
