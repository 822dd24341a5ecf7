//! Requests and responses over HTTP/1.1.

use super::client::Client;
use super::guest::Guest;

#[test]
fn request_and_response_cross_without_hop_by_hop_fields() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    let answer = client.request("POST /echo?q HTTP/1.1\r\nHost: a\r\nConnection: X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nX: y\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(
        String::from_utf8(answer.body).unwrap(),
        "POST /echo?q HTTP/1.1\r\nHost: a\r\nX: y\r\ncontent-length: 5\r\n\r\nhello"
    );
    let answer = client.get("/length");
    assert_eq!(answer.head, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(answer.body, b"hello");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    for _ in 0..10 {
        assert_eq!(client.get("/echo").status, 200);
    }
    let seen: Vec<_> = guest
        .workload
        .seen
        .try_iter()
        .filter(|what| what == "connection")
        .collect();
    assert_eq!(seen.len(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send("\r\nGET /one HTTP/1.1\r\nHost: a\r\n\r\nPOST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    for start in ["GET /one ", "POST /two ", "{\"status\":\"ok\"}"] {
        let body = String::from_utf8(client.answer(false).unwrap().body).unwrap();
        assert!(body.starts_with(start), "{body}");
    }
}

#[test]
fn chunked_request_arrives_chunked_anew() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde");
    client.send("\r\n0\r\nTrailer: dropped\r\n\r\n");
    let body = String::from_utf8(client.answer(false).unwrap().body).unwrap();
    let (head, body) = body.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ntransfer-encoding: chunked"), "{head}");
    assert!(
        !body.contains("ext") && !body.contains("dropped") && body.ends_with("0\r\n\r\n"),
        "{body}"
    );
    assert_eq!(client.get("/echo").status, 200);
}

#[test]
fn bodiless_responses_leave_the_connection_usable() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send("HEAD /length HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer(true).unwrap();
    assert!(answer.head.contains("content-length: 5\r\n"));
    assert_eq!(client.get("/none").status, 204);
    assert_eq!(
        client.get("/early").body,
        b"ok",
        "informational responses are dropped"
    );
    let answer = client.get("/until-close");
    assert!(answer.head.contains("transfer-encoding: chunked\r\n"));
    assert_eq!(answer.body, b"all of it");
    assert_eq!(client.get("/echo").status, 200);
}

#[test]
fn old_clients_get_close_delimited_responses() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    let answer = client.request("GET /until-close HTTP/1.0\r\n\r\n");
    assert!(
        !answer.head.contains("transfer-encoding") && answer.head.contains("connection: close\r\n"),
        "{}",
        answer.head
    );
    assert_eq!(answer.body, b"all of it");
}

#[test]
fn expectation_is_met_before_the_body_is_sent() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send(
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    assert_eq!(
        client.read_until(b"\r\n\r\n").unwrap(),
        b"HTTP/1.1 100 Continue\r\n\r\n"
    );
    client.send("ok");
    let body = client.answer(false).unwrap().body;
    assert!(body.ends_with(b"\r\n\r\nok") && !String::from_utf8(body).unwrap().contains("xpect"));
}

#[test]
fn close_is_honoured() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    let answer = client.request("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.head.contains("connection: close\r\n"));
    assert!(client.is_closed());
}

#[test]
fn health_follows_the_workload() {
    let guest = Guest::start();
    let answer = Client::connect(&guest).get("/healthz");
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (200, &b"{\"status\":\"ok\"}\n"[..])
    );
    assert_eq!(
        Client::connect(&Guest::without_workload())
            .get("/healthz")
            .status,
        503
    );
}
