//! Attestation evidence by itself, and evidence of others in certificates, field by field. Nothing here is verified.

use cloister_evidence::tpm::Quote as TpmQuote;
use cloister_measure::azure::{HclReport, TeeReport};
use cloister_verify::cert::pgae::Envelope;
use cloister_verify::cert::{Quote, QuoteKind, ccc, privasys};
use cloister_verify::cmw::{Cmw, Collection, Encoding};
use cloister_verify::snp::{LENGTH, Product, Report as SnpReport, Table, Tcb};

use super::image::sha256;
use super::report::{Fields, Report, Value};

/// Vendor of the quoting enclave that every quote names: Intel.
const INTEL_QE: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// A conceptual message wrapper of others.
pub(super) fn wrapper(bytes: &[u8]) -> Option<Report> {
    let (cmw, encoding) = Cmw::from_bytes(bytes).ok()?;
    let kind = match encoding {
        Encoding::Json => "conceptual message wrapper (CMW, JSON)",
        Encoding::Cbor => "conceptual message wrapper (CMW, CBOR)",
    };
    Some(Report::new(kind, cmw_fields(&cmw)))
}

/// The fields of a wrapper.
fn cmw_fields(cmw: &Cmw) -> Fields {
    let kind = match cmw {
        Cmw::Collection(Collection { kind, .. }) => kind.clone(),
        Cmw::Record(_) => None,
    };
    let records = cmw.records().into_iter().map(|(path, record)| {
        Fields::new()
            .with_some("label", Some(path).filter(|path| !path.is_empty()))
            .with("type", record.content_type.to_string())
            .with("tag", record.tagged)
            .with("indicator", record.kinds())
            .with("size", record.value.len())
            .with("sha256", sha256(&record.value))
    });
    Fields::new()
        .with_some("collection-type", kind)
        .with("records", records.collect::<Vec<_>>())
}

/// The value of an extension that carries evidence of others; `None` for other extensions.
pub(super) fn extension(oid: &str, value: &[u8]) -> Option<Fields> {
    let fields = match oid {
        cloister_evidence::bundle::EXTENSION_OID => match Cmw::from_extension(value) {
            Ok((cmw, _)) => cmw_fields(&cmw),
            Err(error) => damage(error),
        },
        ccc::EXTENSION => ccc_fields(value),
        privasys::SNP => extended_report(value),
        privasys::TDX => quote_fields(value).unwrap_or_else(damage),
        privasys::GPU => Envelope::parse(value).map_or_else(damage, |envelope| gpu(&envelope)),
        privasys::ENVIRONMENT => {
            Fields::new().with("environment", value.escape_ascii().to_string())
        }
        _ => return None,
    };
    Some(fields)
}

fn damage(error: impl std::fmt::Display) -> Fields {
    Fields::new().with("damage", error.to_string())
}

fn ccc_fields(value: &[u8]) -> Fields {
    let tagged = match ccc::Tagged::parse(value) {
        Ok(tagged) => tagged,
        Err(error) => return damage(error),
    };
    let evidence = match tagged.evidence {
        ccc::Evidence::Quote => "quote (tag 60000)",
        ccc::Evidence::TeeReport => "TEE report (tag 60001)",
        ccc::Evidence::LegacySgxQuote => "legacy SGX quote (tag 60002)",
    };
    let claims = ccc::Claims::parse(&tagged.claims).map_or_else(damage, |claims| {
        Fields::new()
            .with("pubkey-hash", hex::encode(&claims.pubkey_hash))
            .with_some("nonce", claims.nonce.map(hex::encode))
            .with("not-known", claims.unknown)
    });
    Fields::new()
        .with("evidence", evidence)
        .with("claims-sha256", sha256(&tagged.claims))
        .with("claims", claims)
        .with("quote", quote_fields(&tagged.quote).unwrap_or_else(damage))
}

fn gpu(envelope: &Envelope) -> Fields {
    Fields::new()
        .with("nonce", hex::encode(envelope.nonce))
        .with("report-size", envelope.report.len())
        .with("report-sha256", sha256(&envelope.report))
        .with_some("uuid", envelope.uuid.clone())
        .with_some("driver", envelope.driver.clone())
        .with_some("vbios", envelope.vbios.clone())
        .with_some("environment", envelope.environment)
        .with_some("feature", envelope.feature)
        .with_some("developer-tools", envelope.devtools)
        .with_some("chain-size", envelope.chain.as_ref().map(String::len))
}

/// A SEV-SNP report, raw.
pub(super) fn snp_report(bytes: &[u8]) -> Option<Report> {
    let report = SnpReport::parse(bytes).ok()?;
    Some(Report::new("SEV-SNP attestation report", snp(&report)))
}

