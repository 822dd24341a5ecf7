//! Leaf certificates and bundles: whatever differs from the genuine ones is rejected.
//!
//! The input is a list of edits to genuine evidence, because no fuzzer finds a signature; its raw bytes
//! are tried as a certificate and as a bundle too.
#![no_main]

use std::sync::LazyLock;

use cloister_measure::reference::ReferenceValues;
use cloister_verify::tpm::{appraise_leaf, appraise_session};
use cloister_verify::{Policy, certificate};
use edits::edit;
use libfuzzer_sys::fuzz_target;

#[path = "../edits.rs"]
mod edits;
#[path = "../../../crates/verify/tests/appraisal/support.rs"]
#[expect(dead_code, reason = "the tests of the verifier use more of it")]
mod support;

const NONCE: [u8; 32] = [7; 32];
const EXPORTER: [u8; 32] = [8; 32];

struct Genuine {
    leaf: Vec<u8>,
    bundle: Vec<u8>,
    session: Vec<u8>,
    spki: Vec<u8>,
    reference: ReferenceValues,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let guest = support::Guest::boot();
    let (leaf, bundle) = guest.leaf(support::VALIDITY);
    let session = guest
        .sessions(&[([1; 32], [2; 32]), (NONCE, EXPORTER)])
        .swap_remove(1);
    let (spki, reference) = (guest.spki(), guest.reference());
    let genuine = Genuine {
        leaf,
        bundle,
        session,
        spki,
        reference,
    };
    assert!(
        genuine.accepts(&genuine.leaf, &genuine.bundle),
        "the genuine leaf must be accepted"
    );
    assert!(
        genuine.accepts_session(&genuine.session),
        "the genuine session must be accepted"
    );
    genuine
});

impl Genuine {
    fn accepts(&self, leaf: &[u8], bundle: &[u8]) -> bool {
        appraise_leaf(
            leaf,
            bundle,
            &self.reference,
            &Policy::default(),
            support::NOW,
        )
        .accepted
    }

    fn accepts_session(&self, bundle: &[u8]) -> bool {
        let (spki, reference) = (&self.spki, &self.reference);
        appraise_session(
            spki,
            &NONCE,
            &EXPORTER,
            bundle,
            reference,
            &Policy::default(),
        )
        .accepted
    }
}

fuzz_target!(|data: &[u8]| {
    let genuine = &*GENUINE;
    let _ = certificate::spki(data);
    assert!(!genuine.accepts(data, data));
    let Some((which, edits)) = data.split_first() else {
        return;
    };
    let (leaf, bundle, session) = (&genuine.leaf, &genuine.bundle, &genuine.session);
    match which % 3 {
        0 => {
            let edited = edit(leaf, edits);
            assert_eq!(genuine.accepts(&edited, bundle), &edited == leaf);
        }
        1 => {
            let edited = edit(bundle, edits);
            assert_eq!(genuine.accepts(leaf, &edited), &edited == bundle);
        }
        _ => {
            let edited = edit(session, edits);
            assert_eq!(genuine.accepts_session(&edited), &edited == session);
        }
    }
});
