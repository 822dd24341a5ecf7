//! The evidence bundle: a CMW collection, and the value of the leaf certificate's extension.
//!
//! Spec: `docs/evidence-format.md`, section "Bundle"; draft-ietf-rats-msg-wrap (CMW). A collection is
//! a CBOR map from a label to a record `[media type, value, indicator]`; all records here carry the
//! indicator 4 (evidence). The extension `id-pe-cmw` holds the CBOR choice, a DER OCTET STRING.
//! Not covered: CMW in JSON, tags, numeric content formats; this format uses none of them.

use sha2::{Digest, Sha256};

use crate::batch::BatchProof;
use crate::cbor::{CborError, Reader, Writer};
use crate::log::MAX_LOG;

/// Largest bundle in bytes.
pub const MAX_BUNDLE: usize = 1024 * 1024;
/// Largest `cpu` section in bytes.
pub const MAX_CPU: usize = 64 * 1024;
/// Largest `devices` section in bytes.
pub const MAX_DEVICES: usize = 256 * 1024;
/// Largest value of the leaf's extension in bytes.
pub const MAX_EXTENSION: usize = MAX_CPU + 1024;

/// `id-pe-cmw`, the extension of the leaf certificate, in dotted form.
pub const EXTENSION_OID: &str = "1.3.6.1.5.5.7.1.35";
/// The same object identifier as its arcs.
pub const EXTENSION_ARCS: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 1, 35];
/// HTTP content type of a bundle.
pub const CONTENT_TYPE: &str = "application/cmw+cbor";
/// Path at which a guest serves its leaf bundle (GET) and session bundles (POST).
pub const WELL_KNOWN_PATH: &str = "/.well-known/attestation";

const TPM_QUOTE: &str = "application/vnd.cloister.tpm-quote+cbor";
const AZURE: &str = "application/vnd.cloister.azure+cbor";
const SNP_REPORT: &str = "application/vnd.cloister.sev-snp+cbor";
const DEVICES: &str = "application/vnd.cloister.devices+cbor";
const LOG: &str = "application/vnd.cloister.log+cbor";
const BATCH: &str = "application/vnd.cloister.batch+cbor";
const DIGEST: &str = "application/vnd.cloister.digest";
/// The indicator of evidence: bit 2.
const EVIDENCE: u64 = 4;
const MAX_MEDIA_TYPE: usize = 64;
const MAX_BATCH: usize = 512;
const OCTET_STRING: u8 = 0x04;

/// Why bytes are not a bundle or an extension value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Not the CBOR of the format.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// The `cpu` section has a media type that is not known.
    #[error("media type `{found}` of the cpu section is not known")]
    CpuMediaType {
        /// The media type found.
        found: String,
    },
    /// The extension value is not one DER OCTET STRING.
    #[error("value of extension {EXTENSION_OID} is not exactly one DER OCTET STRING")]
    NotOctetString,
}

/// What made the hardware evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CpuKind {
    /// A TPM quote, [`crate::tpm::TpmEvidence`].
    TpmQuote,
    /// An SNP report with its certificate table.
    SnpReport,
    /// A TPM quote with Azure's HCL report, [`crate::azure::AzureEvidence`].
    Azure,
}

impl CpuKind {
    /// Media type of the section.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::TpmQuote => TPM_QUOTE,
            Self::SnpReport => SNP_REPORT,
            Self::Azure => AZURE,
        }
    }

    fn from_media_type(found: &str) -> Option<Self> {
        [Self::TpmQuote, Self::SnpReport, Self::Azure]
            .into_iter()
            .find(|kind| kind.media_type() == found)
    }
}

/// The `cpu` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSection {
    /// What made it.
    pub kind: CpuKind,
    /// Its CBOR.
    pub value: Vec<u8>,
}

/// Everything a guest says of itself, for a leaf or, with a batch proof, for one session.
///
/// The sections are kept as their bytes, because the binding covers the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The hardware's evidence.
    pub cpu: CpuSection,
    /// CBOR of the `log` section, [`crate::log::EventLog`].
    pub log: Vec<u8>,
    /// The session's place in the batch; a leaf bundle has none.
    pub batch: Option<BatchProof>,
    /// CBOR of the `devices` section, [`crate::devices::Devices`].
    pub devices: Vec<u8>,
}

impl Bundle {
    /// The deterministic CBOR of the collection.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.map(if self.batch.is_some() { 4 } else { 3 });
        record(
            &mut writer,
            "cpu",
            self.cpu.kind.media_type(),
            &self.cpu.value,
        );
        record(&mut writer, "log", LOG, &self.log);
        if let Some(batch) = &self.batch {
            record(&mut writer, "batch", BATCH, &batch.encode());
        }
        record(&mut writer, "devices", DEVICES, &self.devices);
        writer.finish()
    }

    /// Reads a collection of exactly the known records.
    ///
    /// The `cpu`, `log` and `devices` values are not looked into.
    ///
    /// # Errors
    /// When `input` is not the deterministic encoding of a bundle within the limits.
    pub fn decode(input: &[u8]) -> Result<Self, BundleError> {
        let mut reader = Reader::new("bundle", input, MAX_BUNDLE)?;
        let entries = reader.map_of(4)?;
        let cpu = cpu_record(&mut reader)?;
        let log = known_record(&mut reader, "log", LOG, MAX_LOG)?.to_owned();
        let batch = match entries {
            3 => None,
            4 => {
                let value = known_record(&mut reader, "batch", BATCH, MAX_BATCH)?;
                Some(BatchProof::decode(value)?)
            }
            _ => return Err(reader.unexpected("3 or 4 records", "another number").into()),
        };
        let devices = known_record(&mut reader, "devices", DEVICES, MAX_DEVICES)?.to_owned();
        let bundle = Self {
            cpu,
            log,
            batch,
            devices,
        };
        reader.finish(&bundle.encode())?;
        Ok(bundle)
    }
}

