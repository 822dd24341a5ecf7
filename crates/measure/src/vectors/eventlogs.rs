//! `eventlogs/`: recorded logs, and the registers that they replay to.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use crate::digest::{Bank, Digest};
use crate::eventlog::{EventLog, Registers};

/// Origin: own replay of the documented rule; the registers of the four TPM logs are stated by google/go-tpm-tools too.
pub(super) fn check(ledger: &Ledger) {
    for (name, row) in ledger.json("eventlogs/expected-replay.json").members() {
        let bytes = ledger.bytes(&format!("eventlogs/{name}"));
        row.get("size").equals(bytes.len());
        row.get("sha256").equals(Bank::Sha256.hash(&[&bytes]));
        let log = EventLog::parse(&bytes).unwrap();
        row.get("events").equals(log.events.len());
        row.get("kind").equals(log.kind());
        let replayed: BTreeMap<String, BTreeMap<u32, Digest>> = log
            .banks()
            .into_iter()
            .map(|bank| (bank.to_string(), log.replay(bank).unwrap()))
            .collect();
        row.get("replayed").equals(&replayed);
        if log.kind() == Registers::Cc {
            let name = |index: &u32| Registers::Cc.name(*index).to_string();
            let rtmrs = replayed["sha384"].iter();
            let rtmrs: BTreeMap<String, &Digest> = rtmrs.map(|(i, v)| (name(i), v)).collect();
            row.get("rtmr_map").equals(rtmrs);
        }
    }
}
