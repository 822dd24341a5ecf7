//! One mutant: what `cargo mutants --list --json` says of it, and where it stands in bytes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// A line and a column, both from one; columns in characters.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Position {
    line: usize,
    column: usize,
}

/// From here to before there.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Span {
    start: Position,
    end: Position,
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// A change of one place in one file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Mutant {
    /// File, line, column and text.
    pub(crate) name: String,
    /// From the root of the workspace.
    pub(crate) file: String,
    span: Span,
    pub(crate) replacement: String,
    pub(crate) genre: Genre,
}

impl Mutant {
    /// The name without line and column, which other changes move.
    pub(crate) fn text(&self) -> &str {
        let rest = self.name.strip_prefix(&self.file).unwrap_or(&self.name);
        rest.split_once(": ").map_or(rest, |(_, text)| text)
    }

    /// The line of `source` that it begins on, without the space around.
    pub(crate) fn line<'a>(&self, source: &'a str) -> &'a str {
        let line = source.lines().nth(self.span.start.line.saturating_sub(1));
        line.unwrap_or_default().trim()
    }

    /// The replaced range of `source` in bytes.
    pub(crate) fn range(&self, source: &str) -> Result<std::ops::Range<usize>> {
        let at = |position| {
            offset(source, position)
                .with_context(|| format!("no {position:?} in the file of {}", self.name))
        };
        Ok(at(self.span.start)?..at(self.span.end)?)
    }
}

fn offset(source: &str, position: Position) -> Option<usize> {
    let above = position.line.checked_sub(1)?;
    let mut lines = source.split_inclusive('\n');
    let before: usize = lines.by_ref().take(above).map(str::len).sum();
    let characters = lines.next()?.chars();
    let left = characters.take(position.column.checked_sub(1)?);
    Some(before + left.map(char::len_utf8).sum::<usize>())
}

/// Every mutant of a package, in the order of the tool that lists them.
pub(crate) fn list(root: &Path, package: &str) -> Result<Vec<Mutant>> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--package", package])
        .current_dir(root)
        .output()
        .context("cargo mutants did not start")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo mutants --list: {}\n{said}", output.status);
    }
    let mutants: Vec<Mutant> = serde_json::from_slice(&output.stdout)?;
    if mutants.is_empty() {
        bail!("package `{package}` has no mutants: is its name right?");
    }
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_mutant_has_no_line() {
        let mutant: Mutant = serde_json::from_value(serde_json::json!({
            "name": "a/b.rs:2:3: replace == with != in f", "file": "a/b.rs",
            "span": {"start": {"line": 2, "column": 3}, "end": {"line": 2, "column": 5}},
            "replacement": "!=", "genre": "BinaryOperator"
        }))
        .unwrap();
        assert_eq!(mutant.text(), "replace == with != in f");
        assert_eq!(mutant.range("ä\né == e\n").unwrap(), 6..8);
        assert!(mutant.range("one line").is_err());
    }
}
