//! NVIDIA's open kernel modules as Debian packages their source.
//!
//! The package holds an archive of `kernel-open` in which the driver's core, `nv-kernel.o_binary`, is compiled already (by Debian,
//! from NVIDIA's published source); what is compiled here is everything that touches the kernel, and the link.

use super::{Build, KernelBuildError, Options, Source, judge};
use crate::deb::Body;
use crate::lock::LockedPackage;
use crate::tree::unpack::layer;
use crate::tree::{Content, Module, Origin};

/// The archive in the package.
const ARCHIVE: &str = "usr/src/nvidia-open-kernel.tar.xz";
/// The folder in the archive.
const FOLDER: &str = "modules/nvidia-open-kernel";
/// The module that speaks with the GPU's security processor.
const CORE: &str = "nvidia";

/// The modules of a driver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Driver<'a> {
    /// Version of the driver, as the recipe has it.
    pub(crate) version: &'a str,
    /// Release of the locked kernel.
    pub(crate) release: &'a str,
    /// The package of the sources.
    pub(crate) source: &'a LockedPackage,
    /// Compiler, headers and all the others.
    pub(crate) tools: &'a [&'a LockedPackage],
    /// Changes to the sources, in order.
    pub(crate) patches: &'a [Vec<u8>],
    /// Modules to compile.
    pub(crate) names: &'a [String],
}

impl Driver<'_> {
    /// The modules, compiled and judged, in the order of their names in the recipe.
    pub(crate) fn modules(&self, options: Options<'_>) -> Result<Vec<Module>, KernelBuildError> {
        let build = Build {
            release: self.release,
            tools: self.tools.to_vec(),
            source: Source {
                sha256: self.source.sha256,
                archive: Box::new(move || self.archive(options)),
                folder: FOLDER,
            },
            patches: self.patches.to_vec(),
            names: self.names,
        };
        let mut made = build.run(options)?;
        let mut modules = Vec::new();
        for name in self.names {
            let Some(bytes) = made.remove(name) else {
                continue;
            };
            judge::version(name, &bytes, self.version)?;
            if name == CORE {
                judge::spdm(name, &bytes)?;
            }
            modules.push(self.module(name, bytes));
        }
        Ok(modules)
    }

    fn module(&self, name: &str, bytes: Vec<u8>) -> Module {
        Module {
            name: name.replace('-', "_"),
            file_name: format!("{name}.ko"),
            content: Content::new(bytes),
            origin: Origin::Package {
                name: self.source.name.clone(),
                version: self.source.version.clone(),
                sha256: self.source.sha256,
            },
        }
    }

    /// The archive of sources, out of its package.
    fn archive(&self, options: Options<'_>) -> Result<Vec<u8>, KernelBuildError> {
        let none = || KernelBuildError::NoSource {
            package: self.source.name.clone(),
            file: ARCHIVE,
        };
        let (layer, _) = layer(options.store, self.source)?;
        let found = layer.members.into_iter().find_map(|member| {
            let at = member.path?;
            match member.body {
                Body::File(bytes) if at.as_bytes() == ARCHIVE.as_bytes() => Some(bytes),
                _ => None,
            }
        });
        found.ok_or_else(none)
    }
}

/// Upstream's version in a Debian version: without epoch and revision. Source: deb-version(7).
pub(crate) fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    version.rsplit_once('-').map_or(version, |(rest, _)| rest)
}

#[cfg(test)]
mod tests {
    use super::upstream;

    #[test]
    fn upstream_leaves_epoch_and_revision_out() {
        for (version, wanted) in [
            ("550.163.01-2", "550.163.01"),
            ("550.163.01-4~bpo13+1", "550.163.01"),
            ("1:2.3-rc1-4", "2.3-rc1"),
            ("580.95.05", "580.95.05"),
        ] {
            assert_eq!(upstream(version), wanted);
        }
    }
}
