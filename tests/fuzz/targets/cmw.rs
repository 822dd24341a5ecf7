//! Conceptual message wrappers of any bytes: JSON, CBOR and the value of the certificate extension. The first byte chooses.
#![no_main]

use cloister_verify::cert::wrapped;
use cloister_verify::cmw::Cmw;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let read = match what % 3 {
        0 => Cmw::from_json(rest).ok(),
        1 => Cmw::from_cbor(rest).ok(),
        _ => Cmw::from_extension(rest).ok().map(|(cmw, _)| cmw),
    };
    if let Some(cmw) = read {
        assert!(!cmw.records().is_empty());
    }
    assert!(!wrapped::appraise_file(rest).accepted);
});
