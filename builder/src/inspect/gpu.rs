//! What NVIDIA's GPUs and switches say of themselves: reports, certificate chains, and both in the JSON of NVIDIA's tools. Nothing here is
//! verified: that is `verify gpu`.

use cloister_gpu::chain::{Chain, Model, PLACES};
use cloister_gpu::report::{Field, Opaque, Report as GpuReport};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

use super::image::sha256;
use super::report::{Fields, Report};
use crate::gpu_evidence::{Entry, from_hex};

/// Longest input that is tried as a report, in bytes: the longest report in decorated hex.
const REPORT_LIMIT: usize = 512 << 10;
/// How every report starts: the request of SPDM 1.1 for all measurements, signed.
const REQUEST: [u8; 4] = [0x11, 0xe0, 1, 0xff];
/// Opaque values up to this many bytes are shown, longer ones by digest.
const SHOWN: usize = 64;

/// An attestation report, raw or in hex.
pub(super) fn report(bytes: &[u8]) -> Option<Report> {
    if bytes.len() > REPORT_LIMIT {
        return None;
    }
    let decoded = from_hex(bytes);
    let report = decoded.as_deref().unwrap_or(bytes);
    report.starts_with(&REQUEST).then(|| {
        let fields = report_fields(report);
        Report::new("NVIDIA attestation report (SPDM 1.1)", fields)
    })
}

/// The certificates of a device. Other chains of five are no business of this reader.
pub(super) fn chain(bytes: &[u8]) -> Option<Report> {
    let chain = Chain::parse(bytes).ok()?;
    (chain.model() != Model::Unknown).then(|| {
        let fields = chain_fields(bytes);
        Report::new("certificate chain of an NVIDIA device", fields)
    })
}

/// Reports with their chains, in JSON.
pub(super) fn evidence(bytes: &[u8]) -> Option<Report> {
    let entries = Entry::list(bytes).ok().filter(|list| !list.is_empty())?;
    let devices = entries.iter().map(|entry| {
        let report = entry.report().map_err(damage);
        let chain = entry.chain().map_err(damage);
        Fields::new()
            .with_some("arch", entry.arch())
            .with_some("nonce", entry.nonce())
            .with("report", report.map_or_else(|e| e, |r| report_fields(&r)))
            .with("chain", chain.map_or_else(|e| e, |c| chain_fields(&c)))
    });
    let fields = Fields::new()
        .with("device-count", entries.len())
        .with("devices", devices.collect::<Vec<_>>());
    Some(Report::new("NVIDIA attestation evidence (JSON)", fields))
}

fn damage(error: impl std::fmt::Display) -> Fields {
    Fields::new().with("damage", error.to_string())
}

fn report_fields(bytes: &[u8]) -> Fields {
    let fields = Fields::new()
        .with("size", bytes.len())
        .with("sha256", sha256(bytes));
    match GpuReport::parse(bytes) {
        Ok(report) => parsed(fields, &report),
        Err(error) => fields.with("damage", error.to_string()),
    }
}

fn parsed(fields: Fields, report: &GpuReport<'_>) -> Fields {
    let measurements = report.measurements.iter().zip(0_u64..);
    let measurements = measurements.map(|(digest, index)| {
        Fields::new()
            .with("index", index)
            .with("digest", hex::encode(digest))
    });
    let fields = fields
        .with("nonce", hex::encode(report.nonce))
        .with("responder-nonce", hex::encode(report.responder_nonce))
        .with_some("driver-rim", report.driver_rim())
        .with_some("vbios-rim", report.vbios_rim());
    let opaque: Vec<Fields> = report.fields.iter().map(opaque_field).collect();
    understood(fields, &report.opaque)
        .with("signature", hex::encode(report.signature))
        .with("measurements", measurements.collect::<Vec<_>>())
        .with("opaque-fields", opaque)
}

/// What the understood opaque fields say.
fn understood(fields: Fields, opaque: &Opaque) -> Fields {
    let list = |values: Vec<String>| Some(values).filter(|values| !values.is_empty());
    let counts = opaque.counts.iter().map(ToString::to_string);
    let counts = list(counts.collect()).map(|counts| counts.join(" "));
    fields
        .with_some("driver-version", opaque.driver.clone())
        .with_some("vbios-version", opaque.vbios.clone())
        .with_some("project", opaque.project.clone())
        .with_some("project-sku", opaque.project_sku.clone())
        .with_some("chip-sku", opaque.chip_sku.clone())
        .with_some(
            "nvdec0-status",
            opaque.nvdec0.map(|found| found.to_string()),
        )
        .with_some(
            "protected-pcie-status",
            opaque.protected_pcie.map(|found| found.to_string()),
        )
        .with_some(
            "feature-flag",
            opaque.feature.map(|found| found.to_string()),
        )
        .with_some("opaque-data-version", opaque.version)
        .with_some("fwid", opaque.fwid.map(hex::encode))
        .with_some("measurement-counts", counts)
        .with_some(
            "switches",
            list(opaque.switches.iter().map(hex::encode).collect()),
        )
}

fn opaque_field(field: &Field<'_>) -> Fields {
    let fields = Fields::new()
        .with("number", field.kind)
        .with("name", field.name().unwrap_or("not known"))
        .with("offset", field.offset)
        .with("size", field.value.len());
    match field.value.len() {
        0..=SHOWN => fields.with("value", hex::encode(field.value)),
        _ => fields.with("sha256", sha256(field.value)),
    }
}

fn chain_fields(bytes: &[u8]) -> Fields {
    let chain = match Chain::parse(bytes) {
        Ok(chain) => chain,
        Err(error) => return damage(error),
    };
    let fields = Fields::new()
        .with("model", chain.model().to_string())
        .with("device", hex::encode(chain.device()));
    let fields = match chain.fwid() {
        Ok(fwid) => fields.with("fwid", hex::encode(fwid)),
        Err(error) => fields.with("fwid", error.to_string()),
    };
    let fields = fields.with("leaf-key", hex::encode(chain.leaf_key()));
    match certificates(bytes) {
        Ok(certificates) => fields.with("certificates", certificates),
        Err(error) => fields.with("damage", error.to_string()),
    }
}

/// Each certificate of a chain that can be read, in either of its encodings; dates of devices pass those that `jiff` can hold.
fn certificates(bytes: &[u8]) -> x509_cert::der::Result<Vec<Fields>> {
    let text = bytes.trim_ascii_start();
    let all = if text.starts_with(b"-----") {
        let end = text.iter().rposition(|byte| *byte != 0);
        let text = text.get(..=end.unwrap_or_default()).unwrap_or_default();
        Certificate::load_pem_chain(text.trim_ascii())?
    } else {
        let mut reader = SliceReader::new(bytes)?;
        let mut all = Vec::new();
        while !reader.is_finished() {
            all.push(Certificate::decode(&mut reader)?);
        }
        all
    };
    let fields = PLACES.into_iter().zip(all).map(|(place, certificate)| {
        let body = certificate.tbs_certificate;
        Fields::new()
            .with("place", place)
            .with("subject", body.subject.to_string())
            .with("issuer", body.issuer.to_string())
            .with("serial", hex::encode(body.serial_number.as_bytes()))
            .with("not-before", body.validity.not_before.to_string())
            .with("not-after", body.validity.not_after.to_string())
    });
    Ok(fields.collect())
}

#[cfg(test)]
mod tests;
