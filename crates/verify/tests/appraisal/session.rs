//! Appraisal of bundles made for one TLS connection.

use cloister_evidence::batch::BatchProof;
use cloister_evidence::bundle::Bundle;
use cloister_verify::tpm::appraise_session;
use cloister_verify::{Policy, Verdict, certificate};

use crate::support::{Guest, TlsKey, VALIDITY};

const NONCE: [u8; 32] = [0x11; 32];
const EXPORTER: [u8; 32] = [0x22; 32];

fn appraise(guest: &Guest, nonce: [u8; 32], exporter: [u8; 32], bundle: &[u8]) -> Verdict {
    let (spki, reference) = (guest.spki(), guest.reference());
    appraise_session(
        &spki,
        &nonce,
        &exporter,
        bundle,
        &reference,
        &Policy::default(),
    )
}

/// The names of the checks that failed; the verdict must be a rejection.
#[track_caller]
fn failures(verdict: &Verdict) -> Vec<&str> {
    assert!(!verdict.accepted, "{verdict}");
    verdict
        .failures()
        .map(|check| check.name.as_str())
        .collect()
}

/// A batch of five sessions; the third is ours.
fn batch(guest: &Guest) -> Vec<Vec<u8>> {
    let other = |n| ([n; 32], [n + 0x80; 32]);
    guest.sessions(&[other(1), other(2), (NONCE, EXPORTER), other(4), other(5)])
}

#[test]
fn each_session_of_a_batch_is_accepted_on_its_own_connection_only() {
    let guest = Guest::boot();
    let bundles = batch(&guest);
    let verdict = appraise(&guest, NONCE, EXPORTER, &bundles[2]);
    assert!(verdict.accepted, "{verdict}");
    assert!(verdict.to_string().contains("NOT confidential"));
    for other in [0, 1, 3] {
        let verdict = appraise(&guest, NONCE, EXPORTER, &bundles[other]);
        assert_eq!(failures(&verdict), ["binding"], "session {other}");
    }
    // The last leaf of five has a path of another length, which is no matter: it is not ours.
    assert_eq!(
        failures(&appraise(&guest, NONCE, EXPORTER, &bundles[4])),
        ["binding"]
    );
    assert!(appraise(&guest, [1; 32], [0x81; 32], &bundles[0]).accepted);
    assert!(appraise(&guest, [5; 32], [0x85; 32], &bundles[4]).accepted);
}

#[test]
fn batch_of_one_is_accepted() {
    let guest = Guest::boot();
    let bundles = guest.sessions(&[(NONCE, EXPORTER)]);
    assert!(appraise(&guest, NONCE, EXPORTER, &bundles[0]).accepted);
}

#[test]
fn wrong_nonce_is_rejected() {
    let guest = Guest::boot();
    let verdict = appraise(&guest, [0x12; 32], EXPORTER, &batch(&guest)[2]);
    assert_eq!(failures(&verdict), ["binding"]);
}

#[test]
fn evidence_relayed_from_another_connection_is_rejected() {
    let guest = Guest::boot();
    let verdict = appraise(&guest, NONCE, [0x23; 32], &batch(&guest)[2]);
    assert_eq!(failures(&verdict), ["binding"]);
}

#[test]
fn evidence_of_another_genuine_guest_is_rejected() {
    let (guest, middle) = (Guest::boot(), Guest::boot_with(TlsKey::new(0x52)));
    let bundles = middle.sessions(&[(NONCE, EXPORTER)]);
    assert!(appraise(&middle, NONCE, EXPORTER, &bundles[0]).accepted);
    let verdict = appraise(&guest, NONCE, EXPORTER, &bundles[0]);
    assert_eq!(failures(&verdict), ["binding"]);
}

#[test]
fn leaf_bundle_is_rejected_for_a_session() {
    let guest = Guest::boot();
    let (_, bundle) = guest.leaf(VALIDITY);
    let verdict = appraise(&guest, NONCE, EXPORTER, &bundle);
    assert_eq!(failures(&verdict), ["bundle-format"]);
}

#[test]
fn proof_for_another_tree_is_rejected() {
    let guest = Guest::boot();
    let genuine = Bundle::decode(&batch(&guest)[2]).unwrap();
    let proof = genuine.batch.clone().unwrap();
    assert_eq!((proof.index, proof.count), (2, 5));
    for (index, count, failed) in [
        (2, 6, "binding"),
        (3, 5, "binding"),
        (2, 8, "binding"),
        (4, 5, "batch"),
        (5, 5, "batch"),
        (2, 0, "batch"),
        (2, 2000, "batch"),
    ] {
        let batch = Some(BatchProof {
            index,
            count,
            siblings: proof.siblings.clone(),
        });
        let bundle = Bundle {
            batch,
            ..genuine.clone()
        };
        let verdict = appraise(&guest, NONCE, EXPORTER, &bundle.encode());
        assert_eq!(failures(&verdict), [failed], "index {index} of {count}");
    }
}

