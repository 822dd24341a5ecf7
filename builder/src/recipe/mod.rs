//! `recipe.toml`, schema version 1: what people write. Reference: docs/recipe-reference.md.

mod check;
mod find;
mod python;
mod relations;
mod render;
mod schema;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

pub(crate) use find::{RecipeError, find, names};

/// A whole recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Recipe {
    /// Version of this schema: 1.
    pub(crate) schema_version: u32,
    /// Name; also that of its folder.
    pub(crate) name: String,
    /// One line for people.
    #[serde(default)]
    pub(crate) description: String,
    /// Platforms that reference values are computed for.
    pub(crate) platforms: Vec<String>,
    /// The Debian base.
    pub(crate) base: Base,
    /// Python wheels, if any.
    #[serde(default)]
    pub(crate) python: Option<Python>,
    /// Kernel and modules.
    pub(crate) kernel: Kernel,
    /// Locked programs and files of the build itself.
    pub(crate) tools: Tools,
    /// The root image.
    #[serde(default)]
    pub(crate) root: Root,
    /// Users added to the base's own.
    #[serde(default, rename = "user")]
    pub(crate) users: Vec<User>,
    /// Files beside the recipe that go into the root image.
    #[serde(default, rename = "file")]
    pub(crate) files: Vec<RecipeFile>,
    /// Extra inputs by URL and digest.
    #[serde(default, rename = "input")]
    pub(crate) inputs: Vec<Input>,
    /// Models, by the lists of their files.
    #[serde(default, rename = "model")]
    pub(crate) models: Vec<Model>,
    /// What the guest does.
    pub(crate) guest: Guest,
    /// What its GPU must be; exactly where `guest.gpu` is not `none`.
    #[serde(default)]
    pub(crate) gpu: Option<Gpu>,
    /// The disk image.
    #[serde(default)]
    pub(crate) disk: Disk,
}

/// The Debian base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Base {
    /// Suite, for example `trixie`.
    pub(crate) suite: String,
    /// Archive components.
    #[serde(default = "main_component")]
    pub(crate) components: Vec<String>,
    /// Architecture: `amd64`.
    pub(crate) architecture: String,
    /// Key files in `recipes/keys/` that may sign the archive.
    pub(crate) keys: Vec<String>,
    /// Packages; what they depend on follows.
    pub(crate) packages: Vec<String>,
    /// Packages never pulled in; their absence is reported.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
}

/// Python wheels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Python {
    /// Name of the interpreter in `/usr/bin`, for example `python3.13`.
    pub(crate) interpreter: String,
    /// `name==version`, exactly these: dependencies are not followed.
    #[serde(default)]
    pub(crate) wheels: Vec<String>,
    /// A lock of Python packages beside the recipe, whose packages are taken too.
    #[serde(default)]
    pub(crate) lock: Option<String>,
    /// Packages of that lock that are not taken.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// Requirements that a version does not satisfy by its number, and yet does.
    #[serde(default, rename = "override")]
    pub(crate) overrides: Vec<Override>,
    /// Further names of installed distributions.
    #[serde(default, rename = "alias")]
    pub(crate) aliases: Vec<Alias>,
    /// Where wheels are installed.
    pub(crate) site: String,
    /// Whether `.pyc` files are made at build time.
    #[serde(default)]
    pub(crate) bytecode: bool,
}

/// A model in the root image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Model {
    /// List of its files, a path below the recipe's directory.
    pub(crate) list: String,
    /// Directory in the image.
    pub(crate) path: String,
}

/// A requirement that is declared satisfied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Override {
    /// The requirement, for example `torch==2.13.0+cpu`.
    pub(crate) requirement: String,
    /// The version that does.
    pub(crate) version: String,
    /// Why it does.
    pub(crate) reason: String,
}

/// A further name of an installed distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Alias {
    /// The name it is also found by.
    pub(crate) name: String,
    /// The distribution.
    pub(crate) of: String,
}

/// Kernel and modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Kernel {
    /// Package that names the kernel image.
    pub(crate) package: String,
    /// Modules of the initrd; what they depend on follows.
    pub(crate) modules: Vec<String>,
    /// Kernel command-line words.
    pub(crate) cmdline: Vec<String>,
}

/// Locked programs and files of the build itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Tools {
    /// `mkfs.erofs`.
    pub(crate) erofs: ToolPackage,
    /// The UKI's stub.
    pub(crate) stub: ToolPackage,
    /// Firmware that is measured, for platforms that boot the kernel directly.
    #[serde(default)]
    pub(crate) firmware: Option<ToolPackage>,
    /// C compiler, with whose C library and linker the guest's programs are made; without one the machine's are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compiler: Option<ToolPackage>,
}

/// A package of a suite and, where one file of it is meant, that file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ToolPackage {
    /// Suite, which may differ from the base's.
    pub(crate) suite: String,
    /// Package.
    pub(crate) package: String,
    /// Path of the file inside the package, without a leading slash.
    #[serde(default)]
    pub(crate) file: Option<String>,
}

/// The root image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Root {
    /// `none`, `lz4` or `zstd:LEVEL`.
    #[serde(default = "no_compression")]
    pub(crate) compression: String,
    /// Patterns of paths that are kept; empty: everything that is not dropped.
    #[serde(default)]
    pub(crate) keep: Vec<String>,
    /// Patterns of paths that are left out.
    #[serde(default)]
    pub(crate) drop: Vec<String>,
    /// Shared libraries that files need and the image does not have.
    #[serde(default)]
    pub(crate) unresolved: Vec<Unresolved>,
}

