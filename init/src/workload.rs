//! The child that becomes the workload: it builds its own small world, then executes the program.
//!
//! It runs as the first process of its PID namespace and makes mount, network, IPC, UTS and cgroup
//! namespaces of its own. What the program sees stands in `docs/guest-configuration.md`, section
//! "The workload".

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cloister_evidence::guest::{
    GUEST_CONFIGURATION_PATH, GpuPolicy, GuestConfiguration, GuestConfigurationError, Workload,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, sethostname, setsid};

use crate::confine::{self, ConfineError, step};
use crate::gpu::{self, GpuError};
use crate::mount::workload_plan;
use crate::network::{NetworkError, bring_up_loopback};
use crate::root::{self, RootError};

/// The workload's control group.
pub const CGROUP: &str = "/sys/fs/cgroup/workload";

/// Why the program was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is not well-formed.
    #[error(transparent)]
    Configuration(#[from] GuestConfigurationError),
    /// The verity root could not be entered.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The GPU's device numbers could not be read.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// Loopback failed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A step of the confinement failed.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The program cannot be executed.
    #[error("{program}: {source}")]
    Execute {
        /// Its path.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Becomes the workload; returns only on failure. Standard input is a socket on which PID 1 reads
/// why; it closes when the program runs.
pub fn main() {
    if let Ok(mut report) = confine::take_stdin().map(UnixStream::from) {
        let error = match run() {
            Ok(never) => match never {},
            Err(error) => error,
        };
        // If this fails, PID 1 still sees the exit.
        let _ = report.write_all(error.to_string().as_bytes());
    }
}

fn run() -> Result<std::convert::Infallible, WorkloadError> {
    let bytes = std::fs::read(GUEST_CONFIGURATION_PATH).map_err(|source| WorkloadError::File {
        path: GUEST_CONFIGURATION_PATH,
        source,
    })?;
    let guest = GuestConfiguration::parse(&bytes)?;
    umask(Mode::empty());
    write(&format!("{CGROUP}/cgroup.procs"), "0", "cgroup.procs")?;
    let mut nodes = root::memory_nodes();
    if guest.gpu != GpuPolicy::None {
        nodes.extend(gpu::nodes()?);
    }
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(namespaces).map_err(step("namespaces"))?;
    sethostname(&guest.recipe).map_err(step("host name"))?;
    bring_up_loopback()?;
    root::enter(&workload_plan(&guest.workload), &nodes)?;
    setsid().map_err(step("setsid"))?;
    // Group members may use the socket: its directory hands its group, `serve`'s, down to it.
    umask(Mode::S_IRWXO);
    confine::drop_privileges(guest.workload.uid, guest.workload.gid)?;
    execute(&guest.workload)
}

fn execute(workload: &Workload) -> Result<std::convert::Infallible, WorkloadError> {
    let mut words = workload.exec.iter();
    let program = words.next().map_or("", String::as_str);
    chdir(Path::new(&workload.directory)).map_err(step("working directory"))?;
    let source = Command::new(program)
        .args(words)
        .env_clear()
        .envs(&workload.environment)
        .exec();
    Err(WorkloadError::Execute {
        program: program.to_owned(),
        source,
    })
}

/// Makes the control group, with the limit of the configuration. PID 1 calls this.
///
/// # Errors
/// [`WorkloadError::File`].
pub fn make_cgroup(workload: &Workload) -> Result<(), WorkloadError> {
    std::fs::create_dir(CGROUP).map_err(|source| WorkloadError::File {
        path: CGROUP,
        source,
    })?;
    // One process less is no longer the same workload.
    write(
        &format!("{CGROUP}/memory.oom.group"),
        "1",
        "memory.oom.group",
    )?;
    if workload.memory_max != 0 {
        write(
            &format!("{CGROUP}/memory.max"),
            &workload.memory_max.to_string(),
            "memory.max",
        )?;
    }
    Ok(())
}

fn write(path: &str, value: &str, name: &'static str) -> Result<(), WorkloadError> {
    std::fs::File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|source| WorkloadError::File { path: name, source })
}
