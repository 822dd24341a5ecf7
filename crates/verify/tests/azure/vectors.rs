//! Real evidence at real times. The wanted verdicts are those of the vectors' README; an independent script computed the fields in
//! `expected.json`, from which registers, digests and dates are taken.

use std::path::{Path, PathBuf};

use cloister_measure::azure::{HclReport, TeeReport};
use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::{Beside, Evidence, Expected, MICROSOFT, QuoteFiles, appraise};
use cloister_verify::policy::{Hex, PolicyFile};
use cloister_verify::snp::{Product, Tcb};
use cloister_verify::verdict::{Conclusion, Outcome, Verdict};
use serde_json::Value;

use crate::scene::reference;

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;
/// When the collateral of the TDX evidence was current; its certificates of the attestation key are, too.
const TDX_TIME: u64 = 1_771_423_480;

/// The directory `attestation` of the vectors; without them the test is skipped, and fails under `CI`.
pub(crate) fn directory() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut candidates = vec![
        workspace.join("../shared/vectors"),
        workspace.join("../../shared/vectors"),
    ];
    candidates.extend(environment("CLOISTER_VECTORS").map(PathBuf::from));
    let found = candidates
        .iter()
        .rev()
        .map(|path| path.join("attestation"))
        .find(|path| path.is_dir());
    if found.is_none() {
        assert!(environment("CI").is_none(), "no vectors, and CI is set");
        println!("skipped: no attestation vectors; set CLOISTER_VECTORS");
    }
    found
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their vectors by the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The names of the failed checks.
pub(crate) fn failed(verdict: &Verdict) -> Vec<&str> {
    verdict
        .failures()
        .map(|check| check.name.as_str())
        .collect()
}

struct Vectors {
    directory: PathBuf,
    expected: Value,
}

impl Vectors {
    fn open() -> Option<Self> {
        let directory = directory()?;
        let expected = std::fs::read(directory.join("expected.json")).unwrap();
        Some(Self {
            expected: serde_json::from_slice(&expected).unwrap(),
            directory,
        })
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.directory.join("azure").join(name)).unwrap()
    }

    fn expected(&self, name: &str) -> &Value {
        let items = self.expected["azure_hcl"].as_array().unwrap();
        let file = format!("azure/{name}");
        items.iter().find(|item| item["file"] == file).unwrap()
    }

    /// Reference values of the machine that the evidence is of.
    fn reference(&self, name: &str, platform: &str) -> ReferenceValues {
        let values = self.expected(name)["pcrs"].as_array().unwrap();
        let value = |value: &Value| {
            let bytes = hex::decode(value.as_str().unwrap()).unwrap();
            bytes.try_into().unwrap()
        };
        let pcrs: Vec<[u8; 32]> = values.iter().map(value).collect();
        reference(platform, &pcrs)
    }

    /// First and last second of the VCEK.
    fn window(&self, name: &str) -> (u64, u64) {
        let seconds = |member: &str| {
            let text = self.expected(name)[member].as_str().unwrap();
            let digits =
                |range: core::ops::Range<usize>| text.get(range).unwrap().parse::<u16>().unwrap();
            let [month, day, hour, minute, second] = [5..7, 8..10, 11..13, 14..16, 17..19]
                .map(|range| u8::try_from(digits(range)).unwrap());
            let time =
                x509_cert::der::DateTime::new(digits(0..4), month, day, hour, minute, second);
            time.unwrap().unix_duration().as_secs()
        };
        (seconds("vek_not_before"), seconds("vek_not_after"))
    }
}

/// The default, with Milan named.
fn milan() -> PolicyFile {
    let mut policy = PolicyFile::default();
    policy.snp.products = Product::ALL.to_vec();
    policy
}

/// Takes what is old: reports of version 2, firmware before the floors, paravisors before the floor with the keys of their time.
fn old() -> PolicyFile {
    let mut policy = milan();
    policy.snp.report_versions = vec![2, 3];
    policy.snp.platform_info_required = Vec::new();
    policy.snp.tcb_floor.insert(Product::Milan, Tcb::default());
    policy.azure.paravisor_minimum_guest_svn = 0;
    policy
}

