//! `recipe.lock`, schema version 1: every input by content.
//!
//! A lock holds paths below an archive's root and hashes, never a host name: bytes are found by hash, in the store first.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// A whole lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Lock {
    /// Version of this schema: 1.
    pub(crate) schema_version: u32,
    /// Name of the recipe.
    pub(crate) recipe: String,
    /// Digest of the parts of the recipe that decide the lock.
    pub(crate) recipe_sha256: Digest,
    /// The one modification time of everything in the image, seconds since 1970.
    pub(crate) epoch: u64,
    /// How the initrd is compressed.
    pub(crate) compression: Compression,
    /// Signed suites that the packages were found in.
    #[serde(default, rename = "release")]
    pub(crate) releases: Vec<LockedRelease>,
    /// Debian packages, sorted by name, version and suite.
    #[serde(default, rename = "package")]
    pub(crate) packages: Vec<LockedPackage>,
    /// Python wheels, sorted by name.
    #[serde(default, rename = "wheel")]
    pub(crate) wheels: Vec<LockedWheel>,
}

/// The compressor whose version and level decide the initrd's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Compression {
    /// Version of libzstd.
    pub(crate) zstd: String,
    /// Compression level.
    pub(crate) level: i32,
}

/// One suite, as signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct LockedRelease {
    /// Code name, for example `trixie`.
    pub(crate) suite: String,
    /// `Date` of the Release file, as it stands there.
    pub(crate) date: String,
    /// Digest of `InRelease`.
    pub(crate) sha256: Digest,
    /// Fingerprints of the keys whose signatures verified.
    pub(crate) signed_by: Vec<String>,
}

/// One Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct LockedPackage {
    /// Package name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Architecture: `amd64` or `all`.
    pub(crate) architecture: String,
    /// Suite it was found in.
    pub(crate) suite: String,
    /// Path below the archive's root.
    pub(crate) path: String,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Digest of the `.deb`.
    pub(crate) sha256: Digest,
    /// What it is for, sorted.
    pub(crate) roles: Vec<Role>,
}

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Unpacked into the root image.
    Root,
    /// Kernel image and modules.
    Kernel,
    /// The UKI's stub.
    Stub,
    /// `mkfs.erofs` and what it needs, run from the store.
    Erofs,
    /// Firmware that is measured.
    Firmware,
}

/// One Python wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct LockedWheel {
    /// Normalised project name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// File name.
    pub(crate) file: String,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Digest of the file.
    pub(crate) sha256: Digest,
}

impl Lock {
    /// The packages with a role, in the lock's order.
    pub(crate) fn with_role(&self, role: Role) -> impl Iterator<Item = &LockedPackage> {
        self.packages
            .iter()
            .filter(move |package| package.roles.contains(&role))
    }
}
