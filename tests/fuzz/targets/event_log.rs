//! Event logs in both formats: replay, rules of strict mode, comparison with transcripts; and transcripts as JSON.
#![no_main]

use cloister_measure::eventlog::{EventLog, Registers, check};
use cloister_measure::explain::{Account, differences, pairs};
use cloister_measure::transcript::Transcript;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(document) = serde_json::from_slice(data) {
        let accounts = Account::of_json(&document);
        for (a, b) in pairs(&accounts, &accounts) {
            if a.name == b.name && accounts.len() == 1 {
                assert_eq!(differences(a, b), []);
            }
        }
    }
    let Ok(log) = EventLog::parse(data) else {
        return;
    };
    for event in &log.events {
        let _ = event.to_string();
        assert!(event.offset < data.len());
    }
    for finding in check(&log, log.kind())
        .iter()
        .chain(&check(&log, Registers::Cc))
    {
        assert!(finding.event.is_none_or(|event| event <= log.events.len()));
    }
    for bank in log.banks() {
        let mut transcript = Transcript::default();
        if let Ok(values) = log.replay_into(bank, Registers::Cc, &mut transcript) {
            assert_eq!(log.replay(bank), Ok(values));
        }
    }
    let account = Account::of_log(&log, log.kind());
    assert_eq!(differences(&account, &account), []);
});
