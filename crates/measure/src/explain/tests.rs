use sha2::{Digest as _, Sha256};

use super::*;
use crate::pcr::Extension;
use crate::snp::{HostProfile, KernelHashes, LaunchInputs, Ovmf, launch_digests};

fn account(register: Register, bank: Bank, words: &[&str]) -> Account {
    let mut steps = Transcript::default();
    let mut extension = Extension::new(register, bank);
    for word in words {
        extension.measure(word.as_bytes(), *word, "test");
    }
    extension.finish(&mut steps);
    Account::of_transcript(steps)
}

#[test]
fn differences_name_the_first_step_that_parts_in_each_register_and_bank() {
    let of = |words: &[&str]| account(Register::Pcr(4), Bank::Sha256, words);
    assert_eq!(differences(&of(&["x"]), &of(&["x"])), []);
    let found = differences(&of(&["x", "y", "z"]), &of(&["x", "q", "z"]));
    let [parting] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (parting.agreeing, &parting.register),
        (1, &Register::Pcr(4))
    );
    let words = [&parting.a, &parting.b].map(|step| step.as_ref().unwrap().what.clone());
    assert_eq!(words, ["y", "q"]);
    let text = parting.to_string();
    assert!(
        text.starts_with("pcr4 sha256: parts at step 2\n  A: y (test)"),
        "{text}"
    );
    let shorter = differences(&of(&["x"]), &of(&["x", "y"]));
    assert_eq!((shorter[0].agreeing, &shorter[0].a), (1, &None));
    let other = account(Register::Pcr(4), Bank::Sha384, &["x"]);
    assert_eq!(differences(&of(&["x"]), &other).len(), 2);
}

#[test]
fn accounts_are_found_in_the_json_of_every_measure_command() {
    let one = account(Register::Rtmr(2), Bank::Sha384, &["a"]);
    let zero = Digest::zero(Bank::Sha256);
    let document = serde_json::json!({
        "sha256": {"registers": {"pcr12": zero, "pcr5": [zero]}, "transcript": one.steps},
        "rtmrs": [{"model": "m", "transcript": one.steps}],
        "other": [1, "transcript"],
    });
    let found = Account::of_json(&document);
    let names: Vec<&str> = found.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["rtmrs m", "sha256"]);
    let registers: Vec<String> = found[1]
        .registers
        .iter()
        .map(|(b, r)| format!("{r} {b}"))
        .collect();
    assert_eq!(registers, ["pcr5 sha256", "pcr12 sha256", "rtmr2 sha384"]);
    assert_eq!(
        Account::of_json(&serde_json::json!(one.steps)),
        std::slice::from_ref(&one)
    );
    assert_eq!(
        Account::of_json(&serde_json::json!({"transcript": [{"x": 1}]})),
        []
    );
    assert_eq!(pairs(&found, &found).len(), 2);
    assert_eq!(pairs(&found, std::slice::from_ref(&one)).len(), 2);
}

/// Vectors of this repository.
fn own(name: &str) -> Vec<u8> {
    let vectors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    std::fs::read(vectors.join(name)).unwrap()
}

/// Origin: the log of a booted guest against an account that expects other things of it.
#[test]
fn a_log_is_compared_in_the_registers_that_the_other_side_tells_of() {
    let bytes = own("measurement/qemu-ovmf-swtpm.eventlog");
    let log = Account::of_log(&EventLog::parse(&bytes).unwrap(), Registers::Pcr);
    let mut expected = account(
        Register::Pcr(4),
        Bank::Sha256,
        &["Calling EFI Application from Boot Option"],
    );
    expected.registers.insert((Bank::Sha256, Register::Pcr(12)));
    expected.registers.insert((Bank::Sha256, Register::Pcr(9)));
    let found = differences(&expected, &log);
    let told: Vec<(String, usize, bool)> = found
        .iter()
        .map(|p| (p.register.to_string(), p.agreeing, p.a.is_some()))
        .collect();
    // PCR 12 is never extended on either side; PCR 9, which should be zero, is.
    assert_eq!(
        told,
        [("pcr4".to_owned(), 1, false), ("pcr9".to_owned(), 0, false)]
    );
    assert_eq!(found[0].b.as_ref().unwrap().what, "EV_SEPARATOR");
    assert_eq!(differences(&log, &log), []);
}

