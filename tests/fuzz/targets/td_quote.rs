//! TDX evidence: edits of a made-up quote and of its collateral are never accepted unless they change nothing that is signed;
//! quotes, bundles, policies and Google's endorsements of any bytes.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_verify::collateral::{Collateral, Signed, TdxCollateral};
use cloister_verify::google::Endorsement;
use cloister_verify::policy::PolicyFile;
use cloister_verify::tdx::{Expected, Policy, Quote, Roots, appraise, platform};
use edits::edit;
use libfuzzer_sys::fuzz_target;

const QUOTE: &[u8] = include_bytes!("../seeds/td_quote/quote");
const ROOT: &[u8] = include_bytes!("../seeds/td_quote/root");
const BUNDLE: &[u8] = include_bytes!("../seeds/td_quote/bundle");
/// 2026-11-22.
const AT: u64 = 1_795_305_600;

fn accepted(quote: &[u8], collateral: &TdxCollateral) -> bool {
    let expected = Expected {
        mrtd: Some([0x3e; 48]),
        report_data: Some([0x0d; 64]),
        ..Expected::default()
    };
    let roots = Roots { root: ROOT };
    let collateral = Some(collateral);
    appraise(quote, collateral, &expected, &Policy::default(), &roots, AT).accepted
}

fn bundle() -> TdxCollateral {
    Collateral::read(BUNDLE)
        .ok()
        .and_then(|bundle| bundle.tdx)
        .expect("the seed is a bundle")
}

/// Zeros alone may come or go behind a quote, and line ends between the lines of its certificates.
fn same(quote: &[u8]) -> bool {
    let (Ok(edited), Ok(genuine)) = (Quote::parse(quote), Quote::parse(QUOTE)) else {
        return false;
    };
    let lines = |chain: &[u8]| -> Vec<u8> {
        let kept = chain.iter().copied();
        kept.filter(|byte| !matches!(byte, b'\n' | b'\r' | 0))
            .collect()
    };
    edited.signed == genuine.signed
        && edited.endorsement.qe_report == genuine.endorsement.qe_report
        && lines(edited.endorsement.pck_chain) == lines(genuine.endorsement.pck_chain)
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    match what % 7 {
        0 => {
            let quote = edit(QUOTE, rest);
            let accepted = accepted(&quote, &bundle());
            assert!(!accepted || same(&quote));
            assert!(accepted || quote != QUOTE);
        }
        1 => {
            let genuine = bundle();
            let mut edited = genuine.clone();
            let lists = edited.pck_crl.iter_mut().chain(&mut edited.root_crl);
            lists.for_each(|list| list.0 = edit(&list.0, rest));
            assert_eq!(accepted(QUOTE, &edited), edited == genuine);
        }
        2 => {
            let genuine = bundle();
            let mut edited = genuine.clone();
            for signed in edited.tcb_info.iter_mut().chain(&mut edited.qe_identity) {
                let body = edit(signed.body.as_bytes(), rest);
                signed.body = String::from_utf8_lossy(&body).into_owned();
            }
            assert_eq!(accepted(QUOTE, &edited), edited == genuine);
        }
        3 => {
            // What is read is written and read again the same.
            if let Ok(read) = Collateral::read(rest) {
                if let Ok(text) = read.to_json() {
                    assert_eq!(Collateral::from_json(text.as_bytes()), Ok(read));
                }
            }
            let _ = Signed::tcb_info(rest);
        }
        4 => {
            if let Ok(text) = core::str::from_utf8(rest) {
                let _ = PolicyFile::from_toml(text);
            }
        }
        5 => {
            assert!(!accepted(rest, &bundle()) || same(rest));
            let _ = platform(rest);
        }
        _ => drop(Endorsement::parse(rest)),
    }
});
