//! RA-TLS: evidence that is relayed, stale, altered or about somebody else.

use cloister_evidence::bundle::EXTENSION_ARCS;
use cloister_verify::{Outcome, Policy, Verdict, certificate, tpm};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::guest;
use crate::images;
use crate::peer::{Peer, man_in_the_middle};
use crate::program::{command, run, said};

const NONCE: [u8; 32] = [7; 32];
const OTHER_NONCE: [u8; 32] = [8; 32];

/// The session evidence of `bundle` as if it came over `peer` for `nonce`.
fn session(peer: &Peer, nonce: &[u8; 32], bundle: &[u8]) -> Verdict {
    let spki = certificate::spki(&peer.leaf).expect("a key");
    let reference = images::probe().reference();
    tpm::appraise_session(
        &spki,
        nonce,
        &peer.exporter(nonce),
        bundle,
        &reference,
        &Policy::default(),
    )
}

fn failed(verdict: &Verdict) -> Vec<&str> {
    assert!(!verdict.accepted, "{verdict}");
    verdict
        .failures()
        .map(|check| check.name.as_str())
        .collect()
}

/// The time in the middle of a leaf's validity, and its end, in seconds since the Unix epoch.
fn validity(leaf: &[u8]) -> (u64, u64) {
    let leaf = Certificate::from_der(leaf).expect("a certificate");
    let validity = leaf.tbs_certificate.validity;
    let start = validity.not_before.to_unix_duration().as_secs();
    let end = validity.not_after.to_unix_duration().as_secs();
    ((start + end) / 2, end)
}

#[test]
fn a_session_bundle_is_accepted_on_its_own_connection_only() {
    let port = guest::probe().port;
    let (mut first, second) = (Peer::connect(port), Peer::connect(port));
    let bundle = first.session_bundle(&NONCE);
    let own = session(&first, &NONCE, &bundle);
    assert!(own.accepted, "{own}");
    assert_eq!(
        first.leaf, second.leaf,
        "both connections show the same leaf"
    );
    assert_eq!(failed(&session(&second, &NONCE, &bundle)), ["binding"]);
}

#[test]
fn a_session_bundle_of_another_guest_is_rejected() {
    let other = Peer::connect(guest::demo().port);
    let mut own = Peer::connect(guest::probe().port);
    let bundle = own.session_bundle(&NONCE);
    assert_eq!(failed(&session(&other, &NONCE, &bundle)), ["binding"]);
}

#[test]
fn a_session_bundle_for_another_nonce_is_rejected() {
    let mut peer = Peer::connect(guest::probe().port);
    let bundle = peer.session_bundle(&NONCE);
    assert_eq!(failed(&session(&peer, &OTHER_NONCE, &bundle)), ["binding"]);
}

#[test]
fn a_leaf_bundle_is_no_session_bundle_and_the_other_way_round() {
    let mut peer = Peer::connect(guest::probe().port);
    let (leaf, fresh) = (peer.leaf_bundle(), peer.session_bundle(&NONCE));
    let reference = images::probe().reference();
    let (now, _) = validity(&peer.leaf);
    failed(&session(&peer, &NONCE, &leaf));
    failed(&tpm::appraise_leaf(
        &peer.leaf,
        &fresh,
        &reference,
        &Policy::default(),
        now,
    ));
}

#[test]
fn a_leaf_is_accepted_in_its_time_and_rejected_after_it() {
    let mut peer = Peer::connect(guest::probe().port);
    let bundle = peer.leaf_bundle();
    let reference = images::probe().reference();
    let (middle, end) = validity(&peer.leaf);
    let at = |now| tpm::appraise_leaf(&peer.leaf, &bundle, &reference, &Policy::default(), now);
    let fresh = at(middle);
    assert!(fresh.accepted, "{fresh}");
    failed(&at(end + 1));
    failed(&at(0));
}

#[test]
fn verify_rejects_a_stale_leaf() {
    let guest = guest::probe();
    let program = crate::program::cloister();
    let output = std::process::Command::new("faketime")
        .args(["-f", "+2d"])
        .arg(program)
        .args(["verify", &guest.url(), "--expect"])
        .arg(images::probe().expected())
        .output();
    let Ok(output) = output else {
        assert!(
            std::env::var_os("CI").is_none(),
            "faketime is not installed"
        );
        println!("skipped: faketime is not installed");
        return;
    };
    let said = said(output);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stdout.contains("FAIL"), "{said:#?}");
}

#[test]
fn every_flipped_byte_of_a_bundle_is_rejected() {
    let mut peer = Peer::connect(guest::probe().port);
    let (leaf, fresh) = (peer.leaf_bundle(), peer.session_bundle(&NONCE));
    let reference = images::probe().reference();
    let (now, _) = validity(&peer.leaf);
    println!(
        "{} bytes of leaf bundle, {} of session bundle",
        leaf.len(),
        fresh.len()
    );
    for at in 0..leaf.len() {
        let mut altered = leaf.clone();
        altered[at] ^= 1 << (at % 8);
        let verdict = tpm::appraise_leaf(&peer.leaf, &altered, &reference, &Policy::default(), now);
        assert!(!verdict.accepted, "byte {at} of the leaf bundle");
    }
    for at in 0..fresh.len() {
        let mut altered = fresh.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(
            !session(&peer, &NONCE, &altered).accepted,
            "byte {at} of the session bundle"
        );
    }
}

