//! Tests of the local side, against an HTTP/2 server that stands for a guest whose evidence was accepted.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cloister_measure::reference::ReferenceValues;
use hyper::body::Frame;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::client::{Expectation, Session};

const LIMIT: Duration = Duration::from_secs(10);

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

#[test]
fn strip_removes_what_concerns_one_hop() {
    let mut found = headers(&[
        ("connection", "keep-alive, x-mine"),
        ("x-mine", "1"),
        ("host", "localhost"),
        ("transfer-encoding", "chunked"),
        ("authorization", "Bearer a"),
    ]);
    strip(&mut found);
    assert_eq!(found, headers(&[("authorization", "Bearer a")]));
}

#[test]
fn from_this_machine_accepts_loopback_names_only() {
    for host in ["localhost:1", "127.0.0.1:8000", "[::1]:80"] {
        assert!(from_this_machine(&headers(&[("host", host)])), "{host}");
    }
    for host in ["attacker.example", "10.0.0.1", "localhost.attacker.example"] {
        assert!(!from_this_machine(&headers(&[("host", host)])), "{host}");
    }
    assert!(!from_this_machine(&headers(&[])));
}

/// A body that a test writes; says when it is dropped.
struct Written {
    paper: UnboundedReceiver<&'static str>,
    dropped: UnboundedSender<()>,
}

impl hyper::body::Body for Written {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
        self.paper.poll_recv(context).map(|text| text.map(frame))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.dropped.send(()).ok();
    }
}

/// A client of a proxy whose guest answers one request with what the pen writes.
struct Bench {
    client: TcpStream,
    pen: UnboundedSender<&'static str>,
    dropped: UnboundedReceiver<()>,
}

async fn bench() -> Bench {
    let (pen, paper) = unbounded_channel();
    let (drop, dropped) = unbounded_channel();
    let body = std::sync::Mutex::new(Some(Written {
        paper,
        dropped: drop,
    }));
    let (near, far) = tokio::io::duplex(1 << 16);
    let service = service_fn(move |request: Request<Incoming>| {
        assert_eq!(request.uri(), "https://guest:443/v1/models?a=b");
        let body = body.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    tokio::spawn(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(far), service),
    );
    let endpoint: crate::client::Endpoint = "https://guest".parse().unwrap();
    let session = Session::over(&endpoint, near).await.unwrap();
    let interval = Duration::from_secs(600);
    let upstream = Upstream::new(endpoint, expectation(), interval, || 0, session);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, upstream));
    let client = TcpStream::connect(address).await.unwrap();
    Bench {
        client,
        pen,
        dropped,
    }
}

fn expectation() -> Expectation {
    let reference = r#"{"bank":"sha256","confidential":false,"inputs":{},"launch-digests":[],"launch-policy":null,
        "platform":"p","recipe":"r","registers":{},"schema-version":1,"unpredicted":{}}"#;
    let reference: ReferenceValues = serde_json::from_str(reference).unwrap();
    Expectation {
        reference,
        policy: cloister_verify::Policy::default(),
        platform: cloister_verify::policy::PolicyFile::default(),
        collateral: None,
        new_gpu: false,
    }
}

/// Reads until `end` has come.
async fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.ends_with(end) {
            text.push(char::from(client.read_u8().await.unwrap()));
        }
    };
    timeout(LIMIT, read).await.unwrap();
    text
}

const REQUEST: &[u8] = b"GET /v1/models?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn an_answer_is_passed_on_as_it_is_written() {
    let mut bench = bench().await;
    bench.client.write_all(REQUEST).await.unwrap();
    bench.pen.send("data: 1\n\n").unwrap();
    let first = read_until(&mut bench.client, "data: 1\n\n\r\n").await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    bench.pen.send("data: 2\n\n").unwrap();
    let second = read_until(&mut bench.client, "data: 2\n\n\r\n").await;
    assert_eq!(second, "9\r\ndata: 2\n\n\r\n");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_stream_at_the_guest() {
    let mut bench = bench().await;
    bench.client.write_all(REQUEST).await.unwrap();
    bench.pen.send("data: 1\n\n").unwrap();
    read_until(&mut bench.client, "data: 1\n\n\r\n").await;
    assert!(bench.dropped.try_recv().is_err());
    drop(bench.client);
    timeout(LIMIT, bench.dropped.recv()).await.unwrap();
}