fn name_key(policy: &mut PolicyFile, hcl: &[u8]) {
    let report = HclReport::parse(hcl).unwrap();
    let TeeReport::Snp(facts) = &report.report else {
        panic!("no SNP report");
    };
    let digest = facts.id_key_digest.as_bytes().try_into().unwrap();
    policy.azure.paravisor_id_key_digests = vec![Hex(digest)];
}

/// Names the paravisor in the evidence, and lets Secure Boot be off where `secure_boot` is false.
fn tdx(evidence: &[u8], secure_boot: bool) -> PolicyFile {
    let evidence = Evidence::parse(evidence).unwrap();
    let report = HclReport::parse(&evidence.hcl_report).unwrap();
    let TeeReport::Tdx(facts) = &report.report else {
        panic!("no TDREPORT");
    };
    let mut policy = PolicyFile::default();
    policy.azure.paravisor_mrtds = vec![Hex(facts.mrtd.as_bytes().try_into().unwrap())];
    policy.azure.secure_boot = secure_boot;
    policy
}

fn outcome(verdict: &Verdict, name: &str) -> Outcome {
    verdict.check(name).unwrap().outcome
}

#[test]
fn evidence_of_snp_gets_the_verdicts_of_the_readme() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let user_data = hex::decode(
        "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef",
    );
    let user_data = user_data.unwrap();
    let mut checked = 0;
    for (name, nonce) in [
        ("snp-evidence-v0.json", b"challenge".as_slice()),
        ("snp-evidence-v1.json", b"challenge"),
        ("snp-evidence-v2.json", &user_data),
        ("snp-milan-v3-envelope.json", b""),
    ] {
        let (evidence, reference) = (vectors.read(name), vectors.reference(name, "azure-snp"));
        let judge = |policy: &PolicyFile, nonce: &[u8], at: u64| {
            let expected = Expected {
                nonce: Some(nonce),
                reference: Some(&reference),
            };
            appraise(
                &evidence,
                &Beside::default(),
                &expected,
                policy,
                &MICROSOFT,
                at,
            )
        };
        let verdict = judge(&milan(), nonce, NOW);
        assert!(
            verdict.accepted && verdict.confidential,
            "{name}\n{verdict}"
        );
        let user_data = match name {
            "snp-evidence-v2.json" => Outcome::Pass,
            _ => Outcome::Skipped,
        };
        assert_eq!(outcome(&verdict, "user-data"), user_data, "{name}");
        let (first, last) = vectors.window(name);
        for (at, wanted) in [
            (first - 1, ["validity"].as_slice()),
            (first, &[]),
            (last, &[]),
            (last + 1, &["validity"]),
        ] {
            assert_eq!(
                failed(&judge(&milan(), nonce, at)),
                wanted,
                "{name} at {at}"
            );
        }
        let verdict = judge(&PolicyFile::default(), nonce, NOW);
        assert_eq!(failed(&verdict), ["product-allowed"], "{name}");
        let verdict = judge(&milan(), b"other", NOW);
        assert_eq!(failed(&verdict), ["nonce"], "{name}");
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn hcl_reports_of_snp_get_the_verdicts_of_the_readme() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let nothing = Expected::default();
    let hcl = vectors.read("hcl-report-snp-v2.bin");
    let vek = vectors.read("hcl-report-snp-v2-vcek.pem");
    let mut policy = old();
    name_key(&mut policy, &hcl);
    let beside = Beside {
        vek: Some(&vek),
        ..Beside::default()
    };
    // The SNP part and the claims hash are right; there is no quote, and nothing to compare with.
    let verdict = appraise(&hcl, &beside, &nothing, &policy, &MICROSOFT, NOW);
    assert_eq!(failed(&verdict), ["reference", "quote-format"], "{verdict}");
    for name in [
        "claims-hash",
        "signature",
        "hwid",
        "chain",
        "paravisor-guest-svn",
    ] {
        assert_eq!(outcome(&verdict, name), Outcome::Pass, "{name}");
    }
    let verdict = appraise(&hcl, &beside, &nothing, &milan(), &MICROSOFT, NOW);
    let names = failed(&verdict);
    for name in [
        "report-version",
        "tcb-floor-launch",
        "paravisor-id-key",
        "paravisor-guest-svn",
    ] {
        assert!(names.contains(&name), "{name}\n{verdict}");
    }
}

