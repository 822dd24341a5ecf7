//! Azure's HCL report of both platforms: edits of made-up ones, and with REPORT_DATA mended so that claims are read.
//! The first byte chooses what is done with the rest.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_measure::azure::HclReport;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

/// Each with the first byte that a seed has.
const GENUINE: [&[u8]; 2] = [
    include_bytes!("../seeds/hcl_report/snp"),
    include_bytes!("../seeds/hcl_report/tdx"),
];
/// Where REPORT_DATA is, and the claims without what version 2 puts before them.
const REPORT_DATA: [usize; 2] = [32 + 0x50, 32 + 128];
const CLAIMS: usize = 1236;

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let platform = usize::from(what / 3 % 2);
    let genuine = &GENUINE[platform][1..];
    let bytes = match what % 3 {
        0 => rest.to_vec(),
        1 => edits::edit(genuine, rest),
        _ => {
            // Any claims, bound and with the right lengths.
            let mut bytes = genuine[..CLAIMS].to_vec();
            let length = rest.len() as u32;
            let mut put =
                |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
            put(8, &(1236 + length).to_le_bytes());
            put(1216, &(20 + length).to_le_bytes());
            put(1232, &length.to_le_bytes());
            put(REPORT_DATA[platform], &Sha256::digest(rest));
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
