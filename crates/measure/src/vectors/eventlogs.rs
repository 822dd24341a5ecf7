//! `eventlogs/`: logs, and the registers that they replay to.

use std::collections::BTreeMap;

use super::ledger::Ledger;
use crate::digest::{Bank, Digest};
use crate::eventlog::{EventLog, Registers};

/// Origin: own replay in another language; the registers of the shared TPM logs are stated by google/go-tpm-tools too.
pub(super) fn replay(ledger: &Ledger) {
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

/// Origin: the TPM of a booted guest, whose registers it read itself; `tests/vectors/README.md`.
pub(super) fn booted_guest(ledger: &Ledger) {
    let bytes = ledger.bytes("qemu-ovmf-swtpm.eventlog");
    let log = EventLog::parse(&bytes).unwrap();
    for bank in [Bank::Sha1, Bank::Sha256, Bank::Sha384] {
        let replayed = log.replay(bank).unwrap();
        let registers = ledger
            .json("qemu-ovmf-swtpm.pcrs.json")
            .get(&bank.to_string());
        for (index, value) in registers.members() {
            let index = index.parse().unwrap();
            value.equals(replayed.get(&index).copied().unwrap_or(Digest::zero(bank)));
        }
    }
}
