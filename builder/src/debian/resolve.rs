//! Dependency resolution: from package names to a closed set, through `resolvo`.
//!
//! What Debian calls a relation becomes a union of version sets, one for each real package that satisfies it; what it
//! calls a conflict becomes a constraint on each real package that it forbids. `Recommends` are not followed.
//! Determinism: the provider answers in the index's order, and the result is sorted by name.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement,
    SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled, VersionSetId,
    VersionSetUnionId,
};
use thiserror::Error;

use super::index::{Index, IndexError, Package};
use super::relation::Relation;
use crate::cmd::Hinted;

/// A closed set of packages.
#[derive(Debug)]
pub(crate) struct Resolution<'a> {
    /// The packages, sorted by name.
    pub(crate) packages: Vec<&'a Package>,
    /// Excluded names that some package asked for, with one that did.
    pub(crate) left_out: BTreeMap<String, String>,
}

/// Why no closed set was found.
#[derive(Debug, Error)]
pub(crate) enum ResolveError {
    /// A wanted package is not in the suite.
    #[error("suite has no package `{name}`")]
    NoPackage {
        /// The package.
        name: String,
        /// A name that is near it.
        near: Option<String>,
    },
    /// The wanted packages cannot be installed together.
    #[error("packages cannot be installed together:\n{0}")]
    Unsolvable(String),
    /// The index cannot be read where it was looked at.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl Hinted for ResolveError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoPackage {
                near: Some(near), ..
            } => Some(format!("did you mean `{near}`?")),
            Self::Unsolvable(_) => Some(
                "name another package in `base.packages`, or leave one out with `base.exclude`"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Finds a closed set that holds every wanted package and none of the excluded ones.
pub(crate) fn resolve<'a>(
    index: &'a Index,
    wanted: &[String],
    exclude: &[String],
) -> Result<Resolution<'a>, ResolveError> {
    let universe = Universe::new(index, exclude);
    let mut requirements = Vec::new();
    for name in wanted {
        let ids = index.named(name);
        if ids.is_empty() {
            let near = index.near(name).map(str::to_owned);
            return Err(ResolveError::NoPackage {
                name: name.clone(),
                near,
            });
        }
        requirements.push(ConditionalRequirement::from(
            universe.union(ids.to_vec(), name),
        ));
    }
    let mut solver = Solver::new(universe);
    let solved = solver.solve(Problem::new().requirements(requirements));
    if let Some(error) = solver.provider().failure.borrow_mut().take() {
        return Err(error.into());
    }
    let ids = match solved {
        Ok(ids) => ids,
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            return Err(ResolveError::Unsolvable(
                conflict
                    .display_user_friendly(&solver)
                    .to_string()
                    .trim_end()
                    .to_owned(),
            ));
        }
        Err(UnsolvableOrCancelled::Cancelled(_)) => {
            return Err(ResolveError::Unsolvable("cancelled".to_owned()));
        }
    };
    let mut packages: Vec<_> = ids
        .into_iter()
        .filter_map(|id| index.get(number(id)))
        .collect();
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let left_out = solver.provider().left_out.take();
    Ok(Resolution { packages, left_out })
}

/// Some versions of one package, and how the relation that asked for them reads.
#[derive(Debug)]
struct VersionSet {
    name: NameId,
    ids: BTreeSet<usize>,
    text: String,
}

/// The index as the solver sees it: names and version sets are numbered when they are first met.
#[derive(Debug)]
struct Universe<'a> {
    index: &'a Index,
    exclude: &'a [String],
    names: RefCell<Vec<String>>,
    sets: RefCell<Vec<VersionSet>>,
    unions: RefCell<Vec<Vec<VersionSetId>>>,
    left_out: RefCell<BTreeMap<String, String>>,
    failure: RefCell<Option<IndexError>>,
}

