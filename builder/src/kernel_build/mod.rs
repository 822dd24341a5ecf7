//! Kernel modules that no kernel package has, compiled from locked sources against the locked kernel's headers.
//!
//! Compiler, headers and the rest are the packages with the role `module-tools`, in the [`Sandbox`]; the sources are an archive in
//! the package with the role `module-source`, changed by the recipe's own patches. The path, user, host and time that a compiler sees
//! are always the same, and the number of jobs does not reach it. Results are kept in the store under the hash of
//! everything that decides them. Source of the build's variables: `kernel-open/Makefile` and `dkms.conf` of NVIDIA's sources,
//! `Documentation/kbuild/reproducible-builds.rst` of Linux.
//! Not covered: signatures of modules. A kernel that is locked down (Secure Boot) refuses what is made here.

#[cfg(test)]
mod bench;
mod judge;
mod nvidia;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::cmd::Hinted;
use crate::digest::Digest;
use crate::lock::LockedPackage;
use crate::modules::InfoError;
use crate::sandbox::{Job, Sandbox, SandboxError};
use crate::store::{Store, StoreError};
use crate::tool;
use crate::tree::unpack::UnpackError;

#[cfg(test)]
pub(crate) use bench::Bench;
pub(crate) use nvidia::{Driver, upstream};

/// Changes whenever the way of compiling does, beside the script, so that old results are not taken for new ones.
const RULES: &str = "cloister kernel build 1";
/// What the sandbox runs.
const SCRIPT: &str = include_str!("build.sh");
/// Under what the store keeps results.
const KIND: &str = "kernel-module";
/// Long enough for one slow core.
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// Modules to compile.
pub(crate) struct Build<'a> {
    /// Release of the kernel, as in `linux-headers-RELEASE`.
    pub(crate) release: &'a str,
    /// Compiler, headers and all the others.
    pub(crate) tools: Vec<&'a LockedPackage>,
    /// The sources.
    pub(crate) source: Source<'a>,
    /// Changes to the sources, in order.
    pub(crate) patches: Vec<Vec<u8>>,
    /// Modules, with `-` and without an ending.
    pub(crate) names: &'a [String],
}

/// An archive of sources.
pub(crate) struct Source<'a> {
    /// Digest of what the archive comes from.
    pub(crate) sha256: Digest,
    /// Gives the archive, `.tar.xz`: asked only where something is compiled.
    pub(crate) archive: Box<dyn Fn() -> Result<Vec<u8>, KernelBuildError> + 'a>,
    /// The folder in it whose makefile has the target `modules`.
    pub(crate) folder: &'static str,
}

/// How to compile.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    /// Inputs and results.
    pub(crate) store: &'a Store,
    /// Compiler processes at once.
    pub(crate) jobs: NonZeroUsize,
    /// Whether to take a stored result.
    pub(crate) cache: bool,
    /// Is told what is being done.
    pub(crate) report: &'a dyn Fn(&str),
}

/// Why there are no modules.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelBuildError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The package of the sources.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The compiler.
    #[error("kernel modules for {release} could not be compiled")]
    Sandbox {
        /// The kernel's release.
        release: String,
        /// Why.
        source: SandboxError,
    },
    /// A file of the work folder.
    #[error("work file `{path}` cannot be written or read")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A result cannot be looked into.
    #[error("compiled module `{module}` cannot be read")]
    Unreadable {
        /// The module.
        module: String,
        /// Why.
        source: InfoError,
    },
    /// A result is of another kernel or driver.
    #[error("compiled module `{module}` has {field} `{found}`, wanted `{wanted}`")]
    Other {
        /// The module.
        module: String,
        /// Which field of `.modinfo`.
        field: &'static str,
        /// What the locked inputs lead to.
        wanted: String,
        /// What it says.
        found: String,
    },
    /// The sources were compiled without the kernel's cryptography.
    #[error(
        "compiled module `{module}` has stubs for the cryptography of SPDM: it does not use the kernel's `{symbol}`"
    )]
    Stubs {
        /// The module.
        module: String,
        /// A function that it would call.
        symbol: &'static str,
    },
    /// The driver's package is not what is known.
    #[error("package `{package}` has no `{file}`: it is not the source of NVIDIA's open modules")]
    NoSource {
        /// The package.
        package: String,
        /// What was looked for.
        file: &'static str,
    },
}

