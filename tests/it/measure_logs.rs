//! `measure replay` and `diff` as programs: a log of a real boot against the registers of its TPM, and exit codes.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::program::{Said, repository, run};

fn vector(name: &str) -> PathBuf {
    repository().join("tests/vectors/measurement").join(name)
}

fn log() -> Vec<u8> {
    fs::read(vector("qemu-ovmf-swtpm.eventlog")).expect("a log")
}

fn replay(bytes: &[u8], more: &[&str]) -> Said {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    fs::write(&path, bytes).expect("written");
    let words = ["measure", "replay", "--json"]
        .into_iter()
        .chain(more.iter().copied());
    run(words.map(Into::into).chain([path.into_os_string()]))
}

#[test]
fn replay_prints_the_registers_of_the_tpm() {
    let said = replay(&log(), &["--strict"]);
    assert_eq!(said.code, 0, "{said:#?}");
    let document: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(document["kind"], "tpm");
    assert_eq!(document["findings"], Value::Array(Vec::new()));
    let read = fs::read(vector("qemu-ovmf-swtpm.pcrs.json")).expect("registers");
    let tpm: Value = serde_json::from_slice(&read).expect("JSON");
    let mut compared = 0;
    for row in document["registers"].as_array().expect("a list") {
        let word = |key: &str| row[key].as_str().expect("a word").to_owned();
        let (name, bank) = (word("register"), word("bank"));
        let index = name.strip_prefix("pcr").expect("a PCR");
        if let Some(wanted) = tpm[bank].get(index) {
            assert_eq!(wanted, &row["value"], "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 30);
}

#[test]
fn strict_refuses_a_second_separator_with_1_and_no_mode_reads_a_cut_log() {
    // The last separator again, as the firmware wrote it.
    let genuine = log();
    let parsed = cloister_measure::eventlog::EventLog::parse(&genuine).expect("a log");
    let mut events = parsed.events.iter();
    let separator = events
        .rfind(|event| event.type_name() == "EV_SEPARATOR")
        .expect("one");
    let end = separator.data.as_ptr() as usize - genuine.as_ptr() as usize + 4;
    let second = [&genuine[..], &genuine[separator.offset..end]].concat();
    assert_eq!(replay(&second, &[]).code, 0);
    let refused = replay(&second, &["--strict"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.stderr.contains("second-separator"), "{refused:#?}");
    let document: Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!(document["registers"], Value::Array(Vec::new()));
    for mode in [&[][..], &["--strict"]] {
        let cut = replay(&genuine[..genuine.len() - 3], mode);
        assert_eq!((cut.code, cut.stdout.as_str()), (2, ""), "{cut:#?}");
        assert!(cut.stderr.contains("reaches past the end"), "{cut:#?}");
    }
}

#[test]
fn diff_names_the_event_at_which_a_log_leaves_a_transcript() {
    let folder = tempfile::tempdir().expect("a folder");
    let (transcript, other) = (folder.path().join("a.json"), folder.path().join("b"));
    let said = replay(&log(), &["--transcript"]);
    fs::write(&transcript, &said.stdout).expect("written");
    let diff = |b: PathBuf| {
        run([
            "diff".into(),
            transcript.clone().into_os_string(),
            b.into_os_string(),
        ])
    };
    let same = diff(vector("qemu-ovmf-swtpm.eventlog"));
    assert_eq!((same.code, same.stdout.as_str()), (0, ""), "{same:#?}");
    let mut changed = log();
    let parsed = cloister_measure::eventlog::EventLog::parse(&changed).expect("a log");
    let mut events = parsed.events.iter();
    let image = events.find(|event| event.register == 4 && event.event_type == 0x8000_0003);
    // Count and identifier of the first digest come before it.
    let at = image.expect("an image").offset + 12 + 2;
    changed[at] ^= 1;
    fs::write(&other, &changed).expect("written");
    let found = diff(other);
    assert_eq!(found.code, 1, "{found:#?}");
    assert!(found.stdout.contains("pcr4 sha1 from step 3"), "{found:#?}");
}
