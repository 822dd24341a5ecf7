//! The result of an appraisal.

use std::fmt;

use serde::Serialize;

/// Which layer of "cloister-ra/1" was appraised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A leaf certificate and its bundle.
    Leaf,
    /// A bundle made for one TLS connection.
    Session,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Found what was wanted.
    Pass,
    /// Found something else.
    Fail,
    /// Not made; the explanation says why. Never counts as passed.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Check {
    /// Stable name, such as `binding` or `pcr11`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the evidence is rejected unless this check passes.
    pub required: bool,
    /// What was wanted: a value, or words.
    pub wanted: String,
    /// What was found; empty when the check was skipped.
    pub found: String,
    /// What the check is for, or why it was skipped.
    pub explanation: String,
}

/// The result of an appraisal: every check, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// True when every required check passed.
    pub accepted: bool,
    /// Layer of the evidence.
    pub mode: Mode,
    /// Platform that the reference values are for.
    pub platform: String,
    /// Recipe that the reference values are for.
    pub recipe: String,
    /// Whether the evidence shows that the host is kept out; never true for `qemu-vtpm`.
    pub confidential: bool,
    /// Every check, in the order in which they are made.
    pub checks: Vec<Check>,
}

impl Verdict {
    /// Draws the conclusion from `checks`.
    pub(crate) fn new(
        mode: Mode,
        platform: &str,
        recipe: &str,
        confidential: bool,
        checks: Vec<Check>,
    ) -> Self {
        let mut required = checks.iter().filter(|check| check.required).peekable();
        let accepted =
            required.peek().is_some() && required.all(|check| check.outcome == Outcome::Pass);
        Self {
            accepted,
            mode,
            platform: platform.to_owned(),
            recipe: recipe.to_owned(),
            confidential,
            checks,
        }
    }

    /// The checks that failed, required or not.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| check.outcome == Outcome::Fail)
    }

    /// The check called `name`.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// Canonical JSON with a newline at the end; see `docs/evidence-format.md`, section "Verdict".
    pub fn to_json(&self) -> String {
        // Strings, booleans and unit variants only: serialisation has nothing to fail on.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl fmt::Display for Verdict {
    /// For people: the conclusion, then one line a check, with wanted and found where they differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (conclusion, layer) = match (self.accepted, self.mode) {
            (true, Mode::Leaf) => ("accepted", "leaf"),
            (true, Mode::Session) => ("accepted", "session"),
            (false, Mode::Leaf) => ("rejected", "leaf"),
            (false, Mode::Session) => ("rejected", "session"),
        };
        let confidential = if self.confidential {
            "confidential"
        } else {
            "NOT confidential"
        };
        let (recipe, platform) = (&self.recipe, &self.platform);
        writeln!(
            f,
            "{conclusion}: recipe `{recipe}` on `{platform}`, {layer} evidence, {confidential}"
        )?;
        self.checks.iter().try_for_each(|check| check.line(f))
    }
}

impl Check {
    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            wanted,
            found,
            explanation,
            ..
        } = self;
        match self.outcome {
            Outcome::Pass => writeln!(f, "  pass     {name:<22} {found}"),
            Outcome::Skipped => writeln!(f, "  skipped  {name:<22} {explanation}"),
            Outcome::Fail => {
                writeln!(f, "  FAIL     {name:<22} {explanation}")?;
                writeln!(f, "           {:<22} wanted {wanted}", "")?;
                writeln!(f, "           {:<22} found  {found}", "")
            }
        }
    }
}
