mod direct;
mod firmware;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::digest::{Bank, Digest};
use crate::eventlog::EventLog;
use crate::transcript::{Register, Transcript};
use crate::vectors;

/// Our own vectors, made by `tdx.py` beside them.
fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn expected() -> Value {
    serde_json::from_slice(&read("tdx-expected.json")).unwrap()
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(own().join(name)).unwrap()
}

fn digest(value: &Value) -> Digest {
    value.as_str().unwrap().parse().unwrap()
}

fn shared_log(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(vectors::directory()?.join("eventlogs").join(name)).unwrap())
}

const RTMR0: &str = "1 host not-in-log: TD HOB: memory layout from the VMM
2 firmware not-in-log: configuration volume: firmware variables as shipped
3 firmware event: Secure Boot variable `SecureBoot` = 0x00
4 firmware event: Secure Boot variable `PK`, 1097 bytes
5 firmware event: Secure Boot variable `KEK`, 1106 bytes
6 firmware event: Secure Boot variable `db`, 1085 bytes
7 firmware event: Secure Boot variable `dbx`, 4461 bytes
8 firmware event: separator
9 host not-in-log: ACPI tables from the VMM
10 host not-in-log: ACPI tables from the VMM
11 host not-in-log: ACPI tables from the VMM
12 host variable: boot variable `BootOrder`, 4 bytes
13 host variable: boot variable `Boot0001`, 96 bytes
14 host variable: boot variable `Boot0000`, 62 bytes
21 image event: authority `SbatLevel`, 18 bytes
22 image event: authority `MokListTrusted` = 0x01";

/// Origin: the CCEL of a GCE C3 machine (google/go-eventlog); names read from its bytes by hand.
#[test]
fn rtmr0_events_of_a_recorded_log_have_names_and_end_in_its_value() {
    let Some(bytes) = shared_log("cos-113-intel-tdx.bin") else {
        return;
    };
    let directory = vectors::directory().unwrap();
    let replay = vectors::json(&directory, "eventlogs/expected-replay.json");
    let wanted = digest(&replay["cos-113-intel-tdx.bin"]["replayed"]["sha384"]["1"]);
    let events = rtmr0_events(&EventLog::parse(&bytes).unwrap()).unwrap();
    assert_eq!(events.last().unwrap().value, wanted);
    let transcript = rtmr0_transcript(&events);
    assert_eq!(
        transcript.of(&Register::Rtmr(0)).last().unwrap().value,
        wanted
    );
    let line = |e: &Rtmr0Event| {
        format!(
            "{} {} {}: {}",
            e.event,
            e.decided_by.name(),
            e.covers.name(),
            e.name
        )
    };
    let found: Vec<String> = events.iter().map(line).collect();
    assert_eq!(found.join("\n"), RTMR0);
}

#[test]
fn rtmr0_events_of_td_shim_are_named_too() {
    let Some(bytes) = shared_log("CCEL_data") else {
        return;
    };
    let events = rtmr0_events(&EventLog::parse(&bytes).unwrap()).unwrap();
    assert_eq!(events[0].name, "TD HOB: memory layout from the VMM");
    assert_eq!((events[0].covers, events.len()), (Covers::NotInLog, 2));
}

/// Origin: `tests/vectors/measurement/make.py`, where each event is spelled out.
#[test]
fn rtmr0_events_of_a_log_in_this_repository_have_names() {
    let bytes = std::fs::read(own().join("measurement/eventlogs/ccel.bin")).unwrap();
    let events = rtmr0_events(&EventLog::parse(&bytes).unwrap()).unwrap();
    let found: Vec<(&str, &str, &str)> = events
        .iter()
        .map(|event| {
            (
                event.name.as_str(),
                event.decided_by.name(),
                event.covers.name(),
            )
        })
        .collect();
    let variable = |name| (name, "firmware", "event");
    let wanted = [
        ("TD HOB: memory layout from the VMM", "host", "not-in-log"),
        (
            "configuration volume: firmware variables as shipped",
            "firmware",
            "not-in-log",
        ),
        variable("Secure Boot variable `SecureBoot` = 0x00"),
        variable("Secure Boot variable `PK`, empty"),
        variable("Secure Boot variable `KEK`, empty"),
        variable("Secure Boot variable `db`, empty"),
        variable("Secure Boot variable `dbx`, 76 bytes"),
        variable("separator"),
        ("ACPI tables from the VMM", "host", "not-in-log"),
        ("boot variable `BootOrder`, 2 bytes", "host", "variable"),
        ("boot variable `Boot0001`, 60 bytes", "host", "variable"),
    ];
    assert_eq!(found, wanted);
}