/// Origin: digests of this repository (sev-snp-measure 0.0.13): the search finds the inputs that the rows name.
#[test]
fn search_names_the_inputs_of_recorded_digests() {
    let file: Value = serde_json::from_slice(&own("snp/launch-digests.json")).unwrap();
    let firmware = Ovmf::from_image(&own("snp/enforcing.fd")).unwrap();
    let hash = |name: &str| -> [u8; 32] { Sha256::digest(own(&format!("snp/{name}"))).into() };
    let (kernel, initrd) = (hash("kernel"), hash("initrd"));
    let mut found = 0;
    for row in file["rows"].as_array().unwrap().iter().step_by(5) {
        let initrd = (row["initrd"] == true).then_some(initrd);
        let guess = Guess {
            firmware: &firmware,
            kernel: Some((kernel, initrd)),
            command_line: row["cmdline"].as_str().unwrap_or_default().as_bytes(),
        };
        let features = row["guest-features"].as_u64().unwrap();
        let matches = search(&guess, &launch_digest(&row["digest"]));
        if ![0x1, 0x21].contains(&features) {
            assert_eq!(matches, [], "{row}");
            continue;
        }
        let [only] = &matches[..] else {
            panic!("{row}: {matches:?}")
        };
        let told = (
            u64::from(only.vcpus),
            only.host_profile,
            only.guest_features,
        );
        let host = row["host"].as_str().unwrap();
        assert_eq!(told, (row["vcpus"].as_u64().unwrap(), host, features));
        assert_eq!(only.kernel_hashes, row["cmdline"].is_string(), "{row}");
        found += 1;
    }
    println!("{found} digests explained");
    assert_eq!(found, 7);
    let guess = Guess {
        firmware: &firmware,
        kernel: Some((kernel, None)),
        command_line: b"",
    };
    assert_eq!(search(&guess, &firmware.seed()), []);
}

fn launch_digest(value: &Value) -> crate::snp::LaunchDigest {
    let bytes = hex::decode(value.as_str().unwrap()).unwrap();
    crate::snp::LaunchDigest(bytes.try_into().unwrap())
}

#[test]
fn search_names_white_space_around_the_command_line() {
    let firmware = Ovmf::from_image(&own("snp/enforcing.fd")).unwrap();
    let kernel = ([1; 32], None);
    let launched = |cmdline: &[u8]| {
        let inputs = LaunchInputs {
            firmware: &firmware,
            kernel: Some(KernelHashes::new(kernel.0, kernel.1, cmdline)),
            host: HostProfile::named("qemu-before-6.9").unwrap(),
            vcpu: "EPYC-Milan".parse().unwrap(),
            sev_features: 0x21,
        };
        launch_digests(&inputs, &[7].into()).unwrap()[&7]
    };
    for (given, booted, wanted) in [
        (&b"quiet"[..], &b"quiet\n"[..], "with a newline at the end"),
        (b"quiet\n", b"quiet", "without the newline at the end"),
        (b" quiet ", b"quiet", "without outer white space"),
        (b"quiet", b"quiet", "as given"),
        (b"quiet", b"", "empty"),
    ] {
        let guess = Guess {
            firmware: &firmware,
            kernel: Some(kernel),
            command_line: given,
        };
        let matches = search(&guess, &launched(booted));
        let [only] = &matches[..] else {
            panic!("{matches:?}")
        };
        assert_eq!(only.cmdline, Some(wanted));
        let told = "--vcpus 7 --vcpu-model EPYC-Milan --guest-features 0x21 --host-profile qemu-before-6.9, command line ";
        assert_eq!(only.to_string(), format!("{told}{wanted}"));
    }
}
