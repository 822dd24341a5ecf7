//! PID 1's end of the pipe to `cloister-gpu-helper`, and its patience.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cloister_gpu_helper::record::{MAX_RECORD, Record, Request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::GpuError;

/// The running helper.
#[derive(Debug)]
pub struct Helper {
    pid: Pid,
    socket: UnixStream,
}

impl Helper {
    /// Takes over a helper that reads requests from, and writes records to, the other end of `socket`.
    #[must_use]
    pub fn new(pid: Pid, socket: UnixStream) -> Self {
        Self { pid, socket }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks, and waits `patience` for the record; a helper that takes longer is killed.
    ///
    /// # Errors
    /// [`GpuError::Helper`], [`GpuError::HelperEnded`], [`GpuError::HelperLate`], [`GpuError::Record`] and [`GpuError::Call`].
    pub(super) fn ask(&mut self, request: Request, patience: Duration) -> Result<Record, GpuError> {
        let outcome = self.exchange(request, Instant::now() + patience);
        if let Err(GpuError::HelperLate { .. }) = outcome {
            // It may hang in the driver for ever; nothing it says later counts.
            let _ = kill(self.pid, Signal::SIGKILL);
        }
        match outcome? {
            Record::Failed(failure) => Err(GpuError::Call(failure)),
            record => Ok(record),
        }
    }

    fn exchange(&mut self, request: Request, deadline: Instant) -> Result<Record, GpuError> {
        self.socket
            .write_all(&request.encode())
            .map_err(|error| ended(error, request))?;
        let mut length = [0; 4];
        self.read(&mut length, request, deadline)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_RECORD {
            return Err(GpuError::RecordLength(length));
        }
        let mut body = vec![0; length];
        self.read(&mut body, request, deadline)?;
        Ok(Record::decode(&body)?)
    }

    fn read(
        &mut self,
        mut into: &mut [u8],
        request: Request,
        deadline: Instant,
    ) -> Result<(), GpuError> {
        while !into.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(GpuError::HelperLate {
                    request: name(request),
                });
            }
            let timeout = self.socket.set_read_timeout(Some(left));
            timeout.map_err(GpuError::Helper)?;
            match self.socket.read(into) {
                Ok(0) => {
                    return Err(GpuError::HelperEnded {
                        request: name(request),
                    });
                }
                Ok(got) => into = into.get_mut(got..).unwrap_or_default(),
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => return Err(ended(error, request)),
            }
        }
        Ok(())
    }
}

fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
    )
}

fn ended(error: std::io::Error, request: Request) -> GpuError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => GpuError::HelperEnded {
            request: name(request),
        },
        _ => GpuError::Helper(error),
    }
}

/// The request in a message.
fn name(request: Request) -> &'static str {
    match request {
        Request::Probe => "probe",
        Request::Evidence { .. } => "evidence",
        Request::KeyRotation { .. } => "key rotation",
        Request::Ready => "ready",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A helper that says `script`'s output, and a sleeping process as its body.
    fn helper(bytes: &[u8]) -> (Helper, UnixStream, std::process::Child) {
        let (socket, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        (Helper::new(pid, socket), theirs, child)
    }

    fn framed(record: &Record) -> Vec<u8> {
        let body = record.encode();
        let length = u32::try_from(body.len()).unwrap();
        [&length.to_le_bytes()[..], &body].concat()
    }

    #[test]
    fn ask_reads_one_record() {
        let ready = Record::Ready {
            before: 0,
            after: 1,
        };
        let (mut helper, mut theirs, mut child) = helper(&framed(&ready));
        let found = helper.ask(Request::Ready, Duration::from_secs(5)).unwrap();
        assert_eq!(found, ready);
        let mut asked = [0; 33];
        theirs.read_exact(&mut asked).unwrap();
        assert_eq!(asked, Request::Ready.encode());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn ask_kills_a_helper_that_is_late_also_in_the_middle_of_a_record() {
        for sent in [&[][..], &[9, 0], &[9, 0, 0, 0, 1]] {
            let (mut helper, _theirs, mut child) = helper(sent);
            let error = helper
                .ask(Request::Probe, Duration::from_millis(50))
                .unwrap_err();
            let wanted = "GPU helper did not answer `probe` in time";
            assert_eq!(error.to_string(), wanted);
            let status = child.wait().unwrap();
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(&status),
                Some(9)
            );
        }
    }

    #[test]
    fn ask_names_an_end_a_wrong_record_and_a_long_one() {
        let long = u32::MAX.to_le_bytes();
        let cases: [(&[u8], &str); 3] = [
            (
                &[1, 0, 0, 0, 7],
                "not a well-formed record of the GPU helper",
            ),
            (
                &long,
                "record of 4294967295 bytes from the GPU helper, at most 262144 allowed",
            ),
            (&[1, 0], "GPU helper ended instead of answering `probe`"),
        ];
        for (sent, wanted) in cases {
            let (mut helper, theirs, mut child) = helper(sent);
            theirs.shutdown(std::net::Shutdown::Write).unwrap();
            let patience = Duration::from_secs(5);
            let error = helper.ask(Request::Probe, patience).unwrap_err();
            assert_eq!(error.to_string(), wanted);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
