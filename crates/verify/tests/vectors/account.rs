//! Keeps account of the vectors: who read each file, what became of each value of `expected.json`, and which verdicts each item got.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cloister_verify::Verdict;
use cloister_verify::verdict::{Conclusion, Outcome};
use serde_json::Value;

use crate::folder;

/// Checks that fail because of a date.
const DATES: [&str; 7] = [
    "ak-validity",
    "certificate-validity",
    "collateral-current",
    "pck-crl",
    "pck-validity",
    "root-crl",
    "validity",
];

/// Lists of `expected.json`, and the member that names the item of a row.
const LISTS: [(&str, &str); 3] = [("snp", "report"), ("azure_hcl", "file"), ("tdx", "quote")];

/// What the README states of an item at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stated<'a> {
    /// Accepted.
    Accepted,
    /// Rejected, by these checks.
    Rejected(&'a [&'a str]),
    /// Nothing fails, and a check waits for this collateral.
    Missing(&'a str),
    /// Nothing that is judged fails, but this check is never made, so that it is rejected.
    Unjudged(&'a str),
    /// Outside of the item's time: rejected by these checks, some of them for a date.
    Expired(&'a [&'a str]),
}

/// What became of an item so far.
#[derive(Debug, Default)]
struct Item {
    within: usize,
    outside: usize,
    timeless: bool,
}

/// How much there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) files: usize,
    pub(crate) items: usize,
    /// Verdicts at the stated time, and for what else the README states.
    pub(crate) within: usize,
    /// Verdicts outside of it.
    pub(crate) outside: usize,
    /// Values of `expected.json`.
    pub(crate) values: usize,
}

/// The folder with its account.
pub(crate) struct Account {
    directory: PathBuf,
    files: BTreeMap<String, bool>,
    expected: Value,
    values: BTreeMap<String, bool>,
    items: BTreeMap<String, Item>,
}

impl Account {
    /// Lists every file, and every value of `expected.json`.
    pub(crate) fn open() -> Option<Self> {
        Some(Self::of(&folder::directory()?))
    }

    pub(crate) fn of(directory: &Path) -> Self {
        let mut files = BTreeMap::new();
        walk(directory, "", &mut files);
        let mut account = Self {
            directory: directory.to_owned(),
            files,
            expected: Value::Null,
            values: BTreeMap::new(),
            items: BTreeMap::new(),
        };
        let expected = account.read("expected.json");
        account.expected = serde_json::from_slice(&expected).unwrap();
        for (list, rows) in account.expected.as_object().unwrap() {
            for row in rows.as_array().unwrap() {
                for member in row.as_object().unwrap().keys() {
                    let place = place(list, &name(row), member);
                    account.values.insert(place, false);
                }
            }
        }
        account
    }

    /// Reads a file.
    pub(crate) fn read(&mut self, name: &str) -> Vec<u8> {
        let found = self.files.get_mut(name);
        *found.unwrap_or_else(|| panic!("no file `{name}`")) = true;
        std::fs::read(self.directory.join(name)).unwrap()
    }

    /// Leaves a file unread, and says why.
    pub(crate) fn leave(&mut self, name: &str, reason: &str) {
        println!("left out: `{name}`: {reason}");
        self.read(name);
    }

    /// The row of an item in `expected.json`.
    pub(crate) fn row(&self, list: &str, item: &str) -> Value {
        let rows = self.expected[list].as_array().unwrap().iter();
        let found = rows.into_iter().find(|row| name(row) == item);
        found.unwrap_or_else(|| panic!("no `{item}`")).clone()
    }

    /// Holds a value of `expected.json` against what was found.
    #[track_caller]
    pub(crate) fn equal(&mut self, list: &str, item: &str, member: &str, found: impl Into<Value>) {
        let place = place(list, item, member);
        assert_eq!(self.row(list, item)[member], found.into(), "{place}");
        *self.values.get_mut(&place).unwrap() = true;
    }

    /// Marks values that verdicts follow from, such as dates, or that the reader alone enforces.
    pub(crate) fn used(&mut self, list: &str, item: &str, members: &[&str]) {
        for member in members {
            let place = place(list, item, member);
            *self.values.get_mut(&place).expect(&place) = true;
        }
    }

