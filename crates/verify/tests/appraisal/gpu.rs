//! Leaves and sessions of a guest with a GPU: the report must answer the nonce of its own leaf or session, and the GPU must be the one that the
//! reference values name. The steps of the GPU's appraisal have their cases in `cloister-gpu`.

use cloister_evidence::binding::{Mode, gpu_nonce};
use cloister_evidence::devices::{Devices, GpuEvidence};
use cloister_evidence::log::{EventLog, boot_events, predict_pcr15};
use cloister_gpu::golden::{Pair, Rim, RimValues};
use cloister_gpu::{Expected as GpuExpected, GoldenValues, RootKey};
use cloister_measure::reference::{GpuReference, ReferenceValues};
use cloister_test_pki::gpu::{Gpu, Report};
use cloister_verify::azure::MICROSOFT;
use cloister_verify::gpu::{appraise, appraise_with_rims};
use cloister_verify::layers::{
    Expected, appraise_leaf, appraise_session, appraise_session_with_new_gpu,
};
use cloister_verify::policy::PolicyFile;
use cloister_verify::verdict::{Conclusion, Mismatch, Outcome, Verdict};
use cloister_verify::{Policy, certificate};
use sha2::{Digest as _, Sha256};

use crate::support::{Guest, NOW, VALIDITY};

const NONCE: [u8; 32] = [0x11; 32];
const EXPORTER: [u8; 32] = [0x22; 32];
const DRIVER: &str = "550.90.07";
const LEAF: Mode = Mode::Leaf {
    not_before: VALIDITY.0,
    not_after: VALIDITY.1,
};
const SESSION: Mode = Mode::Session {
    nonce: NONCE,
    exporter: EXPORTER,
};

/// What the made-up GPU measures at an index of a RIM, and what it may measure instead.
fn usual(index: u8) -> [u8; 48] {
    [0x40 | index; 48]
}

fn other(index: u8) -> [u8; 48] {
    [0x80 | index; 48]
}

/// The indices of a driver RIM and of a VBIOS RIM: `docs/gpu.md`.
fn indices() -> [Vec<u8>; 2] {
    [
        [7].into_iter().chain(21..=40).collect(),
        (0..=6).chain(8..=12).collect(),
    ]
}

fn golden() -> GoldenValues {
    let rim = |version: &str, indices: &[u8]| RimValues {
        version: version.to_owned(),
        rim: Rim {
            id: version.to_owned(),
            sha256: [7; 32],
            checked_at: NOW,
            valid_until: NOW,
        },
        values: indices
            .iter()
            .map(|index| (*index, vec![usual(*index), other(*index)]))
            .collect(),
    };
    let [driver, vbios] = indices();
    let pair = Pair::new(&rim(DRIVER, &driver), &rim("96.00.9f.00.01", &vbios));
    GoldenValues::new(vec![pair.unwrap()]).unwrap()
}

fn report(nonce: [u8; 32]) -> Report {
    let mut report = Report::new(nonce, DRIVER, [0x96, 0, 0x9f, 0, 1]);
    let pinned = indices().concat().into_iter();
    report.measurements = pinned.map(|index| (index, usual(index))).collect();
    report
}

fn gpu() -> Gpu {
    Gpu::new("of a guest").unwrap()
}

/// A guest whose GPU was asked with `nonce`.
fn guest(edit: impl FnOnce(&mut Report), nonce: [u8; 32]) -> Guest {
    let (gpu, mut report) = (gpu(), report(nonce));
    edit(&mut report);
    let mut guest = Guest::boot();
    guest.devices = Devices::H100(GpuEvidence {
        report: gpu.report(&report).unwrap(),
        chain: gpu.chain_pem().unwrap().into_bytes(),
    })
    .encode();
    let events = boot_events(b"cloister-guest 1\n", "h100", "root").unwrap();
    guest.pcrs.0[15] = predict_pcr15(&events);
    guest.log = EventLog::new(events, guest.log.firmware().to_vec()).unwrap();
    guest
}

/// The nonce of the guest's only leaf, or of its session.
fn nonce(mode: &Mode) -> [u8; 32] {
    gpu_nonce(mode, &Sha256::digest(Guest::boot().spki()).into())
}