/// A report with the certificate table behind it.
fn extended_report(value: &[u8]) -> Fields {
    let (report, behind) = value.split_at_checked(LENGTH).unwrap_or((value, &[]));
    let fields = SnpReport::parse(report).map_or_else(damage, |report| snp(&report));
    let table = match Table::parse(behind) {
        Ok(table) => Fields::new()
            .with_some("vek-size", table.vek.map(<[u8]>::len))
            .with("chain-certificates", table.chain.len())
            .with("revocation-lists", table.crls.len()),
        Err(error) => damage(error),
    };
    fields.with("certificate-table", table)
}

fn snp(report: &SnpReport) -> Fields {
    let product = report
        .cpuid
        .and_then(|cpuid| Product::from_cpuid(cpuid.family, cpuid.model));
    let cpuid = report.cpuid.map(|cpuid| {
        let (family, model) = (cpuid.family, cpuid.model);
        format!(
            "family {family:#x} model {model:#x} stepping {}",
            cpuid.stepping
        )
    });
    let tcb = |name, raw: [u8; 8]| match product.map(|product| Tcb::parse(name, raw, product)) {
        Some(Ok(tcb)) => tcb.to_string(),
        Some(Err(error)) => format!("{} ({error})", hex::encode(raw)),
        None => hex::encode(raw),
    };
    let signing_key = match report.signing_key() {
        0 => "vcek".to_owned(),
        1 => "vlek".to_owned(),
        7 => "none".to_owned(),
        other => other.to_string(),
    };
    Fields::new()
        .with("version", report.version)
        .with_some("product", product.map(Product::name))
        .with_some("cpuid", cpuid)
        .with("guest-svn", report.guest_svn)
        .with("policy", format!("{:#x}", report.policy))
        .with("debug", report.policy >> 19 & 1 == 1)
        .with("migration-agent", report.policy >> 18 & 1 == 1)
        .with("family-id", hex::encode(report.family_id))
        .with("image-id", hex::encode(report.image_id))
        .with("vmpl", report.vmpl)
        .with("platform-info", format!("{:#x}", report.platform_info))
        .with("signing-key", signing_key)
        .with("report-data", hex::encode(report.report_data))
        .with("measurement", hex::encode(report.measurement))
        .with("host-data", hex::encode(report.host_data))
        .with("id-key-digest", hex::encode(report.id_key_digest))
        .with("author-key-digest", hex::encode(report.author_key_digest))
        .with("report-id", hex::encode(report.report_id))
        .with("report-id-ma", hex::encode(report.report_id_ma))
        .with("reported-tcb", tcb("REPORTED_TCB", report.reported_tcb))
        .with("committed-tcb", tcb("COMMITTED_TCB", report.committed_tcb))
        .with("current-tcb", tcb("CURRENT_TCB", report.current_tcb))
        .with("launch-tcb", tcb("LAUNCH_TCB", report.launch_tcb))
        .with("chip-id", hex::encode(report.chip_id))
        .with_some(
            "launch-mitigations",
            report.launch_mit_vector.map(|v| format!("{v:#x}")),
        )
        .with_some(
            "current-mitigations",
            report.current_mit_vector.map(|v| format!("{v:#x}")),
        )
}

/// A quote of TDX or SGX by Intel's quoting enclave.
pub(super) fn quote(bytes: &[u8]) -> Option<Report> {
    if bytes.get(12..28) != Some(&INTEL_QE) {
        return None;
    }
    let kind = match Quote::parse(bytes).ok()?.kind {
        QuoteKind::Sgx => "SGX quote",
        QuoteKind::Tdx => "TDX quote",
    };
    let fields = quote_fields(bytes).ok()?;
    Some(Report::new(kind, fields))
}

fn quote_fields(bytes: &[u8]) -> Result<Fields, String> {
    let quote = Quote::parse(bytes).map_err(|error| error.to_string())?;
    let start = if quote.version == 5 { 54 } else { 48 };
    let body = bytes.get(start..).unwrap_or_default();
    let hex_of = |at: usize, length: usize| {
        let field = body.get(at..).and_then(|rest| rest.get(..length));
        hex::encode(field.unwrap_or_default())
    };
    let all = |layout: &[(&str, usize, usize)]| {
        let known = Fields::new()
            .with("version", quote.version)
            .with("size", bytes.len());
        layout.iter().fold(known, |fields, (name, at, length)| {
            fields.with(name, hex_of(*at, *length))
        })
    };
    Ok(match quote.kind {
        QuoteKind::Sgx => all(&SGX_BODY),
        QuoteKind::Tdx => all(&TD_BODY),
    })
}

