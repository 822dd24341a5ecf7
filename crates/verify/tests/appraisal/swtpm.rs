//! Quotes of a real software TPM, made with `swtpm` and `tpm2-tools`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloister_evidence::batch::Batch;
use cloister_evidence::binding::{Mode, ReportData};
use cloister_evidence::bundle::{Bundle, CpuKind, CpuSection};
use cloister_evidence::tpm::{
    AK_ATTRIBUTES, AttestationKey, PcrBank, Quote, TpmEvidence, ak_template,
};
use cloister_verify::Policy;
use cloister_verify::tpm::{appraise_leaf, appraise_session};
use tempfile::TempDir;

use crate::support::{Guest, NOW, VALIDITY, certificate, extends};

const ATTRIBUTES: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
const ALL: &str = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15";

/// A running swtpm with an attestation key; ended on drop.
struct SoftwareTpm {
    directory: TempDir,
    process: Child,
}

impl SoftwareTpm {
    /// Starts one and replays the boot of `guest`; `None` when the programs are not installed.
    fn boot(guest: &Guest) -> Option<Self> {
        if !installed("swtpm") || !installed("tpm2_quote") {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must have swtpm and tpm2-tools"
            );
            println!("skipped: swtpm or tpm2-tools is not installed");
            return None;
        }
        let directory = TempDir::new().unwrap();
        let path = directory.path().display();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={path}")])
            .args(["--server", &format!("type=unixio,path={path}/sock")])
            .args(["--ctrl", &format!("type=unixio,path={path}/sock.ctrl")])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let tpm = Self { directory, process };
        tpm.wait();
        for (pcr, digest) in extends(&guest.log) {
            tpm.run(&[
                "tpm2_pcrextend",
                &format!("{pcr}:sha256={}", hex::encode(digest)),
            ]);
        }
        tpm.run(&[
            "tpm2_createprimary",
            "-C",
            "o",
            "-g",
            "sha256",
            "-G",
            "ecc256:ecdsa-sha256:null",
            "-a",
            ATTRIBUTES,
            "-c",
            "ak.ctx",
        ]);
        tpm.run(&[
            "tpm2_readpublic",
            "-c",
            "ak.ctx",
            "-f",
            "tss",
            "-o",
            "ak.pub",
        ]);
        Some(tpm)
    }

    fn wait(&self) {
        for _ in 0..100 {
            if self.directory.path().join("sock.ctrl").exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("swtpm did not start");
    }

    fn run(&self, command: &[&str]) {
        let socket = self.directory.path().join("sock");
        let output = Command::new(command[0])
            .args(&command[1..])
            .current_dir(self.directory.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", socket.display()))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
    }

    /// Quotes `selection`; the PCR values are those of 0 to 15 all the same.
    fn evidence(&self, report_data: &ReportData, selection: &str) -> TpmEvidence {
        let qualifying_data = hex::encode(report_data.qualifying_data());
        self.run(&[
            "tpm2_quote",
            "-c",
            "ak.ctx",
            "-l",
            selection,
            "-g",
            "sha256",
            "-q",
            &qualifying_data,
            "-m",
            "attest",
            "-s",
            "signature",
        ]);
        self.run(&["tpm2_flushcontext", "-t"]); // there is no resource manager
        self.run(&["tpm2_pcrread", ALL, "-o", "pcrs"]);
        let read = |name: &str| read(self.directory.path(), name);
        let mut pcrs = PcrBank([[0; 32]; 16]);
        pcrs.0.as_flattened_mut().copy_from_slice(&read("pcrs"));
        TpmEvidence {
            attest: read("attest"),
            signature: read("signature"),
            ak_public: read("ak.pub")[2..].to_vec(), // TPM2B_PUBLIC without its length
            pcrs,
        }
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn installed(program: &str) -> bool {
    let quiet = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok()
}

fn read(directory: &Path, name: &str) -> Vec<u8> {
    std::fs::read(directory.join(name)).unwrap()
}

/// The bundle of `guest` with hardware evidence of the TPM.
fn bundle(guest: &Guest, report_data: ReportData, evidence: &TpmEvidence) -> Bundle {
    let cpu = CpuSection {
        kind: CpuKind::TpmQuote,
        value: evidence.encode(),
    };
    Bundle {
        cpu,
        ..guest.bundle(report_data)
    }
}

#[test]
fn template_gives_the_key_that_the_tools_make() {
    let guest = Guest::boot();
    let Some(tpm) = SoftwareTpm::boot(&guest) else {
        return;
    };
    let made = read(tpm.directory.path(), "ak.pub");
    let template = ak_template();
    let fixed = template.len() - 4;
    assert_eq!(made[2..2 + fixed], template[..fixed]);
    let key = AttestationKey::parse(&made[2..]).unwrap();
    assert_eq!(key.attributes, AK_ATTRIBUTES);
}

#[test]
fn quote_of_a_software_tpm_is_accepted_for_leaf_and_session() {
    let guest = Guest::boot();
    let Some(tpm) = SoftwareTpm::boot(&guest) else {
        return;
    };
    let (reference, policy) = (guest.reference(), Policy::default());
    let (not_before, not_after) = VALIDITY;
    let mode = Mode::Leaf {
        not_before,
        not_after,
    };
    let report_data = guest.binding(&mode).report_data();
    let evidence = tpm.evidence(&report_data, ALL);
    assert_eq!(evidence.pcrs, guest.pcrs);
    let quote = Quote::parse(&evidence.attest).unwrap();
    assert_eq!(quote.pcr_digest, guest.pcrs.digest());
    let bundle_of_leaf = bundle(&guest, report_data, &evidence);
    let leaf = certificate(&guest.key, VALIDITY, &bundle_of_leaf);
    let encoded = bundle_of_leaf.encode();
    let verdict = appraise_leaf(&leaf, &encoded, &reference, &policy, NOW);
    assert!(verdict.accepted, "{verdict}");

    let (nonce, exporter) = ([7; 32], [8; 32]);
    let binding = guest.binding(&Mode::Session { nonce, exporter });
    let batch = Batch::new(&[binding]).unwrap();
    let evidence = tpm.evidence(&batch.report_data(), ALL);
    let session = Bundle {
        batch: batch.proof(0).ok(),
        ..bundle(&guest, batch.report_data(), &evidence)
    };
    let spki = guest.spki();
    let encoded = session.encode();
    let verdict = appraise_session(&spki, &nonce, &exporter, &encoded, &reference, &policy);
    assert!(verdict.accepted, "{verdict}");
    let verdict = appraise_session(&spki, &nonce, &[9; 32], &encoded, &reference, &policy);
    assert!(!verdict.accepted);
    assert_eq!(verdict.failures().count(), 1);
}

#[test]
fn quote_over_fewer_or_resettable_registers_is_rejected() {
    let guest = Guest::boot();
    let Some(tpm) = SoftwareTpm::boot(&guest) else {
        return;
    };
    let (not_before, not_after) = VALIDITY;
    let mode = Mode::Leaf {
        not_before,
        not_after,
    };
    let report_data = guest.binding(&mode).report_data();
    for selection in [
        "sha256:4,9,11,12,13,15",
        &format!("{ALL},16"),
        &format!("{ALL}+sha1:0"),
    ] {
        let evidence = tpm.evidence(&report_data, selection);
        let bundle = bundle(&guest, report_data, &evidence);
        let leaf = certificate(&guest.key, VALIDITY, &bundle);
        let (reference, policy) = (guest.reference(), Policy::default());
        let verdict = appraise_leaf(&leaf, &bundle.encode(), &reference, &policy, NOW);
        let failed: Vec<_> = verdict.failures().map(|check| &check.name).collect();
        assert_eq!(
            failed,
            ["pcr-selection", "pcr-digest"],
            "{selection}: {verdict}"
        );
    }
}
