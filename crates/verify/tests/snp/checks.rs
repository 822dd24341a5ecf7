//! Each named check accepts and rejects behind a valid signature.

use cloister_test_pki::snp::Vek;
use cloister_verify::policy::PolicyFile;
use cloister_verify::snp::{GuestDemand, Product, SigningKey, Tcb};
use cloister_verify::verdict::{Conclusion, Mode, Outcome, Verdict};

use crate::cases::{ACCEPTED, Case, REJECTED, octets, set_policy_bits, set_vek};
use crate::coverage::Coverage;
use crate::folder::failed;
use crate::scene::{Scene, genoa_vek, stranger, world};

#[test]
fn every_check_accepts_and_rejects_behind_a_valid_signature() {
    let mut coverage = Coverage::default();
    let mut judge = |name: &str, scene: &Scene, wanted: &[&str]| {
        let verdict = scene.verdict();
        coverage.judge(name, &verdict, wanted);
        assert_eq!(verdict.confidential, verdict.accepted);
    };
    for (name, change, wanted) in ACCEPTED.iter().chain(REJECTED) {
        let mut scene = Scene::genoa();
        change(&mut scene);
        judge(name, &scene, wanted);
    }
    // A signature by another key than the certificate's.
    let mut scene = Scene::genoa();
    scene.vek_bytes = Some(scene.signed_vek());
    scene.signer = Some(&stranger().1);
    judge("report by a stranger", &scene, &["signature"]);
    let mut scene = Scene::vlek();
    scene.policy.csp_ids = vec!["CN=cloud.example".to_owned()];
    judge("cloud named", &scene, &[]);
    scene.policy.csp_ids = vec!["CN=other.example".to_owned()];
    judge("another cloud", &scene, &["csp-id"]);
    coverage.complete(|_| true, 36);
}

#[test]
fn vlek_needs_its_own_chain_and_no_chip() {
    let verdict = Scene::vlek().verdict();
    assert!(verdict.accepted, "{verdict}");
    let amd = &world(Product::Genoa).amd;
    let cases: [Case; 4] = [
        (
            "signed by the ask",
            |s| s.issuer = Some(&world(Product::Genoa).amd.ask),
            &["chain"],
        ),
        (
            "issued by the ask",
            |s| {
                s.vek.issuer = "SEV-Genoa".to_owned();
                s.issuer = Some(&world(Product::Genoa).amd.ask)
            },
            &["chain"],
        ),
        (
            "not named",
            |s| s.policy.signing_keys = vec![SigningKey::Vcek],
            &["signing-key"],
        ),
        (
            "vcek claimed",
            |s| s.report.set(0x48, &[0]),
            &["signing-key", "chain", "vek-extensions"],
        ),
    ];
    for (name, change, wanted) in cases {
        let mut scene = Scene::vlek();
        change(&mut scene);
        assert_eq!(failed(&scene.verdict()), wanted, "{name}");
    }
    let mut scene = Scene::vlek();
    let vek = Vek {
        csp_id: Some("CN=cloud.example".to_owned()),
        ..genoa_vek()
    };
    scene.vek = amd.vlek_certificate(&vek);
    assert_eq!(failed(&scene.verdict()), ["vek-extensions"]);
}

#[test]
fn turin_compares_eight_bytes_and_wants_the_others_zero() {
    let cases: [Case; 9] = [
        ("as it is", |_| {}, &[]),
        (
            "octet string",
            |s| set_vek(s, |vek| vek.hwid = Some(octets(&[0xc1; 8]))),
            &[],
        ),
        (
            "mitigations",
            |s| {
                s.report.set(0x1f8, &[3]);
                s.policy.launch_mitigations = 3
            },
            &[],
        ),
        (
            "mitigation lacking",
            |s| {
                s.report.set(0x1f8, &[1]);
                s.policy.launch_mitigations = 3
            },
            &["mitigation-vector"],
        ),
        ("ninth byte", |s| s.report.set(0x1a8, &[1]), &["hwid"]),
        ("last byte", |s| s.report.set(0x1df, &[1]), &["hwid"]),
        ("eighth byte", |s| s.report.set(0x1a7, &[0]), &["hwid"]),
        (
            "no fmcSPL",
            |s| set_vek(s, |vek| vek.spls[0].0 = 4),
            &["vek-extensions"],
        ),
        (
            "other fmcSPL",
            |s| set_vek(s, |vek| vek.spls[0].1 = 2),
            &["tcb-vek"],
        ),
    ];
    for (name, change, wanted) in cases {
        let mut scene = Scene::turin();
        change(&mut scene);
        let verdict = scene.verdict();
        assert_eq!(failed(&verdict), wanted, "{name}\n{verdict}");
        assert_eq!(verdict.accepted, wanted.is_empty());
    }
}

