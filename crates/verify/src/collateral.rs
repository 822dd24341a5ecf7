//! Collateral: what vendors publish beside the evidence, in one typed bundle that evidence can carry.
//!
//! One strict JSON form of our own (`schema-version` 1, kebab-case, unknown and duplicate members refused, DER in base64), and
//! readers for the forms that others write: JSON and YAML with the members of Intel's `sgx_ql_qve_collateral_t`, as
//! `dcap-qvl` names them, and the responses of Intel's certification service as separate files.
//! Nothing here is believed: signatures and dates are for the appraisal.

mod intel;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::policy::Hex;
use crate::x509::MAX_DER;

/// The schema version of the JSON form.
pub const SCHEMA_VERSION: u32 = 1;
/// Longest bundle that is read, in bytes.
pub const MAX_BYTES: usize = 2 << 20;
/// Longest TCB info or QE identity, in bytes.
pub const MAX_BODY: usize = 256 << 10;
/// Longest issuer chain in PEM, in bytes.
const MAX_CHAIN: usize = 64 << 10;
/// Most structures in one list.
const MAX_LIST: usize = 16;

/// Why bytes are not a bundle, or not a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Too long to read.
    #[error("{what} has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// The part.
        what: &'static str,
        /// Length in bytes.
        found: usize,
        /// The most that is read.
        limit: usize,
    },
    /// More entries than any chain has.
    #[error("{what} has {found} entries, at most {MAX_LIST} are read")]
    TooMany {
        /// The list.
        what: &'static str,
        /// How many.
        found: usize,
    },
    /// Not UTF-8.
    #[error("{what} is not text")]
    NotText {
        /// The part.
        what: &'static str,
    },
    /// Not the JSON of this form.
    #[error("collateral does not parse: {reason}")]
    Json {
        /// What the JSON reader says.
        reason: String,
    },
    /// Not the lines that the reader for YAML takes.
    #[error("line {line} of the collateral is {reason}")]
    Yaml {
        /// Number of the line, from 1 on.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Written for another version of Cloister.
    #[error("collateral has schema-version {found}, this program reads {SCHEMA_VERSION}")]
    SchemaVersion {
        /// The version in the file.
        found: u32,
    },
    /// Not hex, or of another length.
    #[error("{what} is not {wanted}")]
    Hex {
        /// The member.
        what: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A response of the certification service that is none.
    #[error(
        "{what} is not a response `{{\"{member}\":…,\"signature\":…}}` of the certification service"
    )]
    Response {
        /// The part.
        what: &'static str,
        /// The member that it should start with.
        member: &'static str,
    },
}

/// The bundle. Parts that are absent are missing collateral for the evidence that needs them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collateral {
    /// For SEV-SNP reports.
    pub snp: Option<SnpCollateral>,
    /// For TD quotes.
    pub tdx: Option<TdxCollateral>,
}

/// What AMD's key server publishes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SnpCollateral {
    /// VCEK or VLEK, DER.
    pub vek: Option<Der>,
    /// ASK or ASVK and ARK, DER.
    pub chain: Vec<Der>,
    /// Revocation lists of the ARK, DER.
    pub crls: Vec<Der>,
}

/// What Intel's certification service publishes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TdxCollateral {
    /// Levels that the platform can reach, and what is known about each.
    pub tcb_info: Option<Signed>,
    /// Who the TD quoting enclave is.
    pub qe_identity: Option<Signed>,
    /// Revocation list of the PCK CA, DER.
    pub pck_crl: Option<Der>,
    /// Revocation list of the root, DER.
    pub root_crl: Option<Der>,
}

/// A JSON document that Intel signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Signed {
    /// The document, byte for byte as it was signed.
    pub body: String,
    /// r and s of 32 bytes each.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub signature: [u8; 64],
    /// Signer and root, PEM; absent where only the body of the response was kept.
    #[serde(default)]
    pub issuer_chain: Option<String>,
}

/// One DER structure, base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Der(pub Vec<u8>);

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let der = STANDARD.decode(text);
        der.map(Self)
            .map_err(|_| de::Error::custom("wanted DER in base64"))
    }
}

fn to_hex<S: Serializer>(bytes: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 64], D::Error> {
    Ok(Hex::deserialize(deserializer)?.0)
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    schema_version: u32,
    #[serde(default)]
    snp: Option<SnpCollateral>,
    #[serde(default)]
    tdx: Option<TdxCollateral>,
}

impl Collateral {
    /// The names that [`Collateral::from_files`] reads.
    pub const FILES: [&'static str; 6] = [
        "tcb_info.json",
        "tcb_info_issuer_chain.pem",
        "qe_identity.json",
        "qe_identity_issuer_chain.pem",
        "pck_crl.der",
        "root_crl.der",
    ];

