//! The shapes in which evidence from Azure is handed around.
//!
//! | shape | told by | holds |
//! |---|---|---|
//! | HCL report | `HCLA` | itself; the quote comes in files of its own |
//! | Cloister's `cpu` section | CBOR map | quote, PCRs 0 to 15 (`docs/evidence-format.md`, "Azure") |
//! | CoCo's key broker, wire version 0 | JSON, `report` | lists of bytes, VCEK in PEM |
//! | wire versions 1 and 2 | JSON, `version` | hex and base64url, VCEK in DER or a TD quote; version 2 puts the nonce into user-data |
//! | the same in an envelope | JSON, `platform` | `{platform, evidence}` |
//! | TDX evidence of attested-tls | YAML | TD quote, and the certificate of the attestation key |
//!
//! All of these are other projects' formats but the second; unknown and repeated members are refused in each.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cloister_evidence::CborError;
use cloister_evidence::azure::AzureEvidence;
use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::tpm::{MAX_PCRS, PcrListError, PcrValues};
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use super::yaml::{self, Value, YamlError};

/// Longest evidence that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// How an HCL report begins.
const HCL: &[u8] = b"HCLA";
/// How Cloister's section begins: a CBOR map of four.
const SECTION: u8 = 0xa4;
/// base64url, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why bytes are not evidence from Azure.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Longer than any.
    #[error("evidence has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// None of the shapes.
    #[error("no HCL report, and no known shape of evidence around one")]
    Shape,
    /// JSON that is not of these shapes; the reason names line and column.
    #[error("not evidence from Azure: {reason}")]
    Json {
        /// The JSON reader's message.
        reason: String,
    },
    /// A wire version that is not known.
    #[error("evidence has version {found}, wanted 1 or 2")]
    Version {
        /// The version in it.
        found: u32,
    },
    /// Hardware evidence of another kind.
    #[error("hardware evidence is `{found}`, wanted `application/vnd.cloister.azure+cbor`")]
    Kind {
        /// Its media type.
        found: &'static str,
    },
    /// An envelope of another platform, or around evidence of another.
    #[error("envelope is of platform `{found}`, which the evidence in it is not")]
    Platform {
        /// The platform that it names.
        found: String,
    },
    /// A member that is not hex, base64url or PCR values.
    #[error("`{member}` is not {wanted}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A VCEK and a TD quote: no processor has both.
    #[error("evidence has a VCEK and a TD quote")]
    Both,
    /// Not the CBOR of Cloister's section.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Not the YAML of the one shape.
    #[error("not evidence from Azure: {0}")]
    Yaml(#[from] YamlError),
    /// YAML with other members than the one shape.
    #[error("YAML has `{path}`, or has another value there than is read")]
    Unknown {
        /// Keys, joined with dots.
        path: String,
    },
    /// YAML without a member of the one shape.
    #[error("YAML has no `{path}`")]
    Missing {
        /// Keys, joined with dots.
        path: &'static str,
    },
    /// PCR values in a file of their own that is no list of them.
    #[error(transparent)]
    Pcrs(#[from] PcrListError),
}

/// A quote of the vTPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmQuote {
    /// `TPMS_ATTEST`.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`, or the RSA signature as it is.
    pub signature: Vec<u8>,
    /// The PCR values that it is said to cover; absent where only the quote was given.
    pub pcrs: Option<PcrValues>,
}

/// Evidence taken apart; nothing of it is judged yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The contents of NV index `0x01400001`.
    pub hcl_report: Vec<u8>,
    /// The quote.
    pub quote: Option<TpmQuote>,
    /// VCEK, PEM or DER.
    pub vek: Option<Vec<u8>>,
    /// TD quote.
    pub td_quote: Option<Vec<u8>>,
    /// Certificate of the attestation key, PEM or DER.
    pub ak_certificate: Option<Vec<u8>>,
    /// Whether the format has the guest put the nonce into the claims.
    pub user_data: bool,
}

