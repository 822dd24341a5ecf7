//! PID 1's only loop: it watches two children, the root's integrity and the control channel.
//!
//! One thread, one `poll`. Nothing it reads can hold it up: all descriptors are non-blocking, and
//! half a frame is kept until the other half comes. Any end of a child, and any corrupt block of
//! the root, is an error, and every error ends in power-off.

use std::io::{ErrorKind, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::attest::{AttestError, Attester};
use crate::channel::{ChannelError, Frames, Reply, Request, write_frame};
use crate::console::shown;
use crate::gpu::GpuError;
use crate::spawn::{Running, Serve};
use crate::uevent::{self, Corruption};

/// Bytes of the workload's latest output that are kept in memory.
const OUTPUT_KEPT: usize = 64 * 1024;

/// Time for a child that has closed its channel to become a process that has ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// What happened, if it was no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `serve` was given the evidence for its first leaf.
    Attested,
    /// `serve` says that it answers.
    Listening,
    /// The workload's program runs.
    Started,
    /// `serve` says that the workload answered its canary.
    Healthy,
}

/// What ends the guest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// `serve` ended.
    #[error("{0}")]
    Serve(String),
    /// The workload ended, or never began.
    #[error("{0}")]
    Workload(String),
    /// The root is not what it was.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// The evidence device failed.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// `serve` does not keep to the protocol.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A system call failed.
    #[error("{what}: {errno}")]
    System {
        /// The call.
        what: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
    /// An event did not come in time.
    #[error("no {0:?} within {1} s")]
    Late(Event, u64),
}

fn system(what: &'static str) -> impl Fn(Errno) -> SuperviseError {
    move |errno| SuperviseError::System { what, errno }
}

/// The state of the loop.
#[derive(Debug)]
pub struct Supervisor {
    attester: Attester,
    serve: Serve,
    frames: Frames,
    attested: bool,
    reason: Option<String>,
    workload: Option<Workload>,
    signals: SignalFd,
    uevents: OwnedFd,
}

/// The workload as the loop sees it.
#[derive(Debug)]
struct Workload {
    pid: Pid,
    report: Option<UnixStream>,
    reported: Vec<u8>,
    output: Option<PipeReader>,
    kept: Ring,
}

impl Supervisor {
    /// Takes over `serve`. `uevents` is the socket of `crate::uevent::open`, opened before the
    /// verity device was made; `signals` is [`child_signals`], made before any child.
    pub fn new(attester: Attester, serve: Serve, uevents: OwnedFd, signals: SignalFd) -> Self {
        let frames = Frames::default();
        Self {
            attester,
            serve,
            frames,
            attested: false,
            reason: None,
            workload: None,
            signals,
            uevents,
        }
    }

    /// Takes over the workload.
    pub fn watch(&mut self, running: Running) {
        let Running {
            pid,
            report,
            output,
        } = running;
        let (report, output) = (Some(report), Some(output));
        self.workload = Some(Workload {
            pid,
            report,
            reported: Vec::new(),
            output,
            kept: Ring::default(),
        });
    }