/// Name, place and length of the fields of an SGX report body, in bytes.
const SGX_BODY: [(&str, usize, usize); 8] = [
    ("cpusvn", 0, 16),
    ("miscselect", 16, 4),
    ("attributes", 48, 16),
    ("mrenclave", 64, 32),
    ("mrsigner", 128, 32),
    ("isvprodid", 256, 2),
    ("isvsvn", 258, 2),
    ("report-data", 320, 64),
];
/// The same of a TD report body, as far as TDX 1.0 and 1.5 agree.
const TD_BODY: [(&str, usize, usize); 15] = [
    ("tee-tcb-svn", 0, 16),
    ("mrseam", 16, 48),
    ("mrsignerseam", 64, 48),
    ("seam-attributes", 112, 8),
    ("td-attributes", 120, 8),
    ("xfam", 128, 8),
    ("mrtd", 136, 48),
    ("mrconfigid", 184, 48),
    ("mrowner", 232, 48),
    ("mrownerconfig", 280, 48),
    ("rtmr0", 328, 48),
    ("rtmr1", 376, 48),
    ("rtmr2", 424, 48),
    ("rtmr3", 472, 48),
    ("report-data", 520, 64),
];

/// Azure's HCL report.
pub(super) fn hcl_report(bytes: &[u8]) -> Option<Report> {
    const KIND: &str = "Azure HCL report";
    if !bytes.starts_with(b"HCLA") {
        return None;
    }
    let hcl = match HclReport::parse(bytes) {
        Ok(hcl) => hcl,
        Err(error) => return Some(Report::new(KIND, damage(error))),
    };
    let report = match &hcl.report {
        TeeReport::Snp(snp) => Fields::new()
            .with("kind", "SEV-SNP, of the paravisor")
            .with("version", snp.version)
            .with("guest-svn", snp.guest_svn)
            .with("policy", format!("{:#x}", snp.policy))
            .with("vmpl", snp.vmpl)
            .with("measurement", snp.measurement.to_string())
            .with("host-data", hex::encode(snp.host_data))
            .with("id-key-digest", snp.id_key_digest.to_string())
            .with("author-key-digest", snp.author_key_digest.to_string()),
        TeeReport::Tdx(tdx) => Fields::new()
            .with("kind", "TDX, of the paravisor")
            .with("attributes", format!("{:#x}", tdx.attributes))
            .with("mrtd", tdx.mrtd.to_string())
            .with("rtmrs", strings(&tdx.rtmrs)),
    };
    let configuration = &hcl.claims.vm_configuration;
    let configuration = Fields::new()
        .with("secure-boot", configuration.secure_boot)
        .with("tpm-enabled", configuration.tpm_enabled)
        .with_some("tpm-persisted", configuration.tpm_persisted)
        .with("console-enabled", configuration.console_enabled)
        .with("vm-unique-id", configuration.vm_unique_id.clone());
    let keys = hcl.claims.keys.iter().map(|key| {
        Fields::new()
            .with("kid", key.kid.clone())
            .with("kty", key.kty.clone())
    });
    let fields = Fields::new()
        .with("version", hcl.version)
        .with("request-version", hcl.request_version)
        .with("claims-digest", hcl.claims_digest.to_string())
        .with("report", report)
        .with("keys", keys.collect::<Vec<_>>())
        .with("vm-configuration", configuration)
        .with("user-data", hex::encode(&hcl.claims.user_data));
    Some(Report::new(KIND, fields))
}

fn strings<T: ToString>(values: &[T]) -> Value {
    values.iter().map(T::to_string).collect::<Vec<_>>().into()
}

/// A TPM quote: TPMS_ATTEST without its signature.
pub(super) fn tpm_quote(bytes: &[u8]) -> Option<Report> {
    let quote = TpmQuote::parse(bytes).ok()?;
    let selections = quote.pcr_select.iter().map(|selection| {
        let bits = selection.select.iter().zip(0_u32..).flat_map(|(byte, at)| {
            (0..8).filter_map(move |bit| (byte >> bit & 1 == 1).then_some(8 * at + bit))
        });
        let pcrs: Vec<String> = bits.map(|pcr| pcr.to_string()).collect();
        Fields::new()
            .with("hash", format!("{:#06x}", selection.hash))
            .with("pcrs", pcrs.join(" "))
    });
    let fields = Fields::new()
        .with("qualified-signer", hex::encode(&quote.qualified_signer))
        .with("extra-data", hex::encode(&quote.extra_data))
        .with("clock", quote.clock_info.clock)
        .with("reset-count", quote.clock_info.reset_count)
        .with("restart-count", quote.clock_info.restart_count)
        .with("safe", quote.clock_info.safe)
        .with(
            "firmware-version",
            format!("{:016x}", quote.firmware_version),
        )
        .with("pcr-digest", hex::encode(&quote.pcr_digest))
        .with("pcr-selections", selections.collect::<Vec<_>>());
    Some(Report::new("TPM quote (TPMS_ATTEST)", fields))
}

#[cfg(test)]
mod tests;
