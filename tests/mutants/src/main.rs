//! Mutation testing with one build: every mutant that `cargo mutants` lists for a package is compiled into one copy of it, each behind
//! a condition, and the tests run once for each with an environment variable that lets it live.
//!
//! usage: `cloister-mutants PACKAGE [--resume | --survivors | --only TEXT]`, in the root of the repository; `scripts/mutants.sh` calls it.
//! Not covered: code inside macro calls, which the list leaves out as well.

mod compile;
mod hunt;
mod known;
mod mutant;
mod process;
mod queue;
mod reach;
mod report;
mod rewrite;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::hunt::Outcome;
use crate::known::Known;
use crate::mutant::Mutant;
use crate::process::Place;
use crate::report::Judged;
use crate::rewrite::Numbered;
use crate::tree::Tree;

/// Which mutants run.
enum Chosen {
    All,
    /// Those that a run that was cut off had not reached.
    Rest,
    /// Those that survived the last run.
    Survivors,
    /// Those with this text in their names.
    Only(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (package, chosen) = match arguments.as_slice() {
        [package] => (*package, Chosen::All),
        [package, "--resume"] => (*package, Chosen::Rest),
        [package, "--survivors"] => (*package, Chosen::Survivors),
        [package, "--only", text] => (*package, Chosen::Only((*text).to_owned())),
        _ => {
            eprintln!("usage: cloister-mutants PACKAGE [--resume | --survivors | --only TEXT]");
            return ExitCode::from(2);
        }
    };
    match mutate(package, &chosen) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True when no mutant survived without an explanation.
fn mutate(package: &str, chosen: &Chosen) -> Result<bool> {
    let began = Instant::now();
    let root = std::env::current_dir()?;
    let work = root.join("target/mutants");
    let log = work.join(format!("{package}.outcomes"));
    let explained = report::explained(&root.join("tests/mutants/equivalent.toml"))?;
    let mutants = mutant::list(&root, package)?;
    let tree = Tree::copy(&root, &work.join("tree"), &mutants)?;
    let numbered = choose(&mutants, chosen, &log)?;
    println!("{package}: {} mutants", numbered.len());
    let all = matches!(chosen, Chosen::All | Chosen::Rest);
    let kind = if all { "known" } else { "some-known" };
    let resume = matches!(chosen, Chosen::Rest);
    let known = work.join(format!("{package}.{kind}"));
    let known = Known::open(&known, tree.digest(), resume)?;
    let outcomes = outcomes(&tree, package, &numbered, &work, &known)?;
    let judged: Vec<Judged<'_>> = outcomes
        .into_iter()
        .filter_map(|(number, outcome)| Some((*numbered.get(&number)?, outcome)))
        .map(|(mutant, outcome)| Judged::new(mutant, tree.original(&mutant.file), outcome))
        .collect();
    let some = work.join(format!("{package}.some"));
    report::write(if all { &log } else { &some }, &judged)?;
    let good = report::print(&judged, &explained, all.then_some(tree.folder.as_str()));
    println!("{} s", began.elapsed().as_secs());
    Ok(good)
}

/// Numbers the mutants that run.
fn choose<'a>(mutants: &'a [Mutant], chosen: &Chosen, log: &Path) -> Result<Numbered<'a>> {
    let survivors = match chosen {
        Chosen::Survivors => report::survivors(log)?,
        _ => Vec::new(),
    };
    let wanted = |mutant: &&Mutant| match chosen {
        Chosen::All | Chosen::Rest => true,
        Chosen::Survivors => survivors.contains(&mutant.name),
        Chosen::Only(text) => mutant.name.contains(text),
    };
    let numbered: Numbered<'a> = (1..).zip(mutants.iter().filter(wanted)).collect();
    if numbered.is_empty() {
        bail!("no mutant is chosen");
    }
    Ok(numbered)
}

fn outcomes(
    tree: &Tree,
    package: &str,
    numbered: &Numbered<'_>,
    work: &Path,
    known: &Known,
) -> Result<BTreeMap<u32, Outcome>> {
    let built = compile::build(
        tree,
        package,
        numbered,
        &work.join(format!("{package}.refused")),
    )?;
    println!(
        "{} test programs; {} mutants need a build each, {} are not viable",
        built.binaries.len(),
        built.alone.len(),
        built.unviable.len()
    );
    let place = Place {
        package: tree.package(),
        keys: work.join("keys"),
        output: work.join("worker"),
    };
    std::fs::create_dir_all(&place.keys)?;
    let measured = reach::measure(&place, &built.binaries)?;
    let takes = measured.iter().map(|test| test.takes.as_secs_f64());
    println!(
        "{} tests, {:.0} s one by one",
        measured.len(),
        takes.sum::<f64>()
    );
    let mut inside = numbered.clone();
    inside.retain(|number, _| {
        !built.alone.contains_key(number) && !built.unviable.contains_key(number)
    });
    let mut outcomes = hunt::together(&place, &built.binaries, &measured, &inside, known)?;
    let apart: BTreeSet<u32> = built.alone.keys().copied().collect();
    for (number, reason) in &built.alone {
        let mutant = numbered.get(number).context("no such mutant")?;
        println!("  alone ({reason}): {}", mutant.name);
    }
    outcomes.extend(hunt::alone(tree, &place, package, numbered, &apart, known)?);
    let unviable = built.unviable.into_iter();
    outcomes.extend(unviable.map(|(number, words)| (number, Outcome::Unviable(words))));
    Ok(outcomes)
}
