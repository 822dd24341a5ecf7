//! Real certificates, altered. Their verdicts as they are stand in `tests/vectors`.

use cloister_verify::cert::{Leaf, ccc};
use cloister_verify::x509::certificates;

use crate::folder::directory;
use crate::td::against_nothing;

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;
/// 2023-06-01, within the year of the rats-tls certificate.
const SUMMER_2023: u64 = 1_685_577_600;

#[test]
fn every_changed_byte_of_a_real_certificate_fails_a_check_or_asks_for_another_issuer() {
    let Some(directory) = directory() else {
        return;
    };
    let mut checked = 0;
    for (file, at) in [
        ("ratls/interop-gramine-cert.pem", NOW),
        ("ratls/interop-rats-tls-cert.pem", SUMMER_2023),
    ] {
        let file = std::fs::read(directory.join(file)).unwrap();
        let der = certificates(&file).unwrap().remove(0);
        for byte in 0..der.len() {
            let mut changed = der.clone();
            changed[byte] ^= 1 << (byte % 8);
            let leaf = Leaf {
                der: &changed,
                issuers: &[],
            };
            let verdict = against_nothing(|td| ccc::appraise(&leaf, None, td, at));
            // Another name as issuer asks for that issuer.
            let waits = verdict.checks.iter().any(|check| check.missing.is_some());
            let failed = verdict.failures().next().is_some();
            assert!(failed || waits, "{at}, byte {byte}\n{verdict}");
            checked += 1;
        }
    }
    assert!(checked > 6000, "{checked}");
}
