//! The child that becomes `cloister-gpu-helper`: the one program beside PID 1 that stays root.
//!
//! The driver lets nobody set the ready state who lacks `CAP_SYS_ADMIN`, so that capability is left to it and no other. It sees the verity
//! root, where NVIDIA's library lies, with GPU devices, `/proc` and `/sys`, and has no network. Its program comes from the
//! initramfs, through a descriptor: the root has none of it.

use std::ffi::CString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use cloister_gpu_helper::record::{Cause, Failure, Record};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::fexecve;

use super::{GpuError, Helper, driver};
use crate::confine::{self, ConfineError, step};
use crate::mount::gpu_helper_plan;
use crate::root::{self, RootError};
use crate::spawn::{self, SpawnError};

/// The program in the initramfs.
const PROGRAM: &str = "/cloister/gpu-helper";

/// Why the helper was not executed.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Step(#[from] ConfineError),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

/// Starts the helper; PID 1 calls this.
pub(super) fn spawn() -> Result<Helper, GpuError> {
    let (ours, theirs) = UnixStream::pair().map_err(GpuError::Helper)?;
    let theirs = OwnedFd::from(theirs);
    let theirs_too = theirs.try_clone().map_err(GpuError::Helper)?;
    let started = spawn::start(
        spawn::GPU_HELPER,
        theirs.into(),
        theirs_too.into(),
        std::process::Stdio::null(),
    );
    let pid = started.map_err(|error| match error {
        SpawnError::System { source, .. } => GpuError::Helper(source),
        other => GpuError::Helper(std::io::Error::other(other.to_string())),
    })?;
    Ok(Helper::new(pid, ours))
}

/// Becomes the helper; standard input and output are PID 1's socket. Returns only on failure, which it has told PID 1 as a record.
pub fn main() {
    let error = match run() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let failure = Failure {
        call: error.to_string().chars().take(60).collect(),
        cause: Cause::Start,
    };
    let body = Record::Failed(failure).encode();
    let length = u32::try_from(body.len()).unwrap_or_default();
    // If this fails, PID 1 still sees the exit.
    let frame = [length.to_le_bytes().as_slice(), &body].concat();
    let _ = std::io::stdout().lock().write_all(&frame);
    let _ = std::io::stdout().lock().flush();
}

fn run() -> Result<std::convert::Infallible, StartError> {
    let program = File::open(PROGRAM).map_err(|error| {
        step("helper program")(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
    })?;
    umask(Mode::empty());
    let mut nodes = root::memory_nodes();
    nodes.extend(driver::nodes()?);
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(namespaces).map_err(step("namespaces"))?;
    root::enter(&gpu_helper_plan(), &nodes)?;
    confine::keep_only_administration()?;
    let name = CString::from(c"cloister-gpu-helper");
    let none: [CString; 0] = [];
    Ok(fexecve(program, &[name], &none).map_err(step("helper program"))?)
}
