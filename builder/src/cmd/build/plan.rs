//! Everything that is known before the first byte is made, and the fingerprint of all of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cloister_measure::reference::ReferenceValues;
use sha2::{Digest as _, Sha256};

use super::{Args, driver, root};
use crate::cmd::{CommandError, StoreContext};
use crate::golden::Golden;
use crate::guest_binary::{self, Environment, GuestBinaryError, Inputs, Program};
use crate::initrd;
use crate::lock::{Lock, Role};
use crate::model;
use crate::platform::{DiskFormat, Platform};
use crate::recipe::Recipe;
use crate::store::Digest;

/// A build that can begin.
pub(super) struct Plan {
    /// The recipe.
    pub(super) recipe: Recipe,
    /// Where it lies.
    pub(super) directory: PathBuf,
    /// Its lock, current.
    pub(super) lock: Lock,
    /// SHA-256 of the lock file.
    pub(super) lock_sha256: Digest,
    /// Its models.
    pub(super) models: Vec<model::Placed>,
    /// Platforms to compute reference values for, sorted by name.
    pub(super) platforms: Vec<Platform>,
    /// Where outputs go.
    pub(super) out: PathBuf,
    /// Folder with the guest's sources.
    pub(super) repository: PathBuf,
    /// What the compiler may see of the environment.
    pub(super) environment: Environment,
    /// What the guest binary is made of.
    pub(super) guest_inputs: Inputs,
    /// What the GPU must measure, and the inputs of the helper that asks it.
    pub(super) gpu: Option<(Golden, Inputs)>,
    /// `Cargo.lock` of the guest's sources, which the SBOM lists.
    pub(super) cargo_lock: String,
    /// Changes to the sources of the GPU's modules.
    pub(super) patches: Vec<Vec<u8>>,
    /// Whether derived data of the store may be used.
    pub(super) cache: bool,
    /// Digest of everything that decides the outputs, this program included.
    pub(super) fingerprint: Digest,
    /// Digest of everything that decides the root image.
    pub(super) root: Digest,
}

impl Plan {
    /// Checks all inputs: recipe, lock, platforms, compressor, sources and toolchain of the guest.
    pub(super) fn new(args: &Args, ctx: &StoreContext) -> Result<Self, CommandError> {
        let (recipe, directory) = ctx.recipe(&args.recipe)?;
        let lock = Lock::load(&recipe, &directory)?;
        let models = model::of_recipe(&recipe, &directory, &lock)?;
        let lock_sha256 = Digest::of(lock.encode()?.as_bytes());
        initrd::check_zstd(&lock.compression.zstd)?;
        let platforms = platforms(args, &recipe)?;
        let here = std::env::current_dir().context("the current directory has no name")?;
        let starts = [
            Some(directory.clone()),
            Some(here.clone()),
            std::env::current_exe().ok(),
        ];
        let starts: Vec<PathBuf> = starts.into_iter().flatten().collect();
        let repository = guest_binary::repository(&starts).map_err(GuestBinaryError::from)?;
        let environment = Environment::of_process();
        let compiler: Vec<_> = lock.with_role(Role::GuestTools).collect();
        let inputs = |program| Inputs::identify(&environment, &repository, program, &compiler);
        let guest_inputs = inputs(Program::Init)?;
        let gpu = match &recipe.gpu {
            None => None,
            Some(gpu) => Some((
                Golden::of_recipe(gpu, &directory)?,
                inputs(Program::GpuHelper)?,
            )),
        };
        let patches = driver::patches(&recipe, &directory)?;
        driver::check(&recipe, &lock)?;
        let path = repository.join("Cargo.lock");
        let cargo_lock = std::fs::read_to_string(&path)
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
        let out = here.join(
            args.out
                .clone()
                .unwrap_or_else(|| Path::new("out").join(&recipe.name)),
        );
        let mut plan = Self {
            recipe,
            directory,
            lock,
            lock_sha256,
            models,
            platforms,
            out,
            repository,
            environment,
            guest_inputs,
            gpu,
            cargo_lock,
            patches,
            cache: !args.no_cache,
            fingerprint: Digest([0; 32]),
            root: Digest([0; 32]),
        };
        let program = this_program()?;
        plan.root = root::key(&plan, &program)?;
        plan.fingerprint = plan.take_fingerprint(&program);
        Ok(plan)
    }

    /// Names of the platforms.
    pub(super) fn platform_names(&self) -> Vec<String> {
        self.platforms
            .iter()
            .map(|platform| platform.name.clone())
            .collect()
    }

    /// Forms of the disk that are made, `disk.raw` always among them.
    pub(super) fn disk_formats(&self) -> BTreeSet<DiskFormat> {
        let wanted = self.platforms.iter().map(|platform| platform.disk);
        wanted.chain([DiskFormat::Raw]).collect()
    }

    /// The reference values as they stand in the output directory, in the order of the platforms.
    pub(super) fn references(&self) -> Result<Vec<ReferenceValues>, CommandError> {
        let read = |platform: &Platform| {
            let path = self.out.join(measurements_name(&platform.name));
            let bytes = std::fs::read(&path)
                .with_context(|| format!("`{}` could not be read", path.display()))?;
            Ok(ReferenceValues::from_json(&bytes)
                .with_context(|| format!("`{}`", path.display()))?)
        };
        self.platforms.iter().map(read).collect()
    }

    /// A file beside the recipe.
    pub(super) fn recipe_file(&self, source: &str) -> Result<Vec<u8>, CommandError> {
        let path = self.directory.join(source);
        let bytes = std::fs::read(&path);
        Ok(bytes.with_context(|| format!("`{}` could not be read", path.display()))?)
    }

    /// Everything that decides the root decides the outputs.
    fn take_fingerprint(&self, program: &Digest) -> Digest {
        let mut hash = Sha256::new();
        hash.update(format!("cloister build 2\0{program}\0{}\0", self.root));
        let programs = [
            Some(&self.guest_inputs),
            self.gpu.as_ref().map(|(_, helper)| helper),
        ];
        for program in programs.into_iter().flatten() {
            hash.update(format!("{}\0", program.key(self.lock.epoch)));
        }
        hash.update(format!("{:?}\0{:?}\0", self.recipe, self.platforms));
        Digest(hash.finalize().into())
    }
}

/// Digest of the running program.
fn this_program() -> Result<Digest, CommandError> {
    let program = std::env::current_exe().and_then(std::fs::File::open);
    let digest = program.and_then(|mut file| Digest::of_reader(&mut file));
    Ok(digest.context("this program could not be read")?.0)
}

/// The platforms that are asked for, or else the recipe's, sorted by name.
fn platforms(args: &Args, recipe: &Recipe) -> Result<Vec<Platform>, CommandError> {
    let names = if args.platforms.is_empty() {
        &recipe.platforms
    } else {
        &args.platforms
    };
    let mut platforms = names
        .iter()
        .map(|name| Platform::load(name))
        .collect::<Result<Vec<_>, _>>()?;
    platforms.sort_by(|a, b| a.name.cmp(&b.name));
    platforms.dedup_by(|a, b| a.name == b.name);
    Ok(platforms)
}

/// Output name of a platform's reference values.
pub(super) fn measurements_name(platform: &str) -> String {
    format!("measurements/{platform}.json")
}
