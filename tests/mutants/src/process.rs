//! Runs test programs: with a mutant alive, within limits of time and memory.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::compile::Binary;

/// Address space of a test program, in KiB: a mutant may never stop to collect.
const MEMORY: u32 = 6 << 20;
/// Parts of the names of tests that flip every bit or ask other verifiers: these take seconds, and a check that only they notice has no case of
/// its own.
const LEFT_OUT: [&str; 4] = ["mutation", "peer", "changed", "flipped"];

/// What a test program came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Passed,
    /// With the tests that failed, none when the program itself ended.
    Failed(Vec<String>),
    TimedOut,
}

/// Where test programs run.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The package in the copy.
    pub(crate) package: PathBuf,
    /// Keys that tests make, once for all processes.
    pub(crate) keys: PathBuf,
    /// What the program prints goes here.
    pub(crate) output: PathBuf,
}

/// The names of the tests of a program that count.
pub(crate) fn tests(binary: &Binary) -> Result<Vec<String>> {
    let output = Command::new(&binary.path)
        .args(["--list", "--format", "terse"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    let counts = |name: &&str| !LEFT_OUT.iter().any(|part| name.contains(part));
    Ok(names.filter(counts).map(str::to_owned).collect())
}

/// Runs some tests of a program, with one variable in its environment.
pub(crate) fn run(
    place: &Place,
    binary: &Binary,
    tests: &[String],
    variable: Option<(&str, &str)>,
    limit: Duration,
) -> Result<Ended> {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"")])
        .arg(&binary.path)
        .args(["--exact", "--test-threads=1"])
        .args(tests)
        .current_dir(&place.package)
        .env("CARGO_MANIFEST_DIR", &place.package)
        .env("CLOISTER_TEST_KEYS", &place.keys)
        .env_remove("MUTANT")
        .env_remove("MUTANTS_REACHED")
        .envs(variable)
        .stdin(Stdio::null())
        .stdout(File::create(&place.output)?)
        .stderr(Stdio::null())
        .process_group(0);
    let began = Instant::now();
    let mut child = command.spawn().context("sh did not start")?;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            let failed = failed(&place.output)?;
            return Ok(if status.success() {
                Ended::Passed
            } else {
                Ended::Failed(failed)
            });
        }
        if began.elapsed() > limit {
            // The whole group: a test may have started a TPM.
            let group = format!("-{}", child.id());
            Command::new("kill").args(["-9", "--", &group]).status()?;
            child.wait()?;
            return Ok(Ended::TimedOut);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn failed(output: &Path) -> Result<Vec<String>> {
    let text = String::from_utf8_lossy(&fs::read(output)?).into_owned();
    let lines = text.lines().filter_map(|line| line.strip_prefix("test "));
    let names = lines.filter_map(|line| line.strip_suffix(" ... FAILED"));
    Ok(names.map(str::to_owned).collect())
}
