//! The question before all others: what opens the way to the workload, and what ends the front.

use super::client::Client;
use super::guest::{Guest, read_request};
use cloister_evidence::guest::Canary;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

const PARIS: &str = r#"{"choices":[{"text":" Paris."}]}"#;

fn canary(seconds: u32) -> Canary {
    Canary {
        path: "/v1/completions".into(),
        body: r#"{"prompt":"The capital of France is"}"#.into(),
        answer: " Paris".into(),
        seconds,
    }
}

/// A workload that gives each connection the next of `answers`, and the last one for ever; returns what it was asked first.
fn workload(path: &Path, answers: Vec<String>) -> thread::JoinHandle<(String, Vec<u8>)> {
    let listener = UnixListener::bind(path).unwrap();
    let (first, asked) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let Some(request) = read_request(&mut stream) else {
                continue;
            };
            let _only_the_first = first.send(request);
            let answer = answers.get(number).or(answers.last()).unwrap();
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    thread::spawn(move || asked.recv().unwrap())
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn status(guest: &Guest, path: &str) -> u16 {
    Client::connect(guest)
        .request(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .status
}

#[test]
fn requests_reach_the_workload_only_after_the_right_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let guest = Guest::with_canary(&path, canary(60));
    for path in ["/healthz", "/v1/models"] {
        assert_eq!(status(&guest, path), 503, "{path}");
    }
    // Evidence is given out all the same: a client may verify while the model loads.
    assert_eq!(status(&guest, "/.well-known/attestation"), 200);
    assert!(!guest.pid1.healthy.load(Ordering::Relaxed));
    let loading = answer("503 Service Unavailable", "");
    let asked = workload(&path, vec![loading, answer("200 OK", PARIS)]);
    let (head, body) = asked.join().unwrap();
    assert!(head.starts_with("POST /v1/completions HTTP/1.1\r\n"));
    assert_eq!(body, canary(60).body.as_bytes());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !guest.pid1.healthy.load(Ordering::Relaxed) {
        assert!(Instant::now() < deadline, "never healthy");
        thread::sleep(Duration::from_millis(20));
    }
    for path in ["/healthz", "/v1/models"] {
        assert_eq!(status(&guest, path), 200, "{path}");
    }
}

#[test]
fn anything_but_the_right_answer_ends_the_front() {
    let long = answer("200 OK", &"x".repeat(300 * 1024));
    let cases = [
        (
            answer("200 OK", r#"{"choices":[{"text":" Rome"}]}"#),
            "canary: not the answer that is wanted",
        ),
        (
            answer("200 OK", "Paris"),
            "canary: answer is not that of a completion",
        ),
        (long, "canary: answer is not that of a completion"),
        (
            "garbage\r\n\r\n".to_owned(),
            "canary: answer is not that of a completion",
        ),
        (answer("404 Not Found", PARIS), "canary: status 404"),
        (
            answer("500 Internal Server Error", PARIS),
            "canary: status 500",
        ),
        (
            answer("503 Service Unavailable", PARIS),
            "canary: no answer within 2 s",
        ),
        (String::new(), "canary: no answer within 2 s"),
    ];
    for (answer, wanted) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let _asked = workload(&path, vec![answer]);
        let guest = Guest::with_canary(&path, canary(2));
        let healthy = guest.pid1.healthy.clone();
        let error = guest.front.join().unwrap().unwrap_err();
        assert_eq!(error.to_string(), wanted);
        assert!(!healthy.load(Ordering::Relaxed), "{wanted}");
    }
}
