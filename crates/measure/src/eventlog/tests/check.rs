//! Strict mode: genuine logs pass, and each rule refuses what it is for.

use super::*;
use crate::vectors;

const CALLING: &[u8] = b"Calling EFI Application from Boot Option";

/// Events of a boot that firmware could have logged, up to the kernel.
fn boot() -> Vec<(u32, u32, Vec<u8>)> {
    let mut events = vec![(0, 8, b"version".to_vec())];
    for (index, name) in ["SecureBoot", "PK", "KEK", "db", "dbx"].iter().enumerate() {
        events.push((7, 0x8000_0001, variable(name, &[1; 5][..index])));
    }
    events.push((4, 0x8000_0007, CALLING.to_vec()));
    events.extend((0..8).map(|register| (register, 4, vec![0; 4])));
    events.push((5, 0x8000_0006, b"EFI PART".to_vec()));
    events.push((4, 0x8000_0003, b"image".to_vec()));
    events.push((5, 0x8000_0007, b"Exit Boot Services Invocation".to_vec()));
    events.push((
        5,
        0x8000_0007,
        b"Exit Boot Services Returned with Success".to_vec(),
    ));
    events
}

fn variable(name: &str, contents: &[u8]) -> Vec<u8> {
    let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut data = vec![7; 16];
    data.extend(u64::try_from(wide.len() / 2).unwrap().to_le_bytes());
    data.extend(u64::try_from(contents.len()).unwrap().to_le_bytes());
    data.extend(wide);
    data.extend(contents);
    data
}

fn bytes(events: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let events: Vec<_> = events
        .iter()
        .map(|(r, t, d)| (*r, *t, d.as_slice()))
        .collect();
    log(&events)
}

/// Rules that refuse the log, each once.
fn refused(bytes: &[u8]) -> Vec<&'static str> {
    let log = EventLog::parse(bytes).unwrap();
    let findings = check(&log, log.kind());
    let mut rules: Vec<_> = findings
        .iter()
        .filter(|f| f.refused)
        .map(|f| f.rule)
        .collect();
    rules.dedup();
    rules
}

/// Origin: shared vectors `eventlogs/`, recorded on real machines. The CCEL of td-shim is no UEFI and has no Secure Boot.
#[test]
fn check_refuses_no_recorded_log() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let expected = vectors::json(&directory, "eventlogs/expected-replay.json");
    for name in expected.as_object().unwrap().keys() {
        let bytes = std::fs::read(directory.join("eventlogs").join(name)).unwrap();
        let log = EventLog::parse(&bytes).unwrap();
        let findings = check(&log, log.kind());
        assert_eq!(findings, [], "{name}");
    }
    println!(
        "{} recorded logs, no finding",
        expected.as_object().unwrap().len()
    );
}

/// Origin: the same logs; whatever byte of a checked event's data is changed, the digest beside it tells.
#[test]
fn check_finds_changed_data_of_every_checked_event() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let name = directory.join("eventlogs/ubuntu-2404-amd-sevsnp.bin");
    let genuine = std::fs::read(name).unwrap();
    let log = EventLog::parse(&genuine).unwrap();
    let mut found = 0;
    for event in log.events.iter().filter(|event| !event.data.is_empty()) {
        let start = event.data.as_ptr() as usize - genuine.as_ptr() as usize;
        let mut changed = genuine.clone();
        changed[start + event.data.len() - 2] ^= 1;
        let changed = EventLog::parse(&changed).unwrap();
        let findings = check(&changed, Registers::Pcr);
        let own = findings
            .iter()
            .filter(|finding| finding.event == Some(event.number));
        found += usize::from(own.count() > 0);
    }
    // 1 version, 5 variables, 8 separators, 4 boot variables, 4 actions, 1 table, 1 authority, 71 lines of GRUB.
    assert_eq!(found, 95);
}