impl Evidence {
    /// Reads evidence of any shape.
    ///
    /// # Errors
    /// See [`EvidenceError`].
    pub fn parse(input: &[u8]) -> Result<Self, EvidenceError> {
        let found = input.len();
        if found > MAX_BYTES {
            return Err(EvidenceError::TooLarge { found });
        }
        if input.starts_with(HCL) {
            return Ok(Self {
                hcl_report: input.to_vec(),
                ..Self::default()
            });
        }
        if input.first() == Some(&SECTION) {
            return Self::from_section(input);
        }
        let text = core::str::from_utf8(input).map_err(|_| EvidenceError::Shape)?;
        match text.trim_start().chars().next() {
            Some('{') => Self::from_json(text),
            Some('a'..='z') => Self::from_yaml(text),
            _ => Err(EvidenceError::Shape),
        }
    }

    /// Reads the `cpu` section of a bundle, which is of one shape alone.
    ///
    /// # Errors
    /// See [`EvidenceError`].
    pub(super) fn from_cpu(cpu: &CpuSection) -> Result<Self, EvidenceError> {
        match cpu.kind {
            CpuKind::Azure => Self::from_section(&cpu.value),
            other => Err(EvidenceError::Kind {
                found: other.media_type(),
            }),
        }
    }

    fn from_section(input: &[u8]) -> Result<Self, EvidenceError> {
        let section = AzureEvidence::decode(input)?;
        Ok(Self {
            hcl_report: section.hcl_report,
            quote: Some(TpmQuote {
                attest: section.attest,
                signature: section.signature,
                pcrs: Some(PcrValues::from(&section.pcrs)),
            }),
            ..Self::default()
        })
    }

    fn from_json(text: &str) -> Result<Self, EvidenceError> {
        let members: Members = json(text)?;
        if members.platform.is_some() {
            let envelope: Envelope = json(text)?;
            let evidence = envelope.evidence.evidence()?;
            let fits = match envelope.platform.as_str() {
                "az-snp" => evidence.td_quote.is_none(),
                "az-tdx" => evidence.vek.is_none(),
                _ => false,
            };
            let found = envelope.platform;
            return match fits {
                true => Ok(evidence),
                false => Err(EvidenceError::Platform { found }),
            };
        }
        match members.report {
            Some(_) => json::<Bytes>(text)?.evidence(),
            None => json::<Text>(text)?.evidence(),
        }
    }

    fn from_yaml(text: &str) -> Result<Self, EvidenceError> {
        let mut values = yaml::read(text)?;
        let mut take = |path: &'static str| {
            let value = values.remove(path);
            value.ok_or(EvidenceError::Missing { path })
        };
        let other = |path: &str| EvidenceError::Unknown {
            path: path.to_owned(),
        };
        let [td_quote, hcl_report, certificate] = [
            take("tdx_quote_base64")?,
            take("hcl_report_base64")?,
            take("tpm_attestation.ak_certificate_pem")?,
        ];
        let [attest, signature, pcrs] = [
            take("tpm_attestation.quote.message")?,
            take("tpm_attestation.quote.signature")?,
            take("tpm_attestation.quote.pcrs")?,
        ];
        let log = "tpm_attestation.event_log";
        if take(log)? != Value::Bytes(Vec::new()) {
            return Err(other(log));
        }
        let instance = "tpm_attestation.instance_info";
        if take(instance)? != Value::Null {
            return Err(other(instance));
        }
        if let Some(path) = values.keys().next() {
            return Err(other(path));
        }
        let (Value::Text(td_quote), Value::Text(hcl_report), Value::Text(certificate)) =
            (td_quote, hcl_report, certificate)
        else {
            return Err(other("text"));
        };
        let (Value::Bytes(attest), Value::Bytes(signature), Value::Lists(pcrs)) =
            (attest, signature, pcrs)
        else {
            return Err(other("tpm_attestation.quote"));
        };
        let quote = TpmQuote {
            attest,
            signature,
            pcrs: Some(values_of("tpm_attestation.quote.pcrs", pcrs)?),
        };
        Ok(Self {
            hcl_report: base64("hcl_report_base64", &hcl_report)?,
            quote: Some(quote),
            vek: None,
            td_quote: Some(base64("tdx_quote_base64", &td_quote)?),
            ak_certificate: Some(certificate.into_bytes()),
            user_data: false,
        })
    }
}

