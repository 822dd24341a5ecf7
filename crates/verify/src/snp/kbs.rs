//! The SNP evidence of CoCo's key broker: JSON with the report field by field, and the certificates it came with.
//!
//! The form is what `serde` makes of the `sev` crate's structures (version 8; KBS protocol 0.4.0, tee `snp`), which leaves the reserved
//! bytes out. They are zero in the report that is made from it; where they were not, the signature does not verify.

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use super::report::LENGTH;

/// Longest evidence that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// Why bytes are not such evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KbsError {
    /// Longer than any.
    #[error("evidence has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Not this JSON; the reason names line and column.
    #[error("not KBS evidence for `snp`: {reason}")]
    Json {
        /// The JSON reader's message.
        reason: String,
    },
    /// Optional fields that do not fit the version.
    #[error("fields of the report do not fit its version {version}")]
    Fields {
        /// VERSION.
        version: u32,
    },
    /// A certificate of a kind that has no place in a chain, or a second one of the signing key.
    #[error("certificate of kind `{kind}` is not wanted, or stands twice")]
    Kind {
        /// The kind in the evidence.
        kind: String,
    },
}

/// Evidence taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KbsEvidence {
    /// The report, 1184 bytes.
    pub report: Vec<u8>,
    /// VCEK or VLEK, DER or PEM.
    pub vek: Option<Vec<u8>>,
    /// ARK, ASK or ASVK.
    pub chain: Vec<Vec<u8>>,
    /// Revocation lists.
    pub crls: Vec<Vec<u8>>,
}

impl KbsEvidence {
    /// Reads evidence.
    ///
    /// # Errors
    /// See [`KbsError`]; unknown and repeated members are refused.
    pub fn from_json(input: &[u8]) -> Result<Self, KbsError> {
        let found = input.len();
        if found > MAX_BYTES {
            return Err(KbsError::TooLarge { found });
        }
        let evidence: Evidence = serde_json::from_slice(input).map_err(|error| KbsError::Json {
            reason: error.to_string(),
        })?;
        let mut all = KbsEvidence {
            report: evidence.attestation_report.raw()?,
            vek: None,
            chain: Vec::new(),
            crls: Vec::new(),
        };
        for entry in evidence.cert_chain.into_iter().flatten() {
            let CertTableEntry { cert_type, data } = entry;
            match cert_type.as_str() {
                "VCEK" | "VLEK" if all.vek.is_none() => all.vek = Some(data),
                "ARK" | "ASK" => all.chain.push(data),
                "CRL" => all.crls.push(data),
                _ => return Err(KbsError::Kind { kind: cert_type }),
            }
        }
        Ok(all)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    attestation_report: AttestationReport,
    #[serde(default)]
    cert_chain: Option<Vec<CertTableEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertTableEntry {
    cert_type: String,
    data: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestationReport {
    version: u32,
    guest_svn: u32,
    policy: u64,
    family_id: Array<16>,
    image_id: Array<16>,
    vmpl: u32,
    sig_algo: u32,
    current_tcb: TcbVersion,
    plat_info: u64,
    key_info: u32,
    report_data: Array<64>,
    measurement: Array<48>,
    host_data: Array<32>,
    id_key_digest: Array<48>,
    author_key_digest: Array<48>,
    report_id: Array<32>,
    report_id_ma: Array<32>,
    reported_tcb: TcbVersion,
    #[serde(default)]
    cpuid_fam_id: Option<u8>,
    #[serde(default)]
    cpuid_mod_id: Option<u8>,
    #[serde(default)]
    cpuid_step: Option<u8>,
    chip_id: Array<64>,
    committed_tcb: TcbVersion,
    current: Version,
    committed: Version,
    launch_tcb: TcbVersion,
    #[serde(default)]
    launch_mit_vector: Option<u64>,
    #[serde(default)]
    current_mit_vector: Option<u64>,
    signature: Signature,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TcbVersion {
    fmc: Option<u8>,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

impl TcbVersion {
    /// The FMC's level is there exactly in Turin's layout.
    fn raw(&self) -> [u8; 8] {
        let Self {
            bootloader,
            tee,
            snp,
            microcode,
            ..
        } = *self;
        match self.fmc {
            Some(fmc) => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
            None => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    major: u8,
    minor: u8,
    build: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    r: Array<72>,
    s: Array<72>,
}

struct Array<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Array<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let array = bytes.as_slice().try_into();
        let wanted = |_| de::Error::invalid_length(bytes.len(), &"another number of bytes");
        array.map(Array).map_err(wanted)
    }
}

impl AttestationReport {
    /// The report as the firmware laid it out.
    fn raw(&self) -> Result<Vec<u8>, KbsError> {
        let version = self.version;
        let fields = || KbsError::Fields { version };
        let mut raw = Vec::with_capacity(LENGTH);
        let mut put = |bytes: &[u8]| raw.extend_from_slice(bytes);
        put(&version.to_le_bytes());
        put(&self.guest_svn.to_le_bytes());
        put(&self.policy.to_le_bytes());
        put(&self.family_id.0);
        put(&self.image_id.0);
        put(&self.vmpl.to_le_bytes());
        put(&self.sig_algo.to_le_bytes());
        put(&self.current_tcb.raw());
        put(&self.plat_info.to_le_bytes());
        put(&self.key_info.to_le_bytes());
        put(&[0; 4]);
        put(&self.report_data.0);
        put(&self.measurement.0);
        put(&self.host_data.0);
        put(&self.id_key_digest.0);
        put(&self.author_key_digest.0);
        put(&self.report_id.0);
        put(&self.report_id_ma.0);
        put(&self.reported_tcb.raw());
        put(&self.cpuid().ok_or_else(fields)?);
        put(&[0; 21]);
        put(&self.chip_id.0);
        put(&self.committed_tcb.raw());
        for Version {
            major,
            minor,
            build,
        } in [&self.current, &self.committed]
        {
            put(&[*build, *minor, *major, 0]);
        }
        put(&self.launch_tcb.raw());
        for vector in self.mitigations().ok_or_else(fields)? {
            put(&vector.to_le_bytes());
        }
        put(&[0; 152]);
        put(&self.signature.r.0);
        put(&self.signature.s.0);
        put(&[0; 368]);
        Ok(raw)
    }

    fn cpuid(&self) -> Option<[u8; 3]> {
        match (self.cpuid_fam_id, self.cpuid_mod_id, self.cpuid_step) {
            (Some(family), Some(model), Some(stepping)) if self.version > 2 => {
                Some([family, model, stepping])
            }
            (None, None, None) if self.version == 2 => Some([0; 3]),
            _ => None,
        }
    }

    fn mitigations(&self) -> Option<[u64; 2]> {
        match (self.launch_mit_vector, self.current_mit_vector) {
            (Some(launch), Some(current)) if self.version >= 5 => Some([launch, current]),
            (None, None) if self.version < 5 => Some([0; 2]),
            _ => None,
        }
    }
}
