//! What compiles the guest's programs: the pinned Rust toolchain, and the C toolchain that the recipe locks or, without
//! one, the host's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::lock::LockedPackage;
use crate::store::Digest;
use crate::tool;

/// Objects of the C toolchain that end up in a static position-independent executable.
const LINKED: [&str; 9] = [
    "rcrt1.o",
    "crti.o",
    "crtbeginS.o",
    "crtendS.o",
    "crtn.o",
    "libc.a",
    "libm.a",
    "libgcc.a",
    "libgcc_eh.a",
];
/// Programs of the C toolchain that decide bytes.
const PROGRAMS: [&str; 4] = ["cc1", "as", "ld", "collect2"];

/// The only parts of the caller's environment that reach the compiler; values of the same names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `PATH`, `HOME`, `CARGO_HOME`, `RUSTUP_HOME`, those that are set.
    pub(crate) variables: BTreeMap<&'static str, OsString>,
}

/// The toolchain, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Toolchain {
    /// Output of `rustc -vV`: version, commit, host, LLVM.
    pub(crate) rustc: String,
    /// Inputs that the recipe does not lock, by name: version text or SHA-256.
    pub(crate) host_dependent: BTreeMap<String, String>,
    /// Digest over the locked packages of the C toolchain, if the recipe names one: nothing of the host is in the result then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) locked: Option<Digest>,
    /// Where the toolchain lies; never written anywhere.
    #[serde(skip)]
    pub(crate) sysroot: PathBuf,
    /// Commit of the compiler, for the virtual path of the standard library.
    #[serde(skip)]
    pub(crate) commit: String,
}

/// Why the toolchain could not be identified.
#[derive(Debug, Error)]
pub(crate) enum ToolchainError {
    /// A program could not be started.
    #[error("`{program}` could not be run")]
    Start {
        /// Program.
        program: String,
        /// Cause.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed: {stderr}")]
    Failed {
        /// Program.
        program: String,
        /// What it wrote last.
        stderr: String,
    },
    /// A file of the C toolchain is not there.
    #[error("the C toolchain has no `{0}`")]
    Missing(String),
}

impl Environment {
    /// Takes the variables over from this process.
    pub(crate) fn of_process() -> Self {
        let names = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME"];
        let variables = names
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        Self {
            variables: variables.collect(),
        }
    }

    /// A command that sees nothing else, run in `directory`.
    pub(crate) fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(directory)
            .env_clear()
            .envs(&self.variables);
        command
            .envs([("LC_ALL", "C"), ("TZ", "UTC")])
            .stdin(std::process::Stdio::null());
        command
    }

    /// Cargo's home: where the sources of dependencies lie.
    pub(crate) fn cargo_home(&self) -> Option<PathBuf> {
        let own = self.variables.get("CARGO_HOME").map(PathBuf::from);
        own.or_else(|| {
            self.variables
                .get("HOME")
                .map(|home| Path::new(home).join(".cargo"))
        })
    }
}

impl Toolchain {
    /// Identifies the toolchain that `repository` pins and the C toolchain: `locked` packages, or without any what is behind
    /// the host's `cc`.
    pub(crate) fn identify(
        environment: &Environment,
        repository: &Path,
        locked: &[&LockedPackage],
    ) -> Result<Self, ToolchainError> {
        let run = |program: &str, args: &[&str]| output(environment, repository, program, args);
        let rustc = run("rustc", &["-vV"])?;
        let sysroot = PathBuf::from(run("rustc", &["--print", "sysroot"])?.trim_end());
        let commit = rustc
            .lines()
            .find_map(|line| line.strip_prefix("commit-hash: "))
            .unwrap_or_default()
            .to_owned();
        let (host_dependent, locked) = match locked {
            [] => (of_host(&run, environment)?, None),
            packages => (BTreeMap::new(), Some(tool::key(packages))),
        };
        Ok(Self {
            rustc,
            host_dependent,
            locked,
            sysroot,
            commit,
        })
    }

    /// SHA-256 over everything that identifies it.
    pub(crate) fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(&self.rustc);
        for (name, value) in &self.host_dependent {
            hash.update(format!("\0{name}\0{value}"));
        }
        if let Some(locked) = self.locked {
            hash.update(format!("\0locked\0{locked}"));
        }
        Digest(hash.finalize().into())
    }
}

/// What the host's `cc` puts into a program, or decides of it.
fn of_host(
    run: &(impl Fn(&str, &[&str]) -> Result<String, ToolchainError> + Sync),
    environment: &Environment,
) -> Result<BTreeMap<String, String>, ToolchainError> {
    let said = run("cc", &["--version"])?;
    let version = said.lines().next().unwrap_or_default().to_owned();
    let mut found = BTreeMap::from([("cc".to_owned(), version)]);
    let files = LINKED.iter().map(|name| ("-print-file-name", *name));
    let programs = PROGRAMS.iter().map(|name| ("-print-prog-name", *name));
    let wanted: Vec<_> = files.chain(programs).collect();
    let parts = wanted.par_iter().map(|(option, name)| {
        let said = run("cc", &[&format!("{option}={name}")])?;
        let path = locate(environment, said.trim_end());
        let path = path.ok_or_else(|| ToolchainError::Missing((*name).to_owned()))?;
        Ok(((*name).to_owned(), sha256(&path, name)?))
    });
    found.extend(parts.collect::<Result<Vec<_>, ToolchainError>>()?);
    Ok(found)
}

/// `cc` answers with a bare name for a program it would search in `PATH`.
fn locate(environment: &Environment, found: &str) -> Option<PathBuf> {
    let path = PathBuf::from(found);
    if path.is_absolute() {
        return path.is_file().then_some(path);
    }
    let search = environment.variables.get("PATH")?;
    std::env::split_paths(search)
        .map(|dir| dir.join(found))
        .find(|path| path.is_file())
}

fn sha256(path: &Path, name: &str) -> Result<String, ToolchainError> {
    let bytes = std::fs::read(path).map_err(|_| ToolchainError::Missing(name.to_owned()))?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
}

fn output(
    environment: &Environment,
    directory: &Path,
    program: &str,
    args: &[&str],
) -> Result<String, ToolchainError> {
    let start = |source| ToolchainError::Start {
        program: program.to_owned(),
        source,
    };
    let output = environment
        .command(program, directory)
        .args(args)
        .output()
        .map_err(start)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned();
        return Err(ToolchainError::Failed {
            program: program.to_owned(),
            stderr,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
