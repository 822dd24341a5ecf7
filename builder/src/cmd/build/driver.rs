//! NVIDIA's driver of a recipe: what must fit before work starts, and its modules.

use std::path::Path;

use anyhow::Context as _;

use super::plan::Plan;
use crate::cmd::{CommandError, StoreContext};
use crate::cuda;
use crate::kernel_build::{Driver, Options, upstream};
use crate::lock::{Lock, Role};
use crate::recipe::{Recipe, patch_places};
use crate::tree::Module;

/// The recipe's patches, read.
pub(super) fn patches(recipe: &Recipe, directory: &Path) -> Result<Vec<Vec<u8>>, CommandError> {
    let modules = recipe.gpu.as_ref().and_then(|gpu| gpu.modules.as_ref());
    let names = modules.map_or(&[][..], |modules| &modules.patches);
    let read = |name: &String| {
        let places = patch_places(name, directory);
        let found = places.iter().find_map(|path| std::fs::read(path).ok());
        Ok(found.with_context(|| format!("patch `{name}` could not be read"))?)
    };
    names.iter().map(read).collect()
}

/// Refuses locked inputs that cannot work with the recipe's driver: sources of another version, and a newer CUDA.
pub(super) fn check(recipe: &Recipe, lock: &Lock) -> Result<(), CommandError> {
    let Some(gpu) = &recipe.gpu else {
        return Ok(());
    };
    for source in lock.with_role(Role::ModuleSource) {
        let found = upstream(&source.version);
        if found != gpu.driver {
            let (package, wanted) = (&source.name, &gpu.driver);
            let error = anyhow::anyhow!(
                "`gpu.driver` is {wanted}, and the locked `{package}` is of driver {found}"
            );
            let hint = "module, firmware and libraries work together in one version alone: change `gpu.driver` and its RIM, or `gpu.modules.source`";
            return Err(CommandError::new(error).with_hint(hint));
        }
    }
    Ok(cuda::check(&lock.wheels, &gpu.driver)?)
}

/// The driver's modules, from the store or compiled.
pub(super) fn modules(plan: &Plan, ctx: &StoreContext) -> Result<Vec<Module>, CommandError> {
    let gpu = plan.recipe.gpu.as_ref();
    let Some((gpu, wanted)) = gpu.and_then(|gpu| Some((gpu, gpu.modules.as_ref()?))) else {
        return Ok(Vec::new());
    };
    let source = plan.lock.with_role(Role::ModuleSource).next();
    let tools: Vec<_> = plan.lock.with_role(Role::ModuleTools).collect();
    let driver = Driver {
        version: &gpu.driver,
        release: plan
            .lock
            .kernel_release()
            .context("the lock has no kernel")?,
        source: source.context("the lock has no sources of the driver's modules")?,
        tools: &tools,
        patches: &plan.patches,
        names: &wanted.build,
    };
    let say = |line: &str| ctx.progress.say(&format!("modules: {line}"));
    let options = Options {
        store: &ctx.store,
        jobs: ctx.jobs(),
        cache: plan.cache,
        report: &say,
    };
    Ok(driver.modules(options)?)
}