/// Shared libraries that may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Unresolved {
    /// Their names, for example `libmlx5.so.1`.
    pub(crate) libraries: Vec<String>,
    /// Why nothing that runs loads what needs it.
    pub(crate) reason: String,
}

/// A user of the root image, with a group of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct User {
    /// Login name.
    pub(crate) name: String,
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
    /// Home directory, absolute.
    pub(crate) home: String,
}

/// A file beside the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RecipeFile {
    /// Path in the image, absolute.
    pub(crate) path: String,
    /// Path below the recipe's folder.
    pub(crate) source: String,
    /// Octal permission bits.
    #[serde(default = "ordinary_mode")]
    pub(crate) mode: String,
}

/// An extra input by URL and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Input {
    /// Where the bytes are.
    pub(crate) url: String,
    /// Their digest.
    pub(crate) sha256: Digest,
    /// Path in the image, absolute.
    pub(crate) path: String,
    /// Octal permission bits.
    #[serde(default = "ordinary_mode")]
    pub(crate) mode: String,
}

/// What the guest does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Guest {
    /// TCP port that is served.
    pub(crate) listen: u16,
    /// How the guest gets its address.
    pub(crate) network: Network,
    /// GPU stage: `none` or `h100`.
    pub(crate) gpu: String,
    /// Where the model lies: `root`.
    pub(crate) model: String,
    /// The program that is served.
    pub(crate) workload: Workload,
    /// A question with a known answer, asked before any client's; there must be one where there is a GPU.
    #[serde(default)]
    pub(crate) canary: Option<Canary>,
}

/// A question with a known answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Canary {
    /// Path that is asked with POST.
    pub(crate) path: String,
    /// JSON that is sent.
    pub(crate) body: String,
    /// What the text of the first choice begins with.
    pub(crate) answer: String,
    /// Seconds for the answer to come.
    pub(crate) seconds: u32,
}

/// What the GPU must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Gpu {
    /// Version of module, firmware and libraries, for example `580.159.03`.
    pub(crate) driver: String,
    /// The time at which the signatures of the RIMs must hold, RFC 3339; exactly where there are RIMs.
    #[serde(default)]
    pub(crate) rims_checked_at: Option<String>,
    /// NVIDIA's manifests: one of the driver, one for each VBIOS that is allowed. Without any the guest refuses every GPU.
    #[serde(default, rename = "rim")]
    pub(crate) rims: Vec<RimFile>,
    /// Modules of the driver that are compiled; they are loaded after those of `kernel.modules`.
    #[serde(default)]
    pub(crate) modules: Option<GpuModules>,
}

/// Modules of the driver that are compiled against the locked kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct GpuModules {
    /// The sources.
    pub(crate) source: DriverSource,
    /// Modules, for example `nvidia-uvm`.
    pub(crate) build: Vec<String>,
    /// Changes to the sources: names of files in `patches/` below or beside the recipe's folder, applied in this order.
    #[serde(default)]
    pub(crate) patches: Vec<String>,
}

/// Where the sources of a driver's modules are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum DriverSource {
    /// A package of a suite, which may differ from the base's.
    Package {
        /// Suite.
        suite: String,
        /// Package.
        package: String,
    },
    /// NVIDIA's own archive.
    Archive {
        /// Where the bytes are.
        url: String,
        /// Their digest.
        sha256: Digest,
    },
}

/// A manifest beside the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RimFile {
    /// Path below the recipe's folder.
    pub(crate) source: String,
    /// Its digest.
    pub(crate) sha256: Digest,
}

/// How the guest gets its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Network {
    /// DHCP for IPv4.
    Dhcp,
    /// Fixed.
    Static {
        /// Address and prefix length, for example `10.0.2.15/24`.
        address: String,
        /// Default gateway.
        gateway: String,
    },
}

/// The program that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Workload {
    /// Program and arguments; the program by absolute path.
    pub(crate) exec: Vec<String>,
    /// One of the recipe's users.
    pub(crate) user: String,
    /// Working directory, absolute.
    #[serde(default = "slash")]
    pub(crate) directory: String,
    /// The whole environment.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// File name of the Unix socket in `/run/workload`.
    pub(crate) socket: String,
    /// Memory limit in MiB; 0: none.
    #[serde(default)]
    pub(crate) memory_max_mib: u64,
    /// Size of `/tmp` in MiB; 0: half of the guest's memory.
    #[serde(default)]
    pub(crate) tmp_max_mib: u64,
    /// Size of `/dev/shm` in MiB; 0: half of the guest's memory.
    #[serde(default)]
    pub(crate) shm_max_mib: u64,
}

/// The disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Disk {
    /// Size of the EFI system partition in MiB.
    pub(crate) esp_mib: u64,
    /// What the whole disk may have, in MiB; 0: no limit.
    #[serde(default)]
    pub(crate) max_mib: u64,
}

impl Default for Root {
    fn default() -> Self {
        Self {
            compression: no_compression(),
            keep: Vec::new(),
            drop: Vec::new(),
            unresolved: Vec::new(),
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            esp_mib: 64,
            max_mib: 0,
        }
    }
}

/// Where a patch of `gpu.modules` in the recipe in `directory` may be, in order: below the recipe, or beside it for several recipes.
pub(crate) fn patch_places(name: &str, directory: &Path) -> [PathBuf; 2] {
    let beside = directory.parent().unwrap_or(directory);
    [directory, beside].map(|folder| folder.join("patches").join(name))
}

fn main_component() -> Vec<String> {
    vec!["main".to_owned()]
}

fn no_compression() -> String {
    "none".to_owned()
}

fn ordinary_mode() -> String {
    "0644".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

#[cfg(test)]
mod tests;
