//! Leaf and session of a guest on Azure: every check of the evidence is made in both, and those of the bundle around it.

use std::collections::BTreeSet;

use cloister_evidence::azure::{AK_HANDLE, AzureEvidence};
use cloister_evidence::batch::Batch;
use cloister_evidence::binding::{Mode, ReportData};
use cloister_evidence::bundle::{Bundle, CpuKind, CpuSection};
use cloister_evidence::log::{EventLog, boot_events};
use cloister_measure::reference::ReferenceValues;
use cloister_test_pki::azure::{Attest, tpmt_signature};
use cloister_verify::azure::{MICROSOFT, Roots};
use cloister_verify::collateral::{Der, SnpCollateral};
use cloister_verify::layers::{Expected, appraise_leaf, appraise_session};
use cloister_verify::snp;
use cloister_verify::tdx::INTEL;
use cloister_verify::verdict::{Conclusion, Outcome, Trust, Verdict};
use cloister_verify::{Mode as Layer, Policy};

use crate::cases::{ACCEPTED, REJECTED};
use crate::scene::failed;
use crate::scene::{NONCE, NOW, Scene, world};
use crate::support::{Guest, TlsKey, certificate, extends};
use crate::swtpm::SoftwareTpm;
use crate::vtpm::provision;

const EXPORTER: [u8; 32] = [0xe8; 32];
const LEAF: Mode = Mode::Leaf {
    not_before: NOW - 300,
    not_after: NOW + 40_000,
};
const SESSION: Mode = Mode::Session {
    nonce: NONCE,
    exporter: EXPORTER,
};

/// Evidence with everything right, to be made wrong in one place. What is about the paravisor stands in the scene.
pub(crate) struct Live {
    pub(crate) scene: Scene,
    guest: Guest,
    reference: ReferenceValues,
    policy: Policy,
    /// What is known of the chip.
    pub(crate) collateral: SnpCollateral,
    /// The product's roots instead of the made-up AMD's.
    product: bool,
    exporter: [u8; 32],
    at: u64,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self::of(Scene::snp(), Guest::boot())
    }

    fn of(scene: Scene, guest: Guest) -> Self {
        let mut reference = guest.reference();
        reference.platform = "azure-snp".to_owned();
        reference.confidential = true;
        Self {
            reference,
            policy: Policy::default(),
            collateral: SnpCollateral {
                vek: scene.vcek().map(Der),
                ..SnpCollateral::default()
            },
            product: false,
            exporter: EXPORTER,
            at: NOW,
            scene,
            guest,
        }
    }

    /// The hardware's evidence, by the key of the tests.
    fn cpu(&self, report_data: &ReportData) -> CpuSection {
        let qualifying = report_data.qualifying_data();
        let mut attest = Attest::new(&qualifying, &self.guest.pcrs.digest());
        attest.banks = vec![(0x000b, vec![0xff, 0xff, 0])];
        let key = self.scene.signer.unwrap_or(&world().ak);
        let (attest, signature) = attest.sign(key).unwrap();
        self.section(attest, tpmt_signature(&signature))
    }

    fn section(&self, attest: Vec<u8>, signature: Vec<u8>) -> CpuSection {
        let evidence = AzureEvidence {
            attest,
            signature,
            hcl_report: self.scene.hcl(),
            pcrs: self.guest.pcrs,
        };
        CpuSection {
            kind: CpuKind::Azure,
            value: evidence.encode(),
        }
    }

    fn bundle(&self, cpu: CpuSection) -> Bundle {
        Bundle {
            cpu,
            log: self.guest.log.encode(),
            batch: None,
            devices: self.guest.devices.clone(),
        }
    }

    fn leaf_bundle(&self) -> Bundle {
        self.bundle(self.cpu(&self.guest.binding(&LEAF).report_data()))
    }

    fn batch(&self) -> Batch {
        Batch::new(&[self.guest.binding(&SESSION)]).unwrap()
    }

    fn session_bundle(&self) -> Bundle {
        let batch = self.batch();
        Bundle {
            batch: batch.proof(0).ok(),
            ..self.bundle(self.cpu(&batch.report_data()))
        }
    }

    /// A leaf that names `bundle`.
    fn leaf(&self, bundle: &Bundle) -> Vec<u8> {
        certificate(&self.guest.key, (NOW - 300, NOW + 40_000), bundle)
    }

    fn held<T>(&self, judge: impl FnOnce(&Expected<'_>) -> T) -> T {
        let [ark, ask, asvk] = &world().amd_root;
        let root = snp::Root { ark, ask, asvk };
        let made = Roots {
            amd: snp::Roots {
                milan: root,
                genoa: root,
                turin: root,
            },
            intel: INTEL,
            vtpm: &[],
        };
        judge(&Expected {
            reference: &self.reference,
            policy: &self.policy,
            platform: &self.scene.policy,
            roots: if self.product { &MICROSOFT } else { &made },
            collateral: Some(&self.collateral),
            gpu_roots: &[],
        })
    }

    fn judge_leaf(&self, leaf: &[u8], bundle: &[u8]) -> Verdict {
        self.held(|expected| appraise_leaf(leaf, bundle, expected, self.at))
    }

    fn judge_session(&self, bundle: &[u8]) -> Verdict {
        let (leaf, exporter) = (self.leaf(&self.leaf_bundle()), &self.exporter);
        self.held(|expected| appraise_session(&leaf, &NONCE, exporter, bundle, expected, self.at))
    }

    /// Both layers of these bundles.
    fn judge(&self, leaf: &Bundle, session: &Bundle) -> [Verdict; 2] {
        let certificate = self.leaf(leaf);
        [
            self.judge_leaf(&certificate, &leaf.encode()),
            self.judge_session(&session.encode()),
        ]
    }

    pub(crate) fn verdicts(&self) -> [Verdict; 2] {
        self.judge(&self.leaf_bundle(), &self.session_bundle())
    }
}

