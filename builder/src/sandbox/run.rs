//! Starting a program in the sandbox, listening to it, and ending it when its time is over.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, PipeReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::{Job, SandboxError, forbidding};

/// Lines that are kept for a message: the last ones.
const LINES_KEPT: usize = 40;
/// Bytes of a line that are kept.
const LINE_KEPT: usize = 1000;

/// How a program ended.
struct End {
    status: ExitStatus,
    /// Whether its time was over.
    late: bool,
    lines: VecDeque<String>,
}

/// Runs `command`, which was made for `job`. The child dies with the thread that starts it, so this one waits for it.
pub(super) fn run(
    command: Command,
    job: &Job<'_>,
    report: &dyn Fn(&str),
) -> Result<Vec<String>, SandboxError> {
    let program = job.words.first().copied().unwrap_or_default().to_owned();
    let end = match listen(command, job.limit, report) {
        Ok(end) => end,
        Err(source) => return Err(SandboxError::Start { program, source }),
    };
    let output = || Vec::from(end.lines.clone()).join("\n");
    if end.late {
        let (seconds, output) = (job.limit.as_secs(), output());
        return Err(SandboxError::TimeLimit {
            program,
            seconds,
            output,
        });
    }
    if end.status.success() {
        return Ok(end.lines.into());
    }
    if let Some(said) = refused(&end) {
        let setting = forbidding(|path| std::fs::read_to_string(path).ok());
        return Err(SandboxError::Namespaces { said, setting });
    }
    Err(SandboxError::Failed {
        program,
        status: end.status,
        output: output(),
    })
}

/// What bubblewrap said when it could not make the namespaces: its only words, with exit code 1.
fn refused(end: &End) -> Option<String> {
    let mut lines = end.lines.iter();
    let (Some(only), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let said = only.strip_prefix("bwrap: ")?;
    let of_namespaces = !said.starts_with("execvp ") && end.status.code() == Some(1);
    of_namespaces.then(|| said.to_owned())
}

fn listen(mut command: Command, limit: Duration, report: &dyn Fn(&str)) -> io::Result<End> {
    let (reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // Our copies of the writing end, so that the pipe ends with the program.
    drop(command);
    let (lines, late) = std::thread::scope(|scope| {
        let (closed, ended) = channel();
        let child = &mut child;
        let watch = scope.spawn(move || watch(child, &ended, limit));
        let lines = read(reader, report);
        drop(closed);
        (lines, watch.join().unwrap_or_default())
    });
    let status = child.wait()?;
    Ok(End {
        status,
        late,
        lines,
    })
}

/// Kills the program when its output has not ended in time; whether it came to that. Its children are in its process
/// namespace and die with it.
fn watch(child: &mut Child, ended: &Receiver<()>, limit: Duration) -> bool {
    ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) && child.kill().is_ok()
}

/// Reads to the end and keeps the last lines.
fn read(pipe: PipeReader, report: &dyn Fn(&str)) -> VecDeque<String> {
    let mut kept = VecDeque::new();
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
        line.truncate(LINE_KEPT);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        report(&text);
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
    }
    kept
}
