//! Real reports without what belongs to them, and the pinned roots against another source. The verdicts of the vectors' README are in
//! `tests/vectors`.

use std::path::Path;

use cloister_verify::snp::{
    AMD, Endorsements, Expected, Image, Policy, Product, Report, Tcb, appraise,
};
use cloister_verify::verdict::Conclusion;
use cloister_verify::x509::X509;

use crate::folder::directory;

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;

/// The report of a vector.
fn load(directory: &Path, name: &str) -> Vec<u8> {
    let read = |file: &str| std::fs::read(directory.join("snp").join(name).join(file));
    match read("report.bin") {
        Ok(report) => report,
        Err(_) => hex::decode(read("report.hex").unwrap().trim_ascii()).unwrap(),
    }
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

#[test]
fn appraise_says_what_is_missing_without_a_vcek() {
    let Some(directory) = directory() else { return };
    for (name, policy) in [("genoa-v3-aci", Policy::default()), ("milan-v2", lenient())] {
        let report = load(&directory, name);
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
}
