//! Programs of locked packages in a sandbox: they see these packages, one folder to work in, and nothing else of the machine.
//!
//! The root is made of packages that [`Tool`] has unpacked and checked; `bubblewrap` of the same packages makes the namespaces
//! (user, mount, process, network, IPC, host name) and is started through their own dynamic loader, so that the host supplies a
//! kernel and nothing else. Nothing needs a privilege.
//!
//! | what | how |
//! |---|---|
//! | files | `/usr` of the packages and `/proc`, read-only; `/dev` with `null`, `zero`, `full`, `random`, `urandom` and `tty`; an empty `/tmp`; the work folder at [`WORK`]; what the job names, read-only |
//! | network | its own, with a loopback alone |
//! | rights | user 0 is the caller; no capabilities, no further user namespaces, no set-uid |
//! | environment | [`environment`] and what the job names, whole |
//! | standard input | `/dev/null` |
//! | end | the program and all its children, when it ends, when its time is over, or when we end |
//!
//! Not covered: limits of memory and of disk; `/etc` and `/var` of the packages, which no program here needs.

mod run;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::cmd::Hinted;
use crate::lock::LockedPackage;
use crate::store::Store;
use crate::tool::{Tool, ToolError};

/// Where the work folder is inside.
pub(crate) const WORK: &str = "/build";
/// Name of the machine inside.
const HOST_NAME: &str = "cloister";
/// Folder of names that Debian makes by alternatives when a package is installed.
const NAMES: &str = "/names";
/// The program that makes the namespaces.
const BUBBLEWRAP: &str = "usr/bin/bwrap";

/// A root of locked packages.
#[derive(Debug)]
pub(crate) struct Sandbox {
    tool: Tool,
    /// Name to absolute path inside.
    names: Vec<(&'static str, String)>,
}

/// One program to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    /// Program and arguments; the program by its name in the packages.
    pub(crate) words: &'a [&'a str],
    /// The only folder that outlives the program, writable.
    pub(crate) work: &'a Path,
    /// Folders and files of the machine that it may read, and where they are inside.
    pub(crate) read: &'a [(&'a Path, &'a str)],
    /// Variables of its environment beside [`environment`]'s, or instead of them.
    pub(crate) variables: &'a [(&'a str, String)],
    /// `SOURCE_DATE_EPOCH`.
    pub(crate) epoch: u64,
    /// How long it may take.
    pub(crate) limit: Duration,
}

/// Why a program could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The packages.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The machine does not allow the namespaces.
    #[error("this machine does not allow unprivileged namespaces: {said}")]
    Namespaces {
        /// What bubblewrap said.
        said: String,
        /// The kernel setting that forbids them, and the value that allows them.
        setting: Option<(&'static str, &'static str)>,
    },
    /// The program could not be started or waited for.
    #[error("`{program}` could not be run in the sandbox")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The program failed.
    #[error("`{program}` failed in the sandbox ({status}):\n{output}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of what it said.
        output: String,
    },
    /// Its time was over.
    #[error("`{program}` was ended in the sandbox after {seconds} s:\n{output}")]
    TimeLimit {
        /// The program.
        program: String,
        /// The limit.
        seconds: u64,
        /// The last lines of what it said.
        output: String,
    },
}

impl Hinted for SandboxError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Tool(error) => error.hint(),
            Self::Namespaces {
                setting: Some((name, value)),
                ..
            } => Some(format!("allow them with `sysctl -w {name}={value}` as root")),
            Self::Namespaces { setting: None, .. } => Some(
                "inside of a container, its security profile must allow user namespaces (`unshare --user true` shows it)"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Sandbox {
    /// Unpacks `packages`, one of which is bubblewrap, unless the store already has them unpacked and whole.
    pub(crate) fn open(store: &Store, packages: &[&LockedPackage]) -> Result<Self, SandboxError> {
        let tool = Tool::open(store, packages)?;
        let names = packages
            .iter()
            .filter_map(|package| name_of(&package.name))
            .collect();
        Ok(Self { tool, names })
    }

    /// Runs a program to its end and returns the last lines of what it said; `report` is told each line as it comes.
    pub(crate) fn run(
        &self,
        job: &Job<'_>,
        report: &dyn Fn(&str),
    ) -> Result<Vec<String>, SandboxError> {
        run::run(self.command(job)?, job, report)
    }

    fn command(&self, job: &Job<'_>) -> Result<Command, SandboxError> {
        let mut command = self.tool.command(BUBBLEWRAP)?;
        command.env_clear().args([
            "--unshare-user",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--disable-userns",
            "--die-with-parent",
            "--new-session",
            "--clearenv",
        ]);
        command.args(["--uid", "0", "--gid", "0", "--cap-drop", "ALL"]);
        command.args(["--hostname", HOST_NAME]);
        let variables = environment(job.epoch);
        for (name, value) in variables.iter().chain(job.variables) {
            command.args(["--setenv", name, value]);
        }
        command
            .arg("--ro-bind")
            .arg(self.tool.path("usr"))
            .arg("/usr");
        for name in ["bin", "sbin", "lib", "lib64"] {
            command.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
        }
        command.args(["--dir", NAMES]);
        for (name, path) in &self.names {
            command.args(["--symlink", path, &format!("{NAMES}/{name}")]);
        }
        command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        command.arg("--bind").arg(job.work).arg(WORK);
        for (from, to) in job.read {
            command.arg("--ro-bind").arg(from).arg(to);
        }
        // Where the caller is root, files below `/proc/sys` are its own, and the machine's.
        command.args(["--remount-ro", "/proc", "--remount-ro", "/"]);
        command.args(["--chdir", WORK, "--"]);
        command.args(job.words);
        Ok(command)
    }
}

/// Everything in the environment of a program that is the same for all, but `PWD`, which is [`WORK`].
fn environment(epoch: u64) -> [(&'static str, String); 5] {
    [
        ("HOME", WORK.to_owned()),
        ("LC_ALL", "C.UTF-8".to_owned()),
        ("PATH", format!("{NAMES}:/usr/bin:/usr/sbin")),
        ("SOURCE_DATE_EPOCH", epoch.to_string()),
        ("TZ", "UTC".to_owned()),
    ]
}

/// The name that a package's program is called by, beside its own.
fn name_of(package: &str) -> Option<(&'static str, String)> {
    let name = match package {
        "mawk" => "awk",
        _ => {
            let version = package.strip_prefix("gcc-")?;
            (!version.is_empty() && version.bytes().all(|b| b.is_ascii_digit())).then_some("cc")?
        }
    };
    Some((name, format!("/usr/bin/{package}")))
}

/// The setting of this kernel that forbids unprivileged user namespaces. Sources: namespaces(7); Debian's and Ubuntu's kernels.
fn forbidding(read: impl Fn(&Path) -> Option<String>) -> Option<(&'static str, &'static str)> {
    let settings = [
        ("user.max_user_namespaces", "0", "15000"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    let found = settings.into_iter().find(|(name, forbids, _)| {
        let path: PathBuf = ["/proc/sys", &name.replace('.', "/")].iter().collect();
        read(&path).is_some_and(|value| value.trim() == *forbids)
    });
    found.map(|(name, _, allows)| (name, allows))
}

#[cfg(test)]
mod tests;
