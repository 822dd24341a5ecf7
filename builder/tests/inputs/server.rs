//! A server of files over HTTP/1.1 with ranges, which misbehaves as told.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::archive::Files;

/// How a path misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes, once.
    CutOnce(usize),
    /// So many bytes come, then nothing for a long time.
    Stall(usize),
    /// Answers 503, so many times.
    Busy(usize),
}

#[derive(Debug, Default)]
struct State {
    files: Files,
    faults: BTreeMap<String, Fault>,
    /// Path and first byte of every request.
    log: Vec<(String, usize)>,
}

/// Serves until the test's process ends.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start(files: Files) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            files,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that goes away in the middle is part of some tests.
                std::thread::spawn(move || answer(&stream, &state).unwrap_or_default());
            }
        });
        Server { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn set_files(&self, files: Files) {
        self.state.lock().unwrap().files = files;
    }

    /// Changes the bytes of one file.
    pub(crate) fn alter(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.state.lock().unwrap().files.get_mut(path).unwrap());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(path).unwrap();
    }

    pub(crate) fn fault(&self, path: &str, fault: Option<Fault>) {
        let faults = &mut self.state.lock().unwrap().faults;
        match fault {
            Some(fault) => faults.insert(path.to_owned(), fault),
            None => faults.remove(path),
        };
    }

    /// First bytes of all requests for `path`.
    pub(crate) fn requests(&self, path: &str) -> Vec<usize> {
        let state = self.state.lock().unwrap();
        state
            .log
            .iter()
            .filter(|(asked, _)| asked == path)
            .map(|(_, start)| *start)
            .collect()
    }
}

/// Path and first byte of a request.
fn request(stream: &TcpStream) -> std::io::Result<(String, usize)> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.trim_start_matches('/').to_owned();
    let mut start = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    Ok((path, start))
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (path, start) = request(stream)?;
    let (body, fault) = {
        let mut state = state.lock().unwrap();
        state.log.push((path.clone(), start));
        let fault = state.faults.get(&path).copied();
        match fault {
            Some(Fault::CutOnce(_) | Fault::Busy(1)) => {
                state.faults.remove(&path);
            }
            Some(Fault::Busy(more)) => {
                state.faults.insert(path.clone(), Fault::Busy(more - 1));
            }
            _ => {}
        }
        (state.files.get(&path).cloned(), fault)
    };
    let Some(body) = body else {
        return head(stream, "404 Not Found", 0, "");
    };
    if matches!(fault, Some(Fault::Busy(_))) {
        return head(stream, "503 Service Unavailable", 0, "");
    }
    let rest = body.get(start..).unwrap_or_default();
    match start {
        0 => head(stream, "200 OK", rest.len(), kind(&path))?,
        _ => head(
            stream,
            "206 Partial Content",
            rest.len(),
            &format!(
                "Content-Range: bytes {start}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            ),
        )?,
    }
    match fault {
        Some(Fault::CutOnce(count)) => stream.write_all(&rest[..count.min(rest.len())]),
        Some(Fault::Stall(count)) => {
            stream.write_all(&rest[..count.min(rest.len())])?;
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        }
        _ => stream.write_all(rest),
    }
}

fn kind(path: &str) -> &'static str {
    if path.starts_with("simple/") {
        "Content-Type: application/vnd.pypi.simple.v1+json\r\n"
    } else {
        ""
    }
}

fn head(mut stream: &TcpStream, status: &str, length: usize, more: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
    )
}
