//! Python distributions of a tree as `importlib.metadata` sees them: second names, and whether they hold together.

use std::collections::BTreeSet;

use super::assemble::TreeError;
use super::report::LeftOutWheel;
use super::{Entry, TreePath};
use crate::lock::Lock;
use crate::recipe::Python;
use crate::source::normalised;
use crate::wheel::{
    Closure, Distribution, Requirement, Satisfied, Target, alias_files, check_aliases,
    check_closure,
};

/// The files of all aliases.
pub(super) fn aliases(
    python: &Python,
    lock: &Lock,
    target: &Target,
) -> Result<Vec<(TreePath, Entry)>, TreeError> {
    let installed = lock.wheels.iter().map(|wheel| wheel.name.as_str());
    check_aliases(&python.aliases, &installed.collect())?;
    let mut files = Vec::new();
    for (alias, version) in versions(python, lock) {
        let of = alias_files(alias, version, &target.site).map_err(|source| TreeError::Path {
            path: alias.to_owned(),
            source,
        })?;
        files.extend(of);
    }
    Ok(files)
}

/// Names of aliases with the versions of what they stand for.
fn versions<'a>(python: &'a Python, lock: &'a Lock) -> impl Iterator<Item = (&'a str, &'a str)> {
    python.aliases.iter().filter_map(|alias| {
        let of = normalised(&alias.of);
        let wheel = lock.wheels.iter().find(|wheel| wheel.name == of)?;
        Some((alias.name.as_str(), wheel.version.as_str()))
    })
}

/// Looks at what every wheel requires; `requirements` are in the order of the lock's wheels.
pub(super) fn judge(python: &Python, lock: &Lock, requirements: &[Vec<Requirement>]) -> Closure {
    let aliases: Vec<(String, &str)> = versions(python, lock)
        .map(|(name, version)| (normalised(name), version))
        .collect();
    let wheels = lock.wheels.iter().zip(requirements);
    let mut installed: Vec<Distribution<'_>> = wheels
        .map(|(wheel, requirements)| Distribution {
            name: &wheel.name,
            version: &wheel.version,
            requirements,
        })
        .collect();
    installed.extend(aliases.iter().map(|(name, version)| Distribution {
        name,
        version,
        requirements: &[],
    }));
    let overrides = python.overrides.iter().filter_map(|one| {
        Some(Satisfied {
            requirement: Requirement::parse(&one.requirement)?,
            version: &one.version,
        })
    });
    let left_out: BTreeSet<String> = lock
        .left_out_wheels
        .iter()
        .map(|wheel| wheel.name.clone())
        .collect();
    check_closure(&installed, &overrides.collect::<Vec<_>>(), &left_out)
}

/// What `python.exclude` left out, and what asks for it.
pub(super) fn left_out(lock: &Lock, closure: &Closure) -> Vec<LeftOutWheel> {
    let one = |wheel: &crate::lock::LeftOutWheel| LeftOutWheel {
        name: wheel.name.clone(),
        version: wheel.version.clone(),
        bytes: wheel.size,
        required_by: closure
            .required_by
            .get(&wheel.name)
            .map(|by| by.iter().cloned().collect())
            .unwrap_or_default(),
    };
    lock.left_out_wheels.iter().map(one).collect()
}
