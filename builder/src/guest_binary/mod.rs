//! Our programs for the initrd, `cloister-init` and `cloister-gpu-helper`, compiled by the pinned toolchain so that their bytes depend on nothing else.
//!
//! Where the recipe locks a C compiler, all of it happens in the [`Sandbox`]: its C library and linker, the pinned Rust, the sources and
//! nothing else of the machine. Without one, the compiler runs on the host with an empty environment but for a few paths, and what
//! comes from there - C runtime objects, the C library's archive, the C compiler and linker - is identified by hash and listed in
//! the manifest. Every path is mapped away, so that the result is the same in any folder, for any user, umask and number of
//! jobs. It is kept in the store under the hash of all of that.
//! Not covered: the Rust toolchain's own bytes, which rustup checks and `rustc -vV` names.

mod cargo;
mod sources;
mod toolchain;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::lock::LockedPackage;
use crate::sandbox::{Sandbox, SandboxError};
use crate::store::{Digest, Store, StoreError};

use cargo::Call;
pub(crate) use sources::{SourceError, repository};
pub(crate) use toolchain::{Environment, Toolchain, ToolchainError};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Profile of the workspace's manifest; also the name of cargo's folder for it.
const PROFILE: &str = "guest";
/// Changes whenever the way of compiling does, so that old results are not taken for new ones.
const RECIPE: &str = "cloister guest binary 2";

/// A program of ours in the initrd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// PID 1, linked statically: it runs before any library is there.
    Init,
    /// The helper that loads NVIDIA's library, which a static program cannot.
    GpuHelper,
}

impl Program {
    /// Its package, and the name of its file.
    fn package(self) -> &'static str {
        match self {
            Self::Init => "cloister-init",
            Self::GpuHelper => "cloister-gpu-helper",
        }
    }

    /// Its crate's folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::GpuHelper => "gpu-helper",
        }
    }

    /// Under what the store keeps it.
    fn kind(self) -> &'static str {
        match self {
            Self::Init => "guest-binary",
            Self::GpuHelper => "gpu-helper",
        }
    }

    fn linking(self) -> &'static str {
        match self {
            Self::Init => "-Ctarget-feature=+crt-static",
            Self::GpuHelper => "-Ctarget-feature=-crt-static",
        }
    }
}

/// The guest binary's inputs, for the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Inputs {
    /// SHA-256 over the sources, `Cargo.lock` and the workspace manifest.
    pub(crate) sources: Digest,
    /// The compiler, and what of the host is in the result.
    pub(crate) toolchain: Toolchain,
    /// Which program.
    #[serde(skip)]
    program: Program,
}

/// How to compile.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// Where results, scratch folders and packages are.
    pub(crate) store: &'a Store,
    /// What reaches the compiler of this process's environment.
    pub(crate) environment: &'a Environment,
    /// Packages of the C toolchain; none: the host's is used.
    pub(crate) sandbox: &'a [&'a LockedPackage],
    /// Compiler processes at once.
    pub(crate) jobs: NonZeroUsize,
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: u64,
    /// Whether to take a stored result and reuse compiled dependencies.
    pub(crate) cache: bool,
}

