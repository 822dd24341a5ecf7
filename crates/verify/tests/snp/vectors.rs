//! Real reports at real times. The wanted verdicts are those of the vectors' README, which an independent script computed.

use std::path::{Path, PathBuf};

use cloister_verify::snp::{
    AMD, Endorsements, Expected, Image, KbsEvidence, Policy, Product, Report, SigningKey, Tcb,
    appraise,
};
use cloister_verify::verdict::{Conclusion, Outcome, Verdict};
use cloister_verify::x509::X509;

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;
/// 2025-06-01, within the VLEK's year.
const VLEK_TIME: u64 = 1_748_736_000;
/// 2040-01-01: after every VCEK, before the end of the roots.
const LATE: u64 = 2_208_988_800;

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

/// Report and certificate of a vector.
pub(crate) fn load(directory: &Path, name: &str) -> (Vec<u8>, Vec<u8>) {
    let read = |file: &str| std::fs::read(directory.join("snp").join(name).join(file));
    let report = match read("report.bin") {
        Ok(report) => report,
        Err(_) => hex::decode(read("report.hex").unwrap().trim_ascii()).unwrap(),
    };
    let vek = ["vcek.pem", "vcek.der", "vlek.der"];
    (
        report,
        vek.into_iter().find_map(|file| read(file).ok()).unwrap(),
    )
}

/// Takes what the default refuses: old reports, Milan, its firmware before the floors.
fn lenient() -> Policy {
    let mut policy = Policy {
        products: Product::ALL.to_vec(),
        report_versions: vec![2, 3, 5],
        platform_info_required: Vec::new(),
        ..Policy::default()
    };
    policy.tcb_floor.insert(Product::Milan, Tcb::default());
    policy
}

fn milan() -> Policy {
    Policy {
        products: Product::ALL.to_vec(),
        ..Policy::default()
    }
}

fn vlek(vmpl: u32) -> Policy {
    let mut policy = milan();
    policy.signing_keys = vec![SigningKey::Vlek];
    policy.vmpl = vmpl;
    policy
}

/// Judges a report with its own measurement and report data as what is wanted.
fn judge(report: &[u8], vek: &[u8], chain: &[&[u8]], policy: &Policy, at: u64) -> Verdict {
    let fields = Report::parse(report).unwrap();
    let expected = Expected {
        image: Some(Image::Measurement(fields.measurement)),
        report_data: Some(fields.report_data),
        signature_only: false,
    };
    let endorsements = Endorsements {
        vek: Some(vek),
        chain,
        crls: &[],
    };
    appraise(report, &endorsements, &expected, policy, &AMD, at)
}

/// The names of the failed checks.
pub(crate) fn failed(verdict: &Verdict) -> Vec<&str> {
    verdict
        .failures()
        .map(|check| check.name.as_str())
        .collect()
}

#[test]
fn appraise_gives_the_verdicts_of_the_readme() {
    let Some(directory) = directory() else { return };
    let default = Policy::default;
    let late = ["validity"].as_slice();
    let cases: [(&str, Policy, u64, &[&str]); 19] = [
        ("milan-v2", lenient(), NOW, &[]),
        ("milan-v2", lenient(), LATE, late),
        ("milan-v2", lenient(), 0, late),
        (
            "milan-v2",
            default(),
            NOW,
            &[
                "report-version",
                "product-allowed",
                "tcb-floor-committed",
                "tcb-floor-launch",
                "platform-info",
            ],
        ),
        ("milan-v3-vlek", vlek(1), VLEK_TIME, &[]),
        ("milan-v3-vlek", vlek(0), VLEK_TIME, &["vmpl"]),
        ("milan-v3-vlek", vlek(1), NOW, late),
        ("milan-v3-vlek", vlek(1), 1_733_868_860, late),
        ("milan-v3-vlek", vlek(1), 1_733_868_861, &[]),
        ("milan-v3-vlek", vlek(1), 1_765_404_861, &[]),
        ("milan-v3-vlek", vlek(1), 1_765_404_862, late),
        (
            "milan-v3-vlek",
            milan(),
            VLEK_TIME,
            &["signing-key", "vmpl"],
        ),
        ("milan-v3-aci", milan(), NOW, &[]),
        ("milan-v3-aci", default(), NOW, &["product-allowed"]),
        ("genoa-v3-aci", default(), NOW, &[]),
        ("genoa-v3-aci", default(), LATE, late),
        ("turin-v5-aci", default(), NOW, &[]),
        ("turin-v5-aci", default(), LATE, late),
        ("milan-v2-debug-policy", lenient(), NOW, &["debug"]),
    ];
    let mut checked = 0;
    for (name, policy, at, wanted) in cases {
        let (report, vek) = load(&directory, name);
        let verdict = judge(&report, &vek, &[], &policy, at);
        assert_eq!(failed(&verdict), wanted, "{name} at {at}\n{verdict}");
        assert_eq!(
            verdict.accepted,
            wanted.is_empty(),
            "{name} at {at}\n{verdict}"
        );
        // The chain that is given is AMD's own; nothing changes with it.
        let line = name.split_once('-').unwrap().0;
        let chain = directory.join(format!("snp/roots/{line}_ask_ark_asvk.pem"));
        let chain = std::fs::read(chain).unwrap();
        let given = judge(&report, &vek, &[&chain], &policy, at);
        assert_eq!(given, verdict, "{name} at {at}");
        checked += 1;
    }
    assert_eq!(checked, 19);
}

