//! From a changed register through the outputs to the changed input.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::build::{Build, ROOT, ROOT_VERITY, text};
use super::change::{Change, changed, short};
use super::{DifferenceError, file};

/// Paths of the root that are listed one by one.
const LISTED: usize = 100;
/// Outputs in the order in which they are made of each other; others explain nothing.
const ORDER: [&str; 10] = [
    ROOT,
    ROOT_VERITY,
    "cmdline",
    "kernel",
    "firmware/OVMF.amdsev.fd",
    "initrd",
    "uki.efi",
    "disk.raw",
    "disk.vhd",
    "disk.tar.gz",
];

/// Everything that differs: registers, outputs, inputs; each explained by those after it.
pub(super) fn builds(a: &Build, b: &Build) -> Result<Vec<Change>, DifferenceError> {
    let mut chain = Chain {
        a,
        b,
        inputs: changed(&a.inputs(), &b.inputs(), Clone::clone),
        guest: guest_inputs(a, b),
        outputs: BTreeMap::new(),
    };
    let differing = changed(&a.outputs(), &b.outputs(), |hash| short(hash));
    let (measurements, outputs): (Vec<_>, Vec<_>) = differing
        .into_iter()
        .partition(|change| change.what.starts_with("measurements/"));
    let mut outputs: BTreeMap<String, Change> = outputs
        .into_iter()
        .map(|change| (change.what.clone(), change))
        .collect();
    for name in ORDER {
        if let Some(change) = outputs.remove(name) {
            let because = chain.explain(name)?;
            chain
                .outputs
                .insert(name.to_owned(), change.because(because));
        }
    }
    let mut all: Vec<Change> = measurements
        .iter()
        .flat_map(|change| chain.registers(change))
        .collect();
    all.extend(
        ORDER
            .iter()
            .filter_map(|name| chain.outputs.get(*name).cloned()),
    );
    all.extend(outputs.into_values().chain(chain.inputs).chain(chain.guest));
    Ok(all)
}

/// Two builds and what is explained so far.
struct Chain<'a> {
    a: &'a Build,
    b: &'a Build,
    /// Locked inputs that differ.
    inputs: Vec<Change>,
    /// Inputs of the guest binary that differ.
    guest: Vec<Change>,
    /// Outputs that differ, with their explanations.
    outputs: BTreeMap<String, Change>,
}

