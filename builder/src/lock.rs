//! `recipe.lock`, schema version 1: every input by content.
//!
//! A lock holds paths below an archive's root and hashes, never a host name: bytes are found by hash, in the store first.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cmd::Hinted;
use crate::digest::Digest;
use crate::locking::{ImportError, imported, recipe_digest};
use crate::recipe::Recipe;
use crate::store::{StoreError, write_atomically};

/// First lines of every lock.
const HEADER: &str = "\
# Written by `cloister lock`; do not edit. Every input by content: no byte enters an image that is not named here.
# Packages vanish from archives: when bytes are gone, run `cloister lock` again.
";

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
    /// Packages of an imported lock that the recipe leaves out, sorted by name.
    #[serde(
        default,
        rename = "left-out-wheel",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) left_out_wheels: Vec<LeftOutWheel>,
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
    /// C compiler, linker and C library of the guest's programs, run in the sandbox.
    GuestTools,
    /// Compiler, headers and all else that kernel modules are compiled with, run in the sandbox.
    ModuleTools,
    /// Sources of kernel modules.
    ModuleSource,
}

/// Prefixes of packages that carry a kernel image or its modules; what follows is the kernel's release.
pub(crate) const KERNEL_PACKAGES: [&str; 3] = ["linux-image-", "linux-modules-", "linux-binary-"];

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

/// A package of an imported lock that the recipe leaves out: nothing of it is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct LeftOutWheel {
    /// Normalised project name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    /// Length in bytes of the wheel that would have been taken, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
}

/// Why a lock cannot be used.
#[derive(Debug, Error)]
pub(crate) enum LockFileError {
    /// There is none.
    #[error("recipe `{recipe}` has no lock: `{}` does not exist", path.display())]
    Missing {
        /// Name of the recipe.
        recipe: String,
        /// Where the lock should be.
        path: PathBuf,
    },
    /// The recipe changed after it was written.
    #[error("`{}` is stale: it was written for recipe {found}, the recipe is now {wanted}", path.display())]
    Stale {
        /// Name of the recipe.
        recipe: String,
        /// The lock.
        path: PathBuf,
        /// Digest of the recipe's parts that decide the lock.
        wanted: Digest,
        /// Digest in the lock.
        found: Digest,
    },
    /// Written by another version of `cloister`.
    #[error("`{}` has schema version {found}, wanted 1", path.display())]
    Schema {
        /// Name of the recipe.
        recipe: String,
        /// The lock.
        path: PathBuf,
        /// Its schema version.
        found: u32,
    },
    /// Not a lock.
    #[error("`{}` is not a lock", path.display())]
    Malformed {
        /// Name of the recipe.
        recipe: String,
        /// The lock.
        path: PathBuf,
        /// What is wrong with it, and where.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The lock.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The lock.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: StoreError,
    },
    /// It cannot be expressed.
    #[error("the lock cannot be written as TOML")]
    Encode(#[from] toml::ser::Error),
    /// The recipe cannot be hashed.
    #[error("the recipe cannot be hashed")]
    Recipe(#[from] serde_json::Error),
    /// The lock of Python packages beside the recipe cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
}

impl Hinted for LockFileError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { recipe, .. }
            | Self::Stale { recipe, .. }
            | Self::Schema { recipe, .. }
            | Self::Malformed { recipe, .. } => Some(format!("`cloister lock {recipe}` writes it")),
            Self::Import(error) => error.hint(),
            _ => None,
        }
    }
}

impl Lock {
    /// Name of the lock in a recipe's directory.
    pub(crate) const FILE: &str = "recipe.lock";

    /// Reads the lock of `recipe` in `directory`, and checks that it was written for this recipe.
    pub(crate) fn load(recipe: &Recipe, directory: &Path) -> Result<Self, LockFileError> {
        let path = directory.join(Self::FILE);
        let lock = Self::read(&path, &recipe.name)?;
        let wanted = recipe_digest(recipe, imported(recipe, directory)?.as_ref())?;
        if lock.recipe_sha256 != wanted || lock.recipe != recipe.name {
            return Err(LockFileError::Stale {
                recipe: recipe.name.clone(),
                path,
                wanted,
                found: lock.recipe_sha256,
            });
        }
        Ok(lock)
    }

    /// Reads a lock, stale or not; `recipe` is for messages.
    pub(crate) fn read(path: &Path, recipe: &str) -> Result<Self, LockFileError> {
        let (recipe, path) = (recipe.to_owned(), path.to_owned());
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, recipe, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(LockFileError::Missing { recipe, path })
            }
            Err(source) => Err(LockFileError::Read { path, source }),
        }
    }

    fn parse(text: &str, recipe: String, path: PathBuf) -> Result<Self, LockFileError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Version {
            schema_version: u32,
        }
        let parsed = toml::from_str::<Version>(text).map(|version| version.schema_version);
        match parsed {
            Ok(1) => {}
            Ok(found) => {
                return Err(LockFileError::Schema {
                    recipe,
                    path,
                    found,
                });
            }
            Err(error) => {
                return Err(LockFileError::Malformed {
                    recipe,
                    path,
                    source: Box::new(error),
                });
            }
        }
        toml::from_str(text).map_err(|error| LockFileError::Malformed {
            recipe,
            path,
            source: Box::new(error),
        })
    }

    /// The one text form of this lock.
    pub(crate) fn encode(&self) -> Result<String, LockFileError> {
        Ok(format!("{HEADER}{}", toml::to_string(self)?))
    }

    /// Writes the lock so that readers see the old or the new one, never a part.
    pub(crate) fn write(&self, path: &Path) -> Result<(), LockFileError> {
        let text = self.encode()?;
        write_atomically(path, text.as_bytes()).map_err(|source| LockFileError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Digests of all contents that this lock names.
    pub(crate) fn digests(&self) -> BTreeSet<Digest> {
        let packages = self.packages.iter().map(|package| package.sha256);
        packages
            .chain(self.wheels.iter().map(|wheel| wheel.sha256))
            .collect()
    }

    /// Release of the locked kernel.
    pub(crate) fn kernel_release(&self) -> Option<&str> {
        kernel_release(self.with_role(Role::Kernel).map(|p| p.name.as_str()))
    }

    /// The packages with a role, in the lock's order.
    pub(crate) fn with_role(&self, role: Role) -> impl Iterator<Item = &LockedPackage> {
        self.packages
            .iter()
            .filter(move |package| package.roles.contains(&role))
    }
}

/// The release in the name of a kernel package.
pub(crate) fn kernel_release<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let release = |name: &'a str| KERNEL_PACKAGES.iter().find_map(|p| name.strip_prefix(p));
    let mut releases = names.filter_map(release);
    releases.find(|release| release.starts_with(|c: char| c.is_ascii_digit()))
}