/// Why there is no guest binary.
#[derive(Debug, Error)]
pub(crate) enum GuestBinaryError {
    /// Sources.
    #[error(transparent)]
    Sources(#[from] SourceError),
    /// Compiler.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// Store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox.
    #[error("guest binary could not be compiled")]
    Sandbox(#[source] SandboxError),
    /// Cargo failed; its last lines.
    #[error("guest binary could not be compiled:\n{0}")]
    Compile(String),
    /// Reading or writing a file failed.
    #[error("guest binary could not be read")]
    Io(#[from] std::io::Error),
}

impl crate::cmd::Hinted for GuestBinaryError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Sources(SourceError::NoRepository(_)) => Some(
                "run `cloister` inside of a clone of Cloister, or keep the recipe in one"
                    .to_owned(),
            ),
            Self::Toolchain(ToolchainError::Start { program, .. }) if program == "cc" => Some(
                "name a C compiler in the recipe's `tools.compiler`, or install one and the static C library (Debian: gcc, libc6-dev)".to_owned(),
            ),
            Self::Toolchain(ToolchainError::Missing(_)) => {
                Some("install the static C library (Debian: libc6-dev)".to_owned())
            }
            Self::Toolchain(_) => {
                Some("install Rust with rustup; the version is in rust-toolchain.toml".to_owned())
            }
            Self::Compile(text) if text.contains("--offline") || text.contains("offline mode") => {
                Some(
                    "sources of dependencies are missing: run `cargo fetch --locked` once"
                        .to_owned(),
                )
            }
            Self::Sandbox(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<SandboxError> for GuestBinaryError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Failed { output, .. } => Self::Compile(output),
            other => Self::Sandbox(other),
        }
    }
}

impl Inputs {
    /// Reads the sources and identifies the toolchain, with the C toolchain of `locked` packages or else the host's.
    pub(crate) fn identify(
        environment: &Environment,
        repository: &Path,
        program: Program,
        locked: &[&LockedPackage],
    ) -> Result<Self, GuestBinaryError> {
        let sources = sources::digest(repository, program.folder())?;
        Ok(Self {
            sources,
            toolchain: Toolchain::identify(environment, repository, locked)?,
            program,
        })
    }

