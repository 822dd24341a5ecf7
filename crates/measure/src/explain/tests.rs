use super::*;
use crate::pcr::Extension;
use crate::snp::{HostProfile, KernelHashes, LaunchInputs, Ovmf, launch_digests};
use crate::vectors;

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

/// Origin: a recorded log of the shared vectors against an account that expects other things of it.
#[test]
fn a_log_is_compared_in_the_registers_that_the_other_side_tells_of() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let bytes = std::fs::read(directory.join("eventlogs/ubuntu-2404-amd-sevsnp.bin")).unwrap();
    let log = Account::of_log(&EventLog::parse(&bytes).unwrap(), Registers::Pcr);
    assert_eq!(log.registers.len(), 33);
    let mut expected = account(
        Register::Pcr(4),
        Bank::Sha256,
        &["Calling EFI Application from Boot Option"],
    );
    expected.registers.insert((Bank::Sha256, Register::Pcr(12)));
    expected.registers.insert((Bank::Sha256, Register::Pcr(14)));
    let found = differences(&expected, &log);
    let told: Vec<(String, usize, bool)> = found
        .iter()
        .map(|p| (p.register.to_string(), p.agreeing, p.a.is_some()))
        .collect();
    // PCR 12 is never extended on either side; PCR 14, which should be zero, is.
    assert_eq!(
        told,
        [
            ("pcr4".to_owned(), 1, false),
            ("pcr14".to_owned(), 0, false)
        ]
    );
    assert_eq!(found[0].b.as_ref().unwrap().what, "EV_SEPARATOR");
    assert_eq!(differences(&log, &log), []);
}

/// Origin: digests of the shared vectors (sev-snp-measure 0.0.13): the search finds the inputs that the rows name.
#[test]
fn search_names_the_inputs_of_recorded_digests() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let file = vectors::json(&directory, "snp/launch-digests-debian-amdsev.json");
    let name = file["firmware"].as_str().unwrap();
    let metadata = vectors::json(&directory, "snp/firmware-metadata.json");
    let tail = std::fs::read(directory.join(format!("snp/{name}.tables4k.bin"))).unwrap();
    let seed = launch_digest(&metadata[name]["ovmf_hash_seed"]);
    let firmware = Ovmf::from_tables(&tail, seed).unwrap();
    let hash = |value: &Value| {
        <[u8; 32]>::try_from(hex::decode(value.as_str().unwrap()).unwrap()).unwrap()
    };
    let guess = Guess {
        firmware: &firmware,
        kernel: Some((
            hash(&file["kernel"]["sha256"]),
            Some(hash(&file["initrd"]["sha256"])),
        )),
        command_line: file["cmdline"].as_str().unwrap().as_bytes(),
    };
    let rows = file["rows"].as_array().unwrap();
    let mut found = 0;
    for row in rows.iter().step_by(30) {
        let matches = search(&guess, &launch_digest(&row["launch_digest"]));
        let wanted = row["vcpus"].as_u64().unwrap();
        let host = row["vmm"].as_str().unwrap().to_lowercase();
        let features = row["guest_features"].as_u64().unwrap();
        let [only] = &matches[..] else {
            panic!("{row}: {matches:?}")
        };
        assert_eq!(
            (
                u64::from(only.vcpus),
                only.host_profile,
                only.guest_features
            ),
            (wanted, host.as_str(), features)
        );
        assert_eq!(only.kernel_hashes, row["kernel"].as_bool().unwrap());
        found += 1;
    }
    println!("{found} digests explained");
    assert_eq!(found, 6);
    assert_eq!(search(&guess, &seed), []);
}

fn launch_digest(value: &Value) -> crate::snp::LaunchDigest {
    let bytes = hex::decode(value.as_str().unwrap()).unwrap();
    crate::snp::LaunchDigest(bytes.try_into().unwrap())
}

#[test]
fn search_names_white_space_around_the_command_line() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let image = std::fs::read(directory.join("snp/synthetic-a-amdsev-like.bin")).unwrap();
    let firmware = Ovmf::from_image(&image).unwrap();
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
