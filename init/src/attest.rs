//! Answers `serve`'s requests for evidence.
//!
//! `serve` names the fields; the binding is computed here, so that nobody can have bytes of their
//! own choice signed. Spec: `docs/evidence-format.md`, "Binding", "Batch" and "Event log".
//! The event log is extended and closed before the first evidence exists. Where there is a GPU, that is after its own evidence for the first
//! leaf held and it was made ready, so that no log can say more than what happened.

use std::collections::VecDeque;

use cloister_evidence::batch::{Batch, BatchError};
use cloister_evidence::binding::{MAX_LEAF_VALIDITY, Mode, binding, gpu_nonce};
use cloister_evidence::log::{EventLog, LogError, boot_events};
use nix::unistd::Pid;

use crate::channel::{Reply, Request};
use crate::gpu::{Gpu, GpuError};
use crate::tee::{Tee, TeeError};

/// Where the model lies: in the verity root, so that its hash covers it.
const MODEL: &str = "root";

/// Leaves whose sessions are answered: connections keep the leaf they began with, and one is made each half day.
const LEAVES: usize = 16;

/// Why a session is refused.
const NO_LEAF: &str = "no evidence was made for this leaf";
/// Why evidence of the GPU is refused.
const TOO_SOON: &str = "evidence of the GPU was asked for less than a minute ago";

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
    /// The GPU failed, or does not prove what it must.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// What an answer to `serve` needs.
pub struct Attester {
    tee: Box<dyn Tee>,
    gpu: Gpu,
    log: Log,
    /// SHA-256 of each leaf's SubjectPublicKeyInfo, and its device section; the latest is the last.
    leaves: VecDeque<([u8; 32], Vec<u8>)>,
}

/// Cloister's log.
enum Log {
    /// What it will say of configuration and GPU.
    Open {
        configuration: Vec<u8>,
        gpu: &'static str,
    },
    /// Extended; its section no longer changes.
    Closed(Vec<u8>),
}

impl std::fmt::Debug for Attester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attester").finish_non_exhaustive()
    }
}

impl Attester {
    /// Will log `configuration` (the bytes of the guest configuration) and `word` for `gpu`.
    ///
    /// # Errors
    /// [`AttestError::Gpu`] when the GPU's driver sees another CPU than `tee` is of.
    pub fn new(
        tee: Box<dyn Tee>,
        configuration: Vec<u8>,
        word: &'static str,
        gpu: Gpu,
    ) -> Result<Self, AttestError> {
        gpu.fits(tee.kind())?;
        Ok(Self {
            tee,
            gpu,
            log: Log::Open {
                configuration,
                gpu: word,
            },
            leaves: VecDeque::new(),
        })
    }

    /// The process of the GPU's helper, which must not end.
    #[must_use]
    pub fn gpu_helper(&self) -> Option<Pid> {
        self.gpu.helper()
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
            Request::NewSession {
                spki_sha256,
                nonce,
                exporter,
            } => self.new_session(spki_sha256, *nonce, *exporter).map(Some),
            Request::Listening | Request::Healthy | Request::Failed { .. } => Ok(None),
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
            return Ok(refused(&reason));
        }
        let mode = Mode::Leaf {
            not_before,
            not_after,
        };
        let Ok(devices) = self.gpu.devices(&gpu_nonce(&mode, spki))? else {
            return Ok(refused(TOO_SOON));
        };
        let devices = devices.encode();
        let log = self.closed_log()?;
        let binding = binding(&mode, spki, &devices, &log);
        let cpu = self.tee.evidence(&binding.report_data())?;
        self.leaves.push_back((*spki, devices.clone()));
        if self.leaves.len() > LEAVES {
            self.leaves.pop_front();
        }
        Ok(Reply::Evidence { cpu, devices, log })
    }

    /// The log's section; the first caller extends and closes it.
    fn closed_log(&mut self) -> Result<Vec<u8>, AttestError> {
        let (configuration, gpu) = match &self.log {
            Log::Closed(log) => return Ok(log.clone()),
            Log::Open { configuration, gpu } => (configuration, gpu),
        };
        let events = boot_events(configuration, gpu, MODEL)?;
        for event in &events {
            self.tee.extend(event)?;
        }
        let log = EventLog::new(events, self.tee.firmware_log()?)?.encode();
        self.log = Log::Closed(log.clone());
        Ok(log)
    }

    fn sessions(
        &mut self,
        spki: &[u8; 32],
        entries: &[([u8; 32], [u8; 32])],
    ) -> Result<Reply, AttestError> {
        let mut leaves = self.leaves.iter().rev();
        let leaf = leaves.find(|(leaf, _)| leaf == spki);
        let (Some((_, devices)), Log::Closed(log)) = (leaf, &self.log) else {
            return Ok(refused(NO_LEAF));
        };
        let bindings: Vec<_> = entries
            .iter()
            .map(|(nonce, exporter)| Mode::Session {
                nonce: *nonce,
                exporter: *exporter,
            })
            .map(|mode| binding(&mode, spki, devices, log))
            .collect();
        let batch = Batch::new(&bindings)?;
        Ok(Reply::Quote {
            cpu: self.tee.evidence(&batch.report_data())?,
        })
    }

    /// One session with evidence of the GPU that answers its nonce; by itself, because the section is no other session's.
    fn new_session(
        &mut self,
        spki: &[u8; 32],
        nonce: [u8; 32],
        exporter: [u8; 32],
    ) -> Result<Reply, AttestError> {
        let Log::Closed(log) = &self.log else {
            return Ok(refused(NO_LEAF));
        };
        if !self.leaves.iter().any(|(leaf, _)| leaf == spki) {
            return Ok(refused(NO_LEAF));
        }
        let mode = Mode::Session { nonce, exporter };
        let devices = match self.gpu.session_devices(&gpu_nonce(&mode, spki))? {
            Some(Ok(devices)) => devices.encode(),
            Some(Err(_)) => return Ok(refused(TOO_SOON)),
            None => return Ok(refused("no GPU takes part")),
        };
        let batch = Batch::new(&[binding(&mode, spki, &devices, log)])?;
        let cpu = self.tee.evidence(&batch.report_data())?;
        let log = log.clone();
        Ok(Reply::Evidence { cpu, devices, log })
    }
}