#[test]
fn appraise_takes_another_issue_of_the_same_vcek() {
    let Some(directory) = directory() else { return };
    let (report, _) = load(&directory, "milan-v3-aci");
    let earlier = std::fs::read(directory.join("snp/milan-v3-aci/vcek-earlier-issue.pem")).unwrap();
    let verdict = judge(&report, &earlier, &[], &milan(), NOW);
    assert!(verdict.accepted, "{verdict}");
}

#[test]
fn appraise_rejects_report_data_of_zeros_as_a_binding() {
    let Some(directory) = directory() else { return };
    for name in ["milan-v3-aci", "genoa-v3-aci", "turin-v5-aci"] {
        let (report, vek) = load(&directory, name);
        let fields = Report::parse(&report).unwrap();
        let expected = Expected {
            image: Some(Image::Measurement(fields.measurement)),
            report_data: Some([7; 64]),
            signature_only: false,
        };
        let endorsements = Endorsements {
            vek: Some(&vek),
            ..Endorsements::default()
        };
        let verdict = appraise(&report, &endorsements, &expected, &milan(), &AMD, NOW);
        assert_eq!(failed(&verdict), ["report-data"], "{name}");
    }
}

/// Their extensions parse, in both encodings of the HWID; their signature is not ASK-Milan's.
#[test]
fn appraise_rejects_altered_vceks_by_their_chain() {
    let Some(directory) = directory() else { return };
    let (report, _) = load(&directory, "milan-v3-aci");
    for name in ["vcek-invalid-legacy.der", "vcek-invalid-new.der"] {
        let vek = std::fs::read(directory.join("snp/bad-vcek").join(name)).unwrap();
        let verdict = judge(&report, &vek, &[], &milan(), NOW);
        let check = |name| verdict.check(name).unwrap();
        assert_eq!(check("chain").outcome, Outcome::Fail, "{name}\n{verdict}");
        assert!(
            check("chain").found.ends_with("one that does not verify"),
            "{verdict}"
        );
        assert_eq!(
            check("vek-extensions").outcome,
            Outcome::Pass,
            "{name}\n{verdict}"
        );
        assert_eq!(check("signature").outcome, Outcome::Fail, "{name}");
    }
}

#[test]
fn kbs_evidence_gives_the_signed_report_and_its_chain() {
    let Some(directory) = directory() else { return };
    let json = std::fs::read(directory.join("kbs/snp-bergamo-v3-evidence.json")).unwrap();
    let evidence = KbsEvidence::from_json(&json).unwrap();
    let chain: Vec<&[u8]> = evidence.chain.iter().map(Vec::as_slice).collect();
    let vek = evidence.vek.as_deref().unwrap();
    let policy = Policy::default();
    let verdict = judge(&evidence.report, vek, &chain, &policy, NOW);
    assert!(verdict.accepted, "{verdict}");
    let late = judge(&evidence.report, vek, &chain, &policy, 1_970_000_000);
    assert_eq!(failed(&late), ["validity"]);
}

#[test]
fn appraise_says_what_is_missing_without_a_vcek() {
    let Some(directory) = directory() else { return };
    for (name, policy) in [("genoa-v3-aci", Policy::default()), ("milan-v2", lenient())] {
        let (report, _) = load(&directory, name);
        let fields = Report::parse(&report).unwrap();
        let expected = Expected {
            image: Some(Image::Measurement(fields.measurement)),
            report_data: Some(fields.report_data),
            signature_only: false,
        };
        let none = Endorsements::default();
        let verdict = appraise(&report, &none, &expected, &policy, &AMD, NOW);
        assert_eq!(
            verdict.conclusion,
            Conclusion::CollateralMissing,
            "{name}\n{verdict}"
        );
        assert!(!verdict.accepted);
        assert_eq!(
            verdict.check("signature").unwrap().missing.as_deref(),
            Some("vcek")
        );
        // Invalid wins over missing.
        let unwanted = Expected {
            report_data: Some([7; 64]),
            ..expected
        };
        let verdict = appraise(&report, &none, &unwanted, &policy, &AMD, NOW);
        assert_eq!(verdict.conclusion, Conclusion::Rejected);
    }
}

/// The `sev` crate is an oracle for the pinned ARK and ASK; ASVKs are only in the vectors.
#[test]
fn pinned_roots_are_amds() {
    use sev::certs::snp::builtin::{genoa, milan, turin};
    let own = [
        (AMD.milan, milan::ARK, milan::ASK),
        (AMD.genoa, genoa::ARK, genoa::ASK),
        (AMD.turin, turin::ARK, turin::ASK),
    ];
    for (root, ark, ask) in own {
        let der = |pem: &[u8]| X509::read_all(pem).unwrap().remove(0).der().to_vec();
        assert_eq!(root.ark, der(ark));
        assert_eq!(root.ask, der(ask));
        let [ark, ask, asvk] =
            [root.ark, root.ask, root.asvk].map(|der| X509::from_der(der).unwrap());
        assert_eq!(ark.issued_by(&ark, 1), Ok(()));
        assert_eq!(ask.issued_by(&ark, 1), Ok(()));
        assert_eq!(asvk.issued_by(&ark, 1), Ok(()));
    }
    let Some(directory) = directory() else { return };
    for (root, line) in [
        (AMD.milan, "milan"),
        (AMD.genoa, "genoa"),
        (AMD.turin, "turin"),
    ] {
        let pem =
            std::fs::read(directory.join(format!("snp/roots/{line}_ask_ark_asvk.pem"))).unwrap();
        let found: Vec<_> = X509::read_all(&pem).unwrap();
        let found: Vec<&[u8]> = found.iter().map(X509::der).collect();
        assert_eq!(found, [root.ask, root.ark, root.asvk], "{line}");
    }
}
