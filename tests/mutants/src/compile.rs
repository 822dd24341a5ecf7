//! Builds the tests of the copy, and finds the mutants that the compiler refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::rewrite::Numbered;
use crate::tree::Tree;

/// Errors of types and names: inside a mutated copy they say the same as they would without the other branches.
const OF_TYPES: [&str; 14] = [
    "E0061", "E0063", "E0277", "E0282", "E0283", "E0308", "E0369", "E0368", "E0412", "E0423",
    "E0425", "E0433", "E0599", "E0600",
];

/// A built test program.
#[derive(Debug, Clone)]
pub(crate) struct Binary {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// What came out of a build with many mutants.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) binaries: Vec<Binary>,
    /// Those that need a build each, with the reason.
    pub(crate) alone: BTreeMap<u32, String>,
    /// Those that the compiler refuses, with its words.
    pub(crate) unviable: BTreeMap<u32, String>,
}

impl Built {
    fn leave_out(&mut self, number: u32, of_types: bool, words: String) {
        let into = if of_types {
            &mut self.unviable
        } else {
            &mut self.alone
        };
        into.insert(number, words);
    }
}

#[derive(Deserialize)]
struct Line {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Message {
    level: String,
    message: String,
    code: Option<Code>,
    spans: Vec<Place>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}

/// What the compiler refused, by the name of the mutant: whether for its types, and in which words.
#[derive(Default, Serialize, Deserialize)]
struct Refused {
    /// Of the sources.
    digest: u64,
    mutants: BTreeMap<String, (bool, String)>,
}

/// Builds with every mutant that the compiler takes, leaving out those it refuses until it has nothing to say. `memory` is a file where
/// a later run over the same sources finds what was refused.
pub(crate) fn build(
    tree: &Tree,
    package: &str,
    numbered: &Numbered<'_>,
    memory: &Path,
) -> Result<Built> {
    let mut left = numbered.clone();
    let mut built = Built::default();
    let mut known: Refused = fs::read(memory)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default();
    if known.digest != tree.digest() {
        known = Refused::default();
        known.digest = tree.digest();
    }
    for (number, mutant) in numbered {
        if let Some((of_types, words)) = known.mutants.get(&mutant.name) {
            left.remove(number);
            built.leave_out(*number, *of_types, words.clone());
        }
    }
    loop {
        let [alone, unviable] = tree.write(&left)?;
        built.alone.extend(alone);
        built.unviable.extend(unviable);
        let lines = cargo(tree, package)?;
        let errors: Vec<&Message> = lines
            .iter()
            .filter_map(|line| line.message.as_ref())
            .filter(|message| message.level == "error" && !message.spans.is_empty())
            .collect();
        if errors.is_empty() {
            built.binaries = binaries(&lines);
            if built.binaries.is_empty() {
                bail!("the tests of {package} do not build, and no mutant is why");
            }
            fs::write(memory, serde_json::to_vec(&known)?)?;
            return Ok(built);
        }
        let refused = refused(&tree.root, &errors)?;
        println!("  the compiler refuses {} mutants", refused.len());
        for (number, (of_types, words)) in refused {
            if let Some(mutant) = left.remove(&number) {
                let why = (of_types, words.clone());
                known.mutants.insert(mutant.name.clone(), why);
            }
            built.leave_out(number, of_types, words);
        }
    }
}

/// The test programs of the copy as it is, none when it does not build.
pub(crate) fn build_one(tree: &Tree, package: &str) -> Result<Vec<Binary>> {
    let lines = cargo(tree, package)?;
    let failed = lines
        .iter()
        .filter_map(|line| line.message.as_ref())
        .any(|message| message.level == "error");
    Ok(if failed { Vec::new() } else { binaries(&lines) })
}

fn cargo(tree: &Tree, package: &str) -> Result<Vec<Line>> {
    let output = Command::new("cargo")
        .args([
            "test",
            "--no-run",
            "--locked",
            "--message-format=json",
            "--lib",
            "--tests",
            "--package",
            package,
        ])
        .current_dir(&tree.root)
        .env("CARGO_TARGET_DIR", tree.root.with_file_name("build"))
        .stderr(Stdio::inherit())
        .output()
        .context("cargo did not start")?;
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn binaries(lines: &[Line]) -> Vec<Binary> {
    let mut binaries = Vec::new();
    for line in lines.iter().filter(|l| l.reason == "compiler-artifact") {
        if let (Some(target), Some(path)) = (&line.target, &line.executable) {
            let library = target.kind.iter().any(|kind| kind == "lib");
            let name = if library { "lib" } else { &target.name };
            binaries.push(Binary {
                name: name.to_owned(),
                path: path.clone(),
            });
        }
    }
    binaries
}

/// The mutants that errors stand in, whether the error is one of types inside the copy, and its words.
fn refused(root: &Path, errors: &[&Message]) -> Result<BTreeMap<u32, (bool, String)>> {
    let mut refused = BTreeMap::new();
    for error in errors {
        let code = error.code.as_ref().map_or("", |code| code.code.as_str());
        let words = format!("{code} {}", error.message);
        let primary = numbers(root, error, true)?;
        let (numbers, of_types) = if primary.is_empty() {
            (numbers(root, error, false)?, false)
        } else {
            (primary, OF_TYPES.contains(&code))
        };
        if numbers.is_empty() {
            let rendered = error.rendered.as_deref().unwrap_or(&error.message);
            bail!("an error that stands in no mutant:\n{rendered}");
        }
        for number in numbers {
            refused.entry(number).or_insert((of_types, words.clone()));
        }
    }
    Ok(refused)
}

fn numbers(root: &Path, error: &Message, primary: bool) -> Result<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for place in error.spans.iter().filter(|s| s.is_primary || !primary) {
        let path = root.join(&place.file_name);
        if let Ok(source) = fs::read_to_string(path) {
            numbers.extend(marked_at(&source, place.byte_start, place.byte_end)?);
        }
    }
    Ok(numbers)
}

/// The mutant whose copy holds the range.
fn marked_at(source: &str, start: usize, end: usize) -> Result<Option<u32>> {
    let mut rest = 0;
    while let Some(at) = source.get(rest..).and_then(|text| text.find("/*<")) {
        let begins = rest + at;
        let number = source.get(begins + 3..).unwrap_or_default();
        let number: u32 = number.split('*').next().unwrap_or_default().parse()?;
        let closing = format!("/*>{number}*/");
        let length = source.get(begins..).and_then(|text| text.find(&closing));
        let ends = begins + length.context("a marker without an end")?;
        if begins <= start && end <= ends + closing.len() {
            return Ok(Some(number));
        }
        rest = begins + 3;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_at_finds_the_copy_around_an_error() {
        let source = "a /*<7*/b c/*>7*/ d /*<12*/e/*>12*/";
        let at = |text: &str| source.find(text).unwrap();
        assert_eq!(marked_at(source, at("c"), at("c") + 1).unwrap(), Some(7));
        assert_eq!(marked_at(source, at("e"), at("e") + 1).unwrap(), Some(12));
        assert_eq!(marked_at(source, at("d"), at("d") + 1).unwrap(), None);
    }
}
