//! The whole of the shared vectors under `eventlogs/` and `pe/`, value by value.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{directory, json};
use crate::digest::{Bank, Digest};
use crate::eventlog::{EventLog, Registers, check};
use crate::pe::Pe;
use crate::pe::tests::image;
use crate::uki;

/// Values compared so far, and those that cannot be for want of a file.
#[derive(Default)]
struct Count {
    checked: usize,
    skipped: usize,
}

impl Count {
    fn equal(&mut self, found: impl ToString, wanted: &Value, what: &str) {
        let wanted = match wanted {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(found.to_string(), wanted, "{what}");
        self.checked += 1;
    }
}

fn bank(name: &str) -> Bank {
    let banks = [Bank::Sha1, Bank::Sha256, Bank::Sha384];
    let mut banks = banks.into_iter();
    banks.find(|bank| bank.to_string() == name).unwrap()
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().unwrap().iter()
}

/// Origin: README of the vectors; the four TPM logs' registers are stated by google/go-tpm-tools too.
#[test]
fn every_value_of_eventlogs_and_pe_comes_out() {
    let Some(directory) = directory() else {
        return;
    };
    let mut count = Count::default();
    event_logs(&directory, &mut count);
    let logs = count.checked;
    authenticode(&directory, &mut count);
    pcr11(&directory, &mut count);
    pcr4_and_pcr9(&directory, &mut count);
    let Count { checked, skipped } = count;
    println!(
        "{checked} values checked, {logs} of event logs; {skipped} of absent Debian files skipped"
    );
    // Counted in the files: 4 facts of each of 6 logs, 122 registers, 5 RTMRs by name; 51 values of images.
    assert_eq!((logs, checked + skipped), (151, 202));
}

fn event_logs(directory: &Path, count: &mut Count) {
    let expected = json(directory, "eventlogs/expected-replay.json");
    for (name, row) in object(&expected) {
        let bytes = std::fs::read(directory.join("eventlogs").join(name)).unwrap();
        count.equal(bytes.len(), &row["size"], name);
        count.equal(hex::encode(Sha256::digest(&bytes)), &row["sha256"], name);
        let log = EventLog::parse(&bytes).unwrap();
        count.equal(log.events.len(), &row["events"], name);
        let kind = serde_json::to_value(log.kind()).unwrap();
        count.equal(kind.as_str().unwrap(), &row["kind"], name);
        let banks: Vec<String> = log.banks().iter().map(Bank::to_string).collect();
        let wanted: Vec<&String> = object(&row["replayed"]).map(|(bank, _)| bank).collect();
        assert_eq!(banks.iter().collect::<Vec<_>>(), wanted, "{name}");
        for (bank_name, registers) in object(&row["replayed"]) {
            let found = log.replay(bank(bank_name)).unwrap();
            assert_eq!(found.len(), registers.as_object().unwrap().len(), "{name}");
            for (index, value) in &found {
                count.equal(value, &registers[index.to_string()], name);
                if let Some(rtmrs) = row.get("rtmr_map") {
                    let register = Registers::Cc.name(*index).to_string();
                    count.equal(value, &rtmrs[register], name);
                }
            }
        }
        assert_eq!(check(&log, log.kind()), [], "{name}");
    }
}

fn authenticode(directory: &Path, count: &mut Count) {
    for row in json(directory, "pe/authenticode-synthetic.json")
        .as_array()
        .unwrap()
    {
        let name = row["file"].as_str().unwrap();
        let data = std::fs::read(directory.join("pe").join(name)).unwrap();
        image_digests(&data, row, count);
    }
    for row in json(directory, "pe/authenticode-debian.json")
        .as_array()
        .unwrap()
    {
        let path = row["debian_file"]
            .as_str()
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap();
        match super::debian_file(path) {
            Some(data) => {
                count.equal(data.len(), &row["size"], path);
                image_digests(&data, row, count);
            }
            None => count.skipped += 4,
        }
    }
}

fn image_digests(data: &[u8], row: &Value, count: &mut Count) {
    let what = row.to_string();
    count.equal(hex::encode(Sha256::digest(data)), &row["sha256"], &what);
    let pe = Pe::parse(data).unwrap();
    for bank in [Bank::Sha256, Bank::Sha384] {
        let wanted = &row[format!("authenticode_{bank}")];
        count.equal(pe.authenticode(bank), wanted, &what);
    }
}

fn pcr11(directory: &Path, count: &mut Count) {
    for case in json(directory, "pe/pcr11.json").as_array().unwrap() {
        let sections = object(&case["sections"]);
        let sections: Vec<(&String, Vec<u8>)> = sections
            .map(|(name, text)| (name, hex::decode(text.as_str().unwrap()).unwrap()))
            .collect();
        let sections: Vec<_> = sections
            .iter()
            .rev()
            .map(|(n, b)| (n.as_str(), b.as_slice(), b.len()))
            .collect();
        let data = image((0, 0), &sections);
        let pe = Pe::parse(&data).unwrap();
        for (bank_name, wanted) in object(&case["expected"]) {
            let value = uki::pcr11(&pe, bank(bank_name)).unwrap();
            let phases = uki::phases(&value);
            assert_eq!(phases.len() + 1, wanted.as_object().unwrap().len());
            count.equal(value.value(), &wanted["before-userspace"], bank_name);
            for (phase, value) in phases {
                count.equal(value, &wanted[&phase], &phase);
            }
        }
    }
}

/// The Debian files stand in for UKI and kernel by their digests.
fn pcr4_and_pcr9(directory: &Path, count: &mut Count) {
    let model = json(directory, "pe/pcr4-pcr9-model.json");
    let files = json(directory, "pe/authenticode-debian.json");
    for (bank_name, wanted) in object(&model["expected"]) {
        let bank = bank(bank_name);
        let digest = |index: usize| -> Digest {
            let digest = &files[index][format!("authenticode_{bank}")];
            digest.as_str().unwrap().parse().unwrap()
        };
        let pcr4 = uki::pcr4(digest(0), digest(1)).value();
        count.equal(pcr4, &wanted["pcr4_direct_uki"], bank_name);
        let initrd = bank.hash(&[&[0; 5000]]);
        let cmdline = model["cmdline"].as_str().unwrap();
        let pcr9 = uki::pcr9(cmdline, Some(initrd), bank).value();
        count.equal(pcr9, &wanted["pcr9_linux_stub"], bank_name);
    }
}
