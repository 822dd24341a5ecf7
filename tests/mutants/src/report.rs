//! What came out, and which survivors are explained.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::hunt::Outcome;
use crate::mutant::Mutant;

/// A mutant that behaves like the original, or that no test of the package can tell from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Equivalent {
    file: String,
    /// As the list has it, without line and column; it names the function.
    text: String,
    /// The line of the source that it begins on, without the space around.
    line: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explained {
    equivalent: Vec<Equivalent>,
}

/// A mutant and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Judged<'a> {
    #[serde(skip)]
    pub(crate) mutant: &'a Mutant,
    name: &'a str,
    line: &'a str,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

impl<'a> Judged<'a> {
    /// `source` is the mutant's file.
    pub(crate) fn new(mutant: &'a Mutant, source: &'a str, outcome: Outcome) -> Self {
        Self {
            mutant,
            name: &mutant.name,
            line: mutant.line(source),
            outcome,
        }
    }

    fn survived(&self) -> bool {
        matches!(self.outcome, Outcome::Missed | Outcome::Unreached)
    }

    fn is(&self, equivalent: &Equivalent) -> bool {
        self.mutant.file == equivalent.file
            && self.mutant.text() == equivalent.text
            && self.line == equivalent.line
    }
}

/// Reads the list of the explained.
pub(crate) fn explained(path: &Path) -> Result<Vec<Equivalent>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let explained: Explained = toml::from_str(&text)?;
    Ok(explained.equivalent)
}

/// Prints counts, survivors that nobody explained, and explanations that explain nothing; true when there is neither.
/// `folder` is the package's, whose explanations have to hold when every mutant ran.
pub(crate) fn print(judged: &[Judged<'_>], explained: &[Equivalent], folder: Option<&str>) -> bool {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut good = true;
    for one in judged {
        let reason = explained.iter().find(|equivalent| one.is(equivalent));
        let column = match (&one.outcome, reason) {
            (Outcome::Caught(_), _) => "caught",
            (Outcome::TimedOut(_), _) => "timed out",
            (Outcome::Unviable(_), _) => "not viable",
            (_, Some(_)) => "equivalent",
            (Outcome::Missed, None) => "missed",
            (Outcome::Unreached, None) => "reached by no test",
        };
        *counts.entry(column).or_default() += 1;
        if one.survived() && reason.is_none() {
            good = false;
            println!("error: survived ({column}): {}", one.name);
            println!("       {}", one.line);
        }
    }
    for equivalent in explained {
        let of_package = folder.is_some_and(|folder| equivalent.file.starts_with(folder));
        let holds = |one: &Judged<'_>| one.is(equivalent) && one.survived();
        if of_package && !judged.iter().any(holds) {
            good = false;
            println!(
                "error: explained, and did not survive: {} {}",
                equivalent.file, equivalent.text
            );
            println!(
                "hint: remove it from equivalent.toml: {}",
                equivalent.reason
            );
        }
    }
    let all = judged.len();
    let counts: Vec<String> = counts
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    println!("{all} mutants: {}", counts.join(", "));
    good
}

/// Writes every outcome, one line each.
pub(crate) fn write(path: &Path, judged: &[Judged<'_>]) -> Result<()> {
    let mut text = String::new();
    for one in judged {
        text.push_str(&serde_json::to_string(one)?);
        text.push('\n');
    }
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)?;
    Ok(())
}

/// The names of those that survived according to a file that `write` made.
pub(crate) fn survivors(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut names = Vec::new();
    for line in text.lines() {
        let one: serde_json::Value = serde_json::from_str(line)?;
        let of = |key: &str| one.get(key).and_then(|value| value.as_str());
        if matches!(of("outcome"), Some("missed" | "unreached")) {
            names.extend(of("name").map(str::to_owned));
        }
    }
    Ok(names)
}
