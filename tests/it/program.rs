//! Runs the `cloister` program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the repository")
        .to_owned()
}

/// A folder for what tests make; it lasts between runs.
pub(crate) fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned()
}

/// The program under test.
pub(crate) fn cloister() -> PathBuf {
    let path = std::env::var_os("CLOISTER_BIN").map_or_else(
        || repository().join("target/release/cloister"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "no program at {}; build it with `cargo build --release -p cloister`",
        path.display()
    );
    path
}

/// What a run of the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command of the program, run in the repository.
pub(crate) fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(cloister());
    command
        .args(arguments)
        .current_dir(repository())
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    said(command(arguments).output().expect("cloister starts"))
}

/// Runs the program and insists on success.
pub(crate) fn succeed<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    let said = run(arguments);
    assert_eq!(said.code, 0, "{said:#?}");
    said
}

/// An output as text; a signal counts as -1.
pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
