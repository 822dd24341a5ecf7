//! Platforms: where an image boots, what measures it and how evidence leaves the guest.
//!
//! The files under `recipes/platforms/` are data of this version of `cloister` and compiled into it, so that a
//! recipe outside the repository builds the same.

use std::path::PathBuf;

use serde::Deserialize;

/// Every platform file: name and text.
const FILES: [(&str, &str); 5] = [
    (
        "azure-snp",
        include_str!("../../recipes/platforms/azure-snp.toml"),
    ),
    (
        "gcp-snp",
        include_str!("../../recipes/platforms/gcp-snp.toml"),
    ),
    (
        "gcp-tdx",
        include_str!("../../recipes/platforms/gcp-tdx.toml"),
    ),
    (
        "qemu-snp",
        include_str!("../../recipes/platforms/qemu-snp.toml"),
    ),
    (
        "qemu-vtpm",
        include_str!("../../recipes/platforms/qemu-vtpm.toml"),
    ),
];

/// One platform file, schema version 1.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Platform {
    /// Version of this schema: 1.
    pub(crate) schema_version: u32,
    /// Name, equal to the file's.
    pub(crate) name: String,
    /// One line for people.
    pub(crate) description: String,
    /// Whether the host is kept out of the guest's memory.
    pub(crate) confidential: bool,
    /// How the image starts.
    pub(crate) boot: BootMethod,
    /// Form of the disk; `disk.raw` where the file says nothing.
    #[serde(default)]
    pub(crate) disk: DiskFormat,
    /// Kind of CPU evidence.
    pub(crate) evidence: EvidenceKind,
    /// Device or file system the report comes from, inside the guest.
    pub(crate) report_transport: String,
    /// Registers with image-dependent values, as named in the reference values.
    pub(crate) registers: Vec<String>,
    /// vCPU models (QEMU names) the launch digest is computed for.
    pub(crate) vcpu_models: Vec<String>,
    /// vCPU counts the launch digest is computed for.
    pub(crate) vcpus: Vec<u32>,
    /// Firmware of the host to try, in order.
    pub(crate) firmware: Vec<HostFirmware>,
    /// Facts of an SNP launch that stand beside the digest.
    #[serde(default)]
    pub(crate) snp: Option<SnpLaunch>,
}

/// How the image starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BootMethod {
    /// A UKI on the disk's EFI system partition.
    Uki,
    /// QEMU loads kernel, initrd and command line; their hashes are in the launch digest.
    KernelHashes,
}

/// Form in which a platform takes the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DiskFormat {
    /// The disk itself.
    #[default]
    Raw,
    /// Fixed VHD, as Azure takes it.
    FixedVhd,
    /// Sparse file in a compressed archive, as Google Compute Engine takes it.
    GcpTar,
}

impl DiskFormat {
    /// Name of the output.
    pub(crate) const fn file_name(self) -> &'static str {
        match self {
            Self::Raw => "disk.raw",
            Self::FixedVhd => "disk.vhd",
            Self::GcpTar => "disk.tar.gz",
        }
    }
}

/// Kind of CPU evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EvidenceKind {
    /// TPM 2.0 quote over PCRs of the SHA-256 bank.
    TpmQuote,
    /// SEV-SNP attestation report.
    SevSnpReport,
    /// TPM 2.0 quote of Azure's paravisor, with the HCL report that names its key.
    AzureHcl,
    /// SEV-SNP attestation report, with a quote of the host's vTPM beside it.
    SnpReportTpmQuote,
    /// TD quote.
    TdQuote,
}

/// OVMF as distributions install it: read-only code and a template of the variable store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct HostFirmware {
    /// Firmware code, raw flash image.
    pub(crate) code: PathBuf,
    /// Template of the variable store, copied before use.
    pub(crate) variables: PathBuf,
}

/// Facts of an SNP launch a verifier checks beside the launch digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SnpLaunch {
    /// `POLICY` as `0x` and hexadecimal digits (AMD 56860, table "Guest Policy").
    pub(crate) guest_policy: String,
    /// `SEV_FEATURES` of every VMSA, as `0x` and hexadecimal digits.
    pub(crate) guest_features: String,
    /// Privilege level the report is asked for from.
    pub(crate) vmpl: u8,
    /// Whether the launch carries an ID block.
    pub(crate) id_block: bool,
}

/// A platform could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlatformError {
    /// No file of that name.
    #[error("no platform `{wanted}`; known: {known}")]
    Unknown {
        /// Name asked for.
        wanted: String,
        /// Every name there is.
        known: String,
    },
    /// The file does not follow the schema.
    #[error("platform file `{name}` does not follow its schema")]
    Schema {
        /// File name without extension.
        name: String,
        /// What the parser said.
        #[source]
        source: toml::de::Error,
    },
}

impl crate::cmd::Hinted for PlatformError {}

impl Platform {
    /// Loads the platform called `name`.
    pub(crate) fn load(name: &str) -> Result<Platform, PlatformError> {
        let (_, text) = FILES
            .iter()
            .find(|(file, _)| *file == name)
            .ok_or_else(|| PlatformError::Unknown {
                wanted: name.to_owned(),
                known: Platform::names().join(", "),
            })?;
        toml::from_str(text).map_err(|source| PlatformError::Schema {
            name: name.to_owned(),
            source,
        })
    }

    /// Names of every platform, sorted.
    pub(crate) fn names() -> Vec<&'static str> {
        FILES.iter().map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_file_loads_under_its_own_name() {
        for name in Platform::names() {
            assert_eq!(Platform::load(name).unwrap().name, name);
        }
    }

    #[test]
    fn load_refuses_unknown_name_and_lists_known_ones() {
        let error = Platform::load("qemu").unwrap_err().to_string();
        assert_eq!(
            error,
            "no platform `qemu`; known: azure-snp, gcp-snp, gcp-tdx, qemu-snp, qemu-vtpm"
        );
    }
}