fn json<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, EvidenceError> {
    serde_json::from_str(text).map_err(|error| EvidenceError::Json {
        reason: error.to_string(),
    })
}

/// Members that tell the shapes from each other.
#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    platform: Option<IgnoredAny>,
    #[serde(default)]
    report: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    platform: String,
    evidence: Text,
}

/// Wire version 0.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bytes {
    quote: ByteQuote,
    report: Vec<u8>,
    #[serde(default)]
    vcek: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByteQuote {
    message: Vec<u8>,
    pcrs: Vec<Vec<u8>>,
    signature: Vec<u8>,
}

impl Bytes {
    fn evidence(self) -> Result<Evidence, EvidenceError> {
        Ok(Evidence {
            hcl_report: self.report,
            quote: Some(TpmQuote {
                attest: self.quote.message,
                signature: self.quote.signature,
                pcrs: Some(values_of("quote.pcrs", self.quote.pcrs)?),
            }),
            vek: self.vcek.map(String::into_bytes),
            ..Evidence::default()
        })
    }
}

/// Wire versions 1 and 2.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u32,
    tpm_quote: TextQuote,
    hcl_report: String,
    #[serde(default)]
    vcek: Option<String>,
    #[serde(default)]
    td_quote: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextQuote {
    message: String,
    pcrs: Vec<String>,
    signature: String,
}

impl Text {
    fn evidence(self) -> Result<Evidence, EvidenceError> {
        let found = self.version;
        if !matches!(found, 1 | 2) {
            return Err(EvidenceError::Version { found });
        }
        if self.vcek.is_some() && self.td_quote.is_some() {
            return Err(EvidenceError::Both);
        }
        let pcrs = self.tpm_quote.pcrs.iter();
        let pcrs: Result<Vec<_>, _> = pcrs.map(|value| hex("tpm_quote.pcrs", value)).collect();
        let decoded = |member, text: Option<String>| {
            let decoded = text.map(|text| base64(member, &text));
            decoded.transpose()
        };
        Ok(Evidence {
            hcl_report: base64("hcl_report", &self.hcl_report)?,
            quote: Some(TpmQuote {
                attest: hex("tpm_quote.message", &self.tpm_quote.message)?,
                signature: hex("tpm_quote.signature", &self.tpm_quote.signature)?,
                pcrs: Some(values_of("tpm_quote.pcrs", pcrs?)?),
            }),
            vek: decoded("vcek", self.vcek)?,
            td_quote: decoded("td_quote", self.td_quote)?,
            ak_certificate: None,
            user_data: found == 2,
        })
    }
}

fn hex(member: &'static str, text: &str) -> Result<Vec<u8>, EvidenceError> {
    let wanted = "hex";
    ::hex::decode(text).map_err(|_| EvidenceError::Member { member, wanted })
}

fn base64(member: &'static str, text: &str) -> Result<Vec<u8>, EvidenceError> {
    let wanted = "base64url";
    let decoded = BASE64.decode(text);
    decoded.map_err(|_| EvidenceError::Member { member, wanted })
}

/// Values in the order of their PCRs, from 0 on.
fn values_of(member: &'static str, values: Vec<Vec<u8>>) -> Result<PcrValues, EvidenceError> {
    let wanted = "at most 24 PCR values of 32 bytes";
    let error = EvidenceError::Member { member, wanted };
    if values.len() > usize::from(MAX_PCRS) {
        return Err(error);
    }
    let pairs = (0..MAX_PCRS).zip(values);
    let pairs = pairs.map(|(index, value)| Some((index, value.try_into().ok()?)));
    pairs.collect::<Option<_>>().map(PcrValues).ok_or(error)
}
