//! The result of an appraisal.

use std::fmt;

use serde::{Serialize, Serializer};
use x509_cert::der::DateTime;

/// Version of the verdict's JSON.
pub const SCHEMA_VERSION: u32 = 1;

/// What was appraised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Layer A of "cloister-ra/1": a leaf certificate and its bundle.
    Leaf,
    /// Layer B of "cloister-ra/1": a bundle made for one TLS connection.
    Session,
    /// Evidence by itself, as a file: nothing ties it to a connection.
    Evidence,
    /// The same, but judged for authenticity, validity and TCB alone: says nothing about the image.
    SignatureOnly,
}

/// What follows from the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// Every required check passed.
    Accepted,
    /// A required check failed, or was skipped for another reason than collateral.
    Rejected,
    /// Nothing failed, but required checks wait for collateral ([`Check::missing`]): not known to be
    /// good, not known to be bad.
    CollateralMissing,
}

/// Who can forge the evidence or look into the guest, beside the maker of the hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Nobody: the secure processor measured the guest itself.
    Hardware,
    /// The cloud's paravisor, which measures and signs for the guest (Azure).
    Paravisor,
    /// The host, whose software TPM signs (`qemu-vtpm`, and the vTPM half of GCP).
    Host,
}

/// Whose word the time of an appraisal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The clock of the machine that judged, which may be wrong.
    Machine,
    /// Whoever asked for the verdict named it.
    Given,
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
    /// How it ended; `status` in JSON.
    #[serde(rename = "status")]
    pub outcome: Outcome,
    /// Whether the evidence is rejected unless this check passes.
    pub required: bool,
    /// What was wanted: a value, or words.
    pub wanted: String,
    /// What was found; empty when the check was skipped.
    pub found: String,
    /// What the check is for, or why it was skipped; `cause` in JSON.
    #[serde(rename = "cause")]
    pub explanation: String,
    /// The collateral that a skipped check waits for, such as `vcek` or `tcb-info`.
    pub missing: Option<String>,
}

/// What the verdict is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject<'a> {
    /// Layer or kind of the evidence.
    pub(crate) mode: Mode,
    /// Platform that the reference values are for, or that the evidence is of.
    pub(crate) platform: &'a str,
    /// Recipe that the reference values are for, where there are any.
    pub(crate) recipe: Option<&'a str>,
    /// Whether a platform of this kind keeps the host out.
    pub(crate) confidential: bool,
    /// Who is trusted beside the maker of the hardware.
    pub(crate) trust: Trust,
    /// The time that dates were held against, in seconds since the Unix epoch, where any were.
    pub(crate) at: Option<u64>,
}

/// The result of an appraisal: every check, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// Always [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// True when every required check passed.
    pub accepted: bool,
    /// The same with the third case, collateral that is missing; `verdict` in JSON.
    #[serde(rename = "verdict")]
    pub conclusion: Conclusion,
    /// Layer or kind of the evidence.
    pub mode: Mode,
    /// Platform that the reference values are for, or that the evidence is of.
    pub platform: String,
    /// Recipe that the reference values are for; null when single values were given instead.
    pub recipe: Option<String>,
    /// Whether the evidence shows that the host is kept out; never true for `qemu-vtpm`, nor for
    /// evidence that is not accepted.
    pub confidential: bool,
    /// Who is trusted beside the maker of the hardware; a list in JSON, empty for nobody.
    #[serde(serialize_with = "trusted")]
    pub trust: Trust,
    /// The time that dates were held against, as in `2026-11-22T00:00:00Z`; null where none were.
    pub evaluated_at: Option<String>,
    /// Whose word that time is; null where there is none, or the caller has not said ([`Verdict::by`]).
    pub clock: Option<Clock>,
    /// Every check, in the order in which they are made.
    pub checks: Vec<Check>,
    /// Measurements of a GPU that are none of their golden values; absent in JSON where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<Mismatch>,
}

/// A measurement of a GPU that is none of its golden values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mismatch {
    /// Index of the RIM: the SPDM block's number less one.
    pub index: u8,
    /// What it may be, hex.
    pub wanted: Vec<String>,
    /// What the GPU measured, hex.
    pub found: String,
}

impl Verdict {
    /// Draws the conclusion from `checks`.
    pub(crate) fn new(subject: &Subject<'_>, checks: Vec<Check>) -> Self {
        let conclusion = conclude(&checks);
        let accepted = conclusion == Conclusion::Accepted;
        Self {
            schema_version: SCHEMA_VERSION,
            accepted,
            conclusion,
            mode: subject.mode,
            platform: subject.platform.to_owned(),
            recipe: subject.recipe.map(str::to_owned),
            confidential: subject.confidential && accepted,
            trust: subject.trust,
            evaluated_at: subject.at.map(instant),
            clock: None,
            checks,
            mismatches: Vec::new(),
        }
    }

