//! The account of a measurement: every extend in order, with what was hashed.
//!
//! Two transcripts of two images differ first where the images first differ in the eyes of the
//! hardware, so [`Transcript::first_difference`] explains a changed register.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use thiserror::Error;

use crate::digest::Digest;

/// Where a measurement is accumulated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Register {
    /// The SEV-SNP launch digest (`GCTX.LD`).
    LaunchDigest,
    /// The TDX build-time register.
    Mrtd,
    /// A TPM PCR by index, 0 to 23.
    Pcr(u32),
    /// A TDX run-time register by index, 0 to 3.
    Rtmr(u32),
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Register::LaunchDigest => f.write_str("launch-digest"),
            Register::Mrtd => f.write_str("mrtd"),
            Register::Pcr(index) => write!(f, "pcr{index}"),
            Register::Rtmr(index) => write!(f, "rtmr{index}"),
        }
    }
}

impl Serialize for Register {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name that is no register.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("`{name}` is no register, wanted for example launch-digest, pcr11 or rtmr2")]
pub struct UnknownRegister {
    /// The name.
    pub name: String,
}

impl FromStr for Register {
    type Err = UnknownRegister;

    fn from_str(name: &str) -> Result<Register, UnknownRegister> {
        let pcrs = (0..24).map(Register::Pcr);
        let rtmrs = (0..4).map(Register::Rtmr);
        let others = [Register::LaunchDigest, Register::Mrtd].into_iter();
        let mut all = others.chain(pcrs).chain(rtmrs);
        all.find(|register| register.to_string() == name)
            .ok_or_else(|| UnknownRegister {
                name: name.to_owned(),
            })
    }
}

impl<'de> Deserialize<'de> for Register {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Register, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}

/// One extend of one register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The register that changes.
    pub register: Register,
    /// What is measured: an event or page by its name in the specifications.
    pub what: String,
    /// Where its bytes come from: a file, a section, a constant.
    pub input: String,
    /// The digest that is extended (for pages: of the page contents).
    pub digest: Digest,
    /// The register's value afterwards.
    pub value: Digest,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step {
            register,
            what,
            input,
            digest,
            value,
        } = self;
        write!(
            f,
            "{register} {what} ({input})\n  digest {digest}\n  value  {value}"
        )
    }
}

/// An ordered account of extends, possibly of several registers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Transcript {
    /// The extends, in the order in which the platform performs them for each register.
    pub steps: Vec<Step>,
}

impl Transcript {
    /// Returns the steps of `register` in order.
    pub fn of(&self, register: &Register) -> impl Iterator<Item = &Step> {
        self.steps
            .iter()
            .filter(move |step| step.register == *register)
    }

    /// Returns the first step of `register` at which the two accounts part, on each side; a side
    /// whose account has ended is `None`. Returns `None` when they agree.
    pub fn first_difference<'a>(
        &'a self,
        other: &'a Transcript,
        register: &Register,
    ) -> Option<(Option<&'a Step>, Option<&'a Step>)> {
        let (mut left, mut right) = (self.of(register), other.of(register));
        loop {
            match (left.next(), right.next()) {
                (None, None) => return None,
                (Some(a), Some(b)) if a.digest == b.digest && a.value == b.value => {}
                difference => return Some(difference),
            }
        }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Bank;
    use crate::pcr::Extension;

    fn account(words: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        let mut extension = Extension::new(Register::Pcr(11), Bank::Sha256);
        for word in words {
            extension.measure(word.as_bytes(), *word, "test");
        }
        extension.finish(&mut transcript);
        transcript
    }

    #[test]
    fn first_difference_names_the_step_that_parts() {
        let (a, b) = (account(&["x", "y", "z"]), account(&["x", "q", "z"]));
        let (left, right) = a.first_difference(&b, &Register::Pcr(11)).unwrap();
        assert_eq!(
            (left.unwrap().what.as_str(), right.unwrap().what.as_str()),
            ("y", "q")
        );
        assert_eq!(a.first_difference(&a, &Register::Pcr(11)), None);
    }

    #[test]
    fn first_difference_names_the_end_of_the_shorter_account() {
        let (a, b) = (account(&["x"]), account(&["x", "y"]));
        let (left, right) = a.first_difference(&b, &Register::Pcr(11)).unwrap();
        assert_eq!((left, right.unwrap().what.as_str()), (None, "y"));
    }
}
