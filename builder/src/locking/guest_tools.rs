//! What the guest's programs are compiled with beside the pinned Rust: a C compiler, its linker, and the C library that
//! becomes part of them.

use std::collections::BTreeMap;

use super::suite::Suite;
use super::{LockError, Packages};
use crate::lock::Role;
use crate::recipe::Recipe;

/// What is needed beside the compiler; what these depend on follows.
const BESIDE: [&str; 3] = ["binutils", "bubblewrap", "libc6-dev"];

/// Adds everything that compiles the guest's programs, if the recipe names a compiler.
pub(super) fn add(
    recipe: &Recipe,
    suites: &BTreeMap<String, Suite>,
    packages: &mut Packages,
) -> Result<(), LockError> {
    let Some(compiler) = &recipe.tools.compiler else {
        return Ok(());
    };
    let Some(found) = suites.get(&compiler.suite) else {
        return Ok(());
    };
    let mut wanted: Vec<String> = BESIDE.map(str::to_owned).to_vec();
    wanted.push(compiler.package.clone());
    let suite = (compiler.suite.as_str(), &found.index);
    packages.add_closure(suite, &wanted, &[], Role::GuestTools)?;
    Ok(())
}
