//! Versions and what satisfies them.
//!
//! Spec: PEP 440, by `pep440_rs`, which nothing else here names. A pre-release that satisfies the clauses counts: what
//! is judged is installed already, so nothing is preferred to it.

use std::str::FromStr;

use pep440_rs::{Operator, Version, VersionSpecifiers};

/// Whether two texts are the same version, as `1.0` and `1.0.0` are; what is no version is compared as it stands.
pub(crate) fn same(left: &str, right: &str) -> bool {
    match (Version::from_str(left), Version::from_str(right)) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

/// Whether a text is a version.
pub(crate) fn is_version(text: &str) -> bool {
    Version::from_str(text).is_ok()
}

/// Whether a text is a list of clauses; an empty one is.
pub(crate) fn is_specifier(text: &str) -> bool {
    VersionSpecifiers::from_str(text).is_ok()
}

/// Whether `version` satisfies every clause of `specifier`; `None` where one of the two cannot be understood.
pub(crate) fn satisfies(specifier: &str, version: &str) -> Option<bool> {
    if specifier.trim().is_empty() {
        return Some(true);
    }
    let specifiers = VersionSpecifiers::from_str(specifier).ok()?;
    let version_read = Version::from_str(version).ok()?;
    let met = specifiers.iter().all(|clause| match clause.operator() {
        // Arbitrary equality compares texts; the library compares versions.
        Operator::ExactEqual => clause.version().to_string() == version,
        _ => clause.contains(&version_read),
    });
    Some(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Said by `packaging` 21.3, `SpecifierSet(...).contains(..., prereleases=True)`.
    const CLAUSES: &[(&str, &str, bool)] = &[
        ("==2.13.0", "2.13.0+cpu", true),
        ("==2.13.0+cpu", "2.13.0", false),
        ("==2.13.0+cpu", "2.13.0+cpu", true),
        ("==2.13", "2.13.0", true),
        ("==2.*", "2.13.0", true),
        ("==2.1.*", "2.13.0", false),
        ("!=2.13.*", "2.13.0", false),
        ("!=2.12", "2.13.0", true),
        (">=1,<2", "2.0", false),
        (">=1,<2", "1.9.9", true),
        ("~=1.4.5", "1.4.9", true),
        ("~=1.4.5", "1.5.0", false),
        ("~=2.2", "2.9", true),
        ("~=2.2", "3.0", false),
        ("<3.0", "3.0rc1", false),
        ("<3.0", "3.0.dev1", false),
        (">1.7", "1.7.post1", false),
        (">1.7.post1", "1.7.post2", true),
        (">=1.0", "1.0rc1", false),
        (">=1.0.dev0", "1.0rc1", true),
        ("===1.0+abc", "1.0+abc", true),
        ("===1.0", "1.0.0", false),
        ("<=2.13.0", "2.13.0+cpu", true),
        (">2.13.0", "2.13.0+cpu", false),
        ("==1.0rc1", "1.0c1", true),
        ("", "0.1", true),
        (">=1.2", "1.2", true),
        ("!=1.5.0,>=1.4", "1.5.0", false),
        ("==1!2.0", "2.0", false),
        ("<=1.0", "1.0.post1", false),
    ];

    #[test]
    fn clauses_are_judged_as_packaging_judges_them() {
        for (clause, version, wanted) in CLAUSES {
            let found = satisfies(clause, version);
            assert_eq!(found, Some(*wanted), "`{version}` and `{clause}`");
        }
        assert_eq!(CLAUSES.len(), 30);
    }

    #[test]
    fn what_is_no_version_is_not_judged() {
        assert_eq!(satisfies(">=one", "1"), None);
        assert_eq!(satisfies(">=1", "one"), None);
        assert!(same("1.0", "1.0.0") && !same("1.0", "1.0+cpu") && same("one", "one"));
        assert!(is_specifier("") && is_specifier(">=1, <2") && !is_specifier("1"));
    }
}
