//! Changed images, missing parts and dying workloads, each on a booted guest.

use std::process::{Command, Stdio};

use crate::disk::{self, Disk};
use crate::guest::{self, BOOT_LIMIT, Guest, Turn, free_port};
use crate::images;
use crate::peer::Peer;

/// Boots an altered disk of the test workload and waits until the guest has powered off; nothing may be served.
fn powers_off(disk: &Disk) -> String {
    let _turn = Turn::take();
    let mut guest = Guest::boot(&images::probe().recipe, &disk.out);
    let text = guest.ended(BOOT_LIMIT);
    assert!(!text.contains("serving on port"), "{text}");
    text
}

/// The one line in which PID 1 says why it powered off: its last.
fn last_word(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("cloister-init: "))
        .collect();
    let reports = |line: &&str| {
        let (stage, rest) = line.split_once(": ").unwrap_or((line, ""));
        let word = rest.split(' ').next().unwrap_or_default();
        let told = matches!(stage, "start" | "clock") || stage.starts_with("serving on port");
        let told = told || *line == "gpu: none";
        told || word == "ok" || (stage == "network" && rest.contains('/') && !rest.contains(": "))
    };
    let failures: Vec<&&str> = lines.iter().filter(|line| !reports(line)).collect();
    assert_eq!(
        failures.len(),
        1,
        "one line was wanted: {failures:#?}\n{text}"
    );
    assert_eq!(Some(failures[0]), lines.last(), "{text}");
    failures[0].to_string()
}

#[test]
fn a_changed_byte_of_the_root_partition_is_a_verity_error_and_a_power_off() {
    let altered = Disk::copy(images::probe(), "root-byte");
    let root = altered.partitions()[1];
    altered.flip(root.start + 1024 + 4);
    let text = powers_off(&altered);
    assert!(
        text.contains("device-mapper: verity") && text.contains("is corrupted"),
        "{text}"
    );
    let line = last_word(&text);
    assert!(line.starts_with("root: "), "{line}");
}

#[test]
fn a_changed_byte_of_the_hash_tree_is_a_verity_error_and_a_power_off() {
    let altered = Disk::copy(images::probe(), "hash-byte");
    let tree = altered.partitions()[2];
    altered.flip(tree.start + 7);
    let text = powers_off(&altered);
    assert!(
        text.contains("device-mapper: verity") && text.contains("is corrupted"),
        "{text}"
    );
    let line = last_word(&text);
    assert!(line.starts_with("root: "), "{line}");
}

#[test]
fn a_missing_root_partition_is_a_power_off_with_one_line() {
    let altered = Disk::copy(images::probe(), "no-root");
    altered.remove(altered.partitions()[1]);
    let line = last_word(&powers_off(&altered));
    assert!(line.starts_with("root: "), "{line}");
}

#[test]
fn a_guest_without_a_tpm_powers_off_with_one_line() {
    let _turn = Turn::take();
    let (words, port) = guest::without_a_tpm(&images::probe().out.join("disk.raw"));
    let mut guest = Guest::start(&words, port);
    let text = guest.ended(BOOT_LIMIT);
    assert!(!text.contains("serving on port"), "{text}");
    let line = last_word(&text);
    assert!(
        line.starts_with("attest: ") && line.to_lowercase().contains("tpm"),
        "{line}"
    );
}

#[test]
fn a_workload_that_exits_is_a_power_off_with_one_line() {
    let mut guest = {
        let _turn = Turn::take();
        Guest::serving(images::probe())
    };
    let port = guest.port;
    let asked = std::thread::spawn(move || Peer::connect(port).ask("GET", "/exit", b""));
    let text = guest.ended(BOOT_LIMIT);
    asked.join().ok();
    let line = last_word(&text);
    assert!(line.starts_with("workload: "), "{line}");
}

/// Boots a disk with another UKI and gives the verdict about it.
fn verdict_about(alter: impl Fn(&[u8]) -> Vec<u8>, name: &str) -> (i32, serde_json::Value) {
    let image = images::probe();
    let altered = Disk::copy(image, name);
    let (offset, uki) = altered.uki(image);
    altered.write(offset, &alter(&uki));
    let _turn = Turn::take();
    let guest = Guest::boot(&image.recipe, &altered.out);
    assert!(
        guest.line("serving on port", BOOT_LIMIT).is_some(),
        "{}",
        guest.text()
    );
    let said = guest.verify(&image.expected());
    let verdict = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:#?}"));
    (said.code, verdict)
}

/// Names of the register checks that failed, with their explanations.
fn failed_registers(verdict: &serde_json::Value) -> Vec<(String, String)> {
    let checks = verdict["leaf"]["checks"].as_array().expect("checks");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    checks
        .iter()
        .filter(|check| check["status"] == "fail" && text(&check["name"]).starts_with("pcr"))
        .map(|check| (text(&check["name"]), text(&check["cause"])))
        .collect()
}

#[test]
fn a_word_added_to_the_command_line_is_rejected_by_pcr_11() {
    let (code, verdict) = verdict_about(|uki| disk::with_words(uki, "quiet"), "command-line");
    assert_eq!(code, 1, "{verdict:#}");
    let failed = failed_registers(&verdict);
    let (_, meaning) = failed
        .iter()
        .find(|(name, _)| name == "pcr11")
        .unwrap_or_else(|| panic!("PCR 11 is not named: {failed:#?}"));
    assert!(meaning.contains("command line"), "{meaning}");
}

#[test]
fn another_uki_is_rejected_by_pcr_4() {
    let (code, verdict) = verdict_about(|uki| disk::with_time_stamp(uki, 0x0c10_157e), "uki");
    assert_eq!(code, 1, "{verdict:#}");
    let failed = failed_registers(&verdict);
    assert_eq!(failed.len(), 1, "only PCR 4 covers the header: {failed:#?}");
    assert_eq!(failed[0].0, "pcr4");
    assert!(failed[0].1.contains("UKI"), "{failed:#?}");
}

#[test]
fn an_image_of_another_recipe_is_rejected() {
    let said = guest::probe().verify(&images::demo().expected());
    assert_eq!(said.code, 1, "{said:#?}");
    let verdict = serde_json::from_str(&said.stdout).expect("JSON");
    let names: Vec<String> = failed_registers(&verdict)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for pcr in ["pcr4", "pcr11", "pcr15"] {
        assert!(names.iter().any(|name| name == pcr), "{names:?}");
    }
}

#[test]
fn verify_cannot_connect_to_a_port_nobody_listens_on() {
    let url = format!("https://127.0.0.1:{}", free_port());
    let output = Command::new(crate::program::cloister())
        .args(["verify", &url, "--expect"])
        .arg(images::probe().expected())
        .stdin(Stdio::null())
        .output()
        .expect("cloister starts");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.starts_with("error: cannot connect") && text.contains("hint:"),
        "{text}"
    );
}