impl<'a> Universe<'a> {
    fn new(index: &'a Index, exclude: &'a [String]) -> Self {
        Self {
            index,
            exclude,
            names: RefCell::default(),
            sets: RefCell::default(),
            unions: RefCell::default(),
            left_out: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    fn name(&self, name: &str) -> NameId {
        let mut names = self.names.borrow_mut();
        let at = names
            .iter()
            .position(|known| known == name)
            .unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
        NameId::from_raw(small(at))
    }

    fn set(&self, name: &str, ids: BTreeSet<usize>, text: &str) -> VersionSetId {
        let name = self.name(name);
        let mut sets = self.sets.borrow_mut();
        sets.push(VersionSet {
            name,
            ids,
            text: text.to_owned(),
        });
        VersionSetId(small(sets.len() - 1))
    }

    /// One requirement that any of `ids` satisfies; earlier ones are tried first.
    fn union(&self, ids: Vec<usize>, text: &str) -> Requirement {
        let mut order: Vec<&str> = Vec::new();
        let mut by_name: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for id in ids {
            let Some(package) = self.index.get(id) else {
                continue;
            };
            if !order.contains(&package.name.as_str()) {
                order.push(&package.name);
            }
            by_name.entry(&package.name).or_default().insert(id);
        }
        let sets: Vec<_> = order
            .iter()
            .filter_map(|name| Some(self.set(name, by_name.remove(name)?, text)))
            .collect();
        match sets.as_slice() {
            [one] => Requirement::Single(*one),
            _ => {
                let mut unions = self.unions.borrow_mut();
                unions.push(sets);
                Requirement::Union(VersionSetUnionId(small(unions.len() - 1)))
            }
        }
    }

    fn dependencies(&self, id: usize) -> Result<KnownDependencies, IndexError> {
        let mut known = KnownDependencies::default();
        let Some(package) = self.index.get(id) else {
            return Ok(known);
        };
        for clause in package.requirements()? {
            let mut ids: Vec<usize> = clause
                .iter()
                .flat_map(|relation| self.index.satisfying(relation))
                .collect();
            let found = ids.len();
            ids.retain(|id| !self.is_excluded(*id));
            if ids.is_empty()
                && (found > 0 || clause.iter().any(|r| self.exclude.contains(&r.name)))
            {
                self.leave_out(&clause, package);
                continue;
            }
            let text = clause.iter().map(show).collect::<Vec<_>>().join(" | ");
            known
                .requirements
                .push(self.union_or_missing(ids, &clause, &text));
        }
        for refused in package.refusals()? {
            self.constrain(id, &refused, &mut known.constrains);
        }
        Ok(known)
    }

    fn is_excluded(&self, id: usize) -> bool {
        let package = self.index.get(id);
        package.is_some_and(|package| self.exclude.contains(&package.name))
    }

    /// Records that nothing of `clause` is installed, although `package` needs it.
    fn leave_out(&self, clause: &[Relation], package: &Package) {
        let mut left_out = self.left_out.borrow_mut();
        for relation in clause {
            left_out
                .entry(relation.name.clone())
                .or_insert_with(|| package.name.clone());
        }
    }

    /// A relation that nothing satisfies becomes an empty set of its first name, so that the solver can name it.
    fn union_or_missing(
        &self,
        ids: Vec<usize>,
        clause: &[Relation],
        text: &str,
    ) -> ConditionalRequirement {
        match (ids.is_empty(), clause.first()) {
            (true, Some(first)) => {
                Requirement::Single(self.set(&first.name, BTreeSet::new(), text)).into()
            }
            _ => self.union(ids, text).into(),
        }
    }

    /// Forbids what `refused` names, except the package itself.
    fn constrain(&self, own: usize, refused: &Relation, constraints: &mut Vec<VersionSetId>) {
        let forbidden: BTreeSet<usize> = self
            .index
            .satisfying(refused)
            .into_iter()
            .filter(|id| *id != own)
            .collect();
        let names: BTreeSet<&str> = forbidden
            .iter()
            .filter_map(|id| Some(self.index.get(*id)?.name.as_str()))
            .collect();
        for name in names {
            let allowed = self
                .index
                .named(name)
                .iter()
                .copied()
                .filter(|id| !forbidden.contains(id))
                .collect();
            constraints.push(self.set(name, allowed, &format!("not {}", show(refused))));
        }
    }
}

impl Interner for Universe<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl Display + '_ {
        let package = self.index.get(number(solvable));
        package
            .map(|p| format!("{} {}", p.name, p.version))
            .unwrap_or_default()
    }

