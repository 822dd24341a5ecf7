//! What guests and firmware say: bundles, leaf certificates, event logs, firmware volumes.

use cloister_evidence::bundle::{Bundle, CpuKind, CpuSection, EXTENSION_OID, LeafExtension};
use cloister_evidence::log::EventLog;
use cloister_evidence::tpm::{Quote, TpmEvidence};
use cloister_measure::digest::Bank;
use cloister_measure::eventlog::EventLog as FirmwareLog;
use cloister_measure::snp::Ovmf;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::attestation;
use super::image::sha256;
use super::report::{Fields, Report};

/// An evidence bundle: a CMW collection in CBOR.
pub(super) fn bundle(bytes: &[u8]) -> Option<Report> {
    let bundle = Bundle::decode(bytes).ok()?;
    let batch = bundle.batch.as_ref().map(|proof| {
        let siblings: Vec<String> = proof.siblings.iter().map(hex::encode).collect();
        Fields::new()
            .with("index", proof.index)
            .with("leaf-count", proof.count)
            .with("siblings", siblings)
    });
    let fields = Fields::new()
        .with("sha256", sha256(bytes))
        .with("mode", if batch.is_some() { "session" } else { "leaf" })
        .with("cpu", cpu(&bundle.cpu))
        .with("devices-sha256", sha256(&bundle.devices))
        .with("log-sha256", sha256(&bundle.log))
        .with_some("batch", batch)
        .with("log", log(&bundle.log));
    Some(Report::new(
        "attestation bundle (CMW collection, cloister-ra/1)",
        fields,
    ))
}

fn cpu(section: &CpuSection) -> Fields {
    let fields = Fields::new()
        .with("media-type", section.kind.media_type())
        .with("size", section.value.len());
    if section.kind != CpuKind::TpmQuote {
        return fields;
    }
    let evidence = match TpmEvidence::decode(&section.value) {
        Ok(evidence) => evidence,
        Err(error) => return fields.with("damage", error.to_string()),
    };
    let fields = match Quote::parse(&evidence.attest) {
        Ok(quote) => fields
            .with("qualifying-data", hex::encode(&quote.extra_data))
            .with("pcr-digest", hex::encode(&quote.pcr_digest))
            .with(
                "tpm-firmware-version",
                format!("{:016x}", quote.firmware_version),
            )
            .with("reset-count", quote.clock_info.reset_count),
        Err(error) => fields.with("damage", error.to_string()),
    };
    let values = evidence.pcrs.0.iter().enumerate();
    let pcrs = values.fold(Fields::new(), |all, (index, value)| {
        all.with(&format!("pcr{index}"), hex::encode(value))
    });
    fields
        .with("ak-public-sha256", sha256(&evidence.ak_public))
        .with("pcrs", pcrs)
}

fn log(bytes: &[u8]) -> Fields {
    let log = match EventLog::decode(bytes) {
        Ok(log) => log,
        Err(error) => return Fields::new().with("damage", error.to_string()),
    };
    let events: Vec<Fields> = log
        .events()
        .iter()
        .map(|event| {
            Fields::new()
                .with("name", event.name())
                .with("value", show_value(event.value()))
                .with("digest", hex::encode(event.digest()))
        })
        .collect();
    Fields::new()
        .with("events", events)
        .with("firmware-log-size", log.firmware().len())
}

/// Text stays text, anything else becomes hex.
fn show_value(value: &[u8]) -> String {
    let plain = value
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if plain {
        String::from_utf8_lossy(value).into_owned()
    } else {
        hex::encode(value)
    }
}

/// A certificate, DER or PEM.
pub(super) fn certificate(bytes: &[u8]) -> Option<Report> {
    let certificate = if bytes.starts_with(b"-----BEGIN CERTIFICATE-----") {
        Certificate::load_pem_chain(bytes)
            .ok()?
            .into_iter()
            .next()?
    } else {
        Certificate::from_der(bytes).ok()?
    };
    let body = &certificate.tbs_certificate;
    let key = body.subject_public_key_info.to_der().ok()?;
    let mut extensions = Vec::new();
    let mut evidence = None;
    for extension in body.extensions.iter().flatten() {
        let oid = extension.extn_id.to_string();
        let value = extension.extn_value.as_bytes();
        let mut foreign = None;
        match LeafExtension::decode(value) {
            Ok(leaf) if oid == EXTENSION_OID => evidence = Some(leaf_extension(&leaf)),
            _ => foreign = attestation::extension(&oid, value),
        }
        extensions.push(
            Fields::new()
                .with("oid", oid)
                .with("critical", extension.critical)
                .with_some("evidence", foreign),
        );
    }
    let fields = Fields::new()
        .with("subject", body.subject.to_string())
        .with("issuer", body.issuer.to_string())
        .with("serial", hex::encode(body.serial_number.as_bytes()))
        .with("not-before", body.validity.not_before.to_string())
        .with("not-after", body.validity.not_after.to_string())
        .with("spki-sha256", sha256(&key))
        .with("sha256", sha256(&certificate.to_der().ok()?))
        .with("extensions", extensions)
        .with_some("evidence", evidence);
    Some(Report::new("X.509 certificate", fields))
}

fn leaf_extension(leaf: &LeafExtension) -> Fields {
    Fields::new()
        .with("bundle-sha256", hex::encode(leaf.bundle_sha256))
        .with("cpu", cpu(&leaf.cpu))
}

/// A TCG2 event log, as firmware keeps it.
pub(super) fn event_log(bytes: &[u8]) -> Option<Report> {
    let log = FirmwareLog::parse(bytes)
        .ok()
        .filter(|log| !log.events.is_empty())?;
    let events: Vec<Fields> = log
        .events
        .iter()
        .map(|event| {
            Fields::new()
                .with("register", event.register)
                .with("type", event.type_name())
                .with_some(
                    "sha256",
                    event.digest(Bank::Sha256).map(ToString::to_string),
                )
                .with("event", event.summary())
        })
        .collect();
    let replayed = log.replay(Bank::Sha256).map(|registers| {
        registers.iter().fold(Fields::new(), |all, (index, value)| {
            all.with(&format!("pcr{index}"), value.to_string())
        })
    });
    let fields = Fields::new()
        .with("event-count", log.events.len())
        .with("events", events);
    let fields = fields.with_some("replayed-sha256-bank", replayed.ok());
    Some(Report::new("TCG2 event log", fields))
}

/// OVMF firmware with its table of GUIDed structures.
pub(super) fn firmware(bytes: &[u8]) -> Option<Report> {
    let ovmf = Ovmf::from_image(bytes).ok()?;
    let hex_address = |address: u32| format!("{address:#x}");
    let sections: Vec<Fields> = ovmf
        .sections()
        .iter()
        .map(|section| {
            Fields::new()
                .with("kind", section.kind.to_string())
                .with("gpa", hex_address(section.gpa))
                .with("size", hex_address(section.size))
        })
        .collect();
    let fields = Fields::new()
        .with("size", bytes.len())
        .with("sha256", sha256(bytes))
        .with_some("ap-reset-address", ovmf.ap_reset_address().map(hex_address))
        .with_some(
            "kernel-hash-table",
            ovmf.hash_table_address().map(hex_address),
        )
        .with("sev-sections", sections);
    Some(Report::new("OVMF firmware with SEV metadata", fields))
}
