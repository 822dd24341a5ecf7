//! `pe/`: Authenticode digests, and the registers of unified kernel images.

use std::collections::BTreeMap;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::debian_version;
use super::ledger::{Fate, Ledger, Place};
use crate::digest::{Bank, Digest};
use crate::pe::Pe;
use crate::pe::tests::image;
use crate::uki;

/// Origin: own implementations in other languages; crates authenticode and goblin agree.
pub(super) fn authenticode(ledger: &Ledger) {
    for row in ledger.json("pe/authenticode-synthetic.json").list() {
        let name = row.get("file").text();
        digests(&ledger.bytes(&format!("pe/{name}")), &row);
    }
}

/// Origin: as before, over files of Debian packages.
pub(super) fn authenticode_of_debian(ledger: &Ledger) {
    for row in ledger.json("pe/authenticode-debian.json").list() {
        debian(&row);
    }
}

/// Origin: systemd-measure 252 for the first case of the shared vectors, own replay for the others.
pub(super) fn pcr11(ledger: &Ledger) {
    for case in ledger.json("pe/pcr11.json").list() {
        sections(&case);
    }
}

fn digests(data: &[u8], row: &Place<'_>) {
    row.get("sha256").equals(hex::encode(Sha256::digest(data)));
    let pe = Pe::parse(data).unwrap();
    for bank in [Bank::Sha256, Bank::Sha384] {
        let wanted = row.get(&format!("authenticode_{bank}"));
        wanted.equals(pe.authenticode(bank));
    }
}

fn debian(row: &Place<'_>) {
    let file = row.get("debian_file");
    let mut words = file.peek_text().split(' ');
    let (package, path) = (words.next().unwrap(), words.next_back().unwrap());
    let sha256 = row.get("sha256").peek_text();
    match debian_version(package, path, sha256) {
        Some(data) => {
            row.get("size").equals(data.len());
            digests(&data, row);
        }
        None => row.skip(Fate::Debian),
    }
    file.skip(Fate::Prose);
}

fn sections(case: &Place<'_>) {
    case.get("note").skip(Fate::Prose);
    let bytes = |text: &Place<'_>| hex::decode(text.text()).unwrap();
    let sections = case.get("sections").members();
    let sections: Vec<(&str, Vec<u8>)> = sections.iter().map(|(n, b)| (*n, bytes(b))).collect();
    // Not in the order in which they are measured.
    let sections = sections.iter().rev();
    let sections: Vec<_> = sections.map(|(n, b)| (*n, b.as_slice(), b.len())).collect();
    let data = image((0, 0), &sections);
    let pe = Pe::parse(&data).unwrap();
    let mut expected = BTreeMap::new();
    for bank in [Bank::Sha1, Bank::Sha256, Bank::Sha384] {
        let value = uki::pcr11(&pe, bank).unwrap();
        let mut phases: BTreeMap<String, Digest> = uki::phases(&value).into_iter().collect();
        phases.insert("before-userspace".to_owned(), value.value());
        expected.insert(bank.to_string(), phases);
    }
    case.get("expected").equals(expected);
}

/// Origin: own replay. Files of Debian stand in for UKI and kernel by their digests.
pub(super) fn pcr4_and_pcr9(ledger: &Ledger) {
    let model = ledger.json("pe/pcr4-pcr9-model.json");
    for words in ["note", "uki_standin", "kernel"] {
        model.get(words).skip(Fate::Prose);
    }
    let initrd = model.get("initrd").text().strip_suffix(" zero bytes");
    let initrd: usize = initrd.unwrap().parse().unwrap();
    let command_line = model.get("cmdline").text();
    let files = ledger.json("pe/authenticode-debian.json").list();
    for (name, wanted) in model.get("expected").members() {
        let bank = [Bank::Sha256, Bank::Sha384];
        let bank = bank.into_iter().find(|bank| bank.to_string() == name);
        let bank = bank.unwrap();
        let digest = |index: usize| -> Digest {
            let digest = files[index].get(&format!("authenticode_{bank}"));
            digest.peek_text().parse().unwrap()
        };
        let initrd = bank.hash(&[&vec![0; initrd]]);
        wanted.equals(json!({
            "pcr4_direct_uki": uki::pcr4(digest(0), digest(1)).value(),
            "pcr9_linux_stub": uki::pcr9(command_line, Some(initrd), bank).value(),
        }));
    }
}
