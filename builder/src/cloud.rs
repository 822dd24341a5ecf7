//! Clouds that import images: what they demand, and the commands that bring an image there.
//!
//! Works on the output directory of `cloister build` and starts nothing: no cloud is asked.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cloister_evidence::guest::{
    GUEST_CONFIGURATION_PATH, GuestConfiguration, GuestConfigurationError,
};
use serde::Deserialize;
use thiserror::Error;

use crate::cmd::{Hinted, read_hint};
use crate::initrd;
use crate::manifest::SCHEMA_VERSION;
use crate::output::{MANIFEST, Outputs};
use crate::platform::DiskFormat;

mod checks;
pub(crate) mod commands;
mod disk_view;

pub(crate) use checks::{Check, check};

/// A cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cloud {
    /// Microsoft Azure
    Azure,
    /// Google Compute Engine
    Gcp,
}

/// What a build says of itself, as far as it matters to a cloud.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Manifest {
    schema_version: u32,
    /// The one time stamp of the image.
    pub(crate) epoch: u64,
    /// Recipe name.
    pub(crate) recipe: String,
    /// Platforms with reference values.
    pub(crate) platforms: Vec<String>,
    /// Files by name.
    pub(crate) outputs: Outputs,
    /// There when the image is for a machine with a GPU.
    #[serde(default)]
    pub(crate) gpu: Option<serde_json::Value>,
    report: Report,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    #[serde(default)]
    built_in_modules: Vec<String>,
}

/// The output directory of a build.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// Its manifest.
    pub(crate) manifest: Manifest,
}

/// Why a directory cannot be judged.
#[derive(Debug, Error)]
pub(crate) enum ImageError {
    /// A file cannot be read.
    #[error("`{path}` could not be read")]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("`{path}` is no manifest of a build")]
    Manifest {
        /// File.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// Written by another version.
    #[error("`{path}` has schema-version {found}, this program reads {SCHEMA_VERSION}")]
    Schema {
        /// File.
        path: PathBuf,
        /// Version found.
        found: u32,
    },
    /// The initrd has no configuration of a guest.
    #[error("`{path}` has no `{GUEST_CONFIGURATION_PATH}`")]
    NoConfiguration {
        /// File.
        path: PathBuf,
    },
    /// The guest would refuse its configuration.
    #[error("`{path}`: {source}")]
    Configuration {
        /// File.
        path: PathBuf,
        /// Cause.
        source: GuestConfigurationError,
    },
    /// The image is not made for the cloud.
    #[error("image of `{recipe}` is for {}, not for {cloud}", .found.join(", "))]
    OtherPlatform {
        /// Recipe.
        recipe: String,
        /// Cloud.
        cloud: &'static str,
        /// Platforms of the image.
        found: Vec<String>,
    },
    /// The file has another length than the manifest says.
    #[error("`{path}` has {found} bytes, its manifest says {wanted}")]
    Length {
        /// File.
        path: PathBuf,
        /// Bytes in the manifest.
        wanted: u64,
        /// Bytes there are.
        found: u64,
    },
}

impl Hinted for ImageError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Read { path, .. } if path.ends_with(MANIFEST) => {
                "name an output directory of `cloister build`, such as `out/demo`"
            }
            Self::Read { source, .. } => read_hint(source),
            Self::OtherPlatform { .. } => {
                "add a platform of that cloud to the recipe's `platforms` and build it again"
            }
            Self::Configuration { .. } => return None,
            _ => "build the image again",
        };
        Some(hint.to_owned())
    }
}

impl Cloud {
    /// What the names of its platforms begin with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Azure => "azure-",
            Self::Gcp => "gcp-",
        }
    }

    /// Form in which it takes disks.
    pub(crate) fn disk_format(self) -> DiskFormat {
        match self {
            Self::Azure => DiskFormat::FixedVhd,
            Self::Gcp => DiskFormat::GcpTar,
        }
    }

    /// Name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Azure => "Azure",
            Self::Gcp => "Google Compute Engine",
        }
    }
}

impl Image {
    /// Reads the manifest in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self, ImageError> {
        let path = directory.join(MANIFEST);
        let bytes = std::fs::read(&path).map_err(|source| ImageError::Read {
            path: path.clone(),
            source,
        })?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|source| ImageError::Manifest {
                path: path.clone(),
                source,
            })?;
        let found = manifest.schema_version;
        if found != SCHEMA_VERSION {
            return Err(ImageError::Schema { path, found });
        }
        let directory = directory.to_owned();
        Ok(Self {
            directory,
            manifest,
        })
    }

    /// Platforms of `cloud` that the image is for.
    pub(crate) fn platforms(&self, cloud: Cloud) -> Vec<&str> {
        let all = self.manifest.platforms.iter().map(String::as_str);
        all.filter(|name| name.starts_with(cloud.prefix()))
            .collect()
    }

    /// What the guest will be told, from the `initrd` beside the disk.
    pub(crate) fn configuration(&self) -> Result<GuestConfiguration, ImageError> {
        let path = self.directory.join("initrd");
        let read = std::fs::read(&path).map_err(|source| ImageError::Read {
            path: path.clone(),
            source,
        })?;
        let Some(text) = guest_configuration(&read) else {
            return Err(ImageError::NoConfiguration { path });
        };
        GuestConfiguration::parse(&text)
            .map_err(|source| ImageError::Configuration { path, source })
    }

    /// The file that `cloud` imports and its length, which must be the manifest's.
    pub(crate) fn disk(&self, cloud: Cloud) -> Result<(PathBuf, u64), ImageError> {
        let name = cloud.disk_format().file_name();
        let path = self.directory.join(name);
        let Some(output) = self.manifest.outputs.get(name) else {
            return Err(ImageError::OtherPlatform {
                recipe: self.manifest.recipe.clone(),
                cloud: cloud.title(),
                found: self.manifest.platforms.clone(),
            });
        };
        let metadata = std::fs::metadata(&path).map_err(|source| ImageError::Read {
            path: path.clone(),
            source,
        })?;
        let (wanted, found) = (output.size, metadata.len());
        if wanted == found {
            return Ok((path, found));
        }
        Err(ImageError::Length {
            path,
            wanted,
            found,
        })
    }

    fn open_disk(&self, cloud: Cloud) -> io::Result<File> {
        File::open(self.directory.join(cloud.disk_format().file_name()))
    }
}

/// The guest configuration in a compressed initrd.
fn guest_configuration(initrd: &[u8]) -> Option<Vec<u8>> {
    let archive = zstd::Decoder::new(initrd).ok()?;
    initrd::find(archive, GUEST_CONFIGURATION_PATH.trim_start_matches('/'))
}

#[cfg(test)]
mod tests;