/// A quote of nine registers by another machine's key.
#[test]
fn foreign_quote_of_few_registers_is_rejected() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let hcl = vectors.read("hcl-report-snp-v2.bin");
    let vek = vectors.read("hcl-report-snp-v2-vcek.pem");
    let mut policy = old();
    name_key(&mut policy, &hcl);
    let attest = vectors.read("tpm-quote-9pcr.msg");
    let signature = vectors.read("tpm-quote-9pcr.sig");
    let mut beside = Beside {
        quote: Some(QuoteFiles {
            attest: &attest,
            signature: &signature,
            pcrs: None,
        }),
        vek: Some(&vek),
        ..Beside::default()
    };
    let expected = Expected {
        nonce: Some(b"challenge"),
        reference: None,
    };
    let verdict = appraise(&hcl, &beside, &expected, &policy, &MICROSOFT, NOW);
    let wanted = [
        "reference",
        "quote-signature",
        "pcr-selection",
        "pcr-digest",
    ];
    assert_eq!(failed(&verdict), wanted, "{verdict}");
    policy.azure.pcrs = Some((0..24).collect());
    let verdict = appraise(&hcl, &beside, &expected, &policy, &MICROSOFT, NOW);
    assert_eq!(failed(&verdict), wanted, "{verdict}");
    // Without the certificate of the chip it is not known to be good or bad, were it not for the quote.
    beside.vek = None;
    let verdict = appraise(&hcl, &beside, &expected, &policy, &MICROSOFT, NOW);
    assert_eq!(
        verdict.check("signature").unwrap().missing.as_deref(),
        Some("vcek")
    );
    assert_eq!(verdict.conclusion, Conclusion::Rejected);
}

#[test]
fn report_and_chain_of_different_chips_are_rejected() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let hcl = vectors.read("hcl-report-snp-2023.bin");
    let vek = vectors.read("wrong-chip-vcek-chain.pem");
    let mut policy = old();
    name_key(&mut policy, &hcl);
    let beside = Beside {
        vek: Some(&vek),
        ..Beside::default()
    };
    let verdict = appraise(
        &hcl,
        &beside,
        &Expected::default(),
        &policy,
        &MICROSOFT,
        NOW,
    );
    let wanted = ["reference", "quote-format", "hwid", "signature"];
    assert_eq!(failed(&verdict), wanted, "{verdict}");
    assert_eq!(outcome(&verdict, "claims-hash"), Outcome::Pass);
}

/// The vTPM half is right; the TD quote, which would tie it to the hardware, is not judged here.
#[test]
fn evidence_of_tdx_gets_the_verdicts_of_the_readme() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let hcl = vectors.read("hcl-report-tdx-nosecureboot.bin");
    let (nothing, beside) = (Expected::default(), Beside::default());
    let verdict = appraise(&hcl, &beside, &nothing, &tdx(&hcl, true), &MICROSOFT, NOW);
    let wanted = ["reference", "secure-boot", "quote-format"];
    assert_eq!(failed(&verdict), wanted, "{verdict}");
    assert_eq!(outcome(&verdict, "claims-hash"), Outcome::Pass);
    let verdict = appraise(&hcl, &beside, &nothing, &tdx(&hcl, false), &MICROSOFT, NOW);
    assert_eq!(failed(&verdict), ["reference", "quote-format"], "{verdict}");

    let name = "tdx-evidence-userdata.json";
    let (evidence, reference) = (vectors.read(name), vectors.reference(name, "azure-tdx"));
    let expected = Expected {
        nonce: Some(b"attestation-test-fixture"),
        reference: Some(&reference),
    };
    let policy = tdx(&evidence, true);
    let verdict = appraise(&evidence, &beside, &expected, &policy, &MICROSOFT, NOW);
    assert!(failed(&verdict).is_empty(), "{verdict}");
    assert_eq!(outcome(&verdict, "user-data"), Outcome::Pass);
    assert_eq!(outcome(&verdict, "td-quote"), Outcome::Skipped);
    assert_eq!(verdict.conclusion, Conclusion::Rejected);
    let verdict = appraise(
        &evidence,
        &beside,
        &expected,
        &PolicyFile::default(),
        &MICROSOFT,
        NOW,
    );
    assert_eq!(failed(&verdict), ["paravisor-mrtd"], "{verdict}");
}

