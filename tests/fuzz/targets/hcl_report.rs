//! Azure's HCL report: edits of a made-up one, and with REPORT_DATA mended so that claims are read.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_measure::azure::HclReport;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

const GENUINE: &[u8] = include_bytes!("../seeds/hcl_report/snp");
/// Where REPORT_DATA and the claims are.
const REPORT_DATA: usize = 32 + 0x50;
const CLAIMS: usize = 1236;

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let bytes = match what % 3 {
        0 => rest.to_vec(),
        1 => edits::edit(GENUINE, rest),
        _ => {
            // Any claims, bound and with the right lengths.
            let mut bytes = GENUINE[..CLAIMS].to_vec();
            let length = rest.len() as u32;
            bytes[8..12].copy_from_slice(&(1236 + length).to_le_bytes());
            bytes[1216..1220].copy_from_slice(&(20 + length).to_le_bytes());
            bytes[1232..1236].copy_from_slice(&length.to_le_bytes());
            bytes[REPORT_DATA..REPORT_DATA + 32].copy_from_slice(&Sha256::digest(rest));
            bytes.extend_from_slice(rest);
            bytes
        }
    };
    if let Ok(report) = HclReport::parse(&bytes) {
        assert!(report.claims.attestation_key().is_some());
        assert_eq!(
            report.report.report_data()[..32],
            report.claims_digest.as_bytes()[..32]
        );
    }
});
