//! Each named check accepts and rejects behind valid signatures.

use std::collections::BTreeSet;

use cloister_verify::azure::MICROSOFT;
use cloister_verify::collateral::TdxCollateral;
use cloister_verify::policy::PolicyFile;
use cloister_verify::verdict::{Conclusion, Outcome, Trust, Verdict};

use crate::cases::{ACCEPTED, ON_TDX, REJECTED};
use crate::coverage::Coverage;
use crate::scene::{Scene, failed};

/// The checks that are made here; those of the SNP report have their cases in its own tests.
const OWN: [&str; 25] = [
    "ak-certificate",
    "ak-chain",
    "ak-validity",
    "attestation-key",
    "claims-hash",
    "console",
    "event-log",
    "evidence-format",
    "hcl-format",
    "nonce",
    "paravisor-guest-policy",
    "paravisor-guest-svn",
    "paravisor-id-key",
    "paravisor-measurement",
    "paravisor-vmpl",
    "pcr-digest",
    "pcr-selection",
    "pcr4",
    "quote-format",
    "quote-signature",
    "reference",
    "secure-boot",
    "tpm-enabled",
    "user-data",
    "vpci-devices",
];

#[test]
fn every_check_accepts_and_rejects_behind_a_valid_signature() {
    let mut coverage = Coverage::default();
    for (name, change, wanted) in ACCEPTED.iter().chain(REJECTED) {
        let mut scene = Scene::snp();
        change(&mut scene);
        let verdict = scene.verdict();
        coverage.judge(name, &verdict, wanted);
        assert_eq!(verdict.confidential, verdict.accepted, "{name}");
        assert_eq!(verdict.trust, Trust::Paravisor, "{name}");
    }
    coverage.complete(|name| OWN.contains(&name), OWN.len());
}

/// Every verdict lists every check, also when nothing can be read.
#[test]
fn every_verdict_lists_every_check() {
    let scene = Scene::snp();
    let names = |verdict: &Verdict| {
        let names = verdict.checks.iter().map(|check| check.name.clone());
        names.collect::<BTreeSet<_>>()
    };
    let whole = names(&scene.verdict());
    assert_eq!(
        whole
            .iter()
            .filter(|name| OWN.contains(&name.as_str()))
            .count(),
        25
    );
    let verdict = scene.judge(b"");
    assert_eq!(failed(&verdict), ["evidence-format"]);
    let registers = [
        "pcr0",
        "pcr4",
        "pcr9",
        "pcr11",
        "pcr12",
        "pcr13",
        "pcr15",
        "clock-info",
    ];
    let missing: BTreeSet<_> = whole.difference(&names(&verdict)).cloned().collect();
    assert_eq!(missing, registers.map(str::to_owned).into());
    assert!(!verdict.accepted);
}

#[test]
fn every_verdict_about_a_vm_on_tdx_lists_every_check() {
    let scene = Scene::tdx();
    let names = |verdict: &Verdict| {
        let required = verdict.checks.iter().filter(|check| check.required);
        let names = required.map(|check| check.name.clone());
        names.collect::<BTreeSet<_>>()
    };
    let verdict = scene.judge(b"");
    assert_eq!(failed(&verdict), ["evidence-format"]);
    assert_eq!(verdict.platform, "azure-tdx");
    let whole = names(&scene.verdict());
    assert!(whole.contains("td-quote") && whole.contains("paravisor-mrtd"));
    let missing: BTreeSet<_> = whole.difference(&names(&verdict)).cloned().collect();
    let registers = ["pcr4", "pcr9", "pcr11", "pcr12", "pcr13", "pcr15"];
    assert_eq!(missing, registers.map(str::to_owned).into());
}

/// Where neither REPORTDATA nor MRTD tells the quote from the TDREPORT, what is found says that something else does.
#[test]
fn on_tdx_the_quote_says_in_what_it_differs() {
    type Edit = fn(&mut cloister_test_pki::tdx::Scene);
    let cases: [(&str, Edit, bool, bool); 6] = [
        ("nothing", |_| {}, true, false),
        ("features", |td| td.body[128] = 3, false, true),
        ("registers", |td| td.body[519] = 1, false, true),
        ("report data", |td| td.body[520] ^= 1, false, false),
        ("mrtd", |td| td.body[136] ^= 1, false, false),
        (
            "report data and features",
            |td| (td.body[520], td.body[128]) = (td.body[520] ^ 1, 3),
            false,
            false,
        ),
    ];
    for (name, edit, passes, told) in cases {
        let mut scene = Scene::tdx();
        scene.td_edit = edit;
        let verdict = scene.verdict();
        let check = verdict.check("td-quote").unwrap();
        assert_eq!(check.outcome == Outcome::Pass, passes, "{name}\n{verdict}");
        let (wanted, found) = (check.wanted.as_str(), check.found.as_str());
        let others = ", but other attributes, owners or RTMRs";
        assert_eq!(found.ends_with(others), told, "{name}: {found}");
        let differs = !(passes || told);
        assert_eq!(!found.starts_with(wanted), differs, "{name}: {found}");
    }
}

#[test]
fn on_tdx_every_check_accepts_and_rejects_behind_a_valid_signature() {
    let mut coverage = Coverage::default();
    for (name, change, wanted) in ON_TDX {
        let mut scene = Scene::tdx();
        change(&mut scene);
        let verdict = scene.verdict();
        coverage.judge(name, &verdict, wanted);
        assert_eq!(verdict.confidential, verdict.accepted, "{name}");
        assert_eq!(verdict.trust, Trust::Paravisor, "{name}");
        assert_eq!(verdict.platform, "azure-tdx", "{name}");
    }
    let own = ["paravisor-mrtd", "td-quote", "td-quote-signature", "debug"];
    coverage.complete(|name| own.contains(&name), own.len());
}

