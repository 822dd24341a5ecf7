//! HTTP/2 towards the client.

use super::client::{config, spki_sha256};
use super::guest::{DEVICES, Guest, LOG};
use crate::serve::Limits;
use bytes::Bytes;
use cloister_evidence::binding::{EXPORTER_LABEL, Mode, binding};
use cloister_evidence::bundle::Bundle;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Runs `test`, which must end soon.
fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), test)
            .await
            .expect("in time")
    });
}

struct Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<()>,
    spki_sha256: [u8; 32],
    exporter: [u8; 32],
}

const NONCE: [u8; 32] = [9; 32];

async fn connect(guest: &Guest) -> Client {
    let tcp = TcpStream::connect(guest.address).await.unwrap();
    let connector = TlsConnector::from(config(&rustls::version::TLS13, b"h2"));
    let tls = connector
        .connect(ServerName::try_from("guest").unwrap(), tcp)
        .await
        .unwrap();
    let session = tls.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    let spki_sha256 = spki_sha256(session);
    let exporter = session
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(&NONCE))
        .unwrap();
    let (send, connection) = h2::client::handshake(tls).await.unwrap();
    let connection = tokio::spawn(async move { drop(connection.await) });
    Client {
        send,
        connection,
        spki_sha256,
        exporter,
    }
}

/// Sends a request and returns status and body.
async fn fetch(client: &Client, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("https://guest{path}"))
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut stream) = send
        .send_request(request.body(()).unwrap(), body.is_empty())
        .unwrap();
    if !body.is_empty() {
        stream
            .send_data(Bytes::copy_from_slice(body), true)
            .unwrap();
    }
    let (head, mut incoming) = response.await.unwrap().into_parts();
    let mut whole = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data.unwrap();
        incoming
            .flow_control()
            .release_capacity(data.len())
            .unwrap();
        whole.extend_from_slice(&data);
    }
    (head.status.as_u16(), whole)
}

#[test]
fn request_and_response_are_translated() {
    run(async {
        let guest = Guest::start();
        let client = connect(&guest).await;
        let (status, body) = fetch(&client, "GET", "/echo?q", b"").await;
        assert_eq!(status, 200);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "GET /echo?q HTTP/1.1\r\nhost: guest\r\ncookie: a=1; b=2\r\n\r\n"
        );
        let (status, body) = fetch(&client, "POST", "/echo", b"hello").await;
        assert_eq!(status, 200);
        let body = String::from_utf8(body).unwrap();
        assert!(
            body.contains("transfer-encoding: chunked\r\n")
                && body.ends_with("5\r\nhello\r\n0\r\n\r\n"),
            "{body}"
        );
        assert_eq!(fetch(&client, "GET", "/none", b"").await, (204, vec![]));
        assert_eq!(
            fetch(&client, "GET", "/until-close", b"").await,
            (200, b"all of it".to_vec())
        );
        assert_eq!(fetch(&client, "HEAD", "/length", b"").await, (200, vec![]));
        assert_eq!(fetch(&client, "GET", "/healthz", b"").await.0, 200);
    });
}

#[test]
fn streams_of_one_connection_run_at_the_same_time() {
    run(async {
        let guest = Guest::start();
        let client = Arc::new(connect(&guest).await);
        let tasks: Vec<_> = (0..50)
            .map(|number| {
                let client = Arc::clone(&client);
                tokio::spawn(async move {
                    let body = vec![b'x'; 1000 * number];
                    let (status, answer) = fetch(&client, "POST", "/echo", &body).await;
                    assert_eq!(status, 200);
                    assert!(answer.len() > body.len());
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn event_arrives_before_the_next_is_made() {
    run(async {
        let guest = Guest::start();
        let client = connect(&guest).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let request = http::Request::get("https://guest/stream").body(()).unwrap();
        let mut body = send
            .send_request(request, true)
            .unwrap()
            .0
            .await
            .unwrap()
            .into_body();
        for number in 0..5 {
            guest.workload.gate.send(()).unwrap();
            let event = body.data().await.unwrap().unwrap();
            assert_eq!(event, format!("data: {number}\n\n"));
        }
        assert!(body.data().await.is_none());
    });
}

#[test]
fn reset_and_lost_connection_reach_the_workload() {
    run(async {
        let guest = Guest::start();
        let client = connect(&guest).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let request = || http::Request::get("https://guest/hang").body(()).unwrap();
        let (_response, mut stream) = send.send_request(request(), true).unwrap();
        wait_for(&guest, "request /hang").await;
        stream.send_reset(h2::Reason::CANCEL);
        wait_for(&guest, "aborted true").await;
        assert_eq!(fetch(&client, "GET", "/echo", b"").await.0, 200);
        let _response = send.send_request(request(), true).unwrap();
        wait_for(&guest, "request /hang").await;
        client.connection.abort();
        wait_for(&guest, "aborted true").await;
    });
}

async fn wait_for(guest: &Guest, what: &str) {
    loop {
        match guest.workload.seen.try_recv() {
            Ok(seen) if seen == what => return,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[test]
fn slow_reader_holds_the_workload_back_and_others_go_on() {
    run(async {
        let guest = Guest::start();
        let client = connect(&guest).await;
        let mut send = client.send.clone().ready().await.unwrap();
        let request = http::Request::get("https://guest/big").body(()).unwrap();
        let body = send
            .send_request(request, true)
            .unwrap()
            .0
            .await
            .unwrap()
            .into_body();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(guest.workload.written.load(Ordering::Relaxed) < 2 << 20);
        drop(body);
        assert_eq!(fetch(&client, "GET", "/echo", b"").await.0, 200);
        wait_for(&guest, "big broken").await;
    });
}

#[test]
fn limits_and_faults_are_answered() {
    run(async {
        let guest = Guest::with(Limits {
            body: 1000,
            response: Duration::from_millis(300),
            ..Limits::default()
        });
        let client = connect(&guest).await;
        assert_eq!(fetch(&client, "POST", "/echo", &[b'x'; 1001]).await.0, 413);
        assert_eq!(fetch(&client, "GET", "/garbage", b"").await.0, 502);
        assert_eq!(fetch(&client, "GET", "/hang", b"").await.0, 504);
        assert_eq!(fetch(&client, "GET", "/echo", b"").await.0, 200);
        let client = connect(&Guest::without_workload()).await;
        assert_eq!(fetch(&client, "GET", "/echo", b"").await.0, 503);
    });
}

#[test]
fn session_evidence_is_bound_to_the_connection() {
    run(async {
        let guest = Guest::start();
        let client = connect(&guest).await;
        let body = format!("{{\"nonce\":\"{}\"}}", hex::encode(NONCE));
        let (status, bundle) =
            fetch(&client, "POST", "/.well-known/attestation", body.as_bytes()).await;
        assert_eq!(status, 200);
        let bundle = Bundle::decode(&bundle).unwrap();
        let mode = Mode::Session {
            nonce: NONCE,
            exporter: client.exporter,
        };
        let binding = binding(&mode, &client.spki_sha256, DEVICES, LOG);
        assert_eq!(
            bundle.cpu.value,
            bundle
                .batch
                .unwrap()
                .report_data(&binding)
                .unwrap()
                .as_bytes()
        );
    });
}