    /// The key of the result: equal keys, equal bytes.
    pub(crate) fn key(&self, epoch: u64) -> Digest {
        let mut hash = Sha256::new();
        hash.update(format!(
            "{RECIPE}\0{TARGET}\0{epoch}\0{}\0{}",
            self.sources,
            self.toolchain.digest()
        ));
        Digest(hash.finalize().into())
    }
}

/// The guest binary of `repository`, from the store or compiled; `report` is told each crate being compiled.
pub(crate) fn build(
    repository: &Path,
    inputs: &Inputs,
    options: &Options<'_>,
    report: &dyn Fn(&str),
) -> Result<Vec<u8>, GuestBinaryError> {
    let store = options.store;
    let key = inputs.key(options.epoch);
    let kind = inputs.program.kind();
    if let Some(bytes) = known(store, kind, &key, options.cache)? {
        return Ok(bytes);
    }
    let scratch = store.scratch()?;
    let target = if options.cache {
        cache_directory(store, &inputs.toolchain)?
    } else {
        scratch.path().to_path_buf()
    };
    // One compilation at a time in a folder: another process may have been compiling the same while we waited.
    let _turn = turn(&target)?;
    if let Some(bytes) = known(store, kind, &key, options.cache)? {
        return Ok(bytes);
    }
    compile(&Call {
        repository,
        target: &target,
        inputs,
        options,
        report,
    })?;
    let folder = target.join(TARGET).join(PROFILE);
    let bytes = std::fs::read(folder.join(inputs.program.package()))?;
    let digest = store.put(&bytes)?;
    store.set_derived(kind, &key, &digest)?;
    Ok(bytes)
}

/// A result that the store has already.
fn known(
    store: &Store,
    kind: &str,
    key: &Digest,
    cache: bool,
) -> Result<Option<Vec<u8>>, GuestBinaryError> {
    let digest = store.derived(kind, key).filter(|_| cache);
    Ok(digest.map(|digest| store.read(&digest)).transpose()?)
}

/// Waits until nobody else compiles in `target`; the turn ends when the file is closed.
fn turn(target: &Path) -> Result<File, GuestBinaryError> {
    let file = File::create(target.join("turn"))?;
    file.lock()?;
    Ok(file)
}

/// Where compiled dependencies are kept for the next time.
fn cache_directory(store: &Store, toolchain: &Toolchain) -> Result<PathBuf, GuestBinaryError> {
    let path = store
        .dir()
        .join("cache")
        .join(format!("cargo-{}", toolchain.digest()));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

fn compile(call: &Call<'_>) -> Result<(), GuestBinaryError> {
    forget_own_crates(call.target)?;
    let options = call.options;
    match options.sandbox {
        [] => call.on_the_host(),
        packages => call.in_the_sandbox(&Sandbox::open(options.store, packages)?),
    }
}

/// Makes cargo compile our own crates again: it judges them by time stamps, which a copied or restored source tree
/// need not move forward. Dependencies are immutable and stay.
fn forget_own_crates(target: &Path) -> Result<(), GuestBinaryError> {
    let folder = target.join(TARGET).join(PROFILE).join(".fingerprint");
    if !folder.is_dir() {
        return Ok(());
    }
    for name in sources::names(&folder)? {
        if name.starts_with("cloister-") {
            std::fs::remove_dir_all(folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::checkout::{self, Style};

    fn compile_in(repository: &Path, store: &Path, jobs: usize) -> Vec<u8> {
        let environment = Environment::of_process();
        let inputs = Inputs::identify(&environment, repository, Program::Init, &[]).unwrap();
        assert!(inputs.toolchain.host_dependent.contains_key("libc.a"));
        let store = Store::open(store).unwrap();
        let options = Options {
            store: &store,
            environment: &environment,
            sandbox: &[],
            jobs: NonZeroUsize::new(jobs).unwrap(),
            epoch: 1_763_000_000,
            cache: false,
        };
        build(repository, &inputs, &options, &|_| ()).unwrap()
    }

    #[test]
    fn a_locked_c_toolchain_takes_the_place_of_the_hosts() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let rust = Path::new(env!("CARGO")).parent().unwrap();
        let mut environment = Environment::of_process();
        environment.variables.insert("PATH", rust.into());
        let identify =
            |locked: &[_]| Inputs::identify(&environment, repository, Program::Init, locked);
        let error = identify(&[]).unwrap_err();
        assert!(
            error.to_string().contains("`cc` could not be run"),
            "{error}"
        );

        let lock: crate::lock::Lock = toml::from_str(&with_compiler("14.2.0-19")).unwrap();
        let other: crate::lock::Lock = toml::from_str(&with_compiler("14.2.0-20")).unwrap();
        let [inputs, others] = [&lock, &other].map(|lock| {
            let locked: Vec<_> = lock.with_role(crate::lock::Role::GuestTools).collect();
            identify(&locked).unwrap()
        });
        assert!(inputs.toolchain.host_dependent.is_empty());
        assert_ne!(inputs.key(1), others.key(1));
        let text = serde_json::to_value(&inputs).unwrap();
        assert_eq!(text["toolchain"]["host-dependent"], serde_json::json!({}));
        assert!(text["toolchain"]["locked"].is_string(), "{text:#}");
    }

    /// A lock with a compiler of this version.
    fn with_compiler(version: &str) -> String {
        let zero = "0".repeat(64);
        let of_version = hex::encode(Sha256::digest(version));
        format!(
            "schema-version = 1\nrecipe = \"demo\"\nrecipe-sha256 = \"{zero}\"\nepoch = 1\ncompression = {{ zstd = \"1\", level = 1 }}\n\
             [[package]]\nname = \"gcc-14\"\nversion = \"{version}\"\narchitecture = \"amd64\"\nsuite = \"trixie\"\n\
             path = \"pool/x.deb\"\nsize = 1\nsha256 = \"{of_version}\"\nroles = [\"guest-tools\"]\n"
        )
    }

    #[test]
    #[ignore = "compiles `cloister-init` twice, which takes minutes"]
    fn bytes_do_not_depend_on_path_or_jobs() {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b/with a space"));
        for (to, style) in [(&a, Style::Ascending), (&b, Style::Descending)] {
            checkout::copy(repository, &repository.join("recipes/demo"), to, style).unwrap();
        }
        let here = compile_in(&a, &dir.path().join("store"), 2);
        let there = compile_in(&b, &dir.path().join("other/place/store"), 1);
        assert!(here == there, "guest binaries differ");
        println!("{} bytes", here.len());
        let names = [repository, dir.path()].map(|path| path.to_str().unwrap().as_bytes().to_vec());
        for name in names {
            assert!(
                !here.windows(name.len()).any(|window| window == name),
                "a path is in the binary"
            );
        }
    }
}