fn refused(reason: &str) -> Reply {
    let reason = reason.to_owned();
    Reply::Refused { reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_evidence::binding::ReportData;
    use cloister_evidence::bundle::{CpuKind, CpuSection};
    use cloister_evidence::devices::Devices;
    use cloister_evidence::log::Event;

    /// Records what it is asked; `None` fails. Its evidence is the report data itself.
    struct FakeTee(Option<Vec<u8>>);

    impl Tee for FakeTee {
        fn kind(&self) -> CpuKind {
            CpuKind::TpmQuote
        }

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

    fn new(tee: FakeTee) -> Attester {
        Attester::new(Box::new(tee), b"conf".to_vec(), "none", Gpu::None).unwrap()
    }

    fn attester() -> Attester {
        new(FakeTee(Some(Vec::new())))
    }

    const LEAF: Request = Request::Leaf {
        spki_sha256: [1; 32],
        not_before: 100,
        not_after: 200,
    };

    fn evidence(attester: &mut Attester) -> (CpuSection, Vec<u8>, Vec<u8>) {
        match attester.answer(&LEAF).unwrap() {
            Some(Reply::Evidence { cpu, devices, log }) => (cpu, devices, log),
            other => panic!("no evidence: {other:?}"),
        }
    }

    #[test]
    fn first_leaf_extends_all_events_before_the_firmware_log_is_read_and_no_other_does() {
        let mut attester = attester();
        let (_, _, first) = evidence(&mut attester);
        let log = EventLog::decode(&first).unwrap();
        assert_eq!(log.firmware(), b"configuration gpu model ready separator ");
        assert_eq!(evidence(&mut attester).2, first);
    }

    #[test]
    fn first_leaf_fails_without_a_device() {
        let error = new(FakeTee(None)).answer(&LEAF).unwrap_err();
        let wanted = "no attestation device: neither /sys/kernel/config/tsm/report nor /dev/tpmrm0";
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn leaf_evidence_is_over_the_binding_of_the_named_fields() {
        let (cpu, devices, log) = evidence(&mut attester());
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
        let (_, devices, log) = evidence(&mut attester);
        let entries = vec![([1; 32], [2; 32]), ([3; 32], [4; 32]), ([5; 32], [6; 32])];
        let request = Request::Sessions {
            spki_sha256: [1; 32],
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
            .map(|mode| binding(&mode, &[1; 32], &devices, &log))
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
    fn sessions_are_refused_for_a_leaf_that_has_no_evidence_or_is_long_gone() {
        let mut attester = attester();
        let session = |spki| Request::Sessions {
            spki_sha256: [spki; 32],
            entries: vec![([1; 32], [2; 32])],
        };
        let reason = "no evidence was made for this leaf".to_owned();
        let refused = Some(Reply::Refused { reason });
        assert_eq!(attester.answer(&session(0)).unwrap(), refused);
        for spki in 0..17 {
            let leaf = Request::Leaf {
                spki_sha256: [spki; 32],
                not_before: 100,
                not_after: 200,
            };
            attester.answer(&leaf).unwrap();
        }
        assert_eq!(attester.answer(&session(0)).unwrap(), refused);
        assert_eq!(attester.answer(&session(99)).unwrap(), refused);
        for spki in 1..17 {
            let reply = attester.answer(&session(spki)).unwrap();
            assert!(matches!(reply, Some(Reply::Quote { .. })), "{spki}");
        }
    }

    #[test]
    fn new_evidence_is_refused_without_a_leaf_and_without_a_gpu() {
        let mut attester = attester();
        let new = Request::NewSession {
            spki_sha256: [1; 32],
            nonce: [2; 32],
            exporter: [3; 32],
        };
        assert_eq!(attester.answer(&new).unwrap(), Some(refused(NO_LEAF)));
        evidence(&mut attester);
        let wanted = Some(refused("no GPU takes part"));
        assert_eq!(attester.answer(&new).unwrap(), wanted);
    }

    #[test]
    fn listening_has_no_reply() {
        assert_eq!(attester().answer(&Request::Listening).unwrap(), None);
    }
}