    /// Adds the checks of another verdict about the same machine; what follows is drawn from all of them.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.checks.extend(other.checks);
        self.mismatches.extend(other.mismatches);
        self.conclusion = conclude(&self.checks);
        self.accepted = self.conclusion == Conclusion::Accepted;
        self.confidential &= self.accepted;
        self.evaluated_at = self.evaluated_at.or(other.evaluated_at);
        self
    }

    /// Says where the time came from, which only the caller knows.
    pub fn by(mut self, clock: Clock) -> Self {
        self.clock = self.evaluated_at.is_some().then_some(clock);
        self
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
        let conclusion = match self.conclusion {
            Conclusion::Accepted => "accepted",
            Conclusion::Rejected => "rejected",
            Conclusion::CollateralMissing => "collateral missing",
        };
        let layer = match self.mode {
            Mode::Leaf => "leaf ",
            Mode::Session => "session ",
            Mode::Evidence => "",
            Mode::SignatureOnly => "signature-only ",
        };
        let confidential = if self.confidential {
            "confidential"
        } else {
            "NOT confidential"
        };
        let trust = match self.trust {
            Trust::Hardware => "",
            Trust::Paravisor => ", trust: paravisor",
            Trust::Host => ", trust: host",
        };
        match &self.recipe {
            Some(recipe) => write!(f, "{conclusion}: recipe `{recipe}` on `{}`", self.platform)?,
            None => write!(f, "{conclusion}: `{}`", self.platform)?,
        }
        writeln!(f, ", {layer}evidence, {confidential}{trust}")?;
        if let (Some(at), Some(clock)) = (&self.evaluated_at, self.clock) {
            let source = match clock {
                Clock::Machine => "by this machine's clock",
                Clock::Given => "as asked for",
            };
            writeln!(f, "  judged at {at}, {source}")?;
        }
        self.checks.iter().try_for_each(|check| check.line(f))?;
        for mismatch in &self.mismatches {
            let (index, wanted) = (mismatch.index, mismatch.wanted.join(" or "));
            writeln!(f, "           measurement {index:<10} wanted {wanted}")?;
            writeln!(f, "           {:<22} found  {}", "", mismatch.found)?;
        }
        Ok(())
    }
}

/// The list of the trusted: the hardware's maker goes without saying.
fn trusted<S: Serializer>(trust: &Trust, serializer: S) -> Result<S::Ok, S::Error> {
    match trust {
        Trust::Hardware => serializer.collect_seq(core::iter::empty::<Trust>()),
        Trust::Paravisor | Trust::Host => serializer.collect_seq([trust]),
    }
}

/// Seconds since the Unix epoch as a date where there is one.
pub(crate) fn instant(seconds: u64) -> String {
    DateTime::from_unix_duration(core::time::Duration::from_secs(seconds))
        .map_or_else(|_| format!("{seconds} s"), |date| date.to_string())
}

/// One failure rejects; otherwise missing collateral decides nothing; otherwise what was skipped rejects.
fn conclude(checks: &[Check]) -> Conclusion {
    let required = || checks.iter().filter(|check| check.required);
    if required().any(|check| check.outcome == Outcome::Fail) {
        return Conclusion::Rejected;
    }
    if required().any(|check| check.missing.is_some()) {
        return Conclusion::CollateralMissing;
    }
    let passed = required().all(|check| check.outcome == Outcome::Pass);
    if passed && required().next().is_some() {
        Conclusion::Accepted
    } else {
        Conclusion::Rejected
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Checks;

    /// A verdict about a confidential platform or another, with one check.
    fn verdict(confidential: bool, passed: bool) -> Verdict {
        let subject = Subject {
            mode: Mode::Leaf,
            platform: "a platform",
            recipe: None,
            confidential,
            trust: Trust::Hardware,
            at: None,
        };
        let mut checks = Checks::default();
        checks.require(&crate::checks::BINDING, passed, "one", "another");
        Verdict::new(&subject, checks.finish(&[]))
    }

    /// What is added can take acceptance and confidentiality away, and gives neither.
    #[test]
    fn and_accepts_where_both_do_and_is_as_confidential_as_the_first() {
        for (confidential, first, second) in [
            (true, true, true),
            (true, true, false),
            (true, false, true),
            (true, false, false),
            (false, true, true),
            (false, true, false),
        ] {
            let both = verdict(confidential, first).and(verdict(!confidential, second));
            let accepted = first && second;
            let wanted = match accepted {
                true => Conclusion::Accepted,
                false => Conclusion::Rejected,
            };
            assert_eq!((both.accepted, both.conclusion), (accepted, wanted));
            assert_eq!(both.confidential, confidential && accepted);
            assert_eq!(both.checks.len(), 2);
        }
    }
}