    /// Holds a verdict against what the README states of `item` at `at`.
    #[track_caller]
    pub(crate) fn verdict(&mut self, item: &str, at: u64, stated: Stated<'_>, verdict: &Verdict) {
        let (conclusion, failed): (_, &[&str]) = match stated {
            Stated::Accepted => (Conclusion::Accepted, &[]),
            Stated::Rejected(failed) | Stated::Expired(failed) => (Conclusion::Rejected, failed),
            Stated::Missing(_) => (Conclusion::CollateralMissing, &[]),
            Stated::Unjudged(_) => (Conclusion::Rejected, &[]),
        };
        let found = (verdict.conclusion, folder::failed(verdict));
        assert_eq!(
            found,
            (conclusion, failed.to_vec()),
            "{item} at {at}\n{verdict}"
        );
        let entry = self.items.entry(item.to_owned()).or_default();
        match stated {
            Stated::Expired(failed) => {
                let dated = failed.iter().any(|name| DATES.contains(name));
                assert!(dated, "{item} at {at}");
                entry.outside += 1;
            }
            Stated::Missing(wanted) => {
                let mut checks = verdict.checks.iter();
                let waits = checks.any(|check| check.missing.as_deref() == Some(wanted));
                assert!(
                    waits,
                    "{item} at {at} does not wait for {wanted}\n{verdict}"
                );
                entry.within += 1;
            }
            Stated::Unjudged(name) => {
                let check = verdict.check(name).unwrap();
                assert_eq!(check.outcome, Outcome::Skipped, "{item}");
                entry.within += 1;
            }
            Stated::Accepted | Stated::Rejected(_) => entry.within += 1,
        }
    }

    /// Notes that no date can change the verdict, and says why.
    pub(crate) fn timeless(&mut self, item: &str, reason: &str) {
        println!("timeless: `{item}`: {reason}");
        self.items.entry(item.to_owned()).or_default().timeless = true;
    }

    /// What is still open: files that nobody read, values that nobody compared, items without a verdict within and outside of
    /// their time.
    pub(crate) fn open_items(&self) -> Vec<String> {
        let files = self.files.iter().filter(|(_, read)| !**read);
        let values = self.values.iter().filter(|(_, compared)| !**compared);
        let mut open: Vec<String> = files.chain(values).map(|(name, _)| name.clone()).collect();
        for (name, item) in &self.items {
            if item.within == 0 {
                open.push(format!("{name}, within its time"));
            }
            if (item.outside == 0) != item.timeless {
                open.push(format!("{name}, outside of its time"));
            }
        }
        for (list, _) in LISTS {
            let rows = self.expected[list].as_array().unwrap().iter();
            let without = rows.map(name).filter(|name| !self.items.contains_key(name));
            open.extend(without.map(|name| format!("{name}, no verdict")));
        }
        open
    }

    pub(crate) fn counts(&self) -> Counts {
        let items = self.items.values();
        Counts {
            files: self.files.len(),
            items: self.items.len(),
            within: items.clone().map(|item| item.within).sum(),
            outside: items.map(|item| item.outside).sum(),
            values: self.values.len(),
        }
    }
}

/// The item that a row is about.
fn name(row: &Value) -> String {
    let names = LISTS.iter().map(|(_, member)| &row[member]);
    names
        .into_iter()
        .find_map(Value::as_str)
        .unwrap()
        .to_owned()
}

fn place(list: &str, item: &str, member: &str) -> String {
    format!("expected.json, {list}, {item}, {member}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the names go into a map, which sorts them"
)]
fn walk(directory: &Path, prefix: &str, files: &mut BTreeMap<String, bool>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => walk(&entry.path(), &format!("{name}/"), files),
            false => {
                files.insert(name, false);
            }
        }
    }
}

#[test]
fn account_names_what_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let expected = r#"{"snp": [{"report": "a", "version": 2}], "azure_hcl": [], "tdx": []}"#;
    std::fs::write(folder.path().join("expected.json"), expected).unwrap();
    std::fs::create_dir(folder.path().join("part")).unwrap();
    std::fs::write(folder.path().join("part/new.bin"), "x").unwrap();
    let mut account = Account::of(folder.path());
    account.timeless("b", "it is made up");
    let open = [
        "part/new.bin",
        "expected.json, snp, a, report",
        "expected.json, snp, a, version",
        "b, within its time",
        "a, no verdict",
    ];
    assert_eq!(account.open_items(), open);
    assert_eq!(account.read("part/new.bin"), b"x");
    account.equal("snp", "a", "version", 2);
    account.used("snp", "a", &["report"]);
    assert_eq!(account.open_items(), &open[3..]);
}

#[test]
#[should_panic(expected = "expected.json, snp, a, version")]
fn account_refuses_a_value_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let expected = r#"{"snp": [{"report": "a", "version": 2}]}"#;
    std::fs::write(folder.path().join("expected.json"), expected).unwrap();
    Account::of(folder.path()).equal("snp", "a", "version", 3);
}
