//! Account of which checks have an accepting and a rejecting case, for the tables of every kind of evidence.

use std::collections::BTreeSet;

use cloister_verify::verdict::{Outcome, Verdict};

/// Names of checks, by what the cases so far showed of them.
#[derive(Default)]
pub(crate) struct Coverage {
    pub(crate) accepting: BTreeSet<String>,
    pub(crate) rejecting: BTreeSet<String>,
    pub(crate) all: BTreeSet<String>,
}

impl Coverage {
    /// The verdict of a case must fail exactly the checks `wanted`, and be accepted where these are none.
    pub(crate) fn judge(&mut self, name: &str, verdict: &Verdict, wanted: &[&str]) {
        let failed = verdict.failures().map(|check| check.name.as_str());
        let failed: Vec<&str> = failed.collect();
        assert_eq!(failed, wanted, "{name}\n{verdict}");
        assert_eq!(verdict.accepted, wanted.is_empty(), "{name}\n{verdict}");
        for check in &verdict.checks {
            self.all.insert(check.name.clone());
            if verdict.accepted && check.outcome == Outcome::Pass {
                self.accepting.insert(check.name.clone());
            }
        }
        self.rejecting.extend(failed.into_iter().map(str::to_owned));
    }

    /// Of the checks with a name that `counts`, each must have both, and there must be this many.
    pub(crate) fn complete(&self, counts: impl Fn(&str) -> bool, checks: usize) {
        let of = |names: &BTreeSet<String>| -> BTreeSet<String> {
            let names = names.iter().filter(|name| counts(name));
            names.cloned().collect()
        };
        let all = of(&self.all);
        assert_eq!(of(&self.accepting), all, "checks without an accepting case");
        assert_eq!(of(&self.rejecting), all, "checks without a rejecting case");
        assert_eq!(all.len(), checks);
    }
}