impl Chain<'_> {
    /// What made the output `name` change.
    fn explain(&self, name: &str) -> Result<Vec<Change>, DifferenceError> {
        Ok(match name {
            ROOT => self
                .root()?
                .into_iter()
                .chain(self.packages("erofs"))
                .collect(),
            ROOT_VERITY => self.outputs(&[ROOT]),
            "kernel" => self.packages("kernel"),
            "firmware/OVMF.amdsev.fd" => self.packages("firmware"),
            "cmdline" => self.linked(self.inside(name)?, "cloister.verity="),
            "initrd" => self.initrd(self.inside(name)?),
            "uki.efi" => self.uki(self.inside(name)?),
            "disk.raw" => self.outputs(&["uki.efi", ROOT, ROOT_VERITY]),
            "disk.vhd" | "disk.tar.gz" => self.outputs(&["disk.raw"]),
            _ => Vec::new(),
        })
    }

    /// Those of the named outputs that differ, with their explanations.
    fn outputs(&self, names: &[&str]) -> Vec<Change> {
        names
            .iter()
            .filter_map(|name| self.outputs.get(*name).cloned())
            .collect()
    }

    /// Locked packages with `role` that differ.
    fn packages(&self, role: &str) -> Vec<Change> {
        let names = [self.a.packages_of(role), self.b.packages_of(role)].concat();
        self.inputs
            .iter()
            .filter(|input| names.contains(&input.what))
            .cloned()
            .collect()
    }

    /// What differs inside of an output.
    fn inside(&self, name: &str) -> Result<Vec<Change>, DifferenceError> {
        let [a, b] = [self.a, self.b].map(|build| build.directory.join(name));
        if !a.exists() || !b.exists() {
            return Ok(Vec::new());
        }
        file::compare(&a, &b).map_err(|source| DifferenceError::Read { path: a, source })
    }

    /// Explains the line or word that begins with `prefix` by the root.
    fn linked(&self, mut lines: Vec<Change>, prefix: &str) -> Vec<Change> {
        let is_root =
            |value: &Option<String>| value.as_ref().is_some_and(|text| text.starts_with(prefix));
        for line in lines
            .iter_mut()
            .filter(|line| is_root(&line.a) || is_root(&line.b))
        {
            line.because.extend(self.outputs(&[ROOT]));
        }
        lines
    }

    fn initrd(&self, mut entries: Vec<Change>) -> Vec<Change> {
        for entry in &mut entries {
            let lines = std::mem::take(&mut entry.because);
            entry.because = match entry.what.trim_start_matches("initrd entry ") {
                "init" => self.guest.clone(),
                "cloister/guest.conf" => self.linked(lines, "root "),
                path if path.starts_with("cloister/modules/") => self.packages("kernel"),
                _ => lines,
            };
        }
        entries
    }

    fn uki(&self, mut sections: Vec<Change>) -> Vec<Change> {
        for section in &mut sections {
            section.because = match section.what.trim_start_matches("section ") {
                ".cmdline" => self.outputs(&["cmdline"]),
                ".initrd" => self.outputs(&["initrd"]),
                ".linux" => self.outputs(&["kernel"]),
                _ => self.packages("stub"),
            };
        }
        sections
    }

    /// Registers of one platform that differ, each with the outputs that explain it.
    fn registers(&self, change: &Change) -> Vec<Change> {
        let name = change.what.trim_start_matches("measurements/");
        let platform = name.trim_end_matches(".json");
        let (Some(a), Some(b)) = (
            self.a.reference(&change.what),
            self.b.reference(&change.what),
        ) else {
            return vec![change.clone()];
        };
        let registers = file::registers(&a, &b).into_iter();
        registers
            .map(|register| Change {
                because: self.measured(&register.what),
                what: format!("{platform} {}", register.what),
                ..register
            })
            .collect()
    }

    /// Outputs that a register depends on and that differ.
    fn measured(&self, register: &str) -> Vec<Change> {
        match register {
            "pcr9" => self.outputs(&["cmdline", "initrd"]),
            "pcr15" => {
                let entries = self
                    .outputs
                    .get("initrd")
                    .into_iter()
                    .flat_map(|initrd| &initrd.because);
                entries
                    .filter(|entry| entry.what.ends_with("cloister/guest.conf"))
                    .cloned()
                    .collect()
            }
            _ if register.starts_with("launch digest") => {
                self.outputs(&["cmdline", "initrd", "kernel", "firmware/OVMF.amdsev.fd"])
            }
            _ => self.outputs(&["uki.efi"]),
        }
    }

    /// Paths of the root that differ, each with the input it came from.
    fn root(&self) -> Result<Vec<Change>, DifferenceError> {
        let (index_a, index_b) = (self.a.root()?, self.b.root()?);
        let mut changes = changed(&index_a, &index_b, |entry| entry.content.clone());
        let more = changes.len().saturating_sub(LISTED);
        changes.truncate(LISTED);
        for change in &mut changes {
            let origin = |index: &BTreeMap<String, super::build::Entry>| {
                index.get(&change.what).map(|entry| entry.origin.clone())
            };
            let (a, b) = (origin(&index_a), origin(&index_b));
            let is_origin = |input: &&Change| [&a, &b].contains(&&Some(input.what.clone()));
            change.because = self.inputs.iter().filter(is_origin).cloned().collect();
            if change.because.is_empty() {
                change.because.push(Change::new("from", a, b));
            }
        }
        if more > 0 {
            changes.push(Change::new(format!("{more} more paths"), None, None));
        }
        Ok(changes)
    }
}

/// Sources and toolchain of the guest binary that differ.
fn guest_inputs(a: &Build, b: &Build) -> Vec<Change> {
    let flat = |build: &Build| {
        let mut found = BTreeMap::new();
        if let Some(inputs) = build.manifest.pointer("/guest-binary/inputs") {
            flatten("guest binary", inputs, &mut found);
        }
        found
    };
    changed(&flat(a), &flat(b), |value| {
        short(value.trim_start_matches("sha256:"))
    })
}

fn flatten(name: &str, json: &Json, found: &mut BTreeMap<String, String>) {
    match json {
        Json::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| flatten(&format!("{name} {key}"), value, found)),
        value => {
            found.insert(name.to_owned(), text(Some(value)));
        }
    }
}