#[test]
fn every_changed_byte_of_a_bundle_is_rejected() {
    let guest = Guest::boot();
    let bundle = &batch(&guest)[2];
    for place in 0..bundle.len() {
        let flip = 1 << (place % 8);
        let mut changed = bundle.clone();
        changed[place] ^= flip;
        let verdict = appraise(&guest, NONCE, EXPORTER, &changed);
        assert!(!verdict.accepted, "byte {place} ^ {flip:#x}");
    }
}

#[test]
fn truncated_bundle_is_rejected_at_every_length() {
    let guest = Guest::boot();
    let bundle = &batch(&guest)[2];
    for length in 0..bundle.len() {
        let verdict = appraise(&guest, NONCE, EXPORTER, &bundle[..length]);
        assert_eq!(failures(&verdict), ["bundle-format"]);
    }
}

#[test]
fn other_bytes_than_a_p256_key_are_rejected() {
    let guest = Guest::boot();
    let bundle = &batch(&guest)[2];
    let reference = guest.reference();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let p384 = rcgen::PublicKeyData::subject_public_key_info(&p384);
    for spki in [&[][..], &guest.spki()[1..], &[0; 400], &p384] {
        let policy = Policy::default();
        let verdict = appraise_session(spki, &NONCE, &EXPORTER, bundle, &reference, &policy);
        assert_eq!(failures(&verdict), ["certificate-key"]);
    }
}

/// DER of a key: algorithm and its parameters as they are encoded, and what is in the bit string.
fn key(algorithm: &[u8], parameters: &[u8], point: &[u8]) -> Vec<u8> {
    let sequence = |body: &[u8]| match u8::try_from(body.len()).unwrap() {
        length if length < 0x80 => [&[0x30, length], body].concat(),
        length => [&[0x30, 0x81, length], body].concat(),
    };
    let bits = match u8::try_from(point.len() + 1).unwrap() {
        length if length < 0x80 => [&[3, length, 0], point].concat(),
        length => [&[3, 0x81, length, 0], point].concat(),
    };
    sequence(&[sequence(&[algorithm, parameters].concat()), bits].concat())
}

/// id-ecPublicKey and rsaEncryption.
const EC: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// prime256v1 and secp384r1.
const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
const P384: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x22";

/// The guest's own point under other names, and keys as long as are read, and longer.
#[test]
fn keys_that_are_not_p256_are_named() {
    let guest = Guest::boot();
    let (bundle, reference) = (&batch(&guest)[2], guest.reference());
    let (spki, policy) = (guest.spki(), Policy::default());
    let point = &spki[spki.len() - 65..];
    assert_eq!(key(EC, P256, point), spki);
    let (ec, rsa) = ("1.2.840.10045.2.1", "1.2.840.113549.1.1.1");
    let with = |oid: &str| format!("a key with algorithm {oid}");
    let off = [&[4][..], &[1; 64]].concat();
    let cases = [
        (key(EC, P384, point), with(ec)),
        (key(EC, &[], point), with(ec)),
        (key(RSA, P256, point), with(rsa)),
        (key(RSA, &[], point), with(rsa)),
        (
            key(EC, P256, &off),
            "a point that is not on the curve".to_owned(),
        ),
        (key(RSA, &[], &[1; 236]), with(rsa)),
        (key(RSA, &[], &[1; 237]), "other bytes".to_owned()),
        (key(RSA, &[], &[1; 238]), "other bytes".to_owned()),
    ];
    assert_eq!(cases[5].0.len(), 256);
    for (spki, wanted) in cases {
        let verdict = appraise_session(&spki, &NONCE, &EXPORTER, bundle, &reference, &policy);
        assert_eq!(failures(&verdict), ["certificate-key"]);
        let found = &verdict.check("certificate-key").unwrap().found;
        assert_eq!(found, &wanted, "{}", hex::encode(&spki));
    }
}

#[test]
fn key_of_a_leaf_is_given_as_the_session_takes_it() {
    let guest = Guest::boot();
    let (leaf, _) = guest.leaf(VALIDITY);
    assert_eq!(certificate::spki(&leaf), Ok(guest.spki()));
    assert!(certificate::spki(&leaf[1..]).is_err());
}
