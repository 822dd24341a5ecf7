//! What the children do to themselves before they run: give up everything root had.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{
    Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, setgroups, setresgid, setresuid,
};

use crate::sys::capabilities;

/// Open files a child may have.
const FILES: u64 = 65536;

/// A step that failed; the child ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct ConfineError {
    step: &'static str,
    errno: Errno,
}

/// Names the step of an error.
pub(crate) fn step(step: &'static str) -> impl Fn(Errno) -> ConfineError {
    move |errno| ConfineError { step, errno }
}

/// Sets limits, becomes `uid` and `gid` with no further group, and gives up every capability and
/// the way to get one back. The calling process must have one thread.
///
/// # Errors
/// [`ConfineError`]: nothing may run after it.
pub fn drop_privileges(uid: u32, gid: u32) -> Result<(), ConfineError> {
    // PID 1 blocks SIGCHLD, and children inherit that.
    SigSet::empty()
        .thread_set_mask()
        .map_err(step("signal mask"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(step("limit of core dumps"))?;
    setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).map_err(step("limit of open files"))?;
    capabilities::empty_bounding_set().map_err(step("bounding set"))?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(step("setgroups"))?;
    setresgid(gid, gid, gid).map_err(step("setresgid"))?;
    setresuid(uid, uid, uid).map_err(step("setresuid"))?;
    capabilities::empty_own_sets().map_err(step("capset"))?;
    prctl::set_no_new_privs().map_err(step("no_new_privs"))
}

/// Sets limits and gives up every capability but `CAP_SYS_ADMIN`, and the way to get one back; the user stays root. The calling process must
/// have one thread.
///
/// # Errors
/// [`ConfineError`]: nothing may run after it.
pub fn keep_only_administration() -> Result<(), ConfineError> {
    SigSet::empty()
        .thread_set_mask()
        .map_err(step("signal mask"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(step("limit of core dumps"))?;
    capabilities::bound_to_administration().map_err(step("bounding set"))?;
    setgroups(&[]).map_err(step("setgroups"))?;
    capabilities::keep_administration().map_err(step("capset"))?;
    prctl::set_no_new_privs().map_err(step("no_new_privs"))
}

/// Takes what the parent put on a standard stream and puts `/dev/null` there. The descriptor
/// returned closes itself when another program is executed.
///
/// # Errors
/// [`ConfineError`].
pub fn take_stdin() -> Result<OwnedFd, ConfineError> {
    let taken = nix::unistd::dup(std::io::stdin()).map_err(step("stdin"))?;
    dup2_stdin(null()?).map_err(step("stdin"))?;
    close_on_exec(taken)
}

/// The same for standard output.
///
/// # Errors
/// [`ConfineError`].
pub fn take_stdout() -> Result<OwnedFd, ConfineError> {
    let taken = nix::unistd::dup(std::io::stdout()).map_err(step("stdout"))?;
    dup2_stdout(null()?).map_err(step("stdout"))?;
    close_on_exec(taken)
}

/// Puts `/dev/null` on standard error.
///
/// # Errors
/// [`ConfineError`].
pub fn silence_stderr() -> Result<(), ConfineError> {
    dup2_stderr(null()?).map_err(step("stderr"))
}

fn close_on_exec(fd: OwnedFd) -> Result<OwnedFd, ConfineError> {
    let flag = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
    nix::fcntl::fcntl(&fd, flag).map_err(step("close-on-exec"))?;
    Ok(fd)
}

fn null() -> Result<File, ConfineError> {
    let open = File::options().read(true).write(true).open("/dev/null");
    open.map_err(|error| step("/dev/null")(Errno::from_raw(error.raw_os_error().unwrap_or(0))))
}
