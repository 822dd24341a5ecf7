//! Two transcripts, two event logs, or one of each: the first step at which each register parts.

use cloister_measure::eventlog::EventLog;
use cloister_measure::explain::{Account, Parting, differences, pairs};
use cloister_measure::transcript::Step;

use super::change::Change;

/// What differs between two accounts of registers; `None` when one of the files is none, or they tell of different things.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Option<Vec<Change>> {
    let (a, b) = (accounts(a)?, accounts(b)?);
    let pairs = pairs(&a, &b);
    if pairs.is_empty() {
        return None;
    }
    let changes = |(a, b): (&Account, &Account)| {
        let name = if a.name.is_empty() { &b.name } else { &a.name };
        let partings = differences(a, b);
        partings
            .into_iter()
            .map(|parting| change(name, &parting))
            .collect::<Vec<_>>()
    };
    Some(pairs.into_iter().flat_map(changes).collect())
}

/// Accounts in JSON as `cloister measure` prints it, or in a firmware's log.
fn accounts(bytes: &[u8]) -> Option<Vec<Account>> {
    let found = match serde_json::from_slice(bytes) {
        Ok(document) => Account::of_json(&document),
        Err(_) => {
            let log = EventLog::parse(bytes).ok()?;
            let account = Account::of_log(&log, log.kind());
            (!log.events.is_empty())
                .then_some(account)
                .into_iter()
                .collect()
        }
    };
    (!found.is_empty()).then_some(found)
}

fn change(name: &str, parting: &Parting) -> Change {
    let Parting {
        register,
        bank,
        agreeing,
        a,
        b,
    } = parting;
    let step = |step: &Option<Step>| {
        let shown = |step: &Step| format!("{} ({}) {}", step.what, step.input, step.digest);
        Some(step.as_ref().map_or("nothing more".to_owned(), shown))
    };
    let of = match name {
        "" => String::new(),
        name => format!("{name}: "),
    };
    let what = format!("{of}{register} {bank} from step {}", agreeing + 1);
    Change::new(what, step(a), step(b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn transcripts_are_compared_step_by_step_and_other_files_are_not() {
        let step = |what: &str, digest: &str| json!({"register": "pcr4", "what": what, "input": "x", "digest": digest.repeat(32), "value": "00".repeat(32)});
        let document = |last: &str| {
            json!({"sha256": {"registers": {}, "transcript": [step("first", "11"), step("second", last)]}})
                .to_string()
        };
        let changes = compare(document("22").as_bytes(), document("33").as_bytes()).unwrap();
        let [change] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(change.what, "sha256: pcr4 sha256 from step 2");
        assert_eq!(change.a, Some(format!("second (x) {}", "22".repeat(32))));
        let same = compare(
            document("22").as_bytes(),
            format!("{}\n", document("22")).as_bytes(),
        );
        assert_eq!(same, Some(Vec::new()));
        assert_eq!(compare(b"{}", document("22").as_bytes()), None);
        assert_eq!(compare(b"MZ", b"MZ"), None);
    }
}