    fn display_name(&self, name: NameId) -> impl Display + '_ {
        self.names
            .borrow()
            .get(name.into_raw() as usize)
            .cloned()
            .unwrap_or_default()
    }

    fn display_version_set(&self, set: VersionSetId) -> impl Display + '_ {
        self.sets
            .borrow()
            .get(set.0 as usize)
            .map(|set| format!("[{}]", set.text))
            .unwrap_or_default()
    }

    fn display_string(&self, _string: StringId) -> impl Display + '_ {
        "its relations cannot be read"
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        self.sets
            .borrow()
            .get(set.0 as usize)
            .map_or_else(|| NameId::from_raw(0), |set| set.name)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.name(
            self.index
                .get(number(solvable))
                .map_or("", |p| p.name.as_str()),
        )
    }

    fn version_sets_in_union(
        &self,
        union: VersionSetUnionId,
    ) -> impl Iterator<Item = VersionSetId> {
        self.unions
            .borrow()
            .get(union.0 as usize)
            .cloned()
            .unwrap_or_default()
            .into_iter()
    }

    fn resolve_condition(&self, _condition: ConditionId) -> Condition {
        // No requirement is ever given a condition.
        Condition::Requirement(VersionSetId(0))
    }
}

impl DependencyProvider for Universe<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let sets = self.sets.borrow();
        let Some(set) = sets.get(set.0 as usize) else {
            return Vec::new();
        };
        candidates
            .iter()
            .copied()
            .filter(|id| set.ids.contains(&number(*id)) != inverse)
            .collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates<SolvableId>> {
        let name = self.names.borrow().get(name.into_raw() as usize)?.clone();
        let candidates = self
            .index
            .named(&name)
            .iter()
            .map(|id| SolvableId::from_raw(small(*id)))
            .collect();
        Some(Candidates {
            candidates,
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _solver: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        // Newest first; equal versions in the index's order.
        let version = |id: &SolvableId| self.index.get(number(*id)).map(|p| p.version.clone());
        solvables.sort_by(|a, b| {
            version(b)
                .cmp(&version(a))
                .then_with(|| number(*a).cmp(&number(*b)))
        });
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        match self.dependencies(number(solvable)) {
            Ok(known) => Dependencies::Known(known),
            Err(error) => {
                self.failure.borrow_mut().get_or_insert(error);
                Dependencies::Unknown(StringId(0))
            }
        }
    }
}

fn show(relation: &Relation) -> String {
    use super::relation::Operator;
    let operator = |operator| match operator {
        Operator::Earlier => "<<",
        Operator::EarlierOrEqual => "<=",
        Operator::Equal => "=",
        Operator::LaterOrEqual => ">=",
        Operator::Later => ">>",
    };
    match &relation.bound {
        Some((bound, version)) => format!("{} ({} {version})", relation.name, operator(*bound)),
        None => relation.name.clone(),
    }
}

/// Ids of the solver are 32 bits; an index has some ten thousand packages.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn number(id: SolvableId) -> usize {
    id.into_raw() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(packages: &[(&str, &str, &str)]) -> Index {
        let mut index = Index::default();
        for (name, version, fields) in packages {
            let zeros = "0".repeat(64);
            let text = format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: pool/{name}.deb\nSize: 1\nSHA256: {zeros}\n{fields}\n"
            );
            index.add(text.as_bytes()).unwrap();
        }
        index
    }

    fn names(
        index: &Index,
        wanted: &[&str],
        exclude: &[&str],
    ) -> Result<Vec<String>, ResolveError> {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let found = resolve(index, &own(wanted), &own(exclude))?;
        Ok(found
            .packages
            .iter()
            .map(|p| format!("{}={}", p.name, p.version))
            .collect())
    }

    #[test]
    fn resolve_follows_depends_pre_depends_provides_and_alternatives() {
        let index = index(&[
            (
                "app",
                "1",
                "Pre-Depends: libc\nDepends: mail-agent, gone | editor, virtual (>= 2)",
            ),
            ("libc", "1", ""),
            ("libc", "2", ""),
            ("postbox", "3", "Provides: mail-agent"),
            ("editor", "1", ""),
            ("old", "1", "Provides: virtual (= 1)"),
            ("unbounded", "1", "Provides: virtual"),
            ("new", "1", "Provides: virtual (= 2)"),
        ]);
        assert_eq!(
            names(&index, &["app"], &[]).unwrap(),
            ["app=1", "editor=1", "libc=2", "new=1", "postbox=3"]
        );
    }

    #[test]
    fn resolve_takes_another_alternative_around_a_conflict() {
        let index = index(&[
            ("app", "1", "Depends: a | b"),
            ("a", "1", "Conflicts: c"),
            ("b", "1", ""),
            ("c", "1", ""),
            ("self", "1", "Provides: c\nConflicts: c"),
        ]);
        assert_eq!(
            names(&index, &["app", "c"], &[]).unwrap(),
            ["app=1", "b=1", "c=1"]
        );
        assert_eq!(names(&index, &["self"], &[]).unwrap(), ["self=1"]);
    }

    #[test]
    fn resolve_explains_conflicts_and_missing_packages() {
        let index = index(&[
            ("a", "1", "Breaks: b (<< 2)"),
            ("b", "1", ""),
            ("c", "1", "Depends: nowhere (>= 3)"),
        ]);
        let Err(ResolveError::Unsolvable(text)) = names(&index, &["a", "b"], &[]) else {
            panic!("a and b were joined")
        };
        assert!(
            text.contains("a 1") && text.contains("not b (<< 2)"),
            "{text}"
        );
        let Err(ResolveError::Unsolvable(text)) = names(&index, &["c"], &[]) else {
            panic!("c was resolved")
        };
        assert!(text.contains("nowhere (>= 3)"), "{text}");
        assert!(matches!(
            names(&index, &["bb"], &[]),
            Err(ResolveError::NoPackage { .. })
        ));
    }

    #[test]
    fn resolve_leaves_excluded_packages_out_and_says_who_wanted_them() {
        let index = index(&[("a", "1", "Depends: b, c"), ("b", "1", ""), ("c", "1", "")]);
        let own = |name: &str| name.to_owned();
        let found = resolve(&index, &[own("a")], &[own("b")]).unwrap();
        assert_eq!(
            found
                .packages
                .iter()
                .map(|p| p.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "c"]
        );
        assert_eq!(found.left_out.get("b").map(String::as_str), Some("a"));
    }
    #[test]
    fn resolve_goes_around_excluded_alternatives_and_providers() {
        let index = index(&[
            ("a", "1", "Depends: b | c, virtual"),
            ("b", "1", ""),
            ("c", "1", ""),
            ("p", "1", "Provides: virtual"),
            ("q", "1", "Provides: virtual"),
        ]);
        assert_eq!(
            names(&index, &["a"], &["b", "p"]).unwrap(),
            ["a=1", "c=1", "q=1"]
        );
        assert_eq!(
            names(&index, &["a"], &["b", "c", "p", "q"]).unwrap(),
            ["a=1"]
        );
    }
}
