//! Whether distributions that are installed together hold together: what each requires, and what is there.
//!
//! Nothing is resolved and nothing is refused: a server often runs without what its metadata asks for, and a person
//! decides. What a person has decided already (an override, an exclusion) is said apart.

use std::collections::{BTreeMap, BTreeSet};

use super::requirement::Requirement;

/// An installed distribution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Distribution<'a> {
    /// Normalised project name.
    pub(crate) name: &'a str,
    /// Its version.
    pub(crate) version: &'a str,
    /// Its requirements that apply to the image.
    pub(crate) requirements: &'a [Requirement],
}

/// A requirement that a person has declared satisfied by a version.
#[derive(Debug, Clone)]
pub(crate) struct Satisfied<'a> {
    /// The requirement.
    pub(crate) requirement: Requirement,
    /// The version that does.
    pub(crate) version: &'a str,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Closure {
    /// Requirements that nothing meets, one line each.
    pub(crate) unmet: Vec<String>,
    /// Overrides that changed nothing, one line each.
    pub(crate) unused: Vec<String>,
    /// Projects that were left out, with the distributions that require them.
    pub(crate) required_by: BTreeMap<String, BTreeSet<String>>,
}

/// Looks at every requirement of every distribution. What `left_out` names is missing on purpose.
pub(crate) fn check(
    installed: &[Distribution<'_>],
    overrides: &[Satisfied<'_>],
    left_out: &BTreeSet<String>,
) -> Closure {
    let versions: BTreeMap<&str, &str> = installed
        .iter()
        .map(|distribution| (distribution.name, distribution.version))
        .collect();
    let mut closure = Closure::default();
    let mut used = BTreeSet::new();
    let all = installed
        .iter()
        .flat_map(|by| by.requirements.iter().map(move |wanted| (by.name, wanted)));
    for (by, wanted) in all {
        let Some(found) = versions.get(wanted.name.as_str()) else {
            if left_out.contains(&wanted.name) {
                let names = closure.required_by.entry(wanted.name.clone());
                names.or_default().insert(by.to_owned());
            } else {
                closure.unmet.push(line(by, wanted, "it is not locked"));
            }
            continue;
        };
        let met = wanted.is_met_by(found);
        if met == Some(true) {
            continue;
        }
        let stands = overrides.iter().position(|satisfied| {
            satisfied.requirement.asks_the_same(wanted)
                && super::version::same(satisfied.version, found)
        });
        match (stands, met) {
            (Some(at), _) => drop(used.insert(at)),
            (None, None) => {
                let why = format!("it cannot be compared with the locked {found}");
                closure.unmet.push(line(by, wanted, &why));
            }
            (None, _) => closure
                .unmet
                .push(line(by, wanted, &format!("{found} is locked"))),
        }
    }
    closure.unmet.sort();
    closure.unmet.dedup();
    closure.unused = unused(overrides, &used);
    closure
}

fn line(by: &str, wanted: &Requirement, found: &str) -> String {
    format!("wheel `{by}` requires `{}`: {found}", wanted.text)
}

fn unused(overrides: &[Satisfied<'_>], used: &BTreeSet<usize>) -> Vec<String> {
    overrides
        .iter()
        .enumerate()
        .filter(|(at, _)| !used.contains(at))
        .map(|(_, satisfied)| {
            format!(
                "override of `{}` by {} is not needed: no wheel has this requirement unmet with that version locked",
                satisfied.requirement.text, satisfied.version
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(texts: &[&str]) -> Vec<Requirement> {
        let parse = |text: &&str| Requirement::parse(text).unwrap();
        texts.iter().map(parse).collect()
    }

    fn found(
        of_a: &[&str],
        b: Option<&str>,
        overrides: &[(&str, &str)],
        left_out: &[&str],
    ) -> Closure {
        let requirements = wants(of_a);
        let mut installed = vec![Distribution {
            name: "a",
            version: "1",
            requirements: &requirements,
        }];
        installed.extend(b.map(|version| Distribution {
            name: "b",
            version,
            requirements: &[],
        }));
        let overrides: Vec<_> = overrides
            .iter()
            .map(|(text, version)| Satisfied {
                requirement: Requirement::parse(text).unwrap(),
                version,
            })
            .collect();
        let left_out = left_out.iter().map(|name| (*name).to_owned()).collect();
        check(&installed, &overrides, &left_out)
    }

    #[test]
    fn unmet_requirements_name_requirer_wanted_and_found() {
        for (of_a, b, wanted) in [
            ("b>=2", Some("2.0"), None),
            ("b", Some("2.0"), None),
            ("b==2.0", Some("2.0+cpu"), None),
            (
                "b>=2,<3",
                None,
                Some("wheel `a` requires `b>=2,<3`: it is not locked"),
            ),
            (
                "b>=2",
                Some("1.9"),
                Some("wheel `a` requires `b>=2`: 1.9 is locked"),
            ),
            (
                "b~=1.4.2",
                Some("1.5"),
                Some("wheel `a` requires `b~=1.4.2`: 1.5 is locked"),
            ),
            (
                "b!=1.*",
                Some("1.5"),
                Some("wheel `a` requires `b!=1.*`: 1.5 is locked"),
            ),
            (
                "b>=one",
                Some("1.5"),
                Some("wheel `a` requires `b>=one`: it cannot be compared with the locked 1.5"),
            ),
        ] {
            let unmet = found(&[of_a], b, &[], &[]).unmet;
            assert_eq!(unmet.first().map(String::as_str), wanted, "{of_a}");
        }
    }

    #[test]
    fn overrides_stand_for_one_requirement_and_one_version() {
        let with = |b, overrides: &[_]| found(&["b == 2.13.0+cpu"], Some(b), overrides, &[]);
        let right = ("b==2.13.0+cpu", "2.13.0");
        assert_eq!(with("2.13.0", &[right]), Closure::default());
        let other = with("2.14.0", &[right]);
        assert_eq!((other.unmet.len(), other.unused.len()), (1, 1));
        assert!(other.unused[0].starts_with("override of `b==2.13.0+cpu` by 2.13.0 is not needed"));
        let met_anyway = with("2.13.0+cpu", &[right]);
        assert_eq!((met_anyway.unmet.len(), met_anyway.unused.len()), (0, 1));
        let wider = with("2.13.0", &[("b>=2.13.0", "2.13.0")]);
        assert_eq!((wider.unmet.len(), wider.unused.len()), (1, 1));
    }

    #[test]
    fn what_is_left_out_is_not_unmet_but_has_its_requirers() {
        let closure = found(&["b>=2", "c"], None, &[], &["b", "never-asked-for"]);
        assert_eq!(closure.unmet, ["wheel `a` requires `c`: it is not locked"]);
        let by = &closure.required_by;
        assert_eq!(by.len(), 1);
        assert!(by["b"].contains("a"));
    }
}
