//! Each named check accepts and rejects behind a valid signature, and no flipped bit is accepted.

use cloister_measure::digest::Bank;
use cloister_measure::eventlog::EventLog;
use cloister_measure::reference::Class;
use cloister_test_pki::azure::{pcr_list, tpmt_signature};
use cloister_verify::verdict::{Outcome, Trust};
use sha2::Digest as _;

use crate::coverage::Coverage;
use crate::scene::{EVENT_LOG, NONCE, Scene, key, public, reference, stranger};

type Case = (&'static str, fn(&mut Scene), &'static [&'static str]);

const CASES: &[Case] = &[
    ("as it is", |_| {}, &[]),
    ("16 registers", |s| s.select(16, [0xff, 0xff, 0]), &[]),
    (
        "registers by name",
        |s| {
            s.select(10, [0xff, 3, 0]);
            s.policy.pcrs = Some((0..10).collect())
        },
        &[],
    ),
    ("no event log", |s| s.event_log = None, &[]),
    (
        "no reference values",
        |s| s.reference = None,
        &["reference"],
    ),
    (
        "reference values of another bank",
        |s| s.reference.as_mut().unwrap().bank = Bank::Sha384,
        &["reference"],
    ),
    (
        "reference values without what was started",
        |s| drop(s.reference.as_mut().unwrap().registers.remove("pcr4")),
        &["reference"],
    ),
    (
        "reference values that were observed",
        |s| {
            s.reference
                .as_mut()
                .unwrap()
                .registers
                .get_mut("pcr4")
                .unwrap()
                .class = Class::Observed
        },
        &["reference"],
    ),
    ("no quote", |s| s.attest.kind = 0x8017, &["quote-format"]),
    (
        "not made by a tpm",
        |s| s.attest.magic = 1,
        &["quote-format"],
    ),
    ("no key", |s| s.ak = Some(b"key".to_vec()), &["ak-format"]),
    (
        "key that signs anything",
        |s| s.attributes &= !(1 << 16),
        &["ak-attributes"],
    ),
    (
        "key that was imported",
        |s| s.attributes &= !(1 << 5),
        &["ak-attributes"],
    ),
    (
        "key that decrypts",
        |s| s.attributes |= 1 << 17,
        &["ak-attributes"],
    ),
    (
        "quote by a stranger",
        |s| s.signer = Some(stranger()),
        &["quote-signature"],
    ),
    (
        "another key",
        |s| s.ak = Some(public(stranger(), s.attributes)),
        &["quote-signature"],
    ),
    ("no nonce", |s| s.nonce = None, &["nonce"]),
    ("another nonce", |s| s.nonce = Some(vec![1; 32]), &["nonce"]),
    (
        "more than the nonce",
        |s| s.attest.extra_data.push(0),
        &["nonce"],
    ),
    ("no list", |s| s.list = Some(Vec::new()), &["pcr-list"]),
    ("subset", |s| s.select(8, [0xff, 0, 0]), &["pcr-selection"]),
    (
        "another bank",
        |s| s.attest.banks[0].0 = 0x0004,
        &["pcr-selection"],
    ),
    ("no bank", |s| s.attest.banks.clear(), &["pcr-selection"]),
    (
        "two banks",
        |s| s.attest.banks.push((0x000c, vec![1, 0, 0])),
        &["pcr-selection"],
    ),
    (
        "sixteen where all are named",
        |s| {
            s.select(16, [0xff, 0xff, 0]);
            s.policy.pcrs = Some((0..24).collect())
        },
        &["pcr-selection"],
    ),
    ("other values", |s| s.pcrs[20] = [1; 32], &["pcr-digest"]),
    (
        "fewer values than are quoted",
        |s| s.list = Some(pcr_list(&s.pcrs[..16])),
        &["pcr-digest"],
    ),
    (
        "another image",
        |s| {
            let mut other = s.pcrs.clone();
            other[4] = [4; 32];
            s.reference = Some(reference(&other))
        },
        &["pcr4"],
    ),
    (
        "event log of registers that are not quoted",
        |s| {
            let image = s.pcrs[4];
            s.pcrs = vec![image];
            s.attest.pcr_digest = sha2::Sha256::digest(image).to_vec();
            s.attest.banks = vec![(0x000b, vec![0, 0x10, 0])];
            let mut list = pcr_list(&s.pcrs);
            list[7..9].copy_from_slice(&[0, 0x10]);
            s.list = Some(list);
            s.policy.pcrs = Some(vec![12]);
            let registers = &mut s.reference.as_mut().unwrap().registers;
            registers.remove("pcr7");
        },
        &["pcr4", "event-log"],
    ),
    (
        "event log that is none",
        |s| s.event_log = Some(b"log".to_vec()),
        &["event-log"],
    ),
    (
        "event log with another digest",
        |s| s.event_log = Some(with_another_digest(EVENT_LOG)),
        &["event-log"],
    ),
    (
        "event log that replays, with data that was not hashed",
        |s| s.event_log = Some(with_other_data(EVENT_LOG)),
        &["event-log"],
    ),
];

/// The log with one bit of an event's digest flipped.
fn with_another_digest(log: &[u8]) -> Vec<u8> {
    let parsed = EventLog::parse(log).unwrap();
    let digest = parsed.events[0].digest(Bank::Sha256).unwrap();
    let place = log.windows(32).position(|bytes| bytes == digest.as_bytes());
    flipped(log, place.unwrap())
}

/// The log with one bit of a separator flipped, which leaves its digest as it is.
fn with_other_data(log: &[u8]) -> Vec<u8> {
    let parsed = EventLog::parse(log).unwrap();
    let mut events = parsed.events.iter();
    let separator = events.find(|event| event.type_name() == "EV_SEPARATOR");
    let place = separator.unwrap().data.as_ptr().addr() - log.as_ptr().addr();
    flipped(log, place)
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}

#[test]
fn every_check_accepts_and_rejects_behind_a_valid_signature() {
    let mut coverage = Coverage::default();
    for (name, change, wanted) in CASES {
        let mut scene = Scene::new();
        change(&mut scene);
        let verdict = scene.verdict();
        coverage.judge(name, &verdict, wanted);
        assert!(!verdict.confidential, "{name}");
        assert_eq!(verdict.trust, Trust::Host, "{name}");
    }
    // Never made, or never compared with anything.
    for name in ["ak-origin", "confidential", "clock-info", "pcr7"] {
        assert!(coverage.all.remove(name), "{name}");
        coverage.accepting.remove(name);
    }
    coverage.complete(|_| true, 11);
}

#[test]
fn key_without_attributes_is_taken_and_said() {
    use x509_cert::der::Encode as _;
    let mut scene = Scene::new();
    scene.ak = Some(key().spki().unwrap().to_der().unwrap());
    let verdict = scene.verdict();
    assert!(verdict.accepted, "{verdict}");
    let check = verdict.check("ak-attributes").unwrap();
    assert_eq!((check.outcome, check.required), (Outcome::Skipped, false));
}

#[test]
fn clock_is_shown() {
    let verdict = Scene::new().verdict();
    let check = verdict.check("clock-info").unwrap();
    assert_eq!(check.found, "77 ms (safe), 3 resets, 0 restarts");
    assert!(!check.required);
}

#[test]
fn appraise_rejects_every_flipped_bit_of_quote_signature_key_and_values() {
    let scene = Scene::new();
    let (attest, signature) = scene.attest.sign(key()).unwrap();
    let signature = tpmt_signature(&signature);
    let flips = |bytes: &[u8], accepted: &dyn Fn(&[u8]) -> bool| {
        assert!(accepted(bytes));
        let mut checked = 0;
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepted(&changed), "byte {} bit {}", bit / 8, bit % 8);
            checked += 1;
        }
        assert_eq!(checked, bytes.len() * 8);
    };
    flips(&attest, &|attest| scene.judge(attest, &signature).accepted);
    flips(&signature, &|signature| {
        scene.judge(&attest, signature).accepted
    });
    flips(&scene.list(), &|list| {
        let mut scene = Scene::new();
        scene.list = Some(list.to_vec());
        scene.judge(&attest, &signature).accepted
    });
    // Of the key what verifies; attributes beside the demanded ones may be either way.
    let ak = scene.ak();
    flips(&ak[ak.len() - 256..], &|modulus| {
        let mut scene = Scene::new();
        scene.ak = Some([&ak[..ak.len() - 256], modulus].concat());
        scene.judge(&attest, &signature).accepted
    });
    assert_eq!(scene.nonce.as_deref(), Some(&NONCE[..]));
}