fn names(verdict: &Verdict, counts: impl Fn(&cloister_verify::Check) -> bool) -> BTreeSet<String> {
    let checks = verdict.checks.iter().filter(|check| counts(check));
    checks.map(|check| check.name.clone()).collect()
}

#[test]
fn leaf_and_session_are_accepted_with_every_required_check() {
    let verdicts = Live::new().verdicts();
    for (verdict, mode) in verdicts.iter().zip([Layer::Leaf, Layer::Session]) {
        assert!(verdict.accepted && verdict.confidential, "{verdict}");
        assert_eq!((verdict.mode, verdict.trust), (mode, Trust::Paravisor));
        assert_eq!(verdict.platform, "azure-snp");
        assert_eq!(
            verdict.evaluated_at.as_deref(),
            Some("2026-11-22T00:00:00Z")
        );
        let required = names(verdict, |check| check.required);
        let in_files = names(&Scene::snp().verdict(), |check| check.required);
        let absent: Vec<_> = in_files.difference(&required).collect();
        assert_eq!(absent, ["nonce"], "of the checks of evidence in files");
        for name in ["binding", "cloister-log", "firmware-log", "devices"] {
            assert!(required.contains(name), "{name}");
        }
    }
}

/// Whether a case is about what a bundle has too, and has from the scene.
fn carried(scene: &Scene) -> bool {
    let plain = Scene::snp();
    scene.attest == plain.attest
        && scene.pcrs == plain.pcrs
        && scene.nonce == plain.nonce
        && scene.reference == plain.reference
        && scene.version == plain.version
        && scene.at == plain.at
        && scene.claims["user-data"] == plain.claims["user-data"]
        && scene.policy.azure.pcrs.is_none()
        && scene.ak.is_none()
        && scene.event_log.is_none()
        && !scene.td_quote
}

#[test]
fn every_check_of_the_paravisor_and_its_processor_is_made_in_both_layers() {
    let (mut accepted, mut rejected) = (0, BTreeSet::new());
    for (name, change, wanted) in ACCEPTED.iter().chain(REJECTED) {
        let mut scene = Scene::snp();
        change(&mut scene);
        if !carried(&scene) {
            continue;
        }
        for verdict in Live::of(scene, Guest::boot()).verdicts() {
            assert_eq!(failed(&verdict), *wanted, "{name}\n{verdict}");
            assert_eq!(verdict.accepted, wanted.is_empty(), "{name}\n{verdict}");
            accepted += usize::from(verdict.accepted);
            rejected.extend(failed(&verdict).into_iter().map(str::to_owned));
        }
    }
    println!("{accepted} accepted; {rejected:?} rejected");
    assert!(accepted > 10);
    for name in [
        "attestation-key",
        "claims-hash",
        "console",
        "hcl-format",
        "paravisor-guest-policy",
        "paravisor-guest-svn",
        "paravisor-id-key",
        "paravisor-measurement",
        "paravisor-vmpl",
        "quote-signature",
        "secure-boot",
        "tpm-enabled",
        "user-data",
        "vpci-devices",
    ] {
        assert!(rejected.contains(name), "no rejecting case of {name}");
    }
}