impl Hinted for KernelBuildError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Unpack(error) => error.hint(),
            Self::Sandbox {
                source: source @ SandboxError::Failed { .. },
                release,
            } => source.hint().or_else(|| {
                Some(format!(
                    "sources that are older than kernel {release} need a patch: `gpu.modules.patches` names files beside the recipe"
                ))
            }),
            Self::Sandbox { source, .. } => source.hint(),
            Self::Stubs { .. } => Some(
                "the kernel must have `CONFIG_CRYPTO_ECDH` and `CONFIG_CRYPTO_ECDSA`: Debian's cloud kernel of trixie does".to_owned(),
            ),
            _ => None,
        }
    }
}

impl Build<'_> {
    /// The key of the results: equal keys, equal bytes.
    pub(crate) fn key(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(format!("{RULES}\0{SCRIPT}\0{}\0", self.release));
        hash.update(tool::key(&self.tools).0);
        hash.update(self.source.sha256.0);
        hash.update(format!(
            "{}\0{}\0",
            self.source.folder,
            self.names.join(" ")
        ));
        for patch in &self.patches {
            hash.update(Sha256::digest(patch));
        }
        Digest(hash.finalize().into())
    }

    /// The modules by name, from the store or compiled.
    pub(crate) fn run(
        &self,
        options: Options<'_>,
    ) -> Result<BTreeMap<String, Vec<u8>>, KernelBuildError> {
        if options.cache
            && let Some(known) = self.known(options.store)?
        {
            return Ok(known);
        }
        let made = self.compile(options)?;
        for (name, bytes) in &made {
            judge::release(name, bytes, self.release)?;
            let digest = options.store.put(bytes)?;
            let key = module_key(&self.key(), name);
            options.store.set_derived(KIND, &key, &digest)?;
        }
        Ok(made)
    }

    /// What the store has, when it has all of it.
    fn known(&self, store: &Store) -> Result<Option<BTreeMap<String, Vec<u8>>>, KernelBuildError> {
        let key = self.key();
        let mut found = BTreeMap::new();
        for name in self.names {
            let Some(digest) = store.derived(KIND, &module_key(&key, name)) else {
                return Ok(None);
            };
            found.insert(name.clone(), store.read(&digest)?);
        }
        Ok(Some(found))
    }

    fn compile(&self, options: Options<'_>) -> Result<BTreeMap<String, Vec<u8>>, KernelBuildError> {
        let scratch = options.store.scratch()?;
        let work = scratch.path();
        self.lay_out(work)?;
        let refused = |source| KernelBuildError::Sandbox {
            release: self.release.to_owned(),
            source,
        };
        let sandbox = Sandbox::open(options.store, &self.tools).map_err(refused)?;
        let jobs = options.jobs.to_string();
        let mut words = vec!["sh", "build.sh", self.release, &jobs, self.source.folder];
        words.extend(self.names.iter().map(String::as_str));
        let job = Job {
            words: &words,
            work,
            read: &[],
            variables: &[],
            epoch: 0,
            limit: LIMIT,
        };
        sandbox.run(&job, options.report).map_err(refused)?;
        let read = |name: &String| {
            let bytes = read(&work.join("out").join(format!("{name}.ko")))?;
            Ok((name.clone(), bytes))
        };
        self.names.iter().map(read).collect()
    }

    /// Puts everything into the work folder that is not in the packages.
    fn lay_out(&self, work: &Path) -> Result<(), KernelBuildError> {
        write(&work.join("build.sh"), SCRIPT.as_bytes())?;
        write(&work.join("source.tar.xz"), &(self.source.archive)()?)?;
        let folder = work.join("patches");
        fs::create_dir(&folder).map_err(|e| io(&folder, e))?;
        for (number, patch) in self.patches.iter().enumerate() {
            write(&folder.join(format!("{number:04}.patch")), patch)?;
        }
        Ok(())
    }
}

fn module_key(key: &Digest, name: &str) -> Digest {
    Digest::of(format!("{key}\0{name}").as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), KernelBuildError> {
    fs::write(path, bytes).map_err(|e| io(path, e))
}

fn read(path: &Path) -> Result<Vec<u8>, KernelBuildError> {
    fs::read(path).map_err(|e| io(path, e))
}

fn io(path: &Path, source: std::io::Error) -> KernelBuildError {
    KernelBuildError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
