//! Feeding a locked program, reading what it says, and ending it when it hangs.

use std::fs;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};

use super::{Tool, ToolError};
use crate::store::Store;

/// Bytes that a program's input holds, so that what it is fed with is made while it writes. No user without privileges gets more
/// (Linux, `pipe-max-size`).
const PIPE: i32 = 1 << 20;
/// Bytes of a failed program's standard error that are kept: the last ones.
const STDERR_KEPT: usize = 8192;

/// How long a program may use no processor time before it counts as hung. `mkfs.erofs` 1.8.6 waits for ever when the
/// disk fills while it writes.
const PATIENCE: Patience = Patience {
    interval: Duration::from_secs(5),
    intervals: 24,
};

/// How often is looked, and how often nothing may have happened.
#[derive(Debug, Clone, Copy)]
struct Patience {
    interval: Duration,
    intervals: u32,
}

/// What came out of a program.
struct Streams {
    fed: io::Result<()>,
    output: Vec<u8>,
    errors: Vec<u8>,
    hung: bool,
}

impl Tool {
    /// Runs `command` (made by [`Tool::command`] for `program`) in an empty scratch directory,
    /// feeds it and returns its standard output.
    pub(crate) fn run(
        store: &Store,
        program: &str,
        command: Command,
        feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
    ) -> Result<Vec<u8>, ToolError> {
        run(store, program, command, feed, PATIENCE)
    }
}

fn run(
    store: &Store,
    program: &str,
    mut command: Command,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
    patience: Patience,
) -> Result<Vec<u8>, ToolError> {
    let scratch = store.scratch()?;
    command
        .current_dir(scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let program = program.to_owned();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(source) => return Err(ToolError::Start { program, source }),
    };
    let streams = stream(&mut child, feed, patience);
    let status = match child.wait() {
        Ok(status) => status,
        Err(source) => return Err(ToolError::Start { program, source }),
    };
    if streams.hung {
        let waited = patience.interval * patience.intervals;
        return Err(ToolError::Hung {
            program,
            seconds: waited.as_secs(),
        });
    }
    if !status.success() {
        let stderr = String::from_utf8_lossy(&streams.errors).trim().to_owned();
        return Err(ToolError::Failed {
            program,
            status,
            stderr,
        });
    }
    match streams.fed {
        Ok(()) => Ok(streams.output),
        Err(source) => Err(ToolError::Input { program, source }),
    }
}

/// Feeds and reads until the program closes its output.
fn stream(
    child: &mut Child,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
    patience: Patience,
) -> Streams {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let (closed, ended) = channel();
        let watch = scope.spawn(move || watch(child, &ended, patience));
        let errors = scope.spawn(move || stderr.map(last_bytes).unwrap_or_default());
        let fed = scope.spawn(move || match stdin {
            Some(pipe) => {
                // A system that grants less has a smaller pipe, and that is all: whoever feeds waits more often.
                let _ = fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE));
                let mut pipe = io::BufWriter::with_capacity(1 << 16, pipe);
                feed(&mut pipe).and_then(|()| pipe.flush())
            }
            None => Ok(()),
        });
        let mut output = Vec::new();
        let read = stdout.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut output));
        let fed = fed
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the feeding thread ended early")));
        let errors = errors.join().unwrap_or_default();
        drop(closed);
        Streams {
            fed: fed.and(read.map(|_| ())),
            output,
            errors,
            hung: watch.join().unwrap_or_default(),
        }
    })
}

/// Kills a program that uses no processor time for as long as `patience` says; whether it came to that.
fn watch(child: &mut Child, ended: &Receiver<()>, patience: Patience) -> bool {
    let mut last = None;
    let mut idle = 0;
    while ended.recv_timeout(patience.interval) == Err(RecvTimeoutError::Timeout) {
        let used = processor_time(child.id());
        idle = match used {
            Some(_) if used == last => idle + 1,
            _ => 0,
        };
        last = used;
        // One look finds where it stands, every further one an interval without work.
        if idle >= patience.intervals {
            return child.kill().is_ok();
        }
    }
    false
}

/// Clock ticks that a process has used in user and kernel mode; `None` when it cannot be told.
/// Source: proc_pid_stat(5), fields 14 and 15; the name in field 2 may hold anything but ends at the last `)`.
fn processor_time(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    ticks()?.checked_add(ticks()?)
}

/// Reads to the end and keeps the last bytes.
fn last_bytes(mut pipe: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read) = pipe.read(&mut buffer) {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let surplus = kept.len().saturating_sub(STDERR_KEPT);
        kept.drain(..surplus);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn run_reports_the_end_of_standard_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let output = Tool::run(&store, "sh", shell("cat"), |out| {
            out.write_all(&[b'a'; 200_000])
        })
        .unwrap();
        assert_eq!(output.len(), 200_000);
        let error =
            Tool::run(&store, "sh", shell("echo no space >&2; exit 3"), |_| Ok(())).unwrap_err();
        assert!(matches!(error, ToolError::Failed { stderr, .. } if stderr == "no space"));
    }

    #[test]
    fn run_ends_a_program_that_hangs_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let patience = Patience {
            interval: Duration::from_millis(100),
            intervals: 10,
        };
        let hangs = run(&store, "sh", shell("exec sleep 600"), |_| Ok(()), patience);
        let error = hangs.unwrap_err();
        assert!(
            matches!(error, ToolError::Hung { seconds: 1, .. }),
            "{error}"
        );
        let busy = "i=0; while [ $i -lt 2000000 ]; do i=$((i+1)); done; echo done";
        let output = run(&store, "sh", shell(busy), |_| Ok(()), patience).unwrap();
        assert_eq!(output, b"done\n");
        // What is fed late makes it idle, but not for long enough.
        let late = |pipe: &mut dyn Write| {
            std::thread::sleep(Duration::from_millis(500));
            pipe.write_all(b"late")
        };
        assert_eq!(
            run(&store, "sh", shell("cat"), late, patience).unwrap(),
            b"late"
        );
    }
}
