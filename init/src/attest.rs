//! Answers `serve`'s requests for evidence.
//!
//! `serve` names the fields; the binding is computed here, so that nobody can have bytes of their
//! own choice signed. Spec: `docs/evidence-format.md`, "Binding", "Batch" and "Event log".
//! The event log is extended and closed before the first evidence exists.

use cloister_evidence::batch::{Batch, BatchError};
use cloister_evidence::binding::{MAX_LEAF_VALIDITY, Mode, binding};
use cloister_evidence::devices::Devices;
use cloister_evidence::log::{EventLog, LogError, boot_events};

use crate::channel::{Reply, Request};
use crate::tee::{Tee, TeeError};

/// Where the model lies: in the verity root, so that its hash covers it.
const MODEL: &str = "root";

/// Why evidence cannot be given; ends the boot when it happens there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The device failed.
    #[error(transparent)]
    Tee(#[from] TeeError),
    /// The log does not keep to its format.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The batch is empty or too large.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// What an answer to `serve` needs: the device, and the two sections that no longer change.
pub struct Attester {
    tee: Box<dyn Tee>,
    devices: Vec<u8>,
    log: Vec<u8>,
}

impl std::fmt::Debug for Attester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attester").finish_non_exhaustive()
    }
}

impl Attester {
    /// Extends the boot events over `configuration` (the bytes of the guest configuration) and
    /// `gpu`, and closes the log.
    ///
    /// # Errors
    /// [`AttestError`].
    pub fn new(
        mut tee: Box<dyn Tee>,
        configuration: &[u8],
        gpu: &str,
        devices: Devices,
    ) -> Result<Self, AttestError> {
        let events = boot_events(configuration, gpu, MODEL)?;
        for event in &events {
            tee.extend(event)?;
        }
        let log = EventLog::new(events, tee.firmware_log()?)?.encode();
        Ok(Self {
            tee,
            devices: devices.encode(),
            log,
        })
    }

    /// The reply to `request`; `None` for a request that has none.
    ///
    /// # Errors
    /// [`AttestError`] when the device fails; a request that may not be granted is a
    /// [`Reply::Refused`].
    pub fn answer(&mut self, request: &Request) -> Result<Option<Reply>, AttestError> {
        match request {
            Request::Leaf {
                spki_sha256,
                not_before,
                not_after,
            } => self.leaf(spki_sha256, *not_before, *not_after).map(Some),
            Request::Sessions {
                spki_sha256,
                entries,
            } => self.sessions(spki_sha256, entries).map(Some),
            Request::Listening | Request::Failed { .. } => Ok(None),
        }
    }

    fn leaf(
        &mut self,
        spki: &[u8; 32],
        not_before: u64,
        not_after: u64,
    ) -> Result<Reply, AttestError> {
        let validity = not_after.checked_sub(not_before);
        if validity.is_none_or(|seconds| seconds == 0 || seconds > MAX_LEAF_VALIDITY) {
            let reason = format!("leaf validity must be 1 to {MAX_LEAF_VALIDITY} seconds");
            return Ok(Reply::Refused { reason });
        }
        let mode = Mode::Leaf {
            not_before,
            not_after,
        };
        let binding = binding(&mode, spki, &self.devices, &self.log);
        let cpu = self.tee.evidence(&binding.report_data())?;
        Ok(Reply::Evidence {
            cpu,
            devices: self.devices.clone(),
            log: self.log.clone(),
        })
    }

