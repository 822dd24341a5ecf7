//! SNP evidence: edits of a made-up report, of the certificate of its key and of a revocation list are never accepted
//! unless they change nothing; certificates, lists, KBS evidence and policies of any bytes.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_verify::policy::PolicyFile;
use cloister_verify::snp::{
    Endorsements, Expected, Image, KbsEvidence, Policy, Report, Root, Roots, appraise,
};
use cloister_verify::x509::{Crl, X509};
use edits::edit;
use libfuzzer_sys::fuzz_target;

const REPORT: &[u8] = include_bytes!("../seeds/snp/report");
const VCEK: &[u8] = include_bytes!("../seeds/snp/vcek");
const CRL: &[u8] = include_bytes!("../seeds/snp/crl");
const ROOT: Root<'static> = Root {
    ark: include_bytes!("../seeds/snp/ark"),
    ask: include_bytes!("../seeds/snp/ask"),
    asvk: include_bytes!("../seeds/snp/asvk"),
};
/// 2026-11-22.
const AT: u64 = 1_795_305_600;

fn accepted(report: &[u8], vek: &[u8], chain: &[&[u8]], crl: &[u8]) -> bool {
    let roots = Roots {
        milan: ROOT,
        genoa: ROOT,
        turin: ROOT,
    };
    let expected = Expected {
        image: Some(Image::Measurement([0x3e; 48])),
        report_data: Some([0x0d; 64]),
    };
    let endorsements = Endorsements {
        vek: Some(vek),
        chain,
        crls: &[crl],
    };
    let policy = Policy::default();
    appraise(report, &endorsements, &expected, &policy, &roots, AT).accepted
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    match what % 8 {
        0 => {
            let report = edit(REPORT, rest);
            assert_eq!(accepted(&report, VCEK, &[], CRL), report == REPORT);
        }
        1 => {
            let vek = edit(VCEK, rest);
            assert_eq!(accepted(REPORT, &vek, &[], CRL), vek == VCEK);
        }
        2 => {
            let crl = edit(CRL, rest);
            assert_eq!(accepted(REPORT, VCEK, &[], &crl), crl == CRL);
        }
        3 => {
            let ask = edit(ROOT.ask, rest);
            assert_eq!(accepted(REPORT, VCEK, &[&ask], CRL), ask == ROOT.ask);
        }
        4 => {
            if let Ok(certificates) = X509::read_all(rest) {
                let again = certificates.iter().map(|read| X509::from_der(read.der()));
                assert!(again.eq(certificates.iter().cloned().map(Ok)));
            }
            let _ = Crl::read_all(rest);
        }
        5 => {
            if let Ok(evidence) = KbsEvidence::from_json(rest) {
                assert_eq!(evidence.report.len(), 1184);
                let _ = Report::parse(&evidence.report);
            }
        }
        6 => {
            if let Ok(text) = core::str::from_utf8(rest) {
                let _ = PolicyFile::from_toml(text);
            }
        }
        _ => assert!(!accepted(rest, rest, &[], rest)),
    }
});