/// Reference values of the guest with these golden values.
fn reference(guest: &Guest, golden_values: &str) -> ReferenceValues {
    let mut reference = guest.reference();
    reference.gpu = Some(GpuReference {
        golden_values: serde_json::from_str(golden_values).unwrap(),
        model: "h100".to_owned(),
    });
    reference
}

/// Which of three appraisals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Leaf,
    Session,
    SessionWithNewGpu,
}

const LAYERS: [Layer; 3] = [Layer::Leaf, Layer::Session, Layer::SessionWithNewGpu];

fn judge(layer: Layer, guest: &Guest, reference: &ReferenceValues, roots: &[RootKey]) -> Verdict {
    let expected = Expected {
        reference,
        policy: &Policy::default(),
        platform: &PolicyFile::default(),
        roots: &MICROSOFT,
        collateral: None,
        gpu_roots: roots,
    };
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let session = guest.sessions(&[(NONCE, EXPORTER)]).remove(0);
    match layer {
        Layer::Leaf => appraise_leaf(&leaf, &bundle, &expected, NOW),
        Layer::Session => appraise_session(&leaf, &NONCE, &EXPORTER, &session, &expected, NOW),
        Layer::SessionWithNewGpu => {
            appraise_session_with_new_gpu(&leaf, &NONCE, &EXPORTER, &session, &expected, NOW)
        }
    }
}

fn usually(layer: Layer, guest: &Guest) -> Verdict {
    let roots = [RootKey(gpu().root().unwrap())];
    judge(layer, guest, &reference(guest, &golden().to_json()), &roots)
}

fn failed(verdict: &Verdict) -> Vec<&str> {
    let failures = verdict.failures();
    failures.map(|check| check.name.as_str()).collect()
}

#[test]
fn a_gpu_that_answers_its_leaf_or_session_is_accepted_there_alone() {
    let (leaf, session) = (nonce(&LEAF), nonce(&SESSION));
    for (asked, accepting) in [
        (leaf, &[Layer::Leaf, Layer::Session][..]),
        (session, &[Layer::SessionWithNewGpu]),
        // Of a leaf with another end, of another client's session, and of nobody.
        (
            nonce(&Mode::Leaf {
                not_before: VALIDITY.0,
                not_after: VALIDITY.1 + 1,
            }),
            &[],
        ),
        (
            nonce(&Mode::Session {
                nonce: [0x12; 32],
                exporter: EXPORTER,
            }),
            &[],
        ),
        ([0; 32], &[]),
        ([1; 32], &[]),
    ] {
        let guest = guest(|_| (), asked);
        for layer in LAYERS {
            let verdict = usually(layer, &guest);
            let accepted = accepting.contains(&layer);
            assert_eq!(verdict.accepted, accepted, "{layer:?}\n{verdict}");
            let wanted: &[&str] = if accepted { &[] } else { &["gpu-nonce"] };
            assert_eq!(failed(&verdict), wanted, "{layer:?}");
            // A GPU makes no guest confidential whose platform is not.
            assert!(!verdict.confidential);
            for name in ["gpu-evidence", "gpu-golden-values", "gpu-leaf"] {
                let check = verdict.check(name).unwrap();
                assert!(check.required && check.outcome == Outcome::Pass, "{name}");
            }
            let made = verdict.check("gpu-measurements").unwrap();
            assert!(made.required);
        }
    }
}

#[test]
fn a_measurement_that_is_no_golden_value_is_named_with_those() {
    let asked = nonce(&LEAF);
    let measuring = |value| guest(|report| report.measurements.extend([(9, value)]), asked);
    let guest = measuring([0x99; 48]);
    for layer in [Layer::Leaf, Layer::Session] {
        let verdict = usually(layer, &guest);
        assert_eq!(failed(&verdict), ["gpu-measurements"], "{verdict}");
        assert!(!verdict.accepted && !verdict.confidential);
        let mismatch = Mismatch {
            index: 9,
            wanted: [usual(9), other(9)].map(hex::encode).to_vec(),
            found: "99".repeat(48),
        };
        assert_eq!(verdict.mismatches, [mismatch]);
    }
    let verdict = usually(Layer::Leaf, &measuring(other(9)));
    assert!(
        verdict.accepted && verdict.mismatches.is_empty(),
        "{verdict}"
    );
}

