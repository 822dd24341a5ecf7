use std::collections::BTreeMap;
use std::path::Path;

use super::ledger::{Fate, Ledger};
use super::{azure, directory, eventlogs, firmware, pe, snp, tdx};

/// A JSON, and what compares its values.
type Handler = (&'static str, fn(&Ledger));

/// Evidence of Azure is read with the values expected of it.
const HANDLERS: [Handler; 14] = [
    ("azure/expected-values.json", azure::check),
    ("eventlogs/expected-replay.json", eventlogs::replay),
    ("pe/authenticode-debian.json", pe::authenticode_of_debian),
    ("pe/authenticode-synthetic.json", pe::authenticode),
    ("pe/pcr11.json", pe::pcr11),
    ("pe/pcr4-pcr9-model.json", pe::pcr4_and_pcr9),
    ("qemu-ovmf-swtpm.pcrs.json", eventlogs::booted_guest),
    ("snp/firmware-metadata.json", firmware::check),
    ("snp/launch-digests-debian-amdsev.json", snp::debian_amdsev),
    (
        "snp/launch-digests-other-firmware.json",
        snp::other_firmware,
    ),
    ("snp/launch-digests-synthetic.json", snp::synthetic),
    ("snp/upstream-expected.json", snp::upstream),
    ("snp/vmsa-pages.json", snp::vmsa_pages),
    ("tdx/mrtd-debian-ovmf.json", tdx::check),
];

/// Values of a JSON: those to compare, Debian's files included; those that others follow from; those left out.
type Values = (&'static str, [usize; 3]);

/// Counted in the files.
const SHARED: [Values; 15] = [
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

/// Likewise for the small vectors that a clone has. Launches and MRTD have a form of their own there, and tests beside their code.
const OWN: [Values; 7] = [
    ("azure/expected-values.json", [85, 0, 2]),
    ("azure/snp.json", [24, 2, 3]),
    ("azure/tdx.json", [24, 2, 3]),
    ("eventlogs/expected-replay.json", [47, 0, 0]),
    ("pe/authenticode-synthetic.json", [12, 4, 0]),
    ("pe/pcr11.json", [30, 13, 2]),
    ("qemu-ovmf-swtpm.pcrs.json", [45, 0, 0]),
];

#[test]
fn every_value_of_the_shared_vectors_comes_out() {
    let Some(directory) = directory() else {
        return;
    };
    let missing = account(&directory, "README.md", &SHARED);
    assert!(missing <= DEBIAN, "{missing}");
}

#[test]
fn every_value_of_the_vectors_of_this_repository_comes_out() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measurement");
    assert_eq!(account(&own, "make.py", &OWN), 0);
}

/// Compares every value below `directory`, where `words` says in words where they come from. Prints the account and returns
/// how many are of absent files of Debian.
fn account(directory: &Path, words: &str, wanted: &[Values]) -> usize {
    let ledger = Ledger::open(directory);
    ledger.bytes(words);
    for (_, handler) in HANDLERS.iter().filter(|(file, _)| ledger.has(file)) {
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
         {} words of provenance, {} signatures and certificates, {} of launches and firmware that only upstream has",
        of(Fate::Checked),
        ledger.files(),
        of(Fate::Input),
        of(Fate::Debian),
        of(Fate::Prose),
        of(Fate::Signature),
        of(Fate::Upstream),
    );
    assert_eq!(found, wanted);
    of(Fate::Debian)
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
    let wanted = BTreeMap::from([("part/table.json", counts)]);
    assert_eq!(ledger.counts(), wanted);
    assert_eq!(ledger.files(), 2);
}

#[test]
#[should_panic(expected = "part/table.json/a")]
fn ledger_refuses_a_value_that_differs() {
    let folder = folder(&[("part/table.json", r#"{"a": [1, 2]}"#)]);
    let ledger = Ledger::open(folder.path());
    ledger.json("part/table.json").get("a").equals([1, 2, 3]);
}
