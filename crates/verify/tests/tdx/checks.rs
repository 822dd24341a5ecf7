//! Each named check accepts and rejects behind a valid signature.

use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{Class, ReferenceValues, Register};
use cloister_test_pki::tdx::put;
use cloister_verify::policy::PolicyFile;
use cloister_verify::tdx::{Policy, TcbStatus};
use cloister_verify::verdict::{Conclusion, Mode, Outcome};

use crate::cases::{ACCEPTED, REJECTED, long_path};
use crate::coverage::Coverage;
use crate::folder::failed;
use crate::google::golden;
use crate::scene::Scene;

pub(crate) fn reference(registers: [u8; 4]) -> ReferenceValues {
    let register = |value: u8| {
        let digest = Digest::Sha384([value; 48]);
        Register::single(Class::Image, digest)
    };
    let registers = registers.into_iter().enumerate();
    ReferenceValues {
        bank: Bank::Sha384,
        confidential: true,
        inputs: Default::default(),
        launch_digests: Vec::new(),
        gpu: None,
        launch_policy: None,
        platform: "tdx-test".to_owned(),
        recipe: "demo".to_owned(),
        registers: registers
            .map(|(index, value)| (format!("rtmr{index}"), register(value)))
            .collect(),
        schema_version: 1,
        unpredicted: Default::default(),
    }
}

/// A CCEL with one event for each of RTMR0 to RTMR3, and the values it replays to.
fn event_log() -> (Vec<u8>, [[u8; 48]; 4]) {
    use sha2::{Digest as _, Sha384};
    let spec = [
        b"Spec ID Event03\0".as_slice(),
        &[0; 4],
        &[0, 2, 0, 2],
        &1_u32.to_le_bytes(),
        &0xc_u16.to_le_bytes(),
        &48_u16.to_le_bytes(),
        &[0],
    ]
    .concat();
    let mut log = [&1_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), &[0; 20]].concat();
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(&spec);
    let mut values = [[0; 48]; 4];
    for (index, value) in (1_u32..).zip(&mut values) {
        let digest = [u8::try_from(index).unwrap(); 48];
        log.extend(index.to_le_bytes());
        log.extend(4_u32.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend(0xc_u16.to_le_bytes());
        log.extend(digest);
        log.extend(4_u32.to_le_bytes());
        log.extend([0; 4]);
        let extended = Sha384::new().chain_update([0; 48]).chain_update(digest);
        *value = extended.finalize().into();
    }
    (log, values)
}

fn with_log(scene: &mut Scene) {
    let (log, values) = event_log();
    put(&mut scene.unsigned.body, 328, values.as_flattened());
    scene.event_log = Some(log);
}

