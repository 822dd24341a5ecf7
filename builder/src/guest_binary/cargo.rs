//! One call of cargo, on the host or in the sandbox: the same arguments and flags, and other paths.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::{GuestBinaryError, Inputs, Options, PROFILE, TARGET, ToolchainError};
use crate::sandbox::{Job, Sandbox, WORK};

/// Where things are in the sandbox, beside the folder of results, which is [`WORK`].
const REPOSITORY: &str = "/cloister";
const CARGO_HOME: &str = "/cargo";
const SYSROOT: &str = "/sysroot";
/// Long enough for one slow core.
const LIMIT: Duration = Duration::from_secs(3 * 3600);
/// Lines of cargo's that are kept for a message.
const LINES_KEPT: usize = 20;

/// Folders, as the compiler sees them.
struct Places<'a> {
    repository: &'a Path,
    target: &'a Path,
    /// Where the sources of dependencies lie.
    cargo_home: Option<PathBuf>,
    sysroot: &'a Path,
}

/// One program to compile.
pub(super) struct Call<'a> {
    pub(super) repository: &'a Path,
    /// Folder of results.
    pub(super) target: &'a Path,
    pub(super) inputs: &'a Inputs,
    pub(super) options: &'a Options<'a>,
    /// Is told each crate being compiled.
    pub(super) report: &'a dyn Fn(&str),
}

impl Call<'_> {
    /// Compiles with the host's C toolchain.
    pub(super) fn on_the_host(&self) -> Result<(), GuestBinaryError> {
        let environment = self.options.environment;
        let places = Places {
            repository: self.repository,
            target: self.target,
            cargo_home: environment.cargo_home(),
            sysroot: &self.inputs.toolchain.sysroot,
        };
        let mut command = environment.command("cargo", self.repository);
        command
            .args(self.arguments())
            .envs(self.variables(&places))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let start = |source| ToolchainError::Start {
            program: "cargo".to_owned(),
            source,
        };
        let mut child = command.spawn().map_err(start)?;
        let mut last: Vec<String> = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).lines() {
                let line = line?;
                (self.report)(line.trim());
                last.push(line);
            }
        }
        if child.wait()?.success() {
            return Ok(());
        }
        let skip = last.len().saturating_sub(LINES_KEPT);
        Err(GuestBinaryError::Compile(
            last.into_iter().skip(skip).collect::<Vec<_>>().join("\n"),
        ))
    }

    /// Compiles with locked packages: of the host there are the pinned Rust, the sources, and those of the dependencies.
    pub(super) fn in_the_sandbox(&self, sandbox: &Sandbox) -> Result<(), GuestBinaryError> {
        let places = Places {
            repository: Path::new(REPOSITORY),
            target: Path::new(WORK),
            cargo_home: Some(CARGO_HOME.into()),
            sysroot: Path::new(SYSROOT),
        };
        let cargo_home = self.options.environment.cargo_home().unwrap_or_default();
        // The index and the sources, and which registry stands for another; no credentials.
        let shared = ["registry", "config.toml"].map(|name| {
            let inside = format!("{CARGO_HOME}/{name}");
            (cargo_home.join(name), inside)
        });
        let mut read = vec![
            (self.repository, REPOSITORY),
            (self.inputs.toolchain.sysroot.as_path(), SYSROOT),
        ];
        let there = shared.iter().filter(|(from, _)| from.exists());
        read.extend(there.map(|(from, to)| (from.as_path(), to.as_str())));
        let cargo = format!("{SYSROOT}/bin/cargo");
        let manifest = format!("{REPOSITORY}/Cargo.toml");
        let arguments = self.arguments();
        let mut words = vec![cargo.as_str()];
        words.extend(arguments.iter().map(String::as_str));
        words.extend(["--manifest-path", &manifest]);
        let mut variables: Vec<(&str, String)> = self
            .variables(&places)
            .into_iter()
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        variables.push(("CARGO_HOME", CARGO_HOME.to_owned()));
        variables.push(("PATH", format!("/names:{SYSROOT}/bin:/usr/bin")));
        let job = Job {
            words: &words,
            work: self.target,
            read: &read,
            variables: &variables,
            epoch: self.options.epoch,
            limit: LIMIT,
        };
        sandbox.run(&job, &|line| (self.report)(line.trim()))?;
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let jobs = self.options.jobs.to_string();
        let package = self.inputs.program.package();
        let words = ["build", "--profile", PROFILE, "--locked", "--offline"];
        let named = ["--package", package, "--target", TARGET, "--jobs", &jobs];
        words.into_iter().chain(named).map(str::to_owned).collect()
    }

    /// Everything in cargo's environment that decides what it makes.
    fn variables(&self, places: &Places<'_>) -> Vec<(&'static str, OsString)> {
        let maps = path_maps(places, &self.inputs.toolchain.commit);
        let rust_flags: Vec<String> = [self.inputs.program.linking().to_owned()]
            .into_iter()
            .chain(
                maps.iter()
                    .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
            )
            .collect();
        let c_flags: Vec<String> = maps
            .iter()
            .map(|(from, to)| shell_word(&format!("-ffile-prefix-map={}={to}", from.display())))
            .collect();
        let fixed = [
            ("CC_SHELL_ESCAPED_FLAGS", "1"),
            ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "cc"),
            ("CC", "cc"),
            ("AR", "ar"),
            ("CARGO_INCREMENTAL", "0"),
            ("RUSTC_WRAPPER", ""),
            ("CARGO_TERM_COLOR", "never"),
        ];
        let mut all: Vec<(&'static str, OsString)> = fixed
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        all.push(("CARGO_TARGET_DIR", places.target.into()));
        all.push(("CARGO_ENCODED_RUSTFLAGS", rust_flags.join("\u{1f}").into()));
        all.push(("CFLAGS_x86_64_unknown_linux_gnu", c_flags.join(" ").into()));
        all.push(("SOURCE_DATE_EPOCH", self.options.epoch.to_string().into()));
        all
    }
}

/// One word of a shell command, whatever it contains.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Prefixes of paths that the compiler sees and what they are called in the binary.
fn path_maps(places: &Places<'_>, commit: &str) -> Vec<(PathBuf, String)> {
    let mut maps = vec![(places.repository.to_path_buf(), "/cloister".to_owned())];
    maps.extend(
        places
            .cargo_home
            .iter()
            .map(|home| (home.clone(), "/cargo".to_owned())),
    );
    maps.push((places.target.to_path_buf(), "/target".to_owned()));
    maps.push((places.sysroot.to_path_buf(), "/sysroot".to_owned()));
    let library = places.sysroot.join("lib/rustlib/src/rust");
    maps.push((library, format!("/rustc/{commit}")));
    maps
}
