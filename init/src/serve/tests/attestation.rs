//! Layers A and B over real connections.

use super::client::{Client, spki_sha256};
use super::guest::{DEVICES, Guest, LOG, NEW_DEVICES};
use cloister_evidence::binding::{EXPORTER_LABEL, Mode, ReportData, binding};
use cloister_evidence::bundle::{self, Bundle, LeafExtension};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use x509_cert::der::Decode as _;

const PATH: &str = "/.well-known/attestation";

fn session_bundle(client: &mut Client, nonce: [u8; 32]) -> Bundle {
    let answer = client.post(PATH, &format!("{{\"nonce\":\"{}\"}}", hex::encode(nonce)));
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(
        answer
            .head
            .contains("content-type: application/cmw+cbor\r\n")
    );
    Bundle::decode(&answer.body).unwrap()
}

/// What the hardware must have signed for this connection, given the bundle's batch proof.
fn expected(client: &Client, nonce: [u8; 32], bundle: &Bundle) -> ReportData {
    let exporter = client
        .0
        .conn
        .export_keying_material([0; 32], EXPORTER_LABEL, Some(&nonce))
        .unwrap();
    let mode = Mode::Session { nonce, exporter };
    let binding = binding(
        &mode,
        &spki_sha256(&client.0.conn),
        &bundle.devices,
        &bundle.log,
    );
    bundle
        .batch
        .as_ref()
        .unwrap()
        .report_data(&binding)
        .unwrap()
}

fn holds(client: &Client, nonce: [u8; 32], bundle: &Bundle) -> bool {
    bundle.cpu.value == expected(client, nonce, bundle).as_bytes()
}

#[test]
fn leaf_carries_evidence_over_its_own_key_and_validity() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    let answer = client.get(PATH);
    let leaf = client.0.conn.peer_certificates().unwrap()[0].clone();
    let tbs = x509_cert::Certificate::from_der(&leaf)
        .unwrap()
        .tbs_certificate;
    let extensions = tbs.extensions.unwrap();
    let extension = extensions
        .iter()
        .find(|extension| extension.extn_id.to_string() == bundle::EXTENSION_OID)
        .unwrap();
    assert!(!extension.critical);
    let extension = LeafExtension::decode(extension.extn_value.as_bytes()).unwrap();
    assert_eq!(extension.bundle_sha256, bundle::digest(&answer.body));
    let bundle = Bundle::decode(&answer.body).unwrap();
    assert_eq!((bundle.batch, &extension.cpu), (None, &bundle.cpu));
    let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
    let mode = Mode::Leaf {
        not_before: seconds(tbs.validity.not_before),
        not_after: seconds(tbs.validity.not_after),
    };
    let report = binding(&mode, &spki_sha256(&client.0.conn), DEVICES, LOG).report_data();
    assert_eq!(extension.cpu.value, report.as_bytes());
}

#[test]
fn session_evidence_holds_on_its_connection_only() {
    let guest = Guest::start();
    let (mut one, mut other) = (Client::connect(&guest), Client::connect(&guest));
    let nonce = [7; 32];
    let (of_one, of_other) = (
        session_bundle(&mut one, nonce),
        session_bundle(&mut other, nonce),
    );
    assert!(holds(&one, nonce, &of_one) && holds(&other, nonce, &of_other));
    assert!(
        !holds(&other, nonce, &of_one),
        "relayed evidence must not fit"
    );
    assert!(
        !holds(&one, [8; 32], &of_one),
        "evidence for another nonce must not fit"
    );
}

