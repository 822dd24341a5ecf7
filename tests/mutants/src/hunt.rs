//! Lets each mutant live once, and looks for a test that notices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::compile::{Binary, build_one};
use crate::known::Known;
use crate::mutant::Mutant;
use crate::process::{Ended, Place, run, tests};
use crate::queue::each;
use crate::reach::Test;
use crate::rewrite::Numbered;
use crate::tree::Tree;

/// Tests that take less share a process.
const QUICK: Duration = Duration::from_millis(300);

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "by")]
pub(crate) enum Outcome {
    /// A test failed.
    Caught(String),
    /// A test did not end: noticed as well.
    TimedOut(String),
    /// Every test passed that reaches it.
    Missed,
    /// No test reaches it.
    Unreached,
    /// The compiler refuses it.
    Unviable(String),
}

/// Some tests of one program, run in one process.
struct Batch<'a> {
    binary: &'a Binary,
    tests: Vec<String>,
    takes: Duration,
}

/// Tests that noticed mutants, by file: the next mutant there is likely to be noticed by the same.
#[derive(Default)]
struct Noticed(Mutex<BTreeMap<String, BTreeMap<String, usize>>>);

impl Noticed {
    fn count(&self, file: &str, by: &str) {
        if let Ok(mut files) = self.0.lock() {
            let tests = files.entry(file.to_owned()).or_default();
            *tests.entry(by.to_owned()).or_default() += 1;
        }
    }

    /// The same tests, two of those that noticed most of this file in front, each in a process of its own.
    fn first<'a>(&self, file: &str, mut batches: Vec<Batch<'a>>) -> Vec<Batch<'a>> {
        let mut tests: Vec<(String, usize)> = match self.0.lock() {
            Ok(files) => files
                .get(file)
                .cloned()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            Err(_) => Vec::new(),
        };
        tests.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut front = Vec::new();
        for (by, _) in tests {
            for batch in &mut batches {
                let is = |name: &String| by == format!("{} {name}", batch.binary.name);
                if let Some(at) = batch.tests.iter().position(is) {
                    front.push(Batch {
                        binary: batch.binary,
                        tests: vec![batch.tests.remove(at)],
                        takes: batch.takes,
                    });
                }
            }
            if front.len() == 2 {
                break;
            }
        }
        batches.retain(|batch| !batch.tests.is_empty());
        front.extend(batches);
        front
    }
}

/// Mutants that are all in one build.
pub(crate) fn together(
    place: &Place,
    binaries: &[Binary],
    measured: &[Test],
    numbered: &Numbered<'_>,
    known: &Known,
) -> Result<BTreeMap<u32, Outcome>> {
    let numbers: Vec<u32> = numbered.keys().copied().collect();
    let outcomes = Mutex::new(BTreeMap::new());
    let noticed = Noticed::default();
    each(&numbers, |worker, at, number| {
        let place = Place {
            output: place.output.with_extension(format!("{worker}")),
            ..place.clone()
        };
        let mutant = numbered.get(number).context("no such mutant")?;
        if let Some(outcome) = known.get(mutant) {
            if let Ok(mut outcomes) = outcomes.lock() {
                outcomes.insert(*number, outcome);
            }
            return Ok(());
        }
        let batches = noticed.first(&mutant.file, batches(binaries, measured, *number)?);
        let outcome = outcome(&place, &batches, Some(*number))?;
        known.add(mutant, &outcome)?;
        if let Outcome::Caught(by) = &outcome {
            noticed.count(&mutant.file, by);
        }
        if matches!(outcome, Outcome::Missed | Outcome::Unreached) {
            println!("  {outcome:?} {}", mutant.name);
        }
        if at % 100 == 99 {
            eprintln!("  {} of {}", at + 1, numbers.len());
        }
        if let Ok(mut outcomes) = outcomes.lock() {
            outcomes.insert(*number, outcome);
        }
        Ok(())
    })?;
    outcomes
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a worker broke"))
}

/// Mutants that need a build each.
pub(crate) fn alone(
    tree: &Tree,
    place: &Place,
    package: &str,
    numbered: &Numbered<'_>,
    numbers: &BTreeSet<u32>,
    known: &Known,
) -> Result<BTreeMap<u32, Outcome>> {
    let mut outcomes = BTreeMap::new();
    for number in numbers {
        let mutant: &Mutant = numbered.get(number).context("no such mutant")?;
        if let Some(outcome) = known.get(mutant) {
            outcomes.insert(*number, outcome);
            continue;
        }
        tree.write_one(mutant)?;
        let binaries = build_one(tree, package)?;
        let mut batches = Vec::new();
        for binary in &binaries {
            batches.push(Batch {
                binary,
                tests: tests(binary)?,
                takes: Duration::from_secs(30),
            });
        }
        let outcome = if batches.is_empty() {
            Outcome::Unviable("built alone".to_owned())
        } else {
            outcome(place, &batches, None)?
        };
        println!("  {outcome:?} {}", mutant.name);
        known.add(mutant, &outcome)?;
        outcomes.insert(*number, outcome);
    }
    Ok(outcomes)
}

/// The tests that reach a mutant, quick ones of a program together, and what takes long last.
fn batches<'a>(binaries: &'a [Binary], measured: &[Test], number: u32) -> Result<Vec<Batch<'a>>> {
    let mut quick: BTreeMap<usize, Batch<'a>> = BTreeMap::new();
    let mut slow = Vec::new();
    for test in measured
        .iter()
        .filter(|test| test.reaches.contains(&number))
    {
        let binary = binaries.get(test.binary).context("no such program")?;
        let batch = Batch {
            binary,
            tests: vec![test.name.clone()],
            takes: test.takes,
        };
        if test.takes >= QUICK {
            slow.push(batch);
            continue;
        }
        match quick.entry(test.binary) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(batch);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let with = entry.get_mut();
                with.tests.extend(batch.tests);
                with.takes += batch.takes;
            }
        }
    }
    let mut batches: Vec<Batch<'a>> = quick.into_values().chain(slow).collect();
    batches.sort_by_key(|batch| batch.takes);
    Ok(batches)
}

fn outcome(place: &Place, batches: &[Batch<'_>], number: Option<u32>) -> Result<Outcome> {
    let number = number.map(|number| number.to_string());
    let variable = number.as_deref().map(|number| ("MUTANT", number));
    for batch in batches {
        let limit = Duration::from_secs(10) + batch.takes * 10;
        match run(place, batch.binary, &batch.tests, variable, limit)? {
            Ended::Passed => {}
            Ended::Failed(tests) => {
                let first = tests.first().map_or("the program ended", String::as_str);
                return Ok(Outcome::Caught(format!("{} {first}", batch.binary.name)));
            }
            Ended::TimedOut => return Ok(Outcome::TimedOut(batch.binary.name.clone())),
        }
    }
    Ok(if batches.is_empty() {
        Outcome::Unreached
    } else {
        Outcome::Missed
    })
}
