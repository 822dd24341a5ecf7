//! Streams, aborts and back-pressure over HTTP/1.1.

use super::client::Client;
use super::guest::Guest;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

const GET_STREAM: &str = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn event_arrives_before_the_next_is_made() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send(GET_STREAM);
    client.read_until(b"\r\n\r\n").unwrap();
    for number in 0..5 {
        guest.workload.gate.send(()).unwrap();
        let event = client.read_until(b"\n\n\r\n").unwrap();
        assert_eq!(
            String::from_utf8(event).unwrap(),
            format!("9\r\ndata: {number}\n\n\r\n")
        );
    }
    assert_eq!(client.read_until(b"0\r\n\r\n").unwrap(), b"0\r\n\r\n");
    assert_eq!(client.get("/echo").status, 200);
}

/// Waits for `what`, which the workload must see soon.
fn wait_for(guest: &Guest, what: &str) {
    while guest
        .workload
        .seen
        .recv_timeout(Duration::from_secs(5))
        .expect(what)
        != what
    {}
}

#[test]
fn abort_reaches_a_workload_that_has_not_answered() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send("POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    wait_for(&guest, "request /hang");
    drop(client);
    wait_for(&guest, "aborted true");
}

#[test]
fn closing_alert_alone_is_an_abort_too() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for(&guest, "request /hang");
    client.0.conn.send_close_notify();
    client.0.conn.complete_io(&mut client.0.sock).unwrap();
    wait_for(&guest, "aborted true");
}

#[test]
fn abort_reaches_a_workload_that_streams() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send(GET_STREAM);
    guest.workload.gate.send(()).unwrap();
    client.read_until(b"data: 0\n\n\r\n").unwrap();
    drop(client);
    thread::sleep(Duration::from_millis(300));
    guest.workload.gate.send(()).unwrap();
    guest.workload.gate.send(()).unwrap();
    wait_for(&guest, "stream broken");
}

#[test]
fn slow_reader_holds_the_workload_back() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut last = 0;
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(200));
        let now = guest.workload.written.load(Ordering::Relaxed);
        if now > 0 && now == last {
            break;
        }
        last = now;
    }
    assert!(
        last < 64 << 20,
        "{last} bytes were taken for a client that reads none"
    );
    drop(client);
    wait_for(&guest, "big broken");
}