#[test]
fn concurrent_sessions_share_few_reports() {
    const SESSIONS: usize = 64;
    let guest = Guest::start();
    let start = Arc::new(Barrier::new(SESSIONS));
    let clients: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let (mut client, start) = (Client::connect(&guest), Arc::clone(&start));
            thread::spawn(move || {
                let nonce = [u8::try_from(number).unwrap(); 32];
                start.wait();
                let bundle = session_bundle(&mut client, nonce);
                assert!(holds(&client, nonce, &bundle));
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let batches = guest.pid1.batches.lock().unwrap().clone();
    assert_eq!(batches.iter().sum::<usize>(), SESSIONS);
    assert!(batches.len() <= 8, "{batches:?}");
}

#[test]
fn a_session_with_new_evidence_of_the_gpu_has_a_section_of_its_own() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    let nonce = [7; 32];
    let body = format!("{{\"nonce\":\"{}\",\"gpu\":\"new\"}}", hex::encode(nonce));
    let answer = client.post(PATH, &body);
    assert_eq!(answer.status, 200, "{}", answer.head);
    let bundle = Bundle::decode(&answer.body).unwrap();
    assert_eq!(bundle.devices, NEW_DEVICES);
    assert!(holds(&client, nonce, &bundle));
    // The leaf, and sessions without the wish, keep theirs.
    assert_eq!(session_bundle(&mut client, nonce).devices, DEVICES);
    guest.pid1.refuses.store(true, Ordering::Relaxed);
    let answer = client.post(PATH, &body);
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 60\r\n"));
}

#[test]
fn rotation_leaves_open_connections_with_their_own_leaf() {
    let guest = Guest::start();
    let mut old = Client::connect(&guest);
    guest.now.fetch_add(13 * 3600, Ordering::Relaxed);
    let old_spki = spki_sha256(&old.0.conn);
    let mut new = (0..100)
        .find_map(|_| {
            thread::sleep(Duration::from_millis(50));
            Some(Client::connect(&guest)).filter(|client| spki_sha256(&client.0.conn) != old_spki)
        })
        .expect("leaf is rotated");
    let (of_old, of_new) = (
        session_bundle(&mut old, [1; 32]),
        session_bundle(&mut new, [2; 32]),
    );
    assert!(holds(&old, [1; 32], &of_old) && holds(&new, [2; 32], &of_new));
    assert_ne!(old.get(PATH).body, new.get(PATH).body);
}

#[test]
fn attestation_refuses_bad_requests() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    for body in [
        "",
        "{}",
        "{\"nonce\":\"00\"}",
        &format!("{{\"nonce\":\"{}\"}}", "0g".repeat(32)),
    ] {
        assert_eq!(client.post(PATH, body).status, 400, "{body}");
    }
    let answer = client.request(format!("PUT {PATH} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: GET, HEAD, POST\r\n"));
    assert_eq!(client.post(PATH, &"x".repeat(5000)).status, 413);
    assert!(client.is_closed());
}

#[test]
fn refused_evidence_is_an_invitation_to_retry() {
    let guest = Guest::start();
    guest.pid1.refuses.store(true, Ordering::Relaxed);
    let answer =
        Client::connect(&guest).post(PATH, &format!("{{\"nonce\":\"{}\"}}", "00".repeat(32)));
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: 1\r\n"));
}

#[test]
fn front_ends_when_pid_1_is_gone() {
    let guest = Guest::start();
    guest.pid1.quits.store(true, Ordering::Relaxed);
    let answer = Client::connect(&guest).0;
    drop(answer);
    let mut client = Client::connect(&guest);
    client.send(format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 76\r\n\r\n{{\"nonce\":\"{}\"}}",
        "00".repeat(32)
    ));
    let ended = guest.front.join().unwrap();
    assert!(
        matches!(ended, Err(super::super::ServeError::Attest(_))),
        "{ended:?}"
    );
    assert!(client.is_closed());
}

#[test]
fn tickets_are_absent_and_tls_1_2_is_refused() {
    let guest = Guest::start();
    let mut client = Client::connect(&guest);
    assert_eq!(client.get("/x").status, 200);
    assert_eq!(client.0.conn.tls13_tickets_received(), 0);
    let refused = Client::try_connect(guest.address, &rustls::version::TLS12)
        .map(drop)
        .unwrap_err();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
}
