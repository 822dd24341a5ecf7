//! One difference and what it comes from.

use serde::Serialize;

/// Something that differs between `A` and `B`, with the differences that explain it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Change {
    /// What differs: a register, a file, an entry in a file, a package.
    pub(crate) what: String,
    /// Value in `A`; `None` when only `B` has it.
    pub(crate) a: Option<String>,
    /// Value in `B`; `None` when only `A` has it.
    pub(crate) b: Option<String>,
    /// What explains it, if it is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) because: Vec<Change>,
}

impl Change {
    /// A difference of one value.
    pub(crate) fn new(what: impl Into<String>, a: Option<String>, b: Option<String>) -> Self {
        Self {
            what: what.into(),
            a,
            b,
            because: Vec::new(),
        }
    }

    /// Adds what explains it.
    #[must_use]
    pub(crate) fn because(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.because.extend(changes);
        self
    }
}

/// The values that differ between two sorted maps, by key.
pub(crate) fn changed<K: Ord + ToString, V: PartialEq>(
    a: &std::collections::BTreeMap<K, V>,
    b: &std::collections::BTreeMap<K, V>,
    show: impl Fn(&V) -> String,
) -> Vec<Change> {
    let keys: std::collections::BTreeSet<&K> = a.keys().chain(b.keys()).collect();
    let differing = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
    differing
        .map(|key| {
            Change::new(
                key.to_string(),
                a.get(key).map(&show),
                b.get(key).map(&show),
            )
        })
        .collect()
}

/// Changes as indented lines: `what: a -> b`, explanations below; an explanation stands once.
pub(crate) fn render(changes: &[Change]) -> String {
    let mut out = String::new();
    let mut seen = Vec::new();
    lines(changes, 0, &mut seen, &mut out);
    out
}

fn lines<'a>(changes: &'a [Change], depth: usize, seen: &mut Vec<&'a Change>, out: &mut String) {
    for change in changes {
        let value = match (&change.a, &change.b) {
            (Some(a), Some(b)) if a == b => format!(": {a}"),
            (Some(a), Some(b)) => format!(": {a} -> {b}"),
            (Some(a), None) => format!(": only in A ({a})"),
            (None, Some(b)) => format!(": only in B ({b})"),
            (None, None) => String::new(),
        };
        let arrow = if depth == 0 { "" } else { "<- " };
        let known = !change.because.is_empty() && seen.contains(&change);
        let note = if known { " (explained above)" } else { "" };
        let line = format!("{}{arrow}{}{value}{note}", "  ".repeat(depth), change.what);
        out.extend(
            line.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c }),
        );
        out.push('\n');
        if !known {
            seen.push(change);
            lines(&change.because, depth + 1, seen, out);
        }
    }
}

/// The first 16 digits of a hash: enough for people to compare.
pub(crate) fn short(hash: &str) -> String {
    hash.chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn maps_are_compared_and_rendered_with_explanations() {
        let a = BTreeMap::from([("x", 1), ("y", 2)]);
        let b = BTreeMap::from([("y", 3), ("z", 4)]);
        let mut changes = changed(&a, &b, ToString::to_string);
        changes[1]
            .because
            .push(Change::new("cause", Some("p".to_owned()), None));
        changes.push(changes[1].clone());
        assert_eq!(
            render(&changes),
            "x: only in A (1)\ny: 2 -> 3\n  <- cause: only in A (p)\nz: only in B (4)\ny: 2 -> 3 (explained above)\n"
        );
    }
}