#[test]
fn a_gpu_that_the_reference_values_name_cannot_be_left_out() {
    let guest = guest(|_| (), nonce(&LEAF));
    let roots = [RootKey(gpu().root().unwrap())];
    let usual = reference(&guest, &golden().to_json());
    let strange = [RootKey(
        Gpu::under("somebody else", "of a guest")
            .unwrap()
            .root()
            .unwrap(),
    )];
    for layer in [Layer::Leaf, Layer::Session] {
        let verdict = judge(layer, &guest, &usual, &strange);
        assert_eq!(failed(&verdict), ["gpu-chain"], "{verdict}");
        let verdict = judge(layer, &guest, &reference(&guest, "{}"), &roots);
        assert_eq!(failed(&verdict), ["gpu-golden-values"], "{verdict}");
        let measurements = verdict.check("gpu-measurements").unwrap();
        assert!(measurements.required && measurements.outcome == Outcome::Skipped);
        let without = Guest::boot();
        let named = reference(&without, &golden().to_json());
        let verdict = judge(layer, &without, &named, &roots);
        assert_eq!(failed(&verdict), ["devices", "gpu-evidence"], "{verdict}");
        let check = verdict.check("gpu-evidence").unwrap();
        assert_eq!(check.found, "a section without a GPU");
    }
}

#[test]
fn a_leaf_that_cannot_be_read_names_no_nonce_of_a_gpu() {
    let guest = guest(|_| (), nonce(&LEAF));
    let reference = reference(&guest, &golden().to_json());
    let roots = [RootKey(gpu().root().unwrap())];
    let expected = Expected {
        reference: &reference,
        policy: &Policy::default(),
        platform: &PolicyFile::default(),
        roots: &MICROSOFT,
        collateral: None,
        gpu_roots: &roots,
    };
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let cut = &leaf[1..];
    assert!(certificate::spki(cut).is_err());
    let session = guest.sessions(&[(NONCE, EXPORTER)]).remove(0);
    let verdict = appraise_leaf(cut, &bundle, &expected, NOW);
    assert_eq!(failed(&verdict), ["certificate-format", "gpu-leaf"]);
    for appraise in [appraise_session, appraise_session_with_new_gpu] {
        let verdict = appraise(cut, &NONCE, &EXPORTER, &session, &expected, NOW);
        assert_eq!(failed(&verdict), ["certificate-key", "gpu-leaf"]);
    }
}

/// Golden values of manifests take the place of others, also where they are wrong and there are none.
#[test]
fn golden_values_of_rims_are_those_that_count() {
    let (gpu, asked) = (gpu(), [0x6e; 32]);
    let signed = gpu.report(&report(asked)).unwrap();
    let chain = gpu.chain_pem().unwrap();
    let roots = [RootKey(gpu.root().unwrap())];
    let given = golden();
    let expected = |golden| GpuExpected {
        nonce: &asked,
        driver: None,
        vbios: None,
        golden,
        roots: &roots,
        at: NOW,
    };
    let chain = chain.as_bytes();
    let verdict = appraise(&signed, chain, &expected(None));
    assert_eq!(verdict.conclusion, Conclusion::CollateralMissing);
    assert!(appraise(&signed, chain, &expected(Some(&given))).accepted);
    for before in [None, Some(&given)] {
        let expected = expected(before);
        let rims = Ok((golden(), "two".to_owned()));
        let verdict = appraise_with_rims(&signed, chain, rims, &expected);
        assert!(verdict.accepted, "{verdict}");
        assert_eq!(verdict.check("gpu-rim").unwrap().found, "two");
        let rims = Err("run out".to_owned());
        let verdict = appraise_with_rims(&signed, chain, rims, &expected);
        assert_eq!(verdict.conclusion, Conclusion::Rejected);
        assert_eq!(failed(&verdict), ["gpu-rim"], "{verdict}");
        let waits = verdict.check("gpu-measurements").unwrap();
        assert_ne!(waits.outcome, Outcome::Pass, "{verdict}");
    }
}