/// Cases that need more than a change: reference values, a log, a TDX 1.5 body.
fn others() -> Vec<(&'static str, Scene, Vec<&'static str>)> {
    let mut all = Vec::new();
    let mut case =
        |name, scene: Scene, wanted: &[&'static str]| all.push((name, scene, wanted.to_vec()));
    let mut scene = Scene::v4();
    scene.reference = Some(reference([0x10, 0x11, 0x12, 0x13]));
    case("registers", scene, &[]);
    let mut scene = Scene::v4();
    scene.reference = Some(reference([9, 9, 9, 9]));
    case(
        "other registers",
        scene,
        &["rtmr0", "rtmr1", "rtmr2", "rtmr3"],
    );
    let mut scene = Scene::v4();
    let mut unpinned = reference([0x10, 0x11, 0x12, 0x13]);
    let observed = unpinned.registers.values_mut();
    observed.for_each(|register| register.class = Class::Observed);
    scene.reference = Some(unpinned);
    case("registers that pin nothing", scene, &["rtmr"]);
    let mut scene = Scene::v4();
    scene.reference = Some(reference([0x10, 0x11, 0x12, 0x13]));
    scene.mrtd = None;
    case("registers without firmware", scene, &["mrtd"]);
    let mut scene = Scene::v4();
    with_log(&mut scene);
    case("log", scene, &[]);
    let mut scene = Scene::v4();
    scene.event_log = Some(event_log().0);
    case("log of another boot", scene, &["event-log"]);
    let mut scene = Scene::v4();
    with_log(&mut scene);
    scene.event_log.as_mut().unwrap().truncate(90);
    case("log cut short", scene, &["event-log"]);
    case("version 5", Scene::v5(), &[]);
    let mut scene = Scene::v5();
    put(&mut scene.unsigned.body, 600, &[1]);
    case("service td", scene, &["mr-servicetd"]);
    let mut scene = Scene::v5();
    scene.unsigned.body_type = 2;
    case(
        "body type that is not its length",
        scene,
        &["td-quote-format"],
    );
    let mut scene = Scene::v5();
    scene.unsigned.body_type = 4;
    case("unknown body type", scene, &["td-quote-format"]);
    let mut scene = Scene::v4();
    long_path(&mut scene);
    case("root may not issue that deep", scene, &["pck-chain"]);
    let mut scene = Scene::v4();
    let stranger = Scene::v4().unsigned;
    let other = cloister_test_pki::tdx::Intel::new().unwrap();
    scene.root = Some(stranger.make(&other).unwrap().root);
    case("another root", scene, &["pck-chain"]);
    all
}

#[test]
fn every_check_accepts_and_rejects_behind_a_valid_signature() {
    let mut coverage = Coverage::default();
    let mut judge = |name: &str, scene: &Scene, wanted: &[&str]| {
        let verdict = scene.verdict();
        coverage.judge(name, &verdict, wanted);
        assert_eq!(verdict.confidential, verdict.accepted);
    };
    for (name, change, wanted) in ACCEPTED.iter().chain(REJECTED) {
        let mut scene = Scene::v4();
        change(&mut scene);
        judge(name, &scene, wanted);
    }
    for (name, scene, wanted) in others() {
        judge(name, &scene, &wanted);
    }
    let mut endorsed = golden();
    judge("an endorsed firmware", &endorsed.scene(), &[]);
    endorsed.cl_spec = 0;
    let wanted = ["firmware-endorsement", "mrtd"];
    judge("of unknown sources", &endorsed.scene(), &wanted);
    coverage.complete(|_| true, 38);
}

/// The part that is absent, and the check that waits for it by that name.
#[test]
fn missing_collateral_is_neither_accepted_nor_rejected() {
    type Change = fn(&mut Scene);
    let cases: [(&str, &str, Change); 7] = [
        ("tcb-info", "tcb-info", |s| s.collateral = None),
        ("tcb-info", "tcb-info", |s| {
            s.collateral = Some(|c| c.tcb_info = None)
        }),
        ("qe-identity", "qe-identity", |s| {
            s.collateral = Some(|c| c.qe_identity = None)
        }),
        ("pck-crl", "pck-crl", |s| {
            s.collateral = Some(|c| c.pck_crl = None)
        }),
        ("root-crl", "root-crl", |s| {
            s.collateral = Some(|c| c.root_crl = None)
        }),
        ("tcb-info", "tcb-info-issuer-chain", |s| {
            s.collateral = Some(|c| c.tcb_info.as_mut().unwrap().issuer_chain = None)
        }),
        ("qe-identity", "qe-identity-issuer-chain", |s| {
            s.collateral = Some(|c| c.qe_identity.as_mut().unwrap().issuer_chain = None)
        }),
    ];
    for (rule, part, change) in cases {
        let mut scene = Scene::v4();
        change(&mut scene);
        let verdict = scene.verdict();
        assert_eq!(
            verdict.conclusion,
            Conclusion::CollateralMissing,
            "{verdict}"
        );
        assert_eq!(verdict.check(rule).unwrap().missing.as_deref(), Some(part));
        let status = verdict.check("tcb-status").unwrap();
        assert_eq!(status.missing.as_deref(), Some(part), "{part}");
        assert!(!verdict.accepted && !verdict.confidential);
        // What is forged is rejected all the same.
        scene.unsigned.forged = Some(cloister_test_pki::tdx::Part::Quote);
        let verdict = scene.verdict();
        assert_eq!(verdict.conclusion, Conclusion::Rejected, "{part}");
        assert_eq!(failed(&verdict), ["td-quote-signature"], "{part}");
    }
}

#[test]
fn signature_only_says_so_and_claims_nothing_about_the_guest() {
    let mut scene = Scene::v4();
    (scene.mrtd, scene.report_data, scene.signature_only) = (None, None, true);
    crate::cases::attributes(&mut scene, 1);
    let verdict = scene.verdict();
    assert!(verdict.accepted, "{verdict}");
    assert_eq!(verdict.mode, Mode::SignatureOnly);
    assert!(!verdict.confidential);
    assert_eq!(verdict.check("debug").unwrap().outcome, Outcome::Skipped);
}

#[test]
fn policy_file_names_what_is_refused_otherwise() {
    let file = PolicyFile::from_toml(
        "schema-version = 1\n[tdx]\ntcb-statuses = [\"UpToDate\", \"SWHardeningNeeded\"]\nallow-perfmon = true\n",
    );
    let policy = file.unwrap().tdx;
    let wanted = Policy {
        tcb_statuses: vec![TcbStatus::UpToDate, TcbStatus::SWHardeningNeeded],
        allow_perfmon: true,
        ..Policy::default()
    };
    assert_eq!(policy, wanted);
    for refused in [
        "tcb-statuses = [\"Revoked\"]",
        "allow-debug = true",
        "mr-owner = \"00\"",
    ] {
        let text = format!("schema-version = 1\n[tdx]\n{refused}\n");
        assert!(PolicyFile::from_toml(&text).is_err(), "{refused}");
    }
}
