//! `manifest.json`: what a build made, and of what.
//!
//! Schema version 1, JSON with sorted keys, two spaces, one trailing newline; no times and no paths of the machine,
//! so that equal images have equal manifests wherever the host-dependent inputs of the guest binary are equal.

use serde::Serialize;

use crate::golden::RimEntry;
use crate::gpt;
use crate::guest_binary::Inputs;
use crate::lock::Lock;
use crate::output::Outputs;
use crate::store::Digest;
use crate::tree::Module;

/// Version of the schema.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The whole manifest. Fields in key order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Manifest<'a> {
    /// Program and version that built the image.
    pub(crate) builder: String,
    /// The one time stamp of the image, seconds since 1970.
    pub(crate) epoch: u64,
    /// What the GPU was described with; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gpu: Option<GpuEntry<'a>>,
    /// What `init` in the initrd was made of.
    pub(crate) guest_binary: GuestBinaryEntry<'a>,
    /// Kernel release.
    pub(crate) kernel_release: &'a str,
    /// Every locked input.
    pub(crate) lock: &'a Lock,
    /// SHA-256 of `recipe.lock`.
    pub(crate) lock_sha256: Digest,
    /// Outputs by name; the manifest itself is not one.
    pub(crate) outputs: &'a Outputs,
    /// Partitions of `disk.raw`, in table order.
    pub(crate) partitions: Vec<PartitionEntry>,
    /// Platforms with reference values.
    pub(crate) platforms: &'a [String],
    /// Recipe name.
    pub(crate) recipe: &'a str,
    /// What the tree stage reports, such as maintainer scripts that were not run.
    pub(crate) report: serde_json::Value,
    /// Always [`SCHEMA_VERSION`].
    pub(crate) schema_version: u32,
    /// The hash tree over the root.
    pub(crate) verity: VerityEntry,
}

/// The GPU of a guest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GpuEntry<'a> {
    /// `cloister-gpu-helper` of the initrd.
    pub(crate) helper: GuestBinaryEntry<'a>,
    /// Modules that were compiled, in the recipe's order; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) modules: Vec<ModuleEntry>,
    /// The manifests behind the golden values.
    pub(crate) rims: &'a [RimEntry],
}

/// One compiled kernel module.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ModuleEntry {
    name: String,
    sha256: Digest,
    size: u64,
}

/// `init` of the initrd.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GuestBinaryEntry<'a> {
    /// Sources and toolchain; `host-dependent` lists what no lock pins yet.
    pub(crate) inputs: &'a Inputs,
    /// SHA-256 of the executable.
    pub(crate) sha256: Digest,
    /// Bytes.
    pub(crate) size: usize,
}

/// One partition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PartitionEntry {
    first_sector: u64,
    guid: String,
    last_sector: u64,
    name: String,
    r#type: String,
}

/// The dm-verity hash tree: format 1, SHA-256, 4096-byte blocks, no salt, no superblock.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct VerityEntry {
    /// Number of data blocks.
    pub(crate) data_blocks: u64,
    /// SHA-256 of the root image, which is the first `data-blocks` of the partition `root`.
    pub(crate) data_sha256: Digest,
    /// Number of hash blocks.
    pub(crate) hash_blocks: u64,
    /// SHA-256 of the hash tree, the first `hash-blocks` of the partition `root-verity`.
    pub(crate) hash_sha256: Digest,
    /// Root digest.
    pub(crate) root: Digest,
}

impl From<&Module> for ModuleEntry {
    fn from(module: &Module) -> Self {
        Self {
            name: module.name.clone(),
            sha256: module.content.sha256(),
            size: module.content.len(),
        }
    }
}

impl From<&gpt::Partition> for PartitionEntry {
    fn from(partition: &gpt::Partition) -> Self {
        Self {
            first_sector: partition.first,
            guid: partition.guid.to_string(),
            last_sector: partition.last,
            name: partition.name.clone(),
            r#type: partition.type_guid.to_string(),
        }
    }
}

impl Manifest<'_> {
    /// The canonical JSON text.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}
