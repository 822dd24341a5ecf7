use proptest::prelude::*;

use super::parse::SPEC_ID;
use super::*;

mod check;
mod recorded;

/// A log with SHA-256 and SHA-384 digests of the given events: register, type, data.
fn log(events: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut spec = SPEC_ID.to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend([2, 0, 0, 0, 0x0b, 0, 32, 0, 0x0c, 0, 48, 0, 0]);
    let mut bytes = [[0; 4], EV_NO_ACTION.to_le_bytes()].concat();
    bytes.extend([0; 20]);
    bytes.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    bytes.extend(spec);
    for (register, event_type, data) in events {
        for word in [*register, *event_type, 2] {
            bytes.extend(word.to_le_bytes());
        }
        for (algorithm, bank) in [(0x0b_u16, Bank::Sha256), (0x0c, Bank::Sha384)] {
            bytes.extend(algorithm.to_le_bytes());
            bytes.extend(bank.hash(&[data]).as_bytes());
        }
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

#[test]
fn replay_starts_pcr0_at_the_logged_locality_and_skips_no_action() {
    let locality = [STARTUP_LOCALITY.as_slice(), &[3]].concat();
    let bytes = log(&[
        (0, EV_NO_ACTION, &locality),
        (0, 8, b"v"),
        (5, EV_NO_ACTION, b"x"),
    ]);
    let values = EventLog::parse(&bytes)
        .unwrap()
        .replay(Bank::Sha256)
        .unwrap();
    let mut start = [0; 32];
    start[31] = 3;
    let digest = Bank::Sha256.hash(&[b"v"]);
    let wanted = Bank::Sha256.hash(&[&start, digest.as_bytes()]);
    assert_eq!(values, BTreeMap::from([(0, wanted)]));
}

#[test]
fn replay_names_an_event_without_the_bank() {
    let bytes = log(&[(4, 4, &[0; 4])]);
    let log = EventLog::parse(&bytes).unwrap();
    let wanted = EventLogError::MissingDigest {
        event: 1,
        bank: Bank::Sha512,
    };
    assert_eq!(log.replay(Bank::Sha512), Err(wanted));
    assert_eq!(log.events[0].type_name(), "EV_SEPARATOR");
}

#[test]
fn parse_names_what_is_wrong() {
    let good = log(&[(4, 4, &[0; 4])]);
    let parse = |bytes: &[u8]| EventLog::parse(bytes).map(|log| log.events.len());
    assert_eq!(parse(&[good.as_slice(), &[0xff; 40]].concat()), Ok(1));
    assert_eq!(parse(&[good.as_slice(), &[0; 40]].concat()), Ok(1));
    assert_eq!(parse(&[]), Err(EventLogError::NotALog));
    assert_eq!(parse(&good[32..]), Err(EventLogError::NotALog));
    let end = good.len();
    let cut = EventLogError::Truncated {
        event: 1,
        what: "event",
        offset: end - 4,
    };
    assert_eq!(parse(&good[..end - 1]), Err(cut));
    let change = |from_end: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[end - from_end] = byte;
        parse(&bytes)
    };
    let event = 12 + 2 + 32 + 2 + 48 + 8;
    assert_eq!(
        change(event, 24),
        Err(EventLogError::Register {
            event: 1,
            register: 24
        })
    );
    let twice = EventLogError::Algorithm {
        event: 1,
        algorithm: 0x0b,
    };
    assert_eq!(change(48 + 2 + 8, 0x0b), Err(twice));
    let mut algorithms = good.clone();
    algorithms[32 + 28 + 2] = 20;
    assert_eq!(parse(&algorithms), Err(EventLogError::Algorithms));
}

proptest! {
    #[test]
    fn parse_never_panics_on_damaged_logs(
        damage in prop::collection::vec((0_usize..4096, any::<u8>()), 0..20),
        cut in 0_usize..400,
    ) {
        let mut bytes = log(&[(4, 4, &[0; 4]), (11, 0xd, b".linux\0"), (9, 6, b"x")]);
        for (offset, byte) in damage {
            let offset = offset % bytes.len();
            bytes[offset] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok(log) = EventLog::parse(&bytes) {
            drop(log.replay(Bank::Sha384));
            drop(log.events.iter().map(Event::to_string).collect::<Vec<_>>());
        }
    }
}

/// A log of empty events that ends in something else costs what its length says, not the square of it.
#[test]
fn parse_reads_a_log_full_of_zeros_once() {
    let mut bytes = log(&[]);
    let header = bytes.len();
    bytes.resize(header + 16 * 300_000, 0);
    bytes.extend([0x0d, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    let parsed = EventLog::parse(&bytes).unwrap();
    assert_eq!(parsed.events.len(), 300_001);
    let findings = check(&parsed, Registers::Pcr);
    assert!(
        findings
            .iter()
            .any(|finding| finding.rule == "digest-missing")
    );
}
