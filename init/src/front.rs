//! The child that becomes `serve`: confined first, then handed to `crate::serve`.
//!
//! It owns the TLS key, so it shares nothing with the workload but one directory, its root. The
//! listener was made before it moved to a network namespace of its own: it can accept connections
//! and can open none.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use cloister_evidence::guest::SERVE_ID;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{chdir, chroot};

use crate::channel::{ChannelError, Configuration, Request, read_frame, write_frame};
use crate::confine::{self, ConfineError, step};
use crate::console::shown;
use crate::mount::SHARED;

/// Why `serve` ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// It could not be confined.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// It was not told what to do.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It failed on its own.
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
}

/// Runs `serve` in this process: standard input is the control channel, standard output the
/// listener. Returns only on failure, of which PID 1 has been told as far as possible.
pub fn main() {
    if let Ok(mut control) = confine::take_stdin().map(UnixStream::from) {
        let failure = control
            .try_clone()
            .map_err(ChannelError::from)
            .map_err(FrontError::from);
        let failure = match failure.and_then(run) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let reason: String = shown(&failure.to_string()).chars().take(60).collect();
        // If this fails too, PID 1 still sees the exit.
        let _ = write_frame(&mut control, &Request::Failed { reason }.encode());
    }
}

fn run(mut control: UnixStream) -> Result<std::convert::Infallible, FrontError> {
    let listener = TcpListener::from(confine::take_stdout()?);
    confine::silence_stderr()?;
    let configuration = Configuration::decode(&read_frame(&mut control)?)?;
    // The kernel's out-of-memory killer shall take the workload first.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .map_err(step("namespaces"))?;
    chroot(SHARED).map_err(step("chroot"))?;
    chdir("/").map_err(step("chdir"))?;
    confine::drop_privileges(SERVE_ID, SERVE_ID)?;
    prctl::set_dumpable(false).map_err(step("dumpable"))?;
    Ok(crate::serve::run(control, listener, &configuration)?)
}