/// One thing wrong, and which checks then fail in the leaf and in the session.
type Case = (
    &'static str,
    fn(&mut Live),
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "another connection",
        |live| live.exporter = [1; 32],
        &[],
        &["binding"],
    ),
    (
        "a leaf that has run out",
        |live| live.at = NOW + 40_001,
        &["certificate-current"],
        &[],
    ),
    (
        "a shorter validity demanded",
        |live| live.policy.max_leaf_validity = 60,
        &["certificate-lifetime"],
        &[],
    ),
    (
        "a confidential platform demanded",
        |live| live.policy.require_confidential = true,
        &[],
        &[],
    ),
    (
        "another image",
        |live| {
            let other = live.reference.registers["pcr4"].clone();
            live.reference.registers.insert("pcr11".to_owned(), other);
        },
        &["pcr11"],
        &["pcr11"],
    ),
    (
        "reference values without a register",
        |live| drop(live.reference.registers.remove("pcr15")),
        &["reference"],
        &["reference"],
    ),
    (
        "reference values that are not confidential",
        |live| live.reference.confidential = false,
        &["reference"],
        &["reference"],
    ),
    (
        "another log",
        |live| {
            let events = boot_events(b"another", "none", "root").unwrap();
            live.guest.log = EventLog::new(events, live.guest.log.firmware().to_vec()).unwrap();
        },
        &["cloister-log"],
        &["cloister-log"],
    ),
    (
        "no log of the firmware",
        |live| {
            let events = live.guest.log.events().to_vec();
            live.guest.log = EventLog::new(events, Vec::new()).unwrap();
        },
        &["firmware-log"],
        &["firmware-log"],
    ),
    (
        "an unknown device",
        |live| live.guest.devices = vec![0xa0],
        &["devices"],
        &["devices"],
    ),
    (
        "the product's roots",
        |live| live.product = true,
        &["chain"],
        &["chain"],
    ),
    (
        "a chip's certificate that has run out",
        |live| {
            let amd = &world().amd;
            let mut vcek = amd.vcek_certificate(live.scene.vek.as_ref().unwrap());
            vcek.validity.1 = NOW - 1;
            live.collateral.vek = vcek.sign(&amd.vcek, &amd.ask).ok().map(Der);
        },
        &["validity"],
        &["validity"],
    ),
    (
        "another chip's certificate",
        |live| {
            let scene = &mut live.scene;
            scene.vek.as_mut().unwrap().hwid = Some(vec![0xc2; 64]);
            live.collateral.vek = scene.vcek().map(Der);
        },
        &["hwid"],
        &["hwid"],
    ),
];

#[test]
fn what_belongs_to_another_guest_session_or_image_is_rejected() {
    for (name, change, leaf, session) in CASES {
        let mut live = Live::new();
        change(&mut live);
        for (verdict, wanted) in live.verdicts().iter().zip([leaf, session]) {
            assert_eq!(failed(verdict), **wanted, "{name}\n{verdict}");
            assert_eq!(verdict.accepted, wanted.is_empty(), "{name}\n{verdict}");
        }
    }
}

#[test]
fn a_leaf_of_another_key_and_bundles_in_each_others_place_are_rejected() {
    let live = Live::new();
    let (leaf, session) = (live.leaf_bundle(), live.session_bundle());
    let certificate = live.leaf(&leaf);
    let other = Live::of(Scene::snp(), Guest::boot_with(TlsKey::new(0x52)));
    let verdict = other.judge_leaf(&other.leaf(&leaf), &leaf.encode());
    assert_eq!(failed(&verdict), ["binding"], "{verdict}");
    assert_eq!(failed(&other.judge_session(&session.encode())), ["binding"]);
    let verdict = live.judge_leaf(&certificate, &session.encode());
    assert_eq!(failed(&verdict), ["bundle-format"]);
    assert_eq!(
        failed(&live.judge_session(&leaf.encode())),
        ["bundle-format"]
    );
    let unnamed = Bundle {
        devices: vec![0xa0],
        ..leaf
    };
    let verdict = live.judge_leaf(&certificate, &unnamed.encode());
    assert_eq!(failed(&verdict), ["bundle-digest", "binding", "devices"]);
}

/// The kind of evidence must fit the platform of the reference values.
#[test]
fn evidence_of_another_platform_is_rejected_either_way_round() {
    let mut live = Live::new();
    let (leaf, session) = (live.leaf_bundle(), live.session_bundle());
    let bare = live.guest.bundle(live.guest.binding(&LEAF).report_data());
    let batch = live.batch();
    let bare_session = Bundle {
        batch: batch.proof(0).ok(),
        ..live.guest.bundle(batch.report_data())
    };
    for verdict in live.judge(&bare, &bare_session) {
        assert_eq!(failed(&verdict), ["evidence-format"], "{verdict}");
        assert_eq!(verdict.conclusion, Conclusion::Rejected);
    }
    live.reference = live.guest.reference();
    for verdict in live.judge(&bare, &bare_session) {
        assert!(verdict.accepted && !verdict.confidential, "{verdict}");
    }
    for verdict in live.judge(&leaf, &session) {
        assert_eq!(failed(&verdict), ["cpu-format"], "{verdict}");
    }
    for platform in ["azure-tdx", "qemu-snp", ""] {
        live.reference.platform = platform.to_owned();
        for verdict in live.judge(&leaf, &session) {
            assert_eq!(failed(&verdict), ["reference", "cpu-format"], "{platform}");
        }
    }
}

