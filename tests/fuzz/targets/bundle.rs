//! Every CBOR item of the evidence format: what is accepted is written the same way again.
#![no_main]

use cloister_evidence::batch::BatchProof;
use cloister_evidence::binding::{Mode, binding};
use cloister_evidence::bundle::{Bundle, LeafExtension};
use cloister_evidence::devices::Devices;
use cloister_evidence::log::{EventLog, predict_pcr15};
use cloister_evidence::tpm::TpmEvidence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
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
        let mode = Mode::Leaf { not_before: 0, not_after: 0 };
        let _ = proof.report_data(&binding(&mode, &[0; 32], &[], data));
    }
});