/// A quote of another moment of the same paravisor, over other claims, is genuine and proves nothing about these.
#[test]
fn on_tdx_the_quote_must_be_there_and_of_these_claims() {
    let mut scene = Scene::tdx();
    scene.td_quote = false;
    let verdict = scene.verdict();
    assert_eq!(verdict.conclusion, Conclusion::Rejected);
    let quote = verdict.check("td-quote").unwrap();
    assert!(quote.required && quote.outcome == Outcome::Skipped);
    assert_eq!(quote.explanation, "the evidence has no TD quote");
    let mut other = Scene::tdx();
    other.claims["vm-configuration"]["vmUniqueId"] = "1".into();
    let evidence: serde_json::Value = serde_json::from_slice(&other.evidence()).unwrap();
    let mut mixed: serde_json::Value = serde_json::from_slice(&Scene::tdx().evidence()).unwrap();
    mixed["td_quote"] = evidence["td_quote"].clone();
    let verdict = Scene::tdx().judge(mixed.to_string().as_bytes());
    assert_eq!(failed(&verdict), ["td-quote"], "{verdict}");
}

#[test]
fn on_tdx_missing_collateral_is_neither_good_nor_bad() {
    let mut scene = Scene::tdx();
    for (change, wanted) in [
        (None, "tcb-info"),
        (
            Some((|all| all.pck_crl = None) as fn(&mut TdxCollateral)),
            "pck-crl",
        ),
    ] {
        scene.collateral = change;
        let verdict = scene.verdict();
        assert_eq!(
            verdict.conclusion,
            Conclusion::CollateralMissing,
            "{verdict}"
        );
        let mut checks = verdict.checks.iter();
        assert!(checks.any(|check| check.missing.as_deref() == Some(wanted)));
    }
    // Invalid wins over missing.
    scene.tdreport[512] = 1;
    assert_eq!(scene.verdict().conclusion, Conclusion::Rejected);
}

#[test]
fn missing_collateral_is_neither_good_nor_bad() {
    let mut scene = Scene::snp();
    scene.vek = None;
    let verdict = scene.verdict();
    assert_eq!(
        verdict.conclusion,
        Conclusion::CollateralMissing,
        "{verdict}"
    );
    assert_eq!(
        verdict.check("signature").unwrap().missing.as_deref(),
        Some("vcek")
    );
    // Invalid wins over missing.
    scene.nonce = Some(vec![1]);
    assert_eq!(scene.verdict().conclusion, Conclusion::Rejected);
}

/// Made-up evidence is not Microsoft's and AMD's.
#[test]
fn real_roots_reject_made_up_evidence() {
    let scene = Scene::snp();
    let expected = cloister_verify::azure::Expected {
        nonce: scene.nonce.as_deref(),
        reference: scene.reference.as_ref(),
    };
    let verdict = cloister_verify::azure::appraise(
        &scene.evidence(),
        &scene.beside(),
        &expected,
        &scene.policy,
        &MICROSOFT,
        scene.at,
    );
    assert_eq!(failed(&verdict), ["chain"], "{verdict}");
}

#[test]
fn default_policy_takes_no_other_paravisor() {
    let mut scene = Scene::snp();
    scene.policy = PolicyFile::default();
    assert_eq!(failed(&scene.verdict()), ["paravisor-id-key"]);
}

#[test]
fn policy_file_reads_every_key_and_refuses_unknown_ones() {
    let text = format!(
        "schema-version = 1\n[azure]\npcrs = [0, 4]\nsecure-boot = false\nconsole = false\n\
         interactive-console = true\nvpci-devices = true\nuser-data = true\n\
         paravisor-id-key-digests = [\"{0}\"]\nparavisor-minimum-guest-svn = 12\n\
         paravisor-guest-policy = 0x30000\nparavisor-measurements = [\"{0}\"]\n\
         paravisor-mrtds = [\"{0}\"]\n[tpm]\npcrs = [1]\n",
        "07".repeat(48)
    );
    let policy = PolicyFile::from_toml(&text).unwrap();
    let azure = policy.azure;
    assert_eq!(azure.pcrs, Some(vec![0, 4]));
    assert_eq!(policy.tpm.pcrs, Some(vec![1]));
    assert!(!azure.secure_boot && !azure.console);
    assert!(azure.interactive_console && azure.vpci_devices && azure.user_data);
    assert_eq!(azure.paravisor_minimum_guest_svn, 12);
    assert_eq!(azure.paravisor_guest_policy, 0x3_0000);
    for digests in [
        azure.paravisor_id_key_digests,
        azure.paravisor_measurements,
        azure.paravisor_mrtds,
    ] {
        assert_eq!(digests.len(), 1);
        assert_eq!(digests[0].0, [7; 48]);
    }
    for refused in [
        "[azure]\nsecure_boot = false",
        "[azure]\npcrs = [256]",
        "[azure]\nparavisor-vmpl = 2",
        "[azure]\nparavisor-mrtds = [\"07\"]",
        "[tpm]\nnonce = false",
    ] {
        let text = format!("schema-version = 1\n{refused}");
        assert!(PolicyFile::from_toml(&text).is_err(), "{refused}");
    }
}
