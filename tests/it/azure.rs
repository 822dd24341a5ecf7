//! The whole Azure path: evidence of the real PID 1 on a booted guest, judged by the keys behind its TPM's report.

mod live;
mod machine;

use cloister_evidence::azure::AzureEvidence;
use cloister_evidence::binding::{Mode, ReportData, binding};
use cloister_evidence::bundle::{Bundle, CpuKind};
use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::{Beside, Expected, MICROSOFT, Roots, appraise};
use cloister_verify::policy::PolicyFile;
use cloister_verify::{Conclusion, Trust, Verdict, certificate};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::guest::BOOT_LIMIT;
use crate::images;
use crate::peer::Peer;
use crate::program::repository;
use machine::{Machine, Processor, machine};

const NONCE: [u8; 32] = [7; 32];
/// The registers that pin the image.
const REGISTERS: [u8; 6] = [4, 9, 11, 12, 13, 15];

/// What a guest showed on one connection, and the time in the middle of its leaf's validity.
struct Shown {
    leaf: Bundle,
    /// What the leaf's evidence must commit to.
    leaf_data: ReportData,
    session: Bundle,
    session_data: ReportData,
    at: u64,
}

impl Shown {
    fn of(machine: &Machine) -> Self {
        let mut peer = Peer::connect(machine.guest.port);
        let exporter = peer.exporter(&NONCE);
        let leaf = Bundle::decode(&peer.leaf_bundle()).expect("a bundle");
        let session = Bundle::decode(&peer.session_bundle(&NONCE)).expect("a bundle");
        let key = certificate::spki(&peer.leaf).expect("a key");
        let key: [u8; 32] = Sha256::digest(key).into();
        let (not_before, not_after, at) = validity(&peer.leaf);
        let mode = Mode::Leaf {
            not_before,
            not_after,
        };
        let leaf_data = binding(&mode, &key, &leaf.devices, &leaf.log).report_data();
        let mode = Mode::Session {
            nonce: NONCE,
            exporter,
        };
        let binding = binding(&mode, &key, &session.devices, &session.log);
        let proof = session.batch.as_ref().expect("a batch section");
        let session_data = proof.report_data(&binding).expect("a proof");
        Self {
            leaf,
            leaf_data,
            session,
            session_data,
            at,
        }
    }
}

/// Start, end and middle of a leaf's validity, in seconds since the Unix epoch.
pub(crate) fn validity(leaf: &[u8]) -> (u64, u64, u64) {
    let leaf = Certificate::from_der(leaf).expect("a certificate");
    let validity = leaf.tbs_certificate.validity;
    let not_before = validity.not_before.to_unix_duration().as_secs();
    let not_after = validity.not_after.to_unix_duration().as_secs();
    (not_before, not_after, u64::midpoint(not_before, not_after))
}

/// Everything that evidence is held against.
struct Case<'a> {
    evidence: AzureEvidence,
    nonce: [u8; 32],
    vcek: Option<&'a [u8]>,
    reference: ReferenceValues,
    roots: Roots<'a>,
    secure_boot: bool,
    at: u64,
}

impl<'a> Case<'a> {
    /// The leaf's evidence with what belongs to it.
    fn leaf(shown: &Shown, machine: &'a Machine) -> Self {
        Self {
            evidence: section(&shown.leaf),
            nonce: shown.leaf_data.qualifying_data(),
            vcek: Some(&machine.processor.vcek),
            reference: images::probe().reference_on("azure-snp"),
            roots: machine.processor.roots(),
            secure_boot: false,
            at: shown.at,
        }
    }

    fn judge(&self) -> Verdict {
        let mut policy = PolicyFile::default();
        policy.azure.secure_boot = self.secure_boot;
        let beside = Beside {
            vek: self.vcek,
            ..Beside::default()
        };
        let expected = Expected {
            nonce: Some(&self.nonce),
            reference: Some(&self.reference),
        };
        let evidence = self.evidence.encode();
        appraise(&evidence, &beside, &expected, &policy, &self.roots, self.at)
    }
}

fn section(bundle: &Bundle) -> AzureEvidence {
    assert_eq!(bundle.cpu.kind, CpuKind::Azure);
    AzureEvidence::decode(&bundle.cpu.value).expect("evidence")
}

pub(crate) fn failed(verdict: &Verdict) -> Vec<&str> {
    assert_eq!(verdict.conclusion, Conclusion::Rejected, "{verdict}");
    verdict
        .failures()
        .map(|check| check.name.as_str())
        .collect()
}

/// The committed reference values of the demo as they would be on Azure: registers do not depend on the platform.
fn of_the_demo() -> ReferenceValues {
    let path = repository().join("measurements/demo/qemu-vtpm.json");
    let bytes = std::fs::read(path).expect("reference values");
    let mut reference = ReferenceValues::from_json(&bytes).expect("reference values");
    reference.platform = "azure-snp".to_owned();
    reference.confidential = true;
    reference
}

