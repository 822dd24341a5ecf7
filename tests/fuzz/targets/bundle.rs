//! Every CBOR item of the evidence format: what is accepted is written the same way again.
#![no_main]

use std::sync::LazyLock;

use cloister_evidence::batch::BatchProof;
use cloister_evidence::binding::{Mode, binding};
use cloister_evidence::bundle::{Bundle, LeafExtension};
use cloister_evidence::devices::Devices;
use cloister_evidence::log::{EventLog, predict_pcr15};
use cloister_evidence::tpm::TpmEvidence;
use libfuzzer_sys::fuzz_target;

#[path = "../edits.rs"]
mod edits;

/// Genuine items, one name and one hex value a line.
static GENUINE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    include_str!("../../vectors/cloister-ra-1.txt")
        .lines()
        .map(value)
        .collect()
});

fn value(line: &str) -> Vec<u8> {
    let (_, digits) = line.split_once(' ').expect("a name and a value");
    let byte = |pair: &[u8]| {
        let text = core::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("hex digits")
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

fuzz_target!(|data: &[u8]| {
    round_trip(data);
    if let Some((which, edits)) = data.split_first() {
        let genuine = GENUINE.iter().cycle().nth(usize::from(*which));
        round_trip(&edits::edit(genuine.expect("an endless cycle"), edits));
    }
});

fn round_trip(data: &[u8]) {
    if let Ok(bundle) = Bundle::decode(data) {
        assert_eq!(bundle.encode(), data);
    }
    if let Ok(extension) = LeafExtension::decode(data) {
        assert_eq!(extension.encode(), data);
    }
    if let Ok(devices) = Devices::decode(data) {
        assert_eq!(devices.encode(), data);
    }
    if let Ok(evidence) = TpmEvidence::decode(data) {
        assert_eq!(evidence.encode(), data);
        let _ = evidence.pcrs.digest();
    }
    if let Ok(log) = EventLog::decode(data) {
        assert_eq!(log.encode(), data);
        let _ = predict_pcr15(log.events());
    }
    if let Ok(proof) = BatchProof::decode(data) {
        assert_eq!(proof.encode(), data);
        let mode = Mode::Leaf {
            not_before: 0,
            not_after: 0,
        };
        let _ = proof.report_data(&binding(&mode, &[0; 32], &[], data));
    }
}