#[test]
fn check_accepts_a_boot_and_refuses_what_replays_but_no_firmware_writes() {
    assert_eq!(refused(&bytes(&boot())), [""; 0]);
    let with = |at: usize, event: (u32, u32, &[u8])| {
        let mut events = boot();
        events.insert(at, (event.0, event.1, event.2.to_vec()));
        refused(&bytes(&events))
    };
    let end = boot().len();
    for (at, event, rule) in [
        (end - 2, (4, 4, &[0; 4][..]), "second-separator"),
        (end - 2, (0, 8, b"version"), "after-separator"),
        (end - 2, (2, 0x8000_0004, b"driver"), "after-separator"),
        (
            end - 2,
            (7, 0x8000_0001, &variable("x", b"y")),
            "after-separator",
        ),
        (end, (4, 0x8000_0003, b"image"), "after-exit"),
        (
            3,
            (7, 0x8000_0001, &variable("dbx", b"")),
            "secure-boot-order",
        ),
        (3, (7, 0x8000_0001, b"no variable"), "digest"),
        (
            1,
            (0, EV_NO_ACTION, b"StartupLocality\0\x03"),
            "startup-locality",
        ),
        (
            0,
            (0, EV_NO_ACTION, b"StartupLocality\0\x02"),
            "startup-locality",
        ),
        (
            0,
            (0, EV_NO_ACTION, b"StartupLocality\0"),
            "startup-locality",
        ),
        (
            0,
            (1, EV_NO_ACTION, b"StartupLocality\0\x03"),
            "startup-locality",
        ),
        (2, (0, EV_NO_ACTION, b"Spec ID Event03\0"), "second-header"),
    ] {
        let rules: Vec<_> = with(at, event).into_iter().collect();
        assert!(rules.contains(&rule), "{rule}: {rules:?}");
    }
    let events: Vec<_> = boot().into_iter().filter(|event| event.0 != 6).collect();
    assert_eq!(refused(&bytes(&events)), ["separator-missing"]);
    let mut events = boot();
    events.iter_mut().find(|e| e.1 == 4).unwrap().2 = vec![1, 0, 0, 0];
    assert_eq!(refused(&bytes(&events)), ["separator-value"]);
}

#[test]
fn check_refuses_algorithms_nobody_knows_and_digests_left_out() {
    let good = bytes(&boot());
    let mut unknown = good.clone();
    // SHA-384 becomes an algorithm 0x4321 with digests of the same size, in header and events.
    let sizes: Vec<usize> = (0..good.len() - 1)
        .filter(|&at| good[at..at + 2] == [0x0c, 0] && (at == 64 || at > 69))
        .collect();
    for at in sizes {
        unknown[at..at + 2].copy_from_slice(&[0x21, 0x43]);
    }
    assert_eq!(refused(&unknown), ["algorithm-unknown"]);
    let mut short = log(&[(4, 4, &[0; 4])]);
    let event = short.len() - (12 + 2 + 32 + 2 + 48 + 8);
    short[event + 8] = 1;
    short.drain(event + 12 + 34..event + 12 + 34 + 50);
    let rules = refused(&short);
    assert!(rules.contains(&"digest-missing"), "{rules:?}");
}

/// One `TCG_PCClientPCREvent` per event.
fn old(events: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (register, event_type, data) in events {
        bytes.extend(register.to_le_bytes());
        bytes.extend(event_type.to_le_bytes());
        bytes.extend(Bank::Sha1.hash(&[data]).as_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}

#[test]
fn logs_of_sha1_only_firmware_parse_replay_and_are_told_of() {
    let events: Vec<_> = (0..8).map(|register| (register, 4, &[0; 4][..])).collect();
    let mut bytes = old(&events);
    bytes.extend([0xff; 50]);
    let log = EventLog::parse(&bytes).unwrap();
    assert_eq!(
        (log.banks(), log.kind()),
        (vec![Bank::Sha1], Registers::Pcr)
    );
    assert_eq!(log.events[1].offset, 36);
    // PCR 2, 3 and 6 of the recorded logs hold exactly one separator, in the SHA-1 bank too.
    let value = log.replay(Bank::Sha1).unwrap()[&2].to_string();
    assert_eq!(value, "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236");
    let findings = check(&log, Registers::Pcr);
    assert_eq!((findings.len(), findings[0].rule), (1, "sha1-only"));
    assert!(log.replay(Bank::Sha256).is_err());
    let cut = EventLogError::Truncated {
        event: 7,
        what: "event",
        offset: 7 * 36 + 32,
    };
    assert_eq!(EventLog::parse(&bytes[..8 * 36 - 1]), Err(cut));
}

#[test]
fn kind_is_told_from_banks_and_registers() {
    let log = EventLog::parse(&bytes(&boot())).map(|log| log.kind());
    assert_eq!(log, Ok(Registers::Pcr));
}
