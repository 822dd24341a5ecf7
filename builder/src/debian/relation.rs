//! Relations between packages: `Depends`, `Conflicts`, `Provides` and their kin.
//!
//! Spec: Debian Policy, chapter 7. Architecture qualifiers such as `:any` are accepted and ignored, since a recipe has
//! one architecture; build-time restrictions do not occur in binary indices.

use std::cmp::Ordering;

use debversion::Version;

/// One alternative of a relation: a name and, perhaps, a bound on its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    /// Package name, real or virtual.
    pub(crate) name: String,
    /// Operator and version.
    pub(crate) bound: Option<(Operator, Version)>,
}

/// How a version is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Relation {
    /// Parses `name[:qualifier] [(operator version)]`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.split('[').next()?.trim();
        let (name, bound) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => (name.trim_end(), Some(bound(rest.strip_suffix(')')?)?)),
        };
        let name = name.split(':').next().filter(|name| !name.is_empty())?;
        Some(Self {
            name: name.to_owned(),
            bound,
        })
    }

    /// Whether a real package of this name and version satisfies the relation.
    pub(crate) fn admits(&self, version: &Version) -> bool {
        self.bound
            .as_ref()
            .is_none_or(|(operator, wanted)| operator.admits(version.cmp(wanted)))
    }

    /// Whether a provided name does; one that is provided without a version satisfies only unbounded relations.
    pub(crate) fn admits_provided(&self, version: Option<&Version>) -> bool {
        match version {
            Some(version) => self.admits(version),
            None => self.bound.is_none(),
        }
    }
}

impl Operator {
    fn admits(self, order: Ordering) -> bool {
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterOrEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }
}

fn bound(text: &str) -> Option<(Operator, Version)> {
    let text = text.trim();
    let end = text.find(|c| !matches!(c, '<' | '=' | '>'))?;
    let (operator, version) = text.split_at_checked(end)?;
    let operator = match operator {
        "<<" => Operator::Earlier,
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    Some((operator, version.trim().parse().ok()?))
}

/// Parses a field into its clauses: all must hold, each by one of its alternatives. `None` if a clause is malformed.
pub(crate) fn parse(field: &str) -> Option<Vec<Vec<Relation>>> {
    let clause = |clause: &str| {
        clause
            .split('|')
            .map(|one| Relation::parse(one.trim()))
            .collect()
    };
    field
        .split(',')
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .map(clause)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_alternatives_bounds_and_qualifiers() {
        let clauses = parse("libc6 (>= 2.36), python3:any | python3-minimal (<< 4~), ").unwrap();
        assert_eq!(clauses.len(), 2);
        assert_eq!(clauses[0][0].name, "libc6");
        assert_eq!(clauses[1][0].name, "python3");
        assert_eq!(clauses[1][1].bound.as_ref().unwrap().0, Operator::Earlier);
        assert_eq!(parse("libc6 (~ 1)"), None);
    }

    #[test]
    fn admits_follows_debian_version_order() {
        let cases = [
            ("<< 1.0", "1.0~rc1", true),
            ("<= 1.0", "1.0", true),
            ("= 1:1.0", "1.0", false),
            (">= 1.0-2", "1.0-10", true),
            (">> 1.0", "1.0+b1", true),
        ];
        for (bound, version, wanted) in cases {
            let relation = &parse(&format!("a ({bound})")).unwrap()[0][0];
            assert_eq!(
                relation.admits(&version.parse().unwrap()),
                wanted,
                "{version} {bound}"
            );
        }
        let bounded = &parse("a (>= 1)").unwrap()[0][0];
        assert!(!bounded.admits_provided(None));
        assert!(bounded.admits_provided(Some(&"2".parse().unwrap())));
    }
}