    /// Reads a bundle in our JSON form, or TDX collateral in the JSON or YAML of others.
    ///
    /// # Errors
    /// See [`CollateralError`].
    pub fn read(bytes: &[u8]) -> Result<Self, CollateralError> {
        let text = text("collateral", bytes, MAX_BYTES)?;
        if !text.trim_start().starts_with('{') {
            return Ok(Self::of_tdx(intel::from_yaml(text)?));
        }
        // Only ours has the member; whatever else it holds is then held against our form.
        if text.contains("\"schema-version\"") {
            return Self::from_json(bytes);
        }
        Ok(Self::of_tdx(intel::from_json(text)?))
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// See [`CollateralError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, CollateralError> {
        let text = text("collateral", bytes, MAX_BYTES)?;
        let document: Document = serde_json::from_str(text).map_err(json)?;
        let found = document.schema_version;
        if found != SCHEMA_VERSION {
            return Err(CollateralError::SchemaVersion { found });
        }
        let Document { snp, tdx, .. } = document;
        let collateral = Self { snp, tdx };
        collateral.check()?;
        Ok(collateral)
    }

    /// Reads TDX collateral from the files of a folder by name ([`Collateral::FILES`]): `tcb_info.json` and `qe_identity.json` are
    /// whole responses of the certification service. Other names are passed over.
    ///
    /// # Errors
    /// See [`CollateralError`].
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, CollateralError> {
        let collateral = Self::of_tdx(intel::from_files(files)?);
        collateral.check()?;
        Ok(collateral)
    }

    /// The JSON form, with a newline at the end.
    ///
    /// # Errors
    /// When a part is longer than what would be read again.
    pub fn to_json(&self) -> Result<String, CollateralError> {
        self.check()?;
        let document = Document {
            schema_version: SCHEMA_VERSION,
            snp: self.snp.clone(),
            tdx: self.tdx.clone(),
        };
        let mut text = serde_json::to_string_pretty(&document).map_err(json)?;
        text.push('\n');
        Ok(text)
    }

    fn of_tdx(tdx: TdxCollateral) -> Self {
        Self {
            snp: None,
            tdx: Some(tdx),
        }
    }

    fn check(&self) -> Result<(), CollateralError> {
        if let Some(snp) = &self.snp {
            for (what, list) in [("chain", &snp.chain), ("crls", &snp.crls)] {
                let found = list.len();
                if found > MAX_LIST {
                    return Err(CollateralError::TooMany { what, found });
                }
            }
            let all = snp.vek.iter().chain(&snp.chain).chain(&snp.crls);
            all.into_iter()
                .try_for_each(|der| at_most("snp", der.0.len(), MAX_DER))?;
        }
        if let Some(tdx) = &self.tdx {
            let lists = tdx.pck_crl.iter().chain(&tdx.root_crl);
            lists
                .into_iter()
                .try_for_each(|der| at_most("revocation list", der.0.len(), MAX_DER))?;
            for signed in tdx.tcb_info.iter().chain(&tdx.qe_identity) {
                at_most("body", signed.body.len(), MAX_BODY)?;
                let chain = signed.issuer_chain.as_ref().map_or(0, String::len);
                at_most("issuer-chain", chain, MAX_CHAIN)?;
            }
        }
        Ok(())
    }
}

/// Name of the TCB info as missing collateral.
pub(crate) const TCB_INFO: &str = "tcb-info";

impl TdxCollateral {
    /// The first part that is absent, as verdicts name it.
    pub fn absent(&self) -> Option<&'static str> {
        let chain = |signed: &Option<Signed>| match signed {
            Some(signed) => signed.issuer_chain.is_some(),
            None => true,
        };
        let parts = [
            (TCB_INFO, self.tcb_info.is_some()),
            ("tcb-info-issuer-chain", chain(&self.tcb_info)),
            ("qe-identity", self.qe_identity.is_some()),
            ("qe-identity-issuer-chain", chain(&self.qe_identity)),
            ("root-crl", self.root_crl.is_some()),
            ("pck-crl", self.pck_crl.is_some()),
        ];
        let absent = parts.into_iter().find(|(_, present)| !present);
        absent.map(|(name, _)| name)
    }
}

impl Signed {
    /// Takes a whole response of Intel's certification service apart: `{"tcbInfo":BODY,"signature":"HEX"}`. The body is kept byte
    /// for byte, since those bytes are what is signed.
    ///
    /// # Errors
    /// [`CollateralError::Response`] when it is none.
    pub fn tcb_info(response: &[u8]) -> Result<Self, CollateralError> {
        intel::response("TCB info", "tcbInfo", response)
    }

    /// The same for `{"enclaveIdentity":BODY,"signature":"HEX"}`.
    ///
    /// # Errors
    /// [`CollateralError::Response`] when it is none.
    pub fn qe_identity(response: &[u8]) -> Result<Self, CollateralError> {
        intel::response("QE identity", "enclaveIdentity", response)
    }
}

fn text<'a>(what: &'static str, bytes: &'a [u8], limit: usize) -> Result<&'a str, CollateralError> {
    at_most(what, bytes.len(), limit)?;
    core::str::from_utf8(bytes).map_err(|_| CollateralError::NotText { what })
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), CollateralError> {
    if found > limit {
        return Err(CollateralError::TooLarge { what, found, limit });
    }
    Ok(())
}

fn json(error: serde_json::Error) -> CollateralError {
    let reason = error.to_string();
    CollateralError::Json { reason }
}
