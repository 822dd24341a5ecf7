//! The TPM commands against a real software TPM (`swtpm`, Debian package of that name).

use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloister_evidence::binding::{Mode, binding};
use cloister_evidence::bundle::CpuKind;
use cloister_evidence::log::{boot_events, predict_pcr15};
use cloister_evidence::tpm::{AK_ATTRIBUTES, AttestationKey, EcdsaSignature, Quote, TpmEvidence};
use cloister_init::tee::{Tee, TeeError, Vtpm};
use cloister_init::tpm::{Tpm, TpmError};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256};

/// A running `swtpm`; ends with the value.
pub(crate) struct Swtpm {
    process: Child,
    state: tempfile::TempDir,
}

impl Swtpm {
    /// Starts one with empty state; `None`, with a note, where the program is not installed.
    pub(crate) fn start() -> Option<Self> {
        let state = tempfile::tempdir().unwrap();
        let started = Command::new("swtpm")
            .args([
                "socket",
                "--tpm2",
                "--flags",
                "not-need-init,startup-clear",
                "--tpmstate",
            ])
            .arg(format!("dir={}", state.path().display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}/tpm", state.path().display()))
            .arg("--ctrl")
            .arg(format!(
                "type=unixio,path={}/tpm.ctrl",
                state.path().display()
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(process) => Some(Self { process, state }),
            Err(error) => {
                let ci = std::env::vars_os().any(|(name, _)| name == "CI");
                assert!(!ci, "swtpm: {error}");
                println!("skipped: swtpm: {error}");
                None
            }
        }
    }

    /// Directory of its state, with the socket `tpm`.
    pub(crate) fn state(&self) -> &std::path::Path {
        self.state.path()
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(self.state.path().join("tpm")) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn evidence_is_signed_by_the_key_over_the_predicted_pcr() {
    let Some(swtpm) = Swtpm::start() else { return };
    let mut tee = Vtpm::new(swtpm.connect()).unwrap();
    let events = boot_events(b"configuration", "none", "root").unwrap();
    for event in &events {
        tee.extend(event).unwrap();
    }
    let mode = Mode::Leaf {
        not_before: 1,
        not_after: 2,
    };
    let report_data = binding(&mode, &[7; 32], b"devices", b"log").report_data();
    let section = tee.evidence(&report_data).unwrap();
    assert_eq!(section.kind, CpuKind::TpmQuote);

    let evidence = TpmEvidence::decode(&section.value).unwrap();
    assert_eq!(evidence.pcrs.get(15), Some(&predict_pcr15(&events)));
    let quote = Quote::parse(&evidence.attest).unwrap();
    assert_eq!(quote.extra_data, report_data.qualifying_data());
    assert_eq!(quote.pcr_digest, evidence.pcrs.digest());
    let key = AttestationKey::parse(&evidence.ak_public).unwrap();
    assert_eq!(key.attributes, AK_ATTRIBUTES);
    assert_eq!(quote.qualified_signer, key.owner_qualified_name());

    let signature = EcdsaSignature::parse(&evidence.signature).unwrap();
    let signature = p256::ecdsa::Signature::from_scalars(signature.r, signature.s).unwrap();
    let point = [[4].as_slice(), &key.x, &key.y].concat();
    let verifying = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
    verifying
        .verify_prehash(&Sha256::digest(&evidence.attest), &signature)
        .unwrap();
}

#[test]
fn the_same_tpm_gives_the_same_key_again() {
    let Some(swtpm) = Swtpm::start() else { return };
    let mut tpm = Tpm::new(swtpm.connect());
    let first = tpm.create_attestation_key().unwrap();
    let public = first.public.clone();
    tpm.flush(first).unwrap();
    assert_eq!(tpm.create_attestation_key().unwrap().public, public);
}

#[test]
fn evidence_refuses_a_pcr_that_somebody_else_extended() {
    let Some(swtpm) = Swtpm::start() else { return };
    let mut tpm = Tpm::new(swtpm.connect());
    assert_eq!(tpm.pcr_event(15, b"abc").unwrap(), *Sha256::digest(b"abc"));
    let extended: [u8; 32] = Sha256::new()
        .chain_update([0; 32])
        .chain_update(Sha256::digest(b"abc"))
        .finalize()
        .into();
    assert_eq!(tpm.read_pcrs().unwrap().get(15), Some(&extended));
    assert_eq!(tpm.read_pcrs().unwrap().get(7), Some(&[0; 32]));

    let mut tee = Vtpm::from_tpm(tpm).unwrap();
    let report_data = binding(
        &Mode::Leaf {
            not_before: 1,
            not_after: 2,
        },
        &[7; 32],
        b"",
        b"",
    )
    .report_data();
    let error = tee.evidence(&report_data).unwrap_err();
    let TeeError::Pcr15 { found, wanted } = error else {
        panic!("{error}")
    };
    assert_eq!((found, wanted), (hex::encode(extended), "00".repeat(32)));
}

#[test]
fn the_tpm_refuses_an_event_that_is_too_long() {
    let Some(swtpm) = Swtpm::start() else { return };
    let error = Tpm::new(swtpm.connect())
        .pcr_event(15, &[0; 2000])
        .unwrap_err();
    // TPM_RC_SIZE (0x95) of parameter 1.
    let TpmError::Refused { command, code } = error else {
        panic!("{error}")
    };
    assert_eq!((command, code), ("TPM2_PCR_Event", 0x1d5));
}