    /// Runs until `wanted` happens.
    ///
    /// # Errors
    /// [`SuperviseError`], also when `seconds` have passed.
    pub fn wait_for(&mut self, wanted: Event, seconds: u64) -> Result<(), SuperviseError> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SuperviseError::Late(wanted, seconds));
            }
            if self.round(PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))? == Some(wanted)
            {
                return Ok(());
            }
        }
    }

    /// Runs until something ends.
    ///
    /// # Errors
    /// Always: the [`SuperviseError`] that ends the guest.
    pub fn run(&mut self) -> Result<std::convert::Infallible, SuperviseError> {
        loop {
            self.round(PollTimeout::NONE)?;
        }
    }

    /// Waits for anything, then looks everywhere. Corruption comes first, since it explains what
    /// a child may die of; the channel comes before the children, since it may say why.
    fn round(&mut self, timeout: PollTimeout) -> Result<Option<Event>, SuperviseError> {
        self.sleep(timeout)?;
        if let Some(corruption) = uevent::corruption(&self.uevents).map_err(system("uevents"))? {
            return Err(corruption.into());
        }
        let event = self.read_control()?;
        let started = self.read_workload();
        self.reap()?;
        Ok(event.or(started))
    }

    fn sleep(&self, timeout: PollTimeout) -> Result<(), SuperviseError> {
        let mut watched = vec![
            self.signals.as_fd(),
            self.uevents.as_fd(),
            self.serve.control.as_fd(),
        ];
        if let Some(workload) = &self.workload {
            watched.extend(workload.report.as_ref().map(AsFd::as_fd));
            watched.extend(workload.output.as_ref().map(AsFd::as_fd));
        }
        let mut watched: Vec<_> = watched
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(system("poll")(errno)),
        }
    }

    /// Reads once from `serve` and answers every request that is complete.
    fn read_control(&mut self) -> Result<Option<Event>, SuperviseError> {
        let mut buffer = [0; 16 * 1024];
        let got = match recv(
            self.serve.control.as_raw_fd(),
            &mut buffer,
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(got) => got,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(Errno::ECONNRESET) => 0,
            Err(errno) => return Err(system("control channel")(errno)),
        };
        if got == 0 {
            return Err(self.serve_ended(farewell(self.serve.pid)));
        }
        self.frames.push(buffer.get(..got).unwrap_or_default());
        let mut event = None;
        while let Some(body) = self.frames.take()? {
            event = self.answer(&Request::decode(&body)?)?.or(event);
        }
        Ok(event)
    }

    fn answer(&mut self, request: &Request) -> Result<Option<Event>, SuperviseError> {
        match request {
            Request::Failed { reason } => self.reason = Some(reason.clone()),
            Request::Listening => return Ok(Some(Event::Listening)),
            Request::Healthy => return Ok(Some(Event::Healthy)),
            Request::Leaf { .. } | Request::Sessions { .. } | Request::NewSession { .. } => {}
        }
        let Some(reply) = self.attester.answer(request)? else {
            return Ok(None);
        };
        let first = !self.attested && matches!(reply, Reply::Evidence { .. });
        write_frame(&mut self.serve.control, &reply.encode())?;
        self.attested |= first;
        Ok(first.then_some(Event::Attested))
    }

    /// Reads what the workload's launcher and program have written.
    fn read_workload(&mut self) -> Option<Event> {
        let workload = self.workload.as_mut()?;
        if let Some(output) = &mut workload.output
            && drain(output, |bytes| workload.kept.push(bytes))
        {
            workload.output = None;
        }
        let report = workload.report.as_mut()?;
        let ended = drain(report, |bytes| workload.reported.extend_from_slice(bytes));
        ended.then(|| workload.report = None)?;
        workload.reported.is_empty().then_some(Event::Started)
    }

    /// Collects ended children; orphans of `serve` are nobody's loss.
    fn reap(&mut self) -> Result<(), SuperviseError> {
        while self
            .signals
            .read_signal()
            .map_err(system("signals"))?
            .is_some()
        {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system("waitpid")(errno)),
                Ok(status) => self.ended(status)?,
            }
        }
    }

    fn ended(&mut self, status: WaitStatus) -> Result<(), SuperviseError> {
        if status.pid() == Some(self.serve.pid) {
            return Err(self.serve_ended(Some(status)));
        }
        if status.pid().is_some() && status.pid() == self.attester.gpu_helper() {
            let lost = GpuError::HelperLost(describe(Some(status)));
            return Err(AttestError::from(lost).into());
        }
        self.read_workload();
        match &self.workload {
            Some(workload) if status.pid() == Some(workload.pid) => {
                let reported = String::from_utf8_lossy(&workload.reported);
                let cause = if reported.is_empty() {
                    describe(Some(status))
                } else {
                    shown(&reported)
                };
                Err(SuperviseError::Workload(cause))
            }
            _ => Ok(()),
        }
    }

    fn serve_ended(&self, status: Option<WaitStatus>) -> SuperviseError {
        let reason = self
            .reason
            .as_ref()
            .map(|reason| format!(": {}", shown(reason)));
        SuperviseError::Serve(describe(status) + &reason.unwrap_or_default())
    }
}

/// The signal of ended children as a descriptor; blocked otherwise. Children inherit
/// the block and lift it (`crate::confine`).
///
/// # Errors
/// The kernel's.
pub fn child_signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Reads all there is from a non-blocking stream; true when it has ended.
fn drain(stream: &mut impl Read, mut take: impl FnMut(&[u8])) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(got) => take(buffer.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Waits a little for a process to end.
fn farewell(pid: Pid) -> Option<WaitStatus> {
    let deadline = Instant::now() + FAREWELL;
    while Instant::now() < deadline {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {
                std::thread::sleep(Duration::from_millis(10))
            }
            Ok(status) => return Some(status),
            Err(_) => return None,
        }
    }
    None
}

fn describe(status: Option<WaitStatus>) -> String {
    match status {
        Some(WaitStatus::Exited(_, code)) => format!("exited with status {code}"),
        Some(WaitStatus::Signaled(_, signal, _)) => format!("killed by {signal}"),
        Some(other) => format!("ended as {other:?}"),
        None => "closed its control channel".to_owned(),
    }
}

/// The latest bytes of an endless stream.
#[derive(Debug, Default)]
struct Ring {
    kept: std::collections::VecDeque<u8>,
}

impl Ring {
    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let surplus = self.kept.len().saturating_sub(OUTPUT_KEPT);
        self.kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_keeps_the_latest_bytes() {
        let mut ring = Ring::default();
        ring.push(&vec![1; OUTPUT_KEPT]);
        ring.push(&[2, 3]);
        assert_eq!(ring.kept.len(), OUTPUT_KEPT);
        assert_eq!(
            ring.kept.iter().rev().take(3).copied().collect::<Vec<_>>(),
            [3, 2, 1]
        );
    }

    #[test]
    fn describe_names_status_and_signal() {
        let pid = Pid::from_raw(7);
        assert_eq!(
            describe(Some(WaitStatus::Exited(pid, 3))),
            "exited with status 3"
        );
        assert_eq!(
            describe(Some(WaitStatus::Signaled(pid, Signal::SIGSEGV, false))),
            "killed by SIGSEGV"
        );
        assert_eq!(describe(None), "closed its control channel");
    }

    #[test]
    fn drain_tells_the_end_from_a_pause() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut got = Vec::new();
        assert!(!drain(&mut ours, |bytes| got.extend_from_slice(bytes)));
        std::io::Write::write_all(&mut &theirs, b"why").unwrap();
        drop(theirs);
        assert!(drain(&mut ours, |bytes| got.extend_from_slice(bytes)));
        assert_eq!(got, b"why");
    }
}
