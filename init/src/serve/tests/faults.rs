//! Malformed requests, limits, and workloads that misbehave.

use super::client::Client;
use super::guest::Guest;
use crate::serve::Limits;
use std::thread;
use std::time::{Duration, Instant};

fn limits() -> Limits {
    Limits {
        body: 1000,
        ..Limits::default()
    }
}

/// The status of one raw request on a connection of its own, which must then end without the workload noticing.
fn refused(guest: &Guest, text: &str) -> u16 {
    let mut client = Client::connect(guest);
    let answer = client.request(text);
    assert!(answer.head.contains("connection: close\r\n"), "{text:?}");
    assert!(answer.body.starts_with(b"{\"error\":{\"code\":"));
    assert!(client.is_closed(), "{text:?}");
    assert_eq!(guest.workload.seen.try_recv().ok(), None, "{text:?}");
    answer.status
}

#[test]
fn smuggling_is_refused_and_ends_the_connection() {
    let guest = Guest::start();
    let inner = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(
            refused(
                &guest,
                &format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{inner}")
            ),
            400,
            "{fields}"
        );
    }
    let text =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x, chunked\r\n\r\n{inner}");
    assert_eq!(refused(&guest, &text), 501);
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let guest = Guest::start();
    let long = "x".repeat(33 * 1024);
    assert_eq!(
        refused(
            &guest,
            &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")
        ),
        431
    );
    assert_eq!(
        refused(
            &guest,
            &format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(101)
            )
        ),
        431
    );
    assert_eq!(refused(&guest, "\0\x01\x02\r\n\r\n"), 400);
    assert_eq!(
        refused(&guest, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
        405
    );
}

#[test]
fn bodies_beyond_the_limit_are_refused() {
    let guest = Guest::with(limits());
    assert_eq!(
        refused(
            &guest,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n"
        ),
        413
    );
    let mut client = Client::connect(&guest);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n");
    client.send(format!("{}\r\n1\r\ny\r\n", "x".repeat(1000)));
    assert_eq!(client.answer(false).unwrap().status, 413);
    assert!(client.is_closed());
    let mut client = Client::connect(&guest);
    let answer =
        client.request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(answer.status, 400);
}

#[test]
fn slow_clients_are_cut_off() {
    let short = Duration::from_millis(300);
    let guest = Guest::with(Limits {
        handshake: short,
        head: short,
        idle: short,
        stall: short,
        ..Limits::default()
    });
    let within_limits = |client: &mut Client| {
        let start = Instant::now();
        assert!(client.is_closed());
        assert!(start.elapsed() < Duration::from_secs(5));
    };
    within_limits(&mut Client::connect(&guest)); // idle
    let mut client = Client::connect(&guest);
    client.send("GET / HTTP/1.1\r\nHo");
    within_limits(&mut client);
    let mut client = Client::connect(&guest);
    let answer = client.request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    assert_eq!(answer.status, 408);
    within_limits(&mut client);
    let mut silent = std::net::TcpStream::connect(guest.address).unwrap();
    let start = Instant::now();
    assert_eq!(std::io::Read::read(&mut silent, &mut [0]).unwrap_or(0), 0);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn connections_beyond_the_limit_wait_for_a_free_place() {
    let guest = Guest::with(Limits {
        connections: 2,
        ..Limits::default()
    });
    let mut first = Client::connect(&guest);
    let second = Client::connect(&guest);
    let address = guest.address;
    let third = thread::spawn(move || Client::try_connect(address, &rustls::version::TLS13));
    thread::sleep(Duration::from_millis(500));
    assert!(!third.is_finished(), "the third connection must wait");
    assert_eq!(first.get("/echo").status, 200);
    drop(second);
    assert_eq!(third.join().unwrap().unwrap().get("/echo").status, 200);
}

#[test]
fn requests_beyond_the_limit_are_turned_away() {
    let guest = Guest::with(Limits {
        requests: 1,
        ..Limits::default()
    });
    let mut busy = Client::connect(&guest);
    busy.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    while guest.workload.seen.recv().unwrap() != "request /hang" {}
    let answer = Client::connect(&guest).get("/echo");
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 1\r\n"));
}

#[test]
fn workload_faults_become_gateway_errors() {
    let guest = Guest::with(Limits {
        response: Duration::from_millis(300),
        ..Limits::default()
    });
    let mut client = Client::connect(&guest);
    for path in ["/garbage", "/switch", "/double"] {
        assert_eq!(client.get(path).status, 502, "{path}");
    }
    assert_eq!(client.get("/hang").status, 504);
    assert_eq!(client.get("/echo").status, 200);
    let mut client = Client::connect(&Guest::without_workload());
    let answer = client.get("/echo");
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (
            503,
            &b"{\"error\":{\"code\":503,\"message\":\"workload does not accept connections\"}}\n"[..]
        )
    );
}

#[test]
fn truncated_responses_do_not_look_complete() {
    let guest = Guest::start();
    for path in ["/truncated", "/truncated-chunk"] {
        let mut client = Client::connect(&guest);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(client.answer(false).is_err(), "{path}");
    }
}

#[test]
fn plain_http_and_garbage_on_the_port_harm_nobody() {
    let guest = Guest::start();
    for text in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 255, 255, 1],
        &[0; 1000],
    ] {
        let mut tcp = std::net::TcpStream::connect(guest.address).unwrap();
        std::io::Write::write_all(&mut tcp, text).unwrap();
    }
    assert_eq!(Client::connect(&guest).get("/echo").status, 200);
}