    fn sessions(
        &mut self,
        spki: &[u8; 32],
        entries: &[([u8; 32], [u8; 32])],
    ) -> Result<Reply, AttestError> {
        let bindings: Vec<_> = entries
            .iter()
            .map(|(nonce, exporter)| Mode::Session {
                nonce: *nonce,
                exporter: *exporter,
            })
            .map(|mode| binding(&mode, spki, &self.devices, &self.log))
            .collect();
        let batch = Batch::new(&bindings)?;
        Ok(Reply::Quote {
            cpu: self.tee.evidence(&batch.report_data())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_evidence::binding::ReportData;
    use cloister_evidence::bundle::{CpuKind, CpuSection};
    use cloister_evidence::log::Event;

    /// Records what it is asked; `None` fails. Its evidence is the report data itself.
    struct FakeTee(Option<Vec<u8>>);

    impl Tee for FakeTee {
        fn extend(&mut self, event: &Event) -> Result<(), TeeError> {
            let names = self.0.as_mut().ok_or(TeeError::DeviceMissing)?;
            names.extend(event.name().as_bytes());
            names.push(b' ');
            Ok(())
        }

        fn firmware_log(&self) -> Result<Vec<u8>, TeeError> {
            self.0.clone().ok_or(TeeError::DeviceMissing)
        }

        fn evidence(&mut self, report_data: &ReportData) -> Result<CpuSection, TeeError> {
            let value = report_data.as_bytes().to_vec();
            Ok(CpuSection {
                kind: CpuKind::TpmQuote,
                value,
            })
        }
    }

    fn attester() -> Attester {
        Attester::new(
            Box::new(FakeTee(Some(Vec::new()))),
            b"conf",
            "none",
            Devices::None,
        )
        .unwrap()
    }

    #[test]
    fn new_extends_all_events_before_it_reads_the_firmware_log() {
        let log = EventLog::decode(&attester().log).unwrap();
        assert_eq!(log.firmware(), b"configuration gpu model ready separator ");
    }

    #[test]
    fn new_fails_without_a_device() {
        let tee = Box::new(FakeTee(None));
        let error = Attester::new(tee, b"conf", "none", Devices::None).unwrap_err();
        let wanted = "no attestation device: neither /sys/kernel/config/tsm/report nor /dev/tpmrm0";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn leaf_evidence_is_over_the_binding_of_the_named_fields() {
        let mut attester = attester();
        let request = Request::Leaf {
            spki_sha256: [1; 32],
            not_before: 100,
            not_after: 200,
        };
        let Some(Reply::Evidence { cpu, devices, log }) = attester.answer(&request).unwrap() else {
            panic!("no evidence")
        };
        let mode = Mode::Leaf {
            not_before: 100,
            not_after: 200,
        };
        assert_eq!(
            cpu.value,
            binding(&mode, &[1; 32], &devices, &log).as_bytes()
        );
        assert_eq!(Devices::decode(&devices), Ok(Devices::None));
    }

    #[test]
    fn leaf_is_refused_for_a_day_and_a_second_and_for_no_time() {
        for (not_before, not_after) in [(0, MAX_LEAF_VALIDITY + 1), (5, 5), (6, 5)] {
            let request = Request::Leaf {
                spki_sha256: [1; 32],
                not_before,
                not_after,
            };
            let reason = "leaf validity must be 1 to 86400 seconds".to_owned();
            assert_eq!(
                attester().answer(&request).unwrap(),
                Some(Reply::Refused { reason })
            );
        }
    }

    #[test]
    fn sessions_share_evidence_over_their_batch() {
        let mut attester = attester();
        let entries = vec![([1; 32], [2; 32]), ([3; 32], [4; 32]), ([5; 32], [6; 32])];
        let request = Request::Sessions {
            spki_sha256: [7; 32],
            entries: entries.clone(),
        };
        let Some(Reply::Quote { cpu }) = attester.answer(&request).unwrap() else {
            panic!("no quote")
        };
        let bindings: Vec<_> = entries
            .iter()
            .map(|(nonce, exporter)| Mode::Session {
                nonce: *nonce,
                exporter: *exporter,
            })
            .map(|mode| binding(&mode, &[7; 32], &attester.devices, &attester.log))
            .collect();
        let batch = Batch::new(&bindings).unwrap();
        assert_eq!(cpu.value, batch.report_data().as_bytes());
        let proof = batch.proof(2).unwrap();
        assert_eq!(
            proof.report_data(&bindings[2]).unwrap().as_bytes().to_vec(),
            cpu.value
        );
    }

    #[test]
    fn listening_has_no_reply() {
        assert_eq!(attester().answer(&Request::Listening).unwrap(), None);
    }
}
