//! TCG2 event logs and their replay.
#![no_main]

use cloister_measure::Bank;
use cloister_measure::eventlog::{EventLog, Registers};
use cloister_measure::transcript::Transcript;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(log) = EventLog::parse(data) else {
        return;
    };
    for event in &log.events {
        let _ = event.to_string();
    }
    for bank in [Bank::Sha256, Bank::Sha384] {
        let mut transcript = Transcript::default();
        if let Ok(values) = log.replay_into(bank, Registers::Cc, &mut transcript) {
            assert_eq!(log.replay(bank), Ok(values));
        }
    }
});
