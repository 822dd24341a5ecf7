//! What surrounds the front in a guest, as stubs: PID 1 on the control channel, a workload on a Unix socket.

use super::super::{Endpoint, Front, Limits, ServeError};
use crate::channel::{self, Reply, Request};
use cloister_evidence::batch::Batch;
use cloister_evidence::binding::{Mode, binding};
use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::guest::Canary;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(super) const DEVICES: &[u8] = b"devices section";
pub(super) const LOG: &[u8] = b"log section";
/// The section that a session gets which wants a new one.
pub(super) const NEW_DEVICES: &[u8] = b"new devices section";

/// A running front.
pub(super) struct Guest {
    pub(super) address: SocketAddr,
    /// Seconds since 1970, as the front sees them.
    pub(super) now: Arc<AtomicU64>,
    pub(super) pid1: Pid1,
    pub(super) workload: Workload,
    pub(super) front: JoinHandle<Result<Infallible, ServeError>>,
}

/// The stub of PID 1: its "hardware" evidence is the report data itself.
#[derive(Clone, Default)]
pub(super) struct Pid1 {
    /// Sizes of the batches that were asked for.
    pub(super) batches: Arc<Mutex<Vec<usize>>>,
    /// Refuses sessions.
    pub(super) refuses: Arc<AtomicBool>,
    /// Closes the channel at the next request.
    pub(super) quits: Arc<AtomicBool>,
    /// Was told that the canary was answered.
    pub(super) healthy: Arc<AtomicBool>,
}

/// The stub of the workload.
pub(super) struct Workload {
    _directory: tempfile::TempDir,
    /// One message per thing that happened.
    pub(super) seen: Receiver<String>,
    /// Lets `/stream` send its next event.
    pub(super) gate: Sender<()>,
    /// Bytes of `/big` that the front has taken.
    pub(super) written: Arc<AtomicU64>,
}

impl Guest {
    pub(super) fn start() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let (gate, gates) = channel();
        let (sender, seen) = channel();
        let written = Arc::new(AtomicU64::new(0));
        let stub = Stub {
            seen: sender,
            gates: Arc::new(Mutex::new(gates)),
            written: Arc::clone(&written),
        };
        stub.listen(&path);
        let workload = Workload {
            _directory: directory,
            seen,
            gate,
            written,
        };
        Self::around(limits, &path, workload, None)
    }

    /// A guest whose workload does not listen.
    pub(super) fn without_workload() -> Self {
        let workload = Workload::absent();
        let path = workload._directory.path().join("none.sock");
        Self::around(Limits::default(), &path, workload, None)
    }

    /// A guest that asks `canary` first, of a workload at `path` that somebody else makes.
    pub(super) fn with_canary(path: &Path, canary: Canary) -> Self {
        Self::around(Limits::default(), path, Workload::absent(), Some(canary))
    }

    fn around(limits: Limits, path: &Path, workload: Workload, canary: Option<Canary>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pid1 = Pid1::default();
        let (ready, listening) = channel();
        let stub = pid1.clone();
        thread::spawn(move || stub.serve(ours, &ready));
        let now = Arc::new(AtomicU64::new(1_900_000_000));
        let clock = Arc::clone(&now);
        let front = Front {
            endpoint: Endpoint::Unix(path.into()),
            limits,
            subject: "demo".into(),
            canary,
            leaf_check: Duration::from_millis(50),
            now: move || clock.load(Ordering::Relaxed),
        };
        let front = thread::spawn(move || front.run(theirs, listener));
        listening
            .recv_timeout(Duration::from_secs(20))
            .expect("front is listening");
        Self {
            address,
            now,
            pid1,
            workload,
            front,
        }
    }
}

impl Workload {
    fn absent() -> Self {
        Self {
            _directory: tempfile::tempdir().unwrap(),
            seen: channel().1,
            gate: channel().0,
            written: Arc::default(),
        }
    }
}

impl Pid1 {
    fn serve(self, mut control: UnixStream, ready: &Sender<()>) {
        while let Ok(frame) = channel::read_frame(&mut control) {
            if self.quits.load(Ordering::Relaxed) {
                return;
            }
            let reply = match Request::decode(&frame).unwrap() {
                Request::Listening => {
                    ready.send(()).unwrap();
                    continue;
                }
                Request::Healthy => {
                    self.healthy.store(true, Ordering::Relaxed);
                    continue;
                }
                Request::Leaf {
                    spki_sha256,
                    not_before,
                    not_after,
                } => leaf_evidence(
                    &spki_sha256,
                    &Mode::Leaf {
                        not_before,
                        not_after,
                    },
                ),
                Request::Sessions { .. } | Request::NewSession { .. }
                    if self.refuses.load(Ordering::Relaxed) =>
                {
                    Reply::Refused {
                        reason: "test".into(),
                    }
                }
                Request::Sessions {
                    spki_sha256,
                    entries,
                } => {
                    thread::sleep(Duration::from_millis(50)); // a TPM is slow
                    self.batches.lock().unwrap().push(entries.len());
                    let modes = entries.into_iter();
                    let modes = modes.map(|(nonce, exporter)| Mode::Session { nonce, exporter });
                    Reply::Quote {
                        cpu: batch(&spki_sha256, modes, DEVICES),
                    }
                }
                Request::NewSession {
                    spki_sha256,
                    nonce,
                    exporter,
                } => Reply::Evidence {
                    cpu: batch(
                        &spki_sha256,
                        [Mode::Session { nonce, exporter }],
                        NEW_DEVICES,
                    ),
                    devices: NEW_DEVICES.to_vec(),
                    log: LOG.to_vec(),
                },
                Request::Failed { .. } => return,
            };
            channel::write_frame(&mut control, &reply.encode()).unwrap();
        }
    }
}

