//! Real certificates and wrappers. The wanted verdicts are those of the vectors' README.

use std::path::{Path, PathBuf};

use cloister_verify::Verdict;
use cloister_verify::cert::{Form, Leaf, ccc, form, wrapped};
use cloister_verify::verdict::{Conclusion, Outcome};
use cloister_verify::x509::certificates;

use crate::leaf::{fails, outcome};

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;
/// 2023-06-01, within the year of the rats-tls certificate.
const SUMMER_2023: u64 = 1_685_577_600;
/// 2031-01-01, after Gramine's certificate.
const NEW_YEAR_2031: u64 = 1_924_992_000;

/// The directory `attestation` of the vectors; without them the test is skipped, and fails under `CI`.
fn directory() -> Option<PathBuf> {
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

fn load(directory: &Path, name: &str) -> Vec<u8> {
    let file = std::fs::read(directory.join(name)).unwrap();
    certificates(&file).unwrap().remove(0)
}

fn appraise(der: &[u8], wanted: Form, at: u64) -> Verdict {
    assert_eq!(form(der), Some(wanted));
    let leaf = Leaf { der, issuers: &[] };
    match wanted {
        Form::Ccc => ccc::appraise(&leaf, None, at),
        _ => wrapped::appraise(&leaf, at),
    }
}

/// The wrapper's certificate has one name for subject and issuer, but another key signed it (`openssl verify -check_ss_sig` agrees).
/// File, form, time, checks that fail. `quote` and `evidence` are never made, so that each of them is rejected.
const CERTIFICATES: [(&str, Form, u64, &[&str]); 5] = [
    ("ratls/interop-gramine-cert.pem", Form::Ccc, NOW, &[]),
    (
        "ratls/interop-gramine-cert.pem",
        Form::Ccc,
        NEW_YEAR_2031,
        &["certificate-validity"],
    ),
    (
        "ratls/interop-rats-tls-cert.pem",
        Form::Ccc,
        SUMMER_2023,
        &[],
    ),
    (
        "ratls/interop-rats-tls-cert.pem",
        Form::Ccc,
        NOW,
        &["certificate-validity"],
    ),
    (
        "cmw/x509-cert+cbor-cmw.der",
        Form::Wrapped,
        NOW,
        &["certificate-signature"],
    ),
];

#[test]
fn certificates_get_the_verdicts_of_the_readme() {
    let Some(directory) = directory() else {
        return;
    };
    let mut checked = 0;
    for (file, form, at, failing) in CERTIFICATES {
        let verdict = appraise(&load(&directory, file), form, at);
        fails(&verdict, failing);
        assert_eq!(verdict.conclusion, Conclusion::Rejected, "{file}");
        let last = if form == Form::Ccc {
            "quote"
        } else {
            "evidence"
        };
        assert_eq!(outcome(&verdict, last), Outcome::Skipped, "{file}");
        if form == Form::Wrapped {
            assert_eq!(outcome(&verdict, "cmw-format"), Outcome::Pass);
        }
        checked += 1;
    }
    assert_eq!(checked, 5);
}

#[test]
fn unknown_claims_are_listed_and_ignored() {
    let Some(directory) = directory() else {
        return;
    };
    let der = load(&directory, "ratls/interop-rats-tls-cert.pem");
    let verdict = appraise(&der, Form::Ccc, SUMMER_2023);
    let claims = verdict.check("claims-format").unwrap();
    assert_eq!(claims.outcome, Outcome::Pass);
    let wanted = "not known and ignored: `key_0`, `key_1`";
    assert!(claims.found.ends_with(wanted), "{}", claims.found);
}

#[test]
fn wrappers_in_files_are_read() {
    let Some(directory) = directory() else {
        return;
    };
    let cases = [
        (
            "cmw/collection-ok.json",
            "JSON, `a`: application/vnd.a, no indicator, 1 bytes; `b`: application/vnd.b, no indicator, 1 bytes",
        ),
        (
            "cmw/collection-cbor-ok.cbor",
            "CBOR, `1`: application/signed-corim+cbor, reference-values+endorsements, 7 bytes; \
             `2`: content format 29884, no indicator, 4 bytes; `s`: content format 30001, no indicator, 4 bytes",
        ),
    ];
    for (file, wanted) in cases {
        let verdict = wrapped::appraise_file(&std::fs::read(directory.join(file)).unwrap());
        let format = verdict.check("cmw-format").unwrap();
        assert_eq!(
            (format.outcome, format.found.as_str()),
            (Outcome::Pass, wanted)
        );
        assert_eq!(outcome(&verdict, "evidence"), Outcome::Skipped);
        assert_eq!(verdict.conclusion, Conclusion::Rejected);
    }
}

#[test]
fn every_changed_byte_of_a_real_certificate_fails_a_check_or_asks_for_another_issuer() {
    let Some(directory) = directory() else {
        return;
    };
    let mut checked = 0;
    for (file, _, at, _) in [CERTIFICATES[0], CERTIFICATES[2]] {
        let der = load(&directory, file);
        for byte in 0..der.len() {
            let mut changed = der.clone();
            changed[byte] ^= 1 << (byte % 8);
            let leaf = Leaf {
                der: &changed,
                issuers: &[],
            };
            let verdict = ccc::appraise(&leaf, None, at);
            // Another name as issuer asks for that issuer.
            let waits = verdict.checks.iter().any(|check| check.missing.is_some());
            let failed = verdict.failures().next().is_some();
            assert!(failed || waits, "{file}, byte {byte}\n{verdict}");
            checked += 1;
        }
    }
    assert!(checked > 6000, "{checked}");
}
