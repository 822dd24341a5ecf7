//! A booted guest against the values made before it ever ran.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cloister_evidence::bundle::Bundle;
use cloister_evidence::tpm::TpmEvidence;
use cloister_measure::Bank;
use cloister_measure::eventlog::{EventLog, Registers, check};
use cloister_measure::gpt::USUAL_BYTES;
use cloister_measure::uki::survey;

use crate::guest::{self, Guest, Turn};
use crate::images;
use crate::peer::Peer;
use crate::program::run;

#[test]
fn registers_of_the_booted_guest_equal_the_values_made_before() {
    let guest = guest::probe();
    let bundle = Bundle::decode(&Peer::connect(guest.port).leaf_bundle()).expect("a bundle");
    let evidence = TpmEvidence::decode(&bundle.cpu.value).expect("TPM evidence");
    let reference = images::probe().reference();
    for (pcr, name) in [
        (4, "pcr4"),
        (9, "pcr9"),
        (11, "pcr11"),
        (12, "pcr12"),
        (13, "pcr13"),
        (15, "pcr15"),
    ] {
        let register = reference
            .registers
            .get(name)
            .unwrap_or_else(|| panic!("no reference value of {name}"));
        assert!(
            register.allows(&evidence.pcrs.0[pcr]),
            "{name}: {}",
            hex::encode(evidence.pcrs.0[pcr])
        );
        println!("{name} {}", hex::encode(evidence.pcrs.0[pcr]));
    }
}

/// PCR 5 has two values that the reference leaves open: leaving boot services may fail once and be tried again.
#[test]
fn registers_that_the_reference_leaves_open_are_predicted_from_uki_and_disk() {
    let guest = guest::probe();
    let bundle = Bundle::decode(&Peer::connect(guest.port).leaf_bundle()).expect("a bundle");
    let evidence = TpmEvidence::decode(&bundle.cpu.value).expect("TPM evidence");
    let out = &images::probe().out;
    let uki = std::fs::read(out.join("uki.efi")).expect("a UKI");
    let disk = std::fs::read(out.join("disk.raw")).expect("a disk");
    let survey = survey(&uki, disk.get(..USUAL_BYTES), Bank::Sha256).expect("a survey");
    for pcr in [4, 5, 8, 9, 11, 12, 13, 14] {
        let values = &survey.pcrs[&u32::try_from(pcr).expect("small")];
        let quoted = evidence.pcrs.0[pcr];
        assert!(
            values.iter().any(|value| value.as_bytes() == quoted),
            "pcr{pcr}: {} is none of {values:?}",
            hex::encode(quoted)
        );
        println!("pcr{pcr}: one of {}", values.len());
    }
}

#[test]
fn firmware_log_of_the_guest_passes_strict_mode() {
    let guest = guest::probe();
    let bundle = Bundle::decode(&Peer::connect(guest.port).leaf_bundle()).expect("a bundle");
    let own = cloister_evidence::log::EventLog::decode(&bundle.log).expect("a log section");
    let log = EventLog::parse(own.firmware()).expect("a firmware log");
    assert_eq!(log.kind(), Registers::Pcr);
    assert_eq!(check(&log, Registers::Pcr), []);
}

#[test]
fn verify_accepts_the_guest_and_says_that_it_is_not_confidential() {
    let said = guest::probe().verify(&images::probe().expected());
    assert_eq!(said.code, 0, "{said:#?}");
    let verdict: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    for layer in ["leaf", "session"] {
        assert_eq!(verdict[layer]["accepted"], true, "{verdict:#}");
        assert_eq!(verdict[layer]["confidential"], false, "{verdict:#}");
    }
}

#[test]
fn verify_rejects_the_guest_where_confidentiality_is_required() {
    let url = guest::probe().url();
    let expected = images::probe().expected();
    let words = ["verify", &url, "--require-confidential", "--expect"];
    let said = run(words
        .map(Into::into)
        .into_iter()
        .chain([expected.into_os_string()]));
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stdout.contains("NOT confidential"), "{said:#?}");
}

#[test]
fn stages_of_the_guest_are_reported_one_line_each() {
    let text = {
        guest::probe();
        guest::probe().text()
    };
    assert!(text.contains("cloister-init: start"), "{text}");
    for stage in ["network", "attest", "serve"] {
        let found = text
            .lines()
            .any(|line| line.contains(&format!("cloister-init: {stage}: ok")));
        assert!(found, "no line for stage `{stage}`:\n{text}");
    }
}

#[test]
fn boot_leaves_nothing_behind_when_it_is_interrupted() {
    let _turn = Turn::take();
    let own = tempfile::tempdir().expect("a folder");
    let guest = Guest::boot_with(images::probe(), own.path());
    let started = guest.line("https://127.0.0.1", Duration::from_secs(60));
    assert!(started.is_some(), "{}", guest.text());
    assert!(!processes_naming(own.path()).is_empty());
    drop(guest);
    assert_eq!(images::walk(own.path()), Vec::<PathBuf>::new());
    assert_eq!(processes_naming(own.path()), Vec::<String>::new());
}

/// Command lines of processes that name a folder.
fn processes_naming(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    images::walk(Path::new("/proc"))
        .into_iter()
        .filter_map(|process| std::fs::read_to_string(process.join("cmdline")).ok())
        .filter(|command| command.contains(&*folder) && !command.contains("keeper"))
        .collect()
}