/// The evidence of the root of a batch of bindings.
fn batch(
    spki_sha256: &[u8; 32],
    modes: impl IntoIterator<Item = Mode>,
    devices: &[u8],
) -> CpuSection {
    let of = |mode| binding(&mode, spki_sha256, devices, LOG);
    let bindings: Vec<_> = modes.into_iter().map(of).collect();
    cpu(Batch::new(&bindings).unwrap().report_data().as_bytes())
}

fn leaf_evidence(spki_sha256: &[u8; 32], mode: &Mode) -> Reply {
    let report = binding(mode, spki_sha256, DEVICES, LOG).report_data();
    Reply::Evidence {
        cpu: cpu(report.as_bytes()),
        devices: DEVICES.to_vec(),
        log: LOG.to_vec(),
    }
}

fn cpu(report_data: &[u8]) -> CpuSection {
    CpuSection {
        kind: CpuKind::TpmQuote,
        value: report_data.to_vec(),
    }
}

#[derive(Clone)]
struct Stub {
    seen: Sender<String>,
    gates: Arc<Mutex<Receiver<()>>>,
    written: Arc<AtomicU64>,
}

impl Stub {
    fn listen(self, path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stub, stream) = (self.clone(), stream.unwrap());
                thread::spawn(move || stub.connection(stream));
            }
        });
    }

    fn note(&self, what: impl Into<String>) {
        let _test_is_over = self.seen.send(what.into());
    }

    fn connection(self, mut stream: UnixStream) {
        self.note("connection");
        while let Some((head, body)) = read_request(&mut stream) {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            self.note(format!("request {path}"));
            if !self.respond(&path, &head, &body, &mut stream) {
                return;
            }
        }
        self.note("closed");
    }

    /// Returns whether the connection goes on.
    fn respond(&self, path: &str, head: &str, body: &[u8], stream: &mut UnixStream) -> bool {
        let mut send = |text: &str| stream.write_all(text.as_bytes()).is_ok();
        match path {
            "/stream" => self.stream(stream),
            "/big" => self.big(stream),
            "/hang" => {
                let ended = stream.read(&mut [0]).unwrap_or(0) == 0;
                self.note(format!("aborted {ended}"));
                false
            }
            "/early" => send(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            ),
            "/none" => send("HTTP/1.1 204 No Content\r\n\r\n"),
            "/length" => {
                send(
                    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\r\n",
                ) && (head.starts_with("HEAD") || send_rest(stream))
            }
            "/until-close" => {
                send("HTTP/1.0 200 OK\r\n\r\nall of it");
                false
            }
            "/garbage" => {
                send("this is not HTTP\r\n\r\n");
                false
            }
            "/switch" => send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
            "/double" => {
                send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")
            }
            "/truncated" => {
                send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
                false
            }
            "/truncated-chunk" => {
                send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nonly this");
                false
            }
            _ => {
                send(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}",
                    head.len() + body.len()
                )) && stream.write_all(body).is_ok()
            }
        }
    }

    fn stream(&self, stream: &mut UnixStream) -> bool {
        let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..5 {
            self.gates.lock().unwrap().recv().unwrap();
            if stream
                .write_all(format!("9\r\ndata: {number}\n\n\r\n").as_bytes())
                .is_err()
            {
                self.note("stream broken");
                return false;
            }
        }
        stream.write_all(b"0\r\n\r\n").is_ok()
    }

    fn big(&self, stream: &mut UnixStream) -> bool {
        const SIZE: u64 = 256 << 20;
        let _sent = stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes());
        let block = vec![b'x'; 64 << 10];
        for _ in 0..SIZE >> 16 {
            if stream.write_all(&block).is_err() {
                self.note("big broken");
                return false;
            }
            self.written.fetch_add(1 << 16, Ordering::Relaxed);
        }
        true
    }
}

fn send_rest(stream: &mut UnixStream) -> bool {
    stream.write_all(b"hello").is_ok()
}

/// Reads a head, then a body by length or chunks (returned with its framing).
pub(super) fn read_request(stream: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut body = Vec::new();
    if let Some(length) = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
    {
        body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
    } else if head.contains("transfer-encoding: chunked") {
        while !body.ends_with(b"0\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            body.push(byte[0]);
        }
    }
    Some((head, body))
}
