//! What the GPU says of itself: a recording, or a report made and signed at once.

use cloister_gpu::GoldenValues;
use cloister_test_pki::PkiError;
use cloister_test_pki::gpu::{Gpu, Report};

use crate::fault::Fault;
use crate::settings::Settings;

/// Certificates in PEM of the GPU of this label; `None` where they cannot be had.
pub(crate) fn chain(settings: &Settings, label: &str) -> Option<Vec<u8>> {
    if let Some(path) = &settings.chain {
        return std::fs::read(path).ok();
    }
    match settings.fault {
        Some(Fault::GarbageChain) => Some(b"-----BEGIN CERTIFICATE-----\nnothing\n".to_vec()),
        Some(Fault::OtherRoot) => pem(Gpu::under("another root", label)),
        _ => pem(Gpu::new(label)),
    }
}

fn pem(gpu: Result<Gpu, PkiError>) -> Option<Vec<u8>> {
    gpu.and_then(|gpu| gpu.chain_pem())
        .ok()
        .map(String::into_bytes)
}

/// A report for `nonce` by the GPU of this label; `None` where a recording is of another nonce, or cannot be read.
pub(crate) fn report(settings: &Settings, label: &str, nonce: [u8; 32]) -> Option<Vec<u8>> {
    if let Some(path) = &settings.report {
        let recorded = std::fs::read(path).ok()?;
        let same = recorded.get(4..36) == Some(&nonce);
        return (same || settings.any_nonce).then_some(recorded);
    }
    let mut report = Report::new(nonce, &settings.driver, vbios(&settings.vbios)?);
    let golden = settings.golden.as_ref()?;
    let golden = GoldenValues::from_json(&std::fs::read(golden).ok()?).ok()?;
    let pair = golden.pair(&settings.driver, &settings.vbios)?;
    let first = |(index, values): (u8, &std::collections::BTreeSet<_>)| {
        let value: Option<&cloister_gpu::golden::Hex> = values.first();
        value.map(|value| (index, value.0))
    };
    report.measurements = pair.values().into_iter().filter_map(first).collect();
    match settings.fault {
        Some(Fault::StaleNonce) => report.nonce = [7; 32],
        Some(Fault::OtherFirmware) => report.fwid = Some([9; 48]),
        Some(Fault::OtherVbios) => report.vbios = [0x96, 0, 0x9f, 0, 1],
        Some(Fault::Measurement) => {
            report.measurements.insert(9, [0xee; 48]);
        }
        _ => {}
    }
    let signer = match settings.fault {
        Some(Fault::OtherSigner) => "another device",
        _ => label,
    };
    let mut report = Gpu::new(signer).and_then(|gpu| gpu.report(&report)).ok()?;
    if settings.fault == Some(Fault::Trailing) {
        report.push(0);
    }
    Some(report)
}

/// The five bytes of `96.00.5e.00.03`.
fn vbios(text: &str) -> Option<[u8; 5]> {
    let bytes = text
        .split('.')
        .map(|byte| u8::from_str_radix(byte, 16).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}