#[test]
fn a_booted_guest_tells_the_platform_that_it_is_ready() {
    let machine = machine();
    let line = machine
        .guest
        .line("cloister-init: azure: ", BOOT_LIMIT)
        .expect("a line");
    assert_eq!(
        line.trim_end(),
        "cloister-init: azure: told that the machine is ready"
    );
    let requests = machine.platform.requests();
    // The first answer was that it is busy.
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in requests {
        assert!(
            request.starts_with("POST /provisioning/health HTTP/1.1\r\nHost: 168.63.129.16\r\n"),
            "{request}"
        );
        assert!(
            request.contains("\r\nx-ms-guest-agent-name: cloister/"),
            "{request}"
        );
        assert!(
            request.ends_with("\r\n\r\n{\"state\":\"Ready\"}"),
            "{request}"
        );
    }
}

#[test]
fn evidence_of_a_booted_guest_is_accepted_by_the_keys_behind_its_report() {
    let machine = machine();
    let shown = Shown::of(machine);
    let leaf = Case::leaf(&shown, machine);
    let session = Case {
        evidence: section(&shown.session),
        nonce: shown.session_data.qualifying_data(),
        ..Case::leaf(&shown, machine)
    };
    for case in [leaf, session] {
        assert_eq!(case.evidence.hcl_report, machine.hcl_report);
        let verdict = case.judge();
        assert!(verdict.accepted && verdict.confidential, "{verdict}");
        assert_eq!(verdict.trust, Trust::Paravisor);
        assert_eq!(verdict.platform, "azure-snp");
        let required = verdict.checks.iter().filter(|check| check.required);
        println!("{} required checks passed\n{verdict}", required.count());
        for index in REGISTERS {
            let name = format!("pcr{index}");
            let register = &case.reference.registers[&name];
            let value = case.evidence.pcrs.get(index.into()).expect("a value");
            assert!(register.allows(value), "{name} is {}", hex::encode(value));
            let check = verdict.check(&name).expect("a check");
            assert_eq!(check.found, hex::encode(value));
        }
    }
}

/// Evidence held against something that is not its own, and the checks that then fail.
fn foreign<'a>(
    shown: &Shown,
    machine: &'a Machine,
    stranger: &'a Processor,
) -> Vec<(&'static str, Case<'a>, &'static [&'static str])> {
    let case = || Case::leaf(shown, machine);
    let reported = |processor: &Processor| {
        let mut case = case();
        case.evidence.hcl_report = processor.hcl_report(&[0xd5; 256]);
        case
    };
    let nonce = |nonce| Case { nonce, ..case() };
    let reference = |reference| Case {
        reference,
        ..case()
    };
    let roots = |roots| Case { roots, ..case() };
    let secure_boot = |secure_boot| Case {
        secure_boot,
        ..case()
    };
    vec![
        (
            "a report about another attestation key",
            reported(&machine.processor),
            &["quote-signature"],
        ),
        (
            "a report of another chip about another key",
            reported(stranger),
            &["quote-signature", "signature"],
        ),
        ("another nonce", nonce(NONCE), &["nonce"]),
        (
            "another image",
            reference(of_the_demo()),
            &["pcr4", "pcr9", "pcr11", "pcr15"],
        ),
        (
            "the roots of another maker",
            roots(stranger.roots()),
            &["chain"],
        ),
        ("the roots of the product", roots(MICROSOFT), &["chain"]),
        ("secure boot demanded", secure_boot(true), &["secure-boot"]),
    ]
}

#[test]
fn evidence_of_a_booted_guest_is_rejected_for_anything_that_is_another_ones() {
    let machine = machine();
    let shown = Shown::of(machine);
    let stranger = Processor::new();
    let cases = foreign(&shown, machine, &stranger);
    for (name, case, wanted) in &cases {
        let verdict = case.judge();
        assert_eq!(failed(&verdict), *wanted, "{name}\n{verdict}");
    }
    assert_eq!(cases.len(), 7);
    let missing = Case {
        vcek: None,
        ..Case::leaf(&shown, machine)
    };
    let verdict = missing.judge();
    assert_eq!(
        verdict.conclusion,
        Conclusion::CollateralMissing,
        "{verdict}"
    );
}

#[test]
fn every_flipped_byte_of_a_booted_guests_report_is_rejected() {
    let machine = machine();
    let shown = Shown::of(machine);
    let mut case = Case::leaf(&shown, machine);
    let length = case.evidence.hcl_report.len();
    for at in 0..length {
        case.evidence.hcl_report[at] ^= 1 << (at % 8);
        let verdict = case.judge();
        assert!(!verdict.accepted, "byte {at}\n{verdict}");
        assert!(verdict.failures().count() > 0, "byte {at}\n{verdict}");
        case.evidence.hcl_report[at] ^= 1 << (at % 8);
    }
    assert!(case.judge().accepted);
    println!("{length} bytes");
}
