use std::collections::BTreeMap;

use super::ledger::{Fate, Ledger};
use super::{azure, directory, eventlogs, firmware, pe, snp, tdx};

/// What claims files and compares values, one for each part of the folder.
const HANDLERS: [fn(&Ledger); 6] = [
    azure::check,
    eventlogs::check,
    firmware::check,
    pe::check,
    snp::check,
    tdx::check,
];

/// Values of each JSON: those to compare, Debian's files included; those that others follow from; those left out.
/// Counted in the files.
const VALUES: [(&str, [usize; 3]); 15] = [
    ("azure/az-snp-vtpm_evidence-v1.json", [24, 2, 3]),
    ("azure/az-snp-vtpm_evidence-v2.json", [24, 2, 3]),
    ("azure/expected-values.json", [86, 0, 2]),
    ("eventlogs/expected-replay.json", [151, 0, 0]),
    ("pe/authenticode-debian.json", [8, 0, 2]),
    ("pe/authenticode-synthetic.json", [9, 3, 0]),
    ("pe/pcr11.json", [30, 12, 2]),
    ("pe/pcr4-pcr9-model.json", [4, 2, 3]),
    ("snp/firmware-metadata.json", [312, 0, 6]),
    ("snp/launch-digests-debian-amdsev.json", [306, 758, 3]),
    ("snp/launch-digests-other-firmware.json", [12, 72, 0]),
    ("snp/launch-digests-synthetic.json", [117, 936, 4]),
    ("snp/upstream-expected.json", [10, 10, 28]),
    ("snp/vmsa-pages.json", [382, 3, 1]),
    ("tdx/mrtd-debian-ovmf.json", [12, 0, 3]),
];
/// Of them, those that need a file of a Debian package.
const DEBIAN: usize = 32;

#[test]
fn every_value_of_the_shared_vectors_comes_out() {
    let Some(directory) = directory() else {
        return;
    };
    let ledger = Ledger::open(&directory);
    // Says in words where the values come from, as the handlers do.
    ledger.bytes("README.md");
    for handler in HANDLERS {
        handler(&ledger);
    }
    assert_eq!(ledger.open_items(), [""; 0], "read or compared by nobody");
    let mut total: BTreeMap<Fate, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (file, counts) in ledger.counts() {
        let of = |fates: &[Fate]| fates.iter().filter_map(|fate| counts.get(fate)).sum();
        let skipped = of(&[Fate::Prose, Fate::Signature, Fate::Upstream]);
        let compared = of(&[Fate::Checked, Fate::Debian]);
        found.push((file, [compared, of(&[Fate::Input]), skipped]));
        for (fate, count) in &counts {
            *total.entry(*fate).or_default() += count;
        }
    }
    let of = |fate| total.get(&fate).copied().unwrap_or_default();
    println!(
        "{} values of {} files checked, which follow from {} others; skipped: {} without the Debian file that they are of, \
         {} words of provenance, {} signatures and certificates, {} of upstream's SEV, SEV-ES and SVSM tests",
        of(Fate::Checked),
        ledger.files(),
        of(Fate::Input),
        of(Fate::Debian),
        of(Fate::Prose),
        of(Fate::Signature),
        of(Fate::Upstream),
    );
    assert_eq!(found, VALUES);
    assert!(of(Fate::Debian) <= DEBIAN, "{}", of(Fate::Debian));
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("part")).unwrap();
    for (name, contents) in files {
        std::fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

#[test]
fn ledger_names_files_that_nobody_reads_and_values_that_nobody_compares() {
    let document = r#"{"a": {"b": 1, "c": [2, "x"]}, "d": []}"#;
    let folder = folder(&[("part/new.bin", ""), ("part/table.json", document)]);
    let ledger = Ledger::open(folder.path());
    let table = ledger.json("part/table.json");
    table.get("a").get("b").equals(1);
    let open = [
        "part/new.bin",
        "part/table.json/a/c/0",
        "part/table.json/a/c/1",
        "part/table.json/d",
    ];
    assert_eq!(ledger.open_items(), open);
    assert_eq!(ledger.bytes("part/new.bin"), b"");
    assert_eq!(table.get("a").get("c").list()[0].number(), 2);
    table.skip(Fate::Prose);
    assert_eq!(ledger.open_items(), [""; 0]);
    // What was compared or used stays so.
    let counts = BTreeMap::from([(Fate::Checked, 1), (Fate::Input, 1), (Fate::Prose, 2)]);
    assert_eq!(
        ledger.counts(),
        BTreeMap::from([("part/table.json", counts)])
    );
    assert_eq!(ledger.files(), 2);
}

#[test]
#[should_panic(expected = "part/table.json/a")]
fn ledger_refuses_a_value_that_differs() {
    let folder = folder(&[("part/table.json", r#"{"a": [1, 2]}"#)]);
    Ledger::open(folder.path())
        .json("part/table.json")
        .get("a")
        .equals([1, 2, 3]);
}
