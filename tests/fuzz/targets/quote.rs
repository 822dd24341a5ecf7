//! TPM quotes by themselves: edits of a made-up one are accepted only where they change nothing that is judged; keys, signatures and PCR
//! lists of any bytes.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_evidence::tpm::{PcrValues, RsaAttestationKey, rsa_signature};
use cloister_measure::reference::ReferenceValues;
use cloister_verify::tpm::{Ak, BareQuote, Expected, QuotePolicy, appraise_quote};
use edits::edit;
use libfuzzer_sys::fuzz_target;

const ATTEST: &[u8] = include_bytes!("../seeds/quote/attest");
const SIGNATURE: &[u8] = include_bytes!("../seeds/quote/signature");
const AK: &[u8] = include_bytes!("../seeds/quote/ak");
const PCRS: &[u8] = include_bytes!("../seeds/quote/pcrs");
const REFERENCE: &[u8] = include_bytes!("../seeds/quote/reference.json");
const NONCE: [u8; 32] = [0x5a; 32];
/// 2026-11-22.
const AT: u64 = 1_795_305_600;

fn accepted(attest: &[u8], signature: &[u8], ak: &[u8], pcrs: &[u8]) -> bool {
    let evidence = BareQuote {
        attest,
        signature,
        ak,
        pcrs,
        event_log: None,
    };
    let reference = ReferenceValues::from_json(REFERENCE).unwrap();
    let expected = Expected {
        nonce: Some(&NONCE),
        reference: Some(&reference),
    };
    appraise_quote(&evidence, &expected, &QuotePolicy::default(), AT).accepted
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    match what % 5 {
        0 => {
            let attest = edit(ATTEST, rest);
            assert_eq!(accepted(&attest, SIGNATURE, AK, PCRS), attest == ATTEST);
        }
        1 => {
            // The RSA signature may also stand as it is.
            let signature = edit(SIGNATURE, rest);
            let same = rsa_signature(&signature) == rsa_signature(SIGNATURE);
            assert_eq!(accepted(ATTEST, &signature, AK, PCRS), same);
        }
        2 => {
            // Attributes beside the demanded ones, and a policy, may be either way.
            let ak = edit(AK, rest);
            if accepted(ATTEST, SIGNATURE, &ak, PCRS) {
                assert_eq!(Ak::parse(&ak).unwrap().key, Ak::parse(AK).unwrap().key);
            }
        }
        3 => {
            let pcrs = edit(PCRS, rest);
            assert_eq!(accepted(ATTEST, SIGNATURE, AK, &pcrs), pcrs == PCRS);
        }
        _ => {
            let _ = Ak::parse(rest);
            let _ = RsaAttestationKey::parse(rest);
            let _ = rsa_signature(rest);
            if let Ok(values) = PcrValues::from_tools(rest) {
                assert!((1..=24).contains(&values.0.len()));
                assert_eq!((rest.len() - 136) % 532, 0);
            }
            assert!(!accepted(rest, rest, rest, rest));
        }
    }
});
