//! Evidence from Azure: edits of a made-up machine's are accepted only where they change nothing that is judged; the shapes of any bytes.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use std::sync::LazyLock;

use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::{Beside, Evidence, Expected, QuoteFiles, Roots, appraise};
use cloister_verify::policy::{Hex, PolicyFile};
use cloister_verify::snp::{Root, Roots as AmdRoots};
use edits::edit;
use libfuzzer_sys::fuzz_target;

const EVIDENCE: &[u8] = include_bytes!("../seeds/azure/evidence");
const YAML: &[u8] = include_bytes!("../seeds/azure/yaml");
const REFERENCE: &[u8] = include_bytes!("../seeds/azure/reference.json");
const ROOT: Root<'static> = Root {
    ark: include_bytes!("../seeds/azure/ark"),
    ask: include_bytes!("../seeds/azure/ask"),
    asvk: include_bytes!("../seeds/azure/asvk"),
};
const NONCE: [u8; 32] = [0x5a; 32];
/// 2026-11-22.
const AT: u64 = 1_795_305_600;

static GENUINE: LazyLock<Evidence> = LazyLock::new(|| {
    assert!(accepted(EVIDENCE, &Beside::default()));
    Evidence::parse(EVIDENCE).unwrap()
});

fn accepted(evidence: &[u8], beside: &Beside<'_>) -> bool {
    let roots = Roots {
        amd: AmdRoots {
            milan: ROOT,
            genoa: ROOT,
            turin: ROOT,
        },
        vtpm: &[],
    };
    let mut policy = PolicyFile::default();
    policy.azure.paravisor_id_key_digests = vec![Hex([0x1d; 48])];
    let reference = ReferenceValues::from_json(REFERENCE).unwrap();
    let expected = Expected {
        nonce: Some(&NONCE),
        reference: Some(&reference),
    };
    appraise(evidence, beside, &expected, &policy, &roots, AT).accepted
}

/// Zeros at the end of the NV index may be more or fewer.
fn without_zeros(hcl: &[u8]) -> &[u8] {
    let zeros = hcl.iter().rev().take_while(|byte| **byte == 0).count();
    &hcl[..hcl.len() - zeros]
}

fn same(evidence: &Evidence) {
    let genuine = &*GENUINE;
    let quote = evidence.quote.as_ref().unwrap();
    assert_eq!(Some(quote), genuine.quote.as_ref());
    assert_eq!(evidence.vek, genuine.vek);
    let (found, wanted) = (&evidence.hcl_report, &genuine.hcl_report);
    assert_eq!(without_zeros(found), without_zeros(wanted));
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let genuine = &*GENUINE;
    match what % 4 {
        0 => {
            let evidence = edit(EVIDENCE, rest);
            if accepted(&evidence, &Beside::default()) {
                same(&Evidence::parse(&evidence).unwrap());
            }
        }
        1 => {
            let hcl = edit(&genuine.hcl_report, rest);
            let quote = genuine.quote.as_ref().unwrap();
            let beside = Beside {
                quote: Some(QuoteFiles {
                    attest: &quote.attest,
                    signature: &quote.signature,
                    pcrs: None,
                }),
                vek: genuine.vek.as_deref(),
                ..Beside::default()
            };
            // Without the values nothing is accepted.
            assert!(!accepted(&hcl, &beside));
        }
        2 => drop(Evidence::parse(&edit(YAML, rest))),
        _ => {
            let _ = Evidence::parse(rest);
            assert!(!accepted(rest, &Beside::default()));
        }
    }
});