/// Evidence with the certificate that Microsoft issued for the attestation key.
#[test]
fn evidence_of_tdx_with_a_certificate_gets_the_verdict_of_the_readme() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let evidence = vectors.read("tdx-evidence-1764662251.yaml");
    let values = Evidence::parse(&evidence)
        .unwrap()
        .quote
        .unwrap()
        .pcrs
        .unwrap();
    let pcrs: Vec<_> = values.0.values().copied().collect();
    let reference = reference("azure-tdx", &pcrs);
    let expected = Expected {
        nonce: Some(&[0; 32]),
        reference: Some(&reference),
    };
    let policy = tdx(&evidence, false);
    let judge = |at| {
        appraise(
            &evidence,
            &Beside::default(),
            &expected,
            &policy,
            &MICROSOFT,
            at,
        )
    };
    let verdict = judge(TDX_TIME);
    assert!(failed(&verdict).is_empty(), "{verdict}");
    assert_eq!(outcome(&verdict, "ak-certificate"), Outcome::Pass);
    assert_eq!(outcome(&verdict, "ak-chain"), Outcome::Skipped);
    assert_eq!(verdict.conclusion, Conclusion::Rejected);
    // The certificate of the key is valid to 2026-11-30T00:00:00Z.
    assert!(failed(&judge(1_795_996_800)).is_empty());
    assert_eq!(failed(&judge(1_795_996_801)), ["ak-validity"]);
    let policy = tdx(&evidence, true);
    let verdict = appraise(
        &evidence,
        &Beside::default(),
        &expected,
        &policy,
        &MICROSOFT,
        TDX_TIME,
    );
    assert_eq!(failed(&verdict), ["secure-boot"], "{verdict}");
}

/// A Trusted Launch VM is not confidential: it has no HCL report, and its quote fits nobody else's.
#[test]
fn trusted_launch_is_rejected_as_evidence_of_a_confidential_vm() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let (expected, policy) = (Expected::default(), milan());
    for file in [
        "quote.msg",
        "quote.sig",
        "ak.pub",
        "pcrs.bin",
        "akcert_0x01C101D0.der",
    ] {
        let evidence = vectors.read(&format!("trusted-launch-vtpm/{file}"));
        let beside = Beside::default();
        let verdict = appraise(&evidence, &beside, &expected, &policy, &MICROSOFT, NOW);
        assert_eq!(
            failed(&verdict),
            ["evidence-format", "reference"],
            "{file}\n{verdict}"
        );
    }
    let name = "snp-evidence-v1.json";
    let reference = vectors.reference(name, "azure-snp");
    let [attest, signature, pcrs, nonce] = ["quote.msg", "quote.sig", "pcrs.bin", "nonce.hex"]
        .map(|file| vectors.read(&format!("trusted-launch-vtpm/{file}")));
    let beside = Beside {
        quote: Some(QuoteFiles {
            attest: &attest,
            signature: &signature,
            pcrs: Some(&pcrs),
        }),
        ..Beside::default()
    };
    let nonce = hex::decode(nonce.trim_ascii()).unwrap();
    let expected = Expected {
        nonce: Some(&nonce),
        reference: Some(&reference),
    };
    let verdict = appraise(
        &vectors.read(name),
        &beside,
        &expected,
        &policy,
        &MICROSOFT,
        NOW,
    );
    let names = failed(&verdict);
    assert!(
        names.contains(&"quote-signature") && names.contains(&"pcr-selection"),
        "{verdict}"
    );
    assert!(
        !names.contains(&"pcr-digest") && !names.contains(&"nonce"),
        "{verdict}"
    );
}

/// Each file of the folder is used by a test above.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the order of the entries does not matter"
)]
fn every_file_has_a_verdict() {
    let Some(vectors) = Vectors::open() else {
        return;
    };
    let own = include_str!("vectors.rs");
    let mut checked = 0;
    for folder in ["", "trusted-launch-vtpm"] {
        let folder = vectors.directory.join("azure").join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                continue;
            }
            let name = entry.file_name().into_string().unwrap();
            // The collateral is for the TD quote.
            let unused = name == "tdx-collateral-1771423480.yaml";
            assert!(unused || own.contains(&name), "{name}");
            checked += 1;
        }
    }
    assert_eq!(checked, 20);
}
