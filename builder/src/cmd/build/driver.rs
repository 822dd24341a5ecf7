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

/// Says that an image without golden values refuses every GPU, and refuses to publish its reference values.
pub(super) fn without_rims(
    plan: &Plan,
    publish: bool,
    ctx: &StoreContext,
) -> Result<(), CommandError> {
    let (Some(gpu), Some((golden, _))) = (&plan.recipe.gpu, &plan.gpu) else {
        return Ok(());
    };
    if !golden.is_empty() {
        return Ok(());
    }
    let name = &plan.recipe.name;
    let what = format!(
        "recipe `{name}` has no `[[gpu.rim]]`, so there are no golden values, and its guest refuses every GPU"
    );
    let hint = format!(
        "get NVIDIA's signed manifests `NV_GPU_DRIVER_GH100_{}` and, for each VBIOS that is allowed, \
         `NV_GPU_VBIOS_PROJECT_SKU_CHIP_VERSION` (docs/gpu.md, \"RIMs\"), put the files beside the recipe, and name them in \
         `[[gpu.rim]]` with `rims-checked-at`",
        gpu.driver
    );
    if publish {
        let error = anyhow::anyhow!("{what}: `--update-measurements` publishes no such image");
        return Err(CommandError::new(error).with_hint(hint));
    }
    ctx.progress.warn(&format!("{what}\nhint: {hint}"));
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A recipe of the demo with a GPU, and a lock with this source and this wheel.
    fn check_with(source: &str, wheel: (&str, &str)) -> Result<(), CommandError> {
        let demo = include_str!("../../../../recipes/demo/recipe.toml");
        let gpu = "[gpu]\ndriver = \"550.163.01\"\n";
        let recipe: Recipe = toml::from_str(&format!("{demo}\n{gpu}")).unwrap();
        let zero = "0".repeat(64);
        let lock = format!(
            "schema-version = 1\nrecipe = \"demo\"\nrecipe-sha256 = \"{zero}\"\nepoch = 1\ncompression = {{ zstd = \"1\", level = 1 }}\n\
             [[package]]\nname = \"nvidia-open-kernel-source\"\nversion = \"{source}\"\narchitecture = \"amd64\"\nsuite = \"trixie\"\n\
             path = \"pool/x.deb\"\nsize = 1\nsha256 = \"{zero}\"\nroles = [\"module-source\"]\n\
             [[wheel]]\nname = \"{}\"\nversion = \"{}\"\nfile = \"x.whl\"\nsize = 1\nsha256 = \"{zero}\"\n",
            wheel.0, wheel.1
        );
        check(&recipe, &toml::from_str::<Lock>(&lock).unwrap())
    }

    #[test]
    fn check_refuses_sources_of_another_driver_and_a_newer_cuda() {
        let twelve = ("nvidia-cuda-runtime-cu12", "12.8.90");
        assert!(check_with("550.163.01-4~bpo13+1", twelve).is_ok());
        let said = |source, wheel| format!("{:?}", check_with(source, wheel).unwrap_err());
        let other = said("550.144.03-2", twelve);
        assert!(
            other.contains("`gpu.driver` is 550.163.01, and the locked `nvidia-open-kernel-source` is of driver 550.144.03"),
            "{other}"
        );
        let newer = said("550.163.01-2", ("nvidia-cuda-runtime", "13.0.96"));
        assert!(newer.contains("driver 550.163.01 has CUDA 12.4"), "{newer}");
    }
}