#[test]
fn a_vm_on_tdx_is_rejected_in_both_layers() {
    let mut scene = Scene::tdx();
    scene.vek = None;
    for verdict in Live::of(scene, Guest::boot()).verdicts() {
        assert_eq!(failed(&verdict), ["reference"], "{verdict}");
        assert_eq!(verdict.conclusion, Conclusion::Rejected);
        let signature = verdict.check("signature").unwrap();
        assert!(signature.required && signature.outcome == Outcome::Skipped);
    }
}

#[test]
fn without_a_vcek_neither_layer_is_good_or_bad() {
    let mut live = Live::new();
    live.collateral.vek = None;
    for verdict in live.verdicts() {
        assert_eq!(
            verdict.conclusion,
            Conclusion::CollateralMissing,
            "{verdict}"
        );
        assert!(!verdict.confidential);
        let missing = verdict.check("signature").unwrap().missing.as_deref();
        assert_eq!(missing, Some("vcek"));
    }
    live.exporter = [1; 32];
    let [leaf, session] = live.verdicts();
    assert_eq!(leaf.conclusion, Conclusion::CollateralMissing);
    assert_eq!(session.conclusion, Conclusion::Rejected, "invalid wins");
}

#[test]
fn verdicts_about_nothing_list_every_check() {
    let live = Live::new();
    let [leaf, session] = live.verdicts();
    let empty = [live.judge_leaf(b"", b""), live.judge_session(b"")];
    for (whole, empty) in [leaf, session].iter().zip(&empty) {
        let required = |check: &cloister_verify::Check| check.required;
        let whole = names(whole, required);
        let missing: BTreeSet<_> = whole.difference(&names(empty, required)).cloned().collect();
        let registers = ["pcr4", "pcr9", "pcr11", "pcr12", "pcr13", "pcr15"];
        assert_eq!(missing, registers.map(str::to_owned).into());
        assert_eq!(empty.conclusion, Conclusion::Rejected);
    }
}

#[test]
fn every_flipped_byte_of_both_bundles_is_rejected() {
    let live = Live::new();
    let leaf = live.leaf_bundle();
    let (certificate, leaf) = (live.leaf(&leaf), leaf.encode());
    let session = live.session_bundle().encode();
    for (name, bundle) in [("leaf", &leaf), ("session", &session)] {
        for at in 0..bundle.len() {
            let mut altered = bundle.clone();
            altered[at] ^= 1 << (at % 8);
            let verdict = match name {
                "leaf" => live.judge_leaf(&certificate, &altered),
                _ => live.judge_session(&altered),
            };
            assert_eq!(
                verdict.conclusion,
                Conclusion::Rejected,
                "byte {at} of the {name}"
            );
        }
        println!("{} bytes of {name}", bundle.len());
    }
}

#[test]
fn quotes_of_a_provisioned_tpm_are_accepted_in_both_layers() {
    let Some(tpm) = SoftwareTpm::start() else {
        return;
    };
    let live = Live::of(provision(&tpm), Guest::boot());
    for (pcr, digest) in extends(&live.guest.log) {
        tpm.run(&format!(
            "tpm2_pcrextend {pcr}:sha256={}",
            hex::encode(digest)
        ));
    }
    let all: Vec<_> = (0..16).map(|pcr: u8| pcr.to_string()).collect();
    let quoted = |report_data: &ReportData, selection: &str| {
        let key = format!("{AK_HANDLE:#010x}");
        tpm.quote(&key, selection, &report_data.qualifying_data());
        live.bundle(live.section(tpm.read("attest"), tpm.read("signature")))
    };
    let report_data = live.guest.binding(&LEAF).report_data();
    let batch = live.batch();
    let proof = batch.proof(0).ok();
    let judge = |selection: &str| {
        let leaf = quoted(&report_data, selection);
        let session = Bundle {
            batch: proof.clone(),
            ..quoted(&batch.report_data(), selection)
        };
        live.judge(&leaf, &session)
    };
    for verdict in judge(&format!("sha256:{}", all.join(","))) {
        assert!(verdict.accepted, "{verdict}");
    }
    for selection in [
        "sha256:4,9,11,12,13,15",
        &format!("sha256:{},16", all.join(",")),
    ] {
        for verdict in judge(selection) {
            assert_eq!(
                failed(&verdict),
                ["pcr-selection", "pcr-digest"],
                "{selection}"
            );
        }
    }
}
