//! PID 1's side of its children: how they are started and what connects them.
//!
//! All are this same program, executed anew; they confine themselves (`crate::front`,
//! `crate::workload`), so nothing runs between fork and exec but the standard library's own code.
//! Connections are handed over as standard streams.

use std::io::PipeReader;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use cloister_evidence::guest::{GuestConfiguration, SERVE_ID, Workload};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};
use nix::unistd::{Gid, Pid, Uid, chown};

use crate::channel::{ChannelError, Configuration, write_frame};
use crate::mount::{MountError, SHARED};
use crate::workload::{WorkloadError, make_cgroup};

/// This program in the initramfs.
const PROGRAM: &str = "/init";

/// Name (`argv[0]`) under which this program is `serve`.
pub const SERVE: &str = "cloister-serve";

/// Name under which it becomes the workload.
pub const WORKLOAD: &str = "cloister-workload";

/// Name under which it becomes the helper that loads NVIDIA's library.
pub const GPU_HELPER: &str = "cloister-gpu";

/// Name under which it tells Azure's platform that the machine has started.
pub const PROVISION: &str = "cloister-provision";

/// How long PID 1 waits for `serve` to take a reply.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Why a child was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// The step.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The shared directory could not be handed to the children.
    #[error(transparent)]
    Shared(#[from] MountError),
    /// The first message could not be sent.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The control group could not be made.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

fn failed<E: Into<std::io::Error>>(what: &'static str) -> impl Fn(E) -> SpawnError {
    move |error| SpawnError::System {
        what,
        source: error.into(),
    }
}

/// The running `serve`.
#[derive(Debug)]
pub struct Serve {
    /// Its process.
    pub pid: Pid,
    /// PID 1's end of the control channel; reads do not block.
    pub control: UnixStream,
}

/// The running workload.
#[derive(Debug)]
pub struct Running {
    /// Its process.
    pub pid: Pid,
    /// Carries why the program could not be executed; closes when it runs. Reads do not block.
    pub report: UnixStream,
    /// The program's standard output and error. Reads do not block.
    pub output: PipeReader,
}

/// Starts `serve` on the configured port; the socket is bound here and listened on there.
///
/// # Errors
/// [`SpawnError`].
pub fn serve(guest: &GuestConfiguration) -> Result<Serve, SpawnError> {
    share(&guest.workload)?;
    let listener = bound(guest.listen)?;
    let (mut control, theirs) = UnixStream::pair().map_err(failed("control channel"))?;
    let pid = start(
        SERVE,
        OwnedFd::from(theirs).into(),
        listener.into(),
        Stdio::null(),
    )?;
    control
        .set_write_timeout(Some(WRITE_PATIENCE))
        .map_err(failed("control channel"))?;
    let configuration = Configuration {
        workload_socket: format!("/{}", guest.workload.socket),
        subject: guest.recipe.clone(),
        canary: guest.canary.clone(),
    };
    write_frame(&mut control, &configuration.encode())?;
    Ok(Serve { pid, control })
}

/// Starts the workload in a PID namespace of its own.
///
/// # Errors
/// [`SpawnError`].
pub fn workload(workload: &Workload) -> Result<Running, SpawnError> {
    make_cgroup(workload)?;
    let (report, theirs) = UnixStream::pair().map_err(failed("report channel"))?;
    let (output, written) = std::io::pipe().map_err(failed("output"))?;
    let written_too = written.try_clone().map_err(failed("output"))?;
    report
        .set_nonblocking(true)
        .map_err(failed("report channel"))?;
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed("output"))?;
    // Holds for the children of this process from now on; this is the last one.
    unshare(CloneFlags::CLONE_NEWPID).map_err(failed("PID namespace"))?;
    let pid = start(
        WORKLOAD,
        OwnedFd::from(theirs).into(),
        written.into(),
        written_too.into(),
    )?;
    Ok(Running {
        pid,
        report,
        output,
    })
}

/// Starts the process that tells Azure's platform that the machine has started; nobody waits for it.
///
/// # Errors
/// [`SpawnError::System`].
pub fn provision() -> Result<Pid, SpawnError> {
    let console = std::fs::File::options().write(true).open("/dev/console");
    let console = console.map_or_else(|_| Stdio::null(), Stdio::from);
    start(PROVISION, Stdio::null(), console, Stdio::null())
}

/// Starts this program under another name, with these standard streams and an empty environment.
pub(crate) fn start(
    what: &'static str,
    stdin: Stdio,
    stdout: Stdio,
    stderr: Stdio,
) -> Result<Pid, SpawnError> {
    let mut command = Command::new(PROGRAM);
    command
        .arg0(what)
        .env_clear()
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr);
    let child = command.spawn().map_err(failed(what))?;
    let pid = i32::try_from(child.id())
        .map_err(|_| failed(what)(std::io::Error::other("process number")))?;
    Ok(Pid::from_raw(pid))
}

/// Gives the shared directory to the workload, and through its group, which files in it inherit,
/// to `serve`.
fn share(workload: &Workload) -> Result<(), SpawnError> {
    let refused = |errno| MountError::new("share", SHARED, errno);
    chown(
        SHARED,
        Some(Uid::from_raw(workload.uid)),
        Some(Gid::from_raw(SERVE_ID)),
    )
    .map_err(refused)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o2770);
    std::fs::set_permissions(SHARED, mode).map_err(failed(SHARED))
}

fn bound(port: u16) -> Result<OwnedFd, SpawnError> {
    let listener = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(failed("listener"))?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).map_err(failed("listener"))?;
    let address = std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    bind(
        std::os::fd::AsRawFd::as_raw_fd(&listener),
        &SockaddrIn::from(address),
    )
    .map_err(failed("listener"))?;
    Ok(listener)
}