/// A report of version 2 does not say which processor made it; the certificate does, and the chain confirms it.
#[test]
fn version_2_takes_the_product_from_the_chain_when_named() {
    let mut scene = Scene::genoa();
    scene.report.set(0, &[2]);
    scene.report.set(0x188, &[0; 3]);
    assert_eq!(failed(&scene.verdict()), ["report-version"]);
    scene.policy.report_versions = vec![2];
    let verdict = scene.verdict();
    assert!(verdict.accepted, "{verdict}");
    set_vek(&mut scene, |vek| vek.product_name = "Turin".to_owned());
    assert_eq!(failed(&scene.verdict()), ["product"]);
    scene.vek_bytes = Some(Vec::new());
    assert_eq!(scene.verdict().conclusion, Conclusion::CollateralMissing);
}

#[test]
fn missing_collateral_is_neither_good_nor_bad() {
    let mut scene = Scene::genoa();
    scene.policy.require_crl = true;
    let verdict = scene.verdict();
    assert_eq!(
        verdict.conclusion,
        Conclusion::CollateralMissing,
        "{verdict}"
    );
    assert_eq!(
        verdict.check("revocation").unwrap().missing.as_deref(),
        Some("crl")
    );
    scene.vek_bytes = Some(Vec::new());
    let verdict = scene.verdict();
    assert_eq!(verdict.conclusion, Conclusion::CollateralMissing);
    // The list is missing first; with a list, the key that it may revoke.
    let revocation = |verdict: &Verdict| verdict.check("revocation").unwrap().missing.clone();
    assert_eq!(revocation(&verdict).as_deref(), Some("crl"));
    let listed = scene.judge_with(&scene.signed_report(), &[], &[&[0x30, 0]]);
    assert_eq!(revocation(&listed).as_deref(), Some("vcek"));
    scene.report.set(0x30, &[1]);
    assert_eq!(scene.verdict().conclusion, Conclusion::Rejected);
}

#[test]
fn signature_only_says_so_and_skips_the_guest() {
    let mut scene = Scene::genoa();
    (scene.signature_only, scene.measurement, scene.report_data) = (true, None, None);
    set_policy_bits(&mut scene, 1 << 19);
    let verdict = scene.verdict();
    assert!(verdict.accepted && !verdict.confidential, "{verdict}");
    assert_eq!(verdict.mode, Mode::SignatureOnly);
    assert!(
        verdict
            .to_string()
            .starts_with("accepted: `snp`, signature-only evidence, NOT confidential")
    );
    for name in ["debug", "measurement", "report-data", "vmpl"] {
        assert_eq!(verdict.check(name).unwrap().outcome, Outcome::Skipped);
    }
    scene.report.set(0x1f6, &[22]);
    assert_eq!(failed(&scene.verdict()), ["tcb-floor-launch"]);
}

#[test]
fn policy_file_reads_every_key_and_refuses_unknown_ones() {
    let text = r#"
        schema-version = 1
        [snp]
        products = ["milan", "turin"]
        report-versions = [2, 5]
        signing-keys = ["vlek"]
        vmpl = 1
        minimum-abi = "1.55"
        minimum-guest-svn = 3
        platform-info-required = ["alias-check", "ciphertext-hiding"]
        guest-policy-required = ["aes-256-xts"]
        allow-smt = false
        allow-cxl = true
        launch-mitigations = 0x3f
        csp-ids = ["CN=a"]
        require-crl = true
        [snp.tcb-floor.turin]
        fmc = 1
        snp = 5
    "#;
    let policy = PolicyFile::from_toml(text).unwrap().snp;
    assert_eq!(policy.products, [Product::Milan, Product::Turin]);
    assert_eq!(
        (policy.minimum_abi.major, policy.minimum_abi.minor),
        (1, 55)
    );
    let floor = Tcb {
        fmc: 1,
        snp: 5,
        ..Tcb::default()
    };
    assert_eq!(policy.tcb_floor.get(&Product::Turin), Some(&floor));
    assert_eq!(policy.guest_policy_required, [GuestDemand::Aes256Xts]);
    for refused in [
        "",
        "schema-version = 2",
        "schema-version = 1\nother = 1",
        "schema-version = 1\n[snp]\nallow-debug = true",
        "schema-version = 1\n[snp]\nchip-ids = [\"00\"]",
        "schema-version = 1\n[snp]\nminimum-abi = \"155\"",
        "schema-version = 1\n[snp]\nguest-policy-required = [\"debug\"]",
        "schema-version = 1\n[snp]\nvmpl = 1\nvmpl = 2",
        "schema-version = 1\n[snp.tcb-floor.genoa]\nucode = 1",
    ] {
        assert!(PolicyFile::from_toml(refused).is_err(), "{refused}");
    }
    assert_eq!(
        PolicyFile::from_toml("schema-version = 1").unwrap().snp,
        Default::default()
    );
}
