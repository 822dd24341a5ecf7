//! Signed manifests: any bytes, and edits of a RIM that the tests signed. Nobody signs what a fuzzer makes, so whatever passes says the same.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_rim::{Rim, RootKey, verify};
use libfuzzer_sys::fuzz_target;

/// Signed once by keys that `crates/rim/src/tests/made.rs` made and forgot: `signed.xml` and the point of its root.
const SIGNED: &[u8] = include_bytes!("../seeds/rim/signed.xml");
const ROOT: &[u8; 97] = include_bytes!("../seeds/rim/root");
/// Within the validity of its certificates.
const AT: u64 = 1_700_000_000;

/// What a RIM says, whatever the bytes of its file are.
fn said(file: &[u8]) -> Option<Rim> {
    let rim = verify(file, &[RootKey(*ROOT)], AT).ok()?;
    Some(Rim {
        sha256: [0; 32],
        ..rim
    })
}

fuzz_target!(|data: &[u8]| {
    let genuine = said(SIGNED);
    assert!(genuine.is_some());
    let found = match data.split_first() {
        Some((0, edits)) => said(&edits::edit(SIGNED, edits)),
        _ => said(data),
    };
    assert!(found.is_none() || found == genuine);
    assert!(verify(data, &[RootKey::nvidia()], AT).is_err());
});
