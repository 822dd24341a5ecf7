//! Requirements of a distribution (`Requires-Dist`).
//!
//! Spec: PyPA dependency specifiers (PEP 508). Name and version clauses are read; extras are passed over, since nothing
//! is resolved: what the recipe lists is what the image gets.

use super::marker::Environment;
use super::metadata::normalised;
use super::version;

/// One requirement that applies to this image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    /// Normalised project name.
    pub(crate) name: String,
    /// Version clauses, sorted, without blanks; empty where any version does.
    specifier: String,
    /// The requirement as written.
    pub(crate) text: String,
}

impl Requirement {
    /// Reads a requirement without a marker; `None` where it does not begin with a name.
    pub(crate) fn parse(text: &str) -> Option<Requirement> {
        let text = text.trim();
        let end = text
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        if name.is_empty() {
            return None;
        }
        let rest = match rest.trim_start().strip_prefix('[') {
            Some(extras) => extras.split_once(']')?.1,
            None => rest,
        };
        let rest = rest.trim();
        let clauses = match rest.starts_with('@') {
            true => "",
            false => rest.trim_matches(['(', ')']),
        };
        let mut clauses: Vec<String> = clauses
            .split(',')
            .map(|clause| clause.split_whitespace().collect())
            .filter(|clause: &String| !clause.is_empty())
            .collect();
        clauses.sort();
        Some(Requirement {
            name: normalised(name),
            specifier: clauses.join(","),
            text: text.to_owned(),
        })
    }

    /// Whether a version does; `None` where the clauses or the version are not understood.
    pub(crate) fn is_met_by(&self, version: &str) -> Option<bool> {
        version::satisfies(&self.specifier, version)
    }

    /// Whether two requirements ask for the same of the same project.
    pub(crate) fn asks_the_same(&self, other: &Requirement) -> bool {
        self.name == other.name && self.specifier == other.specifier
    }

    /// Whether it can be understood.
    pub(crate) fn is_plain(&self) -> bool {
        !self.specifier.is_empty() && version::is_specifier(&self.specifier)
    }
}

/// Reads one `Requires-Dist`; `None` when its marker says that it does not apply. A marker that
/// cannot be understood applies: reporting too much is better than too little.
pub(crate) fn applicable(text: &str, environment: &Environment) -> Option<Requirement> {
    let (requirement, marker) = text.split_once(';').unwrap_or((text, ""));
    if environment.evaluate(marker) == Some(false) {
        return None;
    }
    let mut found = Requirement::parse(requirement)?;
    found.text = text.trim().to_owned();
    Some(found)
}

/// Whether a Python version satisfies `Requires-Python`, by its minor version alone; a clause that
/// is not understood counts as satisfied.
pub(crate) fn python_satisfies(specifier: &str, minor: u32) -> bool {
    specifier.split(',').map(str::trim).all(|clause| {
        let digits = clause
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(clause.len());
        let Some((operator, version)) = clause.split_at_checked(digits) else {
            return true;
        };
        let mut numbers = version.split('.').map(|n| n.parse::<u32>().ok());
        let wanted = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => (major, minor),
            (Some(major), None) => (major, 0),
            _ => return true,
        };
        let has = (3, minor);
        let micro = version
            .split('.')
            .nth(2)
            .is_some_and(|m| m != "*" && m != "0");
        match operator.trim() {
            ">=" | "~=" => has >= wanted,
            ">" => has > wanted || (has == wanted && micro),
            "<" => has < wanted || (has == wanted && micro),
            "<=" => has <= wanted,
            "==" => has == wanted || (wanted.1 == 0 && version.starts_with("3.*")),
            "!=" => has != wanted || micro,
            _ => true,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_decide_whether_a_requirement_applies() {
        let environment = Environment::new(13, None);
        for (text, applies) in [
            ("llm", true),
            ("pytest; extra == \"test\"", false),
            ("pywin32 ; sys_platform == 'win32'", false),
            ("uvloop>=1 ; sys_platform != 'win32'", true),
            ("x; something_new == 'y'", true),
        ] {
            assert_eq!(applicable(text, &environment).is_some(), applies, "{text}");
        }
    }

    #[test]
    fn requirement_reads_name_and_clauses() {
        for (text, name, met, unmet) in [
            (
                "Torch_X[a,b] (==2.13.0+cpu)",
                "torch-x",
                "2.13.0+cpu",
                "2.13.0",
            ),
            ("a<2, >= 1", "a", "1.5", "2.0"),
            ("a==1.*", "a", "1.7", "2.0"),
            ("a [x] ~= 1.4", "a", "1.9", "2.0"),
        ] {
            let found = Requirement::parse(text).unwrap();
            assert_eq!(found.name, name);
            assert_eq!(found.is_met_by(met), Some(true), "{text}");
            assert_eq!(found.is_met_by(unmet), Some(false), "{text}");
        }
        let url = Requirement::parse("a @ https://a.example/a.whl").unwrap();
        assert_eq!(url.is_met_by("7"), Some(true));
        assert_eq!(Requirement::parse(">=1"), None);
        let (left, right) = (
            Requirement::parse("a>=1,<2"),
            Requirement::parse("A (<2, >=1)"),
        );
        assert!(left.unwrap().asks_the_same(&right.unwrap()));
    }

    #[test]
    fn python_version_is_judged_by_its_minor() {
        assert!(python_satisfies(">=3.9", 13));
        assert!(python_satisfies(">=3.9,<4", 13));
        assert!(!python_satisfies(">=3.14", 13));
        assert!(!python_satisfies("<3.13,>=3.8", 13));
        assert!(python_satisfies("!=3.12.*", 13));
        assert!(!python_satisfies("!=3.13.*", 13));
        assert!(python_satisfies("~=3.9", 13));
    }
}
