//! The child that tells Azure's platform that the machine has started. A machine that does not say so counts as failed
//! after about 20 minutes, though it runs.
//!
//! It asks for nothing: one POST with a constant body, and of the answer only the status is read. The platform is the host,
//! so this is a process of its own, which has nothing to lose: its own user, an empty root directory, no capabilities. It
//! ends when it is done, and nothing depends on how.
//!
//! Protocol: Microsoft's `azure-init` 0.2, `libazureinit/src/health.rs` (address, path, header, body, statuses);
//! "What is IP address 168.63.129.16?" in Azure's documentation. Units: seconds.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

use crate::confine::{self, ConfineError, step};

/// The platform, the same in every region.
const PLATFORM: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)), 80);

/// The root directory of this process, below PID 1's `/run`.
const EMPTY: &str = "/run/provision";

/// User and group: nobody's.
const NOBODY: u32 = 65534;

/// How often and how long it is tried; the platform has given up by then.
const PATIENCE: Patience = Patience {
    one: Duration::from_secs(10),
    pause: Duration::from_secs(5),
    all: Duration::from_secs(20 * 60),
};

/// Longest first line of an answer that is read, in bytes.
const LONGEST: u64 = 256;

/// Time limits.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For each step of one attempt.
    one: Duration,
    /// Between attempts.
    pause: Duration,
    /// For everything.
    all: Duration,
}

/// Why the platform does not know.
#[derive(Debug, thiserror::Error)]
enum ProvisionError {
    /// The process could not be confined; it has said nothing to anybody.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The platform refuses.
    #[error("the platform answers with status {0}")]
    Refused(u16),
    /// The platform could not be reached, or its answer be understood.
    #[error("no answer within {} s, at last: {last}", waited.as_secs())]
    Silent {
        /// Time that was spent.
        waited: Duration,
        /// What the last attempt met.
        last: std::io::Error,
    },
}

/// Tells the platform, then ends. Standard output is the console.
pub fn main() {
    let told = confine().map_err(ProvisionError::from);
    let told = told.and_then(|mut console| {
        let told = tell(PLATFORM, PATIENCE);
        let line = match &told {
            Ok(()) => "azure: told that the machine is ready".to_owned(),
            Err(error) => format!("azure: not told that the machine is ready: {error}"),
        };
        // One write, so that lines of others do not come in between.
        let _ = console.write_all(format!("cloister-init: {line}\n").as_bytes());
        told
    });
    std::process::exit(i32::from(told.is_err()));
}

/// Gives up everything but the network; returns the console.
fn confine() -> Result<File, ConfineError> {
    let console = File::from(confine::take_stdout()?);
    confine::silence_stderr()?;
    unshare(CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS).map_err(step("namespaces"))?;
    let made = std::fs::DirBuilder::new().mode(0o555).create(EMPTY);
    made.or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })
    .map_err(|error| step("directory")(nix::Error::from_raw(error.raw_os_error().unwrap_or(0))))?;
    chroot(EMPTY).map_err(step("chroot"))?;
    chdir("/").map_err(step("chdir"))?;
    confine::drop_privileges(NOBODY, NOBODY)?;
    Ok(console)
}

/// Tells `platform` until it has understood, refuses or `patience` ends.
fn tell(platform: SocketAddr, patience: Patience) -> Result<(), ProvisionError> {
    let start = Instant::now();
    loop {
        let last = match attempt(platform, patience.one) {
            Ok(200 | 201) => return Ok(()),
            Ok(busy @ (429 | 503)) => std::io::Error::other(format!("status {busy}")),
            Ok(status) => return Err(ProvisionError::Refused(status)),
            Err(error) => error,
        };
        let waited = start.elapsed();
        if waited + patience.pause >= patience.all {
            return Err(ProvisionError::Silent { waited, last });
        }
        std::thread::sleep(patience.pause);
    }
}

/// One request; returns the status of its answer.
fn attempt(platform: SocketAddr, patience: Duration) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&platform, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(request().as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(LONGEST)).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => status(&line).ok_or_else(|| ErrorKind::InvalidData.into()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The whole request.
fn request() -> String {
    const BODY: &str = r#"{"state":"Ready"}"#;
    let (host, length) = (PLATFORM.ip(), BODY.len());
    let agent = concat!("cloister/", env!("CARGO_PKG_VERSION"));
    format!(
        "POST /provisioning/health HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nx-ms-guest-agent-name: {agent}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{BODY}"
    )
}

/// The status in a status line of HTTP/1.0 or 1.1 (RFC 9112, section 4), without its line feed.
fn status(line: &[u8]) -> Option<u16> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let rest = line
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, behind) = rest.split_at_checked(3)?;
    let ended = behind.is_empty() || behind.starts_with(b" ");
    let all = digits.iter().all(u8::is_ascii_digit) && ended;
    all.then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    const SHORT: Patience = Patience {
        one: Duration::from_millis(500),
        pause: Duration::from_millis(1),
        all: Duration::from_secs(20),
    };

    /// A platform that gives `answers`, one to a connection, and returns what it was sent.
    fn platform(answers: Vec<&'static [u8]>) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let serve = |answer: &&'static [u8]| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut got = Vec::new();
                while !got.ends_with(b"}") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    got.extend(byte);
                }
                stream.write_all(answer).unwrap();
                String::from_utf8(got).unwrap()
            };
            answers.iter().map(serve).collect()
        });
        (address, served)
    }

    #[test]
    fn platform_is_told_once_it_has_time() {
        let (address, served) = platform(vec![
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
            b"HTTP/1.1 429 Too Many Requests\r\n\r\n",
            b"",
            b"nonsense\r\n",
            b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        ]);
        tell(address, SHORT).unwrap();
        let got = served.join().unwrap();
        assert_eq!(got.len(), 5);
        for request in got {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, r#"{"state":"Ready"}"#);
            let mut lines = head.split("\r\n");
            assert_eq!(lines.next(), Some("POST /provisioning/health HTTP/1.1"));
            let wanted = ["Host: 168.63.129.16", "Content-Length: 17"];
            let lines: Vec<_> = lines.collect();
            assert!(wanted.iter().all(|line| lines.contains(line)), "{head}");
        }
    }

    #[test]
    fn refusal_is_final_and_named() {
        let (address, served) = platform(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n"]);
        let error = tell(address, SHORT).unwrap_err();
        assert_eq!(error.to_string(), "the platform answers with status 400");
        assert_eq!(served.join().unwrap().len(), 1);
    }

    #[test]
    fn nobody_there_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let patience = Patience {
            all: Duration::from_millis(50),
            ..SHORT
        };
        let error = tell(address, patience).unwrap_err();
        assert!(
            error.to_string().starts_with("no answer within 0 s"),
            "{error}"
        );
    }

    #[test]
    fn statuses_are_read_strictly() {
        let cases: [(&[u8], Option<u16>); 9] = [
            (b"HTTP/1.1 200 OK\r", Some(200)),
            (b"HTTP/1.0 201\r", Some(201)),
            (b"HTTP/1.1 503 \r", Some(503)),
            (b"HTTP/1.1 2000\r", None),
            (b"HTTP/1.1 +20 OK\r", None),
            (b"HTTP/1.1 20\r", None),
            (b"HTTP/2 200 OK\r", None),
            (b"HTTP/1.1  200 OK\r", None),
            (b"", None),
        ];
        for (line, wanted) in cases {
            assert_eq!(status(line), wanted, "{}", String::from_utf8_lossy(line));
        }
    }
}