/// SHA-256 of an encoded bundle, as the leaf's extension carries it.
pub fn digest(encoded: &[u8]) -> [u8; 32] {
    Sha256::digest(encoded).into()
}

/// What the leaf's extension holds: the hardware evidence, and the digest of the leaf bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafExtension {
    /// The same section as in the bundle.
    pub cpu: CpuSection,
    /// [`digest`] of the leaf bundle.
    pub bundle_sha256: [u8; 32],
}

impl LeafExtension {
    /// The extension's value (the content of `extnValue`): a DER OCTET STRING of a CMW collection.
    pub fn encode(&self) -> Vec<u8> {
        let collection = self.encode_collection();
        let length = collection.len() as u64;
        let [.., b4, b5, b6, b7] = length.to_be_bytes();
        let mut der = vec![OCTET_STRING];
        match length {
            0..=0x7f => der.push(b7),
            0x80..=0xff => der.extend([0x81, b7]),
            0x100..=0xffff => der.extend([0x82, b6, b7]),
            0x1_0000..=0xff_ffff => der.extend([0x83, b5, b6, b7]),
            // The limits of the format keep every collection far below 2^32 bytes.
            _ => der.extend([0x84, b4, b5, b6, b7]),
        }
        der.extend(collection);
        der
    }

    /// Reads the extension's value.
    ///
    /// # Errors
    /// When `input` is not the only encoding of such a value.
    pub fn decode(input: &[u8]) -> Result<Self, BundleError> {
        let mut reader = Reader::new("leaf extension", octets(input)?, MAX_EXTENSION)?;
        reader.map(2)?;
        let cpu = cpu_record(&mut reader)?;
        let value = known_record(&mut reader, "bundle", DIGEST, 32)?;
        let bundle_sha256 = value
            .try_into()
            .map_err(|_| reader.unexpected("32 bytes", "another length"))?;
        let extension = Self { cpu, bundle_sha256 };
        reader.finish(&extension.encode_collection())?;
        if extension.encode() != input {
            return Err(BundleError::NotOctetString);
        }
        Ok(extension)
    }

    fn encode_collection(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.map(2);
        record(
            &mut writer,
            "cpu",
            self.cpu.kind.media_type(),
            &self.cpu.value,
        );
        record(&mut writer, "bundle", DIGEST, &self.bundle_sha256);
        writer.finish()
    }
}

/// The contents of a DER OCTET STRING that fills `input`; the caller checks that its length is the
/// shortest form by encoding again.
fn octets(input: &[u8]) -> Result<&[u8], BundleError> {
    let (&[tag, first], rest) = input
        .split_first_chunk()
        .ok_or(BundleError::NotOctetString)?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let bytes = usize::from(first & 0x7f);
        let (length, rest) = rest
            .split_at_checked(bytes)
            .ok_or(BundleError::NotOctetString)?;
        if length.len() > 4 {
            return Err(BundleError::NotOctetString);
        }
        (
            length
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            rest,
        )
    };
    if tag != OCTET_STRING || length != rest.len() {
        return Err(BundleError::NotOctetString);
    }
    Ok(rest)
}

fn record(writer: &mut Writer, label: &str, media_type: &str, value: &[u8]) {
    writer
        .text(label)
        .array(3)
        .text(media_type)
        .bytes(value)
        .uint(EVIDENCE);
}

/// Reads the record `label`, whose media type is fixed, and gives its value.
fn known_record<'b>(
    reader: &mut Reader<'b>,
    label: &'static str,
    media_type: &'static str,
    limit: usize,
) -> Result<&'b [u8], CborError> {
    reader.exact_text(label, label)?;
    reader.array(3)?;
    reader.exact_text(media_type, media_type)?;
    let value = reader.bytes(limit)?;
    reader.exact_uint(EVIDENCE, "indicator 4 (evidence)")?;
    Ok(value)
}

fn cpu_record(reader: &mut Reader<'_>) -> Result<CpuSection, BundleError> {
    reader.exact_text("cpu", "cpu")?;
    reader.array(3)?;
    let found = reader.text(MAX_MEDIA_TYPE)?;
    let kind = CpuKind::from_media_type(found).ok_or_else(|| BundleError::CpuMediaType {
        found: found.escape_default().to_string(),
    })?;
    let value = reader.bytes(MAX_CPU)?.to_owned();
    reader.exact_uint(EVIDENCE, "indicator 4 (evidence)")?;
    Ok(CpuSection { kind, value })
}