#[test]
fn every_truncated_bundle_is_rejected() {
    let mut peer = Peer::connect(guest::probe().port);
    let fresh = peer.session_bundle(&NONCE);
    for length in 0..fresh.len() {
        assert!(
            !session(&peer, &NONCE, &fresh[..length]).accepted,
            "{length} bytes"
        );
    }
    assert!(!session(&peer, &NONCE, &[&fresh[..], &[0]].concat()).accepted);
}

#[test]
fn a_man_in_the_middle_with_the_guests_evidence_under_its_own_key_is_rejected() {
    let guest = guest::probe();
    let genuine = Certificate::from_der(&Peer::connect(guest.port).leaf)
        .expect("a leaf")
        .tbs_certificate;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + genuine.validity.not_before.to_unix_duration();
    params.not_after = epoch + genuine.validity.not_after.to_unix_duration();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let evidence = genuine
        .extensions
        .iter()
        .flatten()
        .find(|extension| extension.extn_id.to_string() == cloister_evidence::bundle::EXTENSION_OID)
        .expect("the evidence extension");
    let value = evidence.extn_value.as_bytes().to_vec();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&EXTENSION_ARCS, value)];
    let leaf = params.self_signed(&key).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let port = man_in_the_middle(leaf.der().clone(), key.into(), guest.port);
    let url = format!("https://127.0.0.1:{port}");
    let expected = images::probe().expected();
    let said = run([
        "verify".as_ref(),
        url.as_ref(),
        "--json".as_ref(),
        "--expect".as_ref(),
        expected.as_os_str(),
    ]);
    assert_eq!(said.code, 1, "{said:#?}");
    let verdict: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    for layer in ["leaf", "session"] {
        let checks = verdict[layer]["checks"].as_array().expect("checks");
        let binding = checks
            .iter()
            .find(|check| check["name"] == "binding")
            .expect("a check");
        assert_eq!(binding["status"], "fail", "{layer}: {verdict:#}");
    }
    let mut connect = command(["connect", &url, "--ask", "never sent", "--expect"]);
    let said = self::said(connect.arg(&expected).output().expect("cloister starts"));
    assert_eq!(said.code, 1, "{said:#?}");
}

#[test]
fn a_man_in_the_middle_with_a_valid_leaf_of_its_own_is_rejected_for_the_session_it_relays() {
    let port = crate::impostor::start(guest::probe().port);
    let url = format!("https://127.0.0.1:{port}");
    let expected = images::probe().expected();
    let words = ["verify", &url, "--json", "--expect"].map(std::ffi::OsStr::new);
    let said = run(words.into_iter().chain([expected.as_os_str()]));
    assert_eq!(said.code, 1, "{said:#?}");
    let verdict: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(
        verdict["leaf"]["accepted"], true,
        "the leaf alone proves too little: {verdict:#}"
    );
    let checks = verdict["session"]["checks"].as_array().expect("checks");
    let failed: Vec<&serde_json::Value> = checks
        .iter()
        .filter(|check| check["status"] == "fail")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["name"], "binding");
}

#[test]
fn the_guest_gives_no_tickets_and_refuses_tls_1_2() {
    let port = guest::probe().port;
    let mut peer = Peer::connect(port);
    peer.leaf_bundle();
    assert_eq!(peer.tickets(), 0);
    let refused = Peer::with(port, &rustls::version::TLS12, b"http/1.1")
        .err()
        .expect("no TLS 1.2");
    assert!(
        refused.to_string().to_lowercase().contains("version"),
        "{refused}"
    );
}

#[test]
fn the_guest_refuses_nonces_that_are_none() {
    let mut peer = Peer::connect(guest::probe().port);
    for body in ["", "{}", "{\"nonce\":\"07\"}", "{\"nonce\":7}", "[]"] {
        let answer = peer.ask("POST", "/.well-known/attestation", body.as_bytes());
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
}

#[test]
fn the_leaf_is_what_the_format_says() {
    let mut peer = Peer::connect(guest::probe().port);
    let bundle = peer.leaf_bundle();
    let (now, _) = validity(&peer.leaf);
    let reference = images::probe().reference();
    let verdict = tpm::appraise_leaf(&peer.leaf, &bundle, &reference, &Policy::default(), now);
    let passed = |check: &&cloister_verify::Check| check.required && check.outcome == Outcome::Pass;
    assert!(verdict.accepted, "{verdict}");
    assert!(
        verdict.checks.iter().filter(passed).count() > 5,
        "{verdict}"
    );
}
