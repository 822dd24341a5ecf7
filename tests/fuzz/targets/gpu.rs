//! GPU evidence of any bytes: reports, chains, golden values, and all of them appraised. Nothing that a fuzzer finds is signed by NVIDIA.
#![no_main]

use cloister_gpu::signature::verify;
use cloister_gpu::{Chain, Expected, GoldenValues, Report, RootKey, appraise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    match what % 4 {
        0 => {
            if let Ok(report) = Report::parse(rest) {
                let _ = (
                    report.driver_rim(),
                    report.vbios_rim(),
                    report.unknown().count(),
                );
            }
        }
        1 => {
            if let Ok(chain) = Chain::parse(rest) {
                let _ = (chain.fwid(), chain.model(), chain.validity());
            }
        }
        2 => {
            // What is read is written the same.
            if let Ok(golden) = GoldenValues::from_json(rest) {
                assert_eq!(golden.to_json().as_bytes(), rest);
            }
        }
        _ => {
            let (report, chain) = rest.split_at(rest.len().min(4096));
            let expected = Expected {
                nonce: &[0; 32],
                driver: None,
                vbios: None,
                golden: None,
                roots: &[RootKey::nvidia()],
                at: 1_795_305_600,
            };
            assert!(
                appraise(report, chain, &expected, verify)
                    .into_result()
                    .is_err()
            );
        }
    }
});
