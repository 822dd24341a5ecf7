//! Evidence from Azure: edits of a made-up machine's are accepted only where they change nothing that is judged; the shapes of any bytes.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use std::sync::LazyLock;

use cloister_evidence::azure::AzureEvidence;
use cloister_evidence::bundle::{Bundle, CpuKind, CpuSection};
use cloister_evidence::tpm::PcrBank;
use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::{Beside, Evidence, Expected, QuoteFiles, Roots, appraise};
use cloister_verify::policy::{Hex, PolicyFile};
use cloister_verify::snp::{Root, Roots as AmdRoots};
use cloister_verify::tdx::INTEL;
use cloister_verify::{Policy, layers};
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

const ROOTS: Roots<'static> = Roots {
    amd: AmdRoots {
        milan: ROOT,
        genoa: ROOT,
        turin: ROOT,
    },
    intel: INTEL,
    vtpm: &[],
};

fn policy() -> PolicyFile {
    let mut policy = PolicyFile::default();
    policy.azure.paravisor_id_key_digests = vec![Hex([0x1d; 48])];
    policy
}

fn accepted(evidence: &[u8], beside: &Beside<'_>) -> bool {
    let reference = ReferenceValues::from_json(REFERENCE).unwrap();
    let expected = Expected {
        nonce: Some(&NONCE),
        reference: Some(&reference),
    };
    appraise(evidence, beside, &expected, &policy(), &ROOTS, AT).accepted
}

/// A session around the genuine report and quote, which were made for none.
fn session(edits: &[u8], log: &[u8]) -> bool {
    let quote = GENUINE.quote.as_ref().unwrap();
    let pcrs = quote.pcrs.as_ref().unwrap();
    let section = AzureEvidence {
        attest: quote.attest.clone(),
        signature: quote.signature.clone(),
        hcl_report: GENUINE.hcl_report.clone(),
        pcrs: PcrBank(core::array::from_fn(|pcr| *pcrs.get(pcr as u8).unwrap())),
    };
    let bundle = Bundle {
        cpu: CpuSection {
            kind: CpuKind::Azure,
            value: edit(&section.encode(), edits),
        },
        log: log.to_vec(),
        batch: None,
        devices: edits.to_vec(),
    };
    let expected = layers::Expected {
        reference: &ReferenceValues::from_json(REFERENCE).unwrap(),
        policy: &Policy::default(),
        platform: &policy(),
        roots: &ROOTS,
        collateral: None,
        gpu_roots: &[],
    };
    let bundle = bundle.encode();
    let leaf = layers::appraise_leaf(log, &bundle, &expected, AT);
    let session = layers::appraise_session(log, &[0; 32], &[0; 32], &bundle, &expected, AT);
    leaf.accepted || session.accepted
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
    match what % 5 {
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
        3 => {
            let (edits, log) = rest.split_at(rest.len() / 2);
            assert!(!session(edits, log));
        }
        _ => {
            let _ = Evidence::parse(rest);
            assert!(!accepted(rest, &Beside::default()));
        }
    }
});
