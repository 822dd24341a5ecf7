//! The root image and what the stages behind it take from its tree: made, or kept from the last build of the directory.
//!
//! A root is kept when everything that decides it is as it was ([`key`]) and the disk with it is still what was written.
//! What the later stages need of the tree is in the store under the same key, as derived data; so a change of the guest's
//! configuration unpacks nothing.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::disks;
use super::plan::Plan;
use crate::cmd::{CommandError, StoreContext};
use crate::disk::VERITY;
use crate::erofs::{self, Compression, Parameters, Place};
use crate::guest::ModuleFile;
use crate::guid::{Guid, Role as GuidRole};
use crate::lock::Role;
use crate::output::{Output, OutputError, Staging};
use crate::provenance::Provenance;
use crate::recipe::{self, Recipe};
use crate::store::Digest;
use crate::tool::Tool;
use crate::tree::Built;
use crate::verity::HashTree;
use crate::{gpu_driver, libraries, sbom, standin};

/// Kind of the store's derived data.
const KIND: &str = "root";
/// Room for everything but the root, in bytes.
const OTHER_OUTPUTS: u64 = 256 << 20;

/// What later stages need of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Root {
    /// Kernel release.
    pub(super) release: String,
    /// The kernel image.
    #[serde(with = "crate::json_bytes")]
    pub(super) vmlinuz: Vec<u8>,
    /// Modules in load order.
    pub(super) modules: Vec<ModuleFile>,
    /// What a person should know.
    pub(super) report: serde_json::Value,
    /// The SBOM.
    #[serde(with = "crate::json_bytes")]
    pub(super) sbom: Vec<u8>,
    /// The provenance index.
    #[serde(with = "crate::json_bytes")]
    pub(super) provenance: Vec<u8>,
}

/// A root of the last build.
pub(super) struct Kept {
    /// What is known of it.
    pub(super) root: Root,
    /// Its hash tree.
    pub(super) verity: HashTree,
}

/// A root as the store remembers it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Record {
    root: Root,
    /// Root of the hash tree.
    verity: Digest,
    image: Output,
    /// Of the hash tree.
    tree: Output,
}

/// Digest of everything that decides the root and what is said of it; `program` is the digest of this program.
///
/// # Errors
/// A file of the recipe cannot be read.
pub(super) fn key(plan: &Plan, program: &Digest) -> Result<Digest, CommandError> {
    let mut hash = Sha256::new();
    hash.update(format!(
        "cloister root 1\0{program}\0{}\0",
        plan.lock_sha256
    ));
    hash.update(format!("{}\0", Digest::of(plan.cargo_lock.as_bytes())));
    hash.update(format!("{}\0{:?}\0", parts(&plan.recipe), plan.models));
    for patch in &plan.patches {
        hash.update(Sha256::digest(patch));
    }
    for file in &plan.recipe.files {
        hash.update(Sha256::digest(plan.recipe_file(&file.source)?));
    }
    Ok(Digest(hash.finalize().into()))
}

/// The parts of a recipe that decide its root and whether it is accepted. What is left out goes into the initrd, the command
/// line or reference values alone; a new part of the recipe has to be put on one side or the other.
fn parts(recipe: &Recipe) -> String {
    let Recipe {
        schema_version,
        name,
        description: _,
        platforms: _,
        base,
        python,
        models,
        kernel:
            recipe::Kernel {
                package,
                modules,
                cmdline: _,
            },
        tools,
        root,
        users,
        files,
        inputs,
        guest: _,
        gpu,
        disk: recipe::Disk {
            esp_mib,
            max_mib: _,
        },
    } = recipe;
    let system = (schema_version, name, base, package, modules, tools);
    let contents = (python, models, root, users, files, inputs, gpu, esp_mib);
    // Where libraries are looked for: a kept root is not looked through again.
    let searched = libraries::named_path(recipe);
    format!("{system:?}\0{contents:?}\0{searched:?}")
}

impl Root {
    /// What is needed of `built`.
    pub(super) fn of(plan: &Plan, built: &Built) -> Result<Self, CommandError> {
        let kernel = &built.kernel;
        let modules = kernel.modules.iter().map(ModuleFile::read);
        let sbom = sbom::write(&plan.lock, built, Some(&plan.cargo_lock));
        let provenance = Provenance::of(&built.tree, kernel).to_json();
        Ok(Self {
            release: kernel.release.clone(),
            vmlinuz: kernel.vmlinuz.read().context("kernel image")?.into_owned(),
            modules: modules.collect::<Result<_, _>>().context("modules")?,
            report: serde_json::to_value(&built.report)
                .context("build report could not be written")?,
            sbom: sbom.context("SBOM could not be written")?,
            provenance: provenance.context("provenance index could not be written")?,
        })
    }

    /// Remembers this root and its hash tree.
    pub(super) fn remember(
        &self,
        plan: &Plan,
        verity: &HashTree,
        ctx: &StoreContext,
    ) -> Result<(), CommandError> {
        let record = Record {
            root: self.clone(),
            verity: Digest(verity.root),
            image: image_of(verity),
            tree: tree_of(verity),
        };
        let bytes = serde_json::to_vec(&record).context("root could not be remembered")?;
        let digest = ctx.store.put(&bytes)?;
        Ok(ctx.store.set_derived(KIND, &plan.root, &digest)?)
    }
}

/// Hash and size of the image under `verity`.
pub(super) fn image_of(verity: &HashTree) -> Output {
    Output {
        sha256: Digest(verity.data_sha256),
        size: verity.data_size(),
    }
}

/// Hash and size of the hash tree itself.
pub(super) fn tree_of(verity: &HashTree) -> Output {
    Output {
        sha256: Digest::of(&verity.tree),
        size: verity.tree.len() as u64,
    }
}

impl Kept {
    /// The root of the last build, if this one has the same and its disk is what was written then. A record that cannot be
    /// read, or is of another disk, counts as none.
    pub(super) fn find(plan: &Plan, staging: &Staging<'_>, ctx: &StoreContext) -> Option<Self> {
        let earlier = staging.earlier().filter(|_| plan.cache)?;
        if *earlier.root() != plan.root {
            return None;
        }
        let digest = ctx.store.derived(KIND, &plan.root)?;
        let record: Record = serde_json::from_slice(&ctx.store.read(&digest).ok()?).ok()?;
        let layout = disks::layout(plan, record.image.size, record.tree.size);
        let disk = earlier.unchanged(disks::RAW)?;
        if disk.size != layout.size() {
            return None;
        }
        let mut tree = vec![0; usize::try_from(record.tree.size).ok()?];
        let file = File::open(earlier.path(disks::RAW)).ok()?;
        file.read_exact_at(&mut tree, layout.start(VERITY)).ok()?;
        let verity = HashTree {
            root: record.verity.0,
            tree,
            data_blocks: record.image.size / 4096,
            data_sha256: record.image.sha256.0,
        };
        let root = record.root;
        (tree_of(&verity) == record.tree).then_some(Self { root, verity })
    }
}

/// Refuses files that no image may have, and a driver that is not the recipe's.
pub(super) fn check_files(
    plan: &Plan,
    built: &Built,
    ctx: &StoreContext,
) -> Result<(), CommandError> {
    let modules = &built.kernel.modules;
    standin::refuse(&built.tree, modules, &ctx.store, plan.cache)?;
    if let Some(gpu) = &plan.recipe.gpu {
        gpu_driver::check(&built.tree, modules, &gpu.driver)?;
    }
    Ok(())
}

/// Refuses a tree in which something needs a library that is not there; says what the recipe accepts.
pub(super) fn check_libraries(
    plan: &Plan,
    built: &mut Built,
    ctx: &StoreContext,
) -> Result<(), CommandError> {
    let found = libraries::check(&built.tree, &plan.recipe, &ctx.store, plan.cache)?;
    built.report.warnings.extend(found.notes);
    Ok(())
}

/// Writes the root image to its place on the disk, which nothing else is on yet.
pub(super) fn write_image(
    plan: &Plan,
    built: &Built,
    staging: &Staging<'_>,
    ctx: &StoreContext,
) -> Result<(), CommandError> {
    let compression = plan.recipe.root.compression.parse::<Compression>()?;
    // Where it compresses, the tool keeps a second copy of all contents while it works; each form of the disk is a copy.
    let copies = (plan.disk_formats().len() as u64)
        .saturating_add(u64::from(compression != Compression::None));
    disks::check_size(
        plan,
        disks::root_at(plan).saturating_add(built.report.bytes),
    )?;
    let bytes = built.report.bytes.saturating_mul(copies);
    staging.require(bytes.saturating_add(OTHER_OUTPUTS))?;
    let packages: Vec<_> = plan.lock.with_role(Role::Erofs).collect();
    let tool = Tool::open(&ctx.store, &packages)?;
    let parameters = Parameters {
        epoch: plan.lock.epoch,
        uuid: Guid::derive(&plan.recipe.name, GuidRole::RootFilesystem),
        compression,
    };
    let place = Place {
        path: &staging.path(disks::RAW)?,
        at: disks::root_at(plan),
    };
    erofs::build(&built.tree, &tool, &ctx.store, place, parameters)?;
    Ok(())
}

/// Hashes the image that [`write_image`] wrote.
pub(super) fn hash(plan: &Plan, staging: &Staging<'_>) -> Result<HashTree, CommandError> {
    let path = staging.path(disks::RAW)?;
    let failed = |error| OutputError::new(&path, error);
    let mut disk = File::open(&path).map_err(failed)?;
    disk.seek(SeekFrom::Start(disks::root_at(plan)))
        .map_err(failed)?;
    Ok(HashTree::of(disk)?)
}

/// Length of the image that [`write_image`] wrote, in bytes.
pub(super) fn size(plan: &Plan, staging: &Staging<'_>) -> Result<u64, CommandError> {
    let path = staging.path(disks::RAW)?;
    let data = std::fs::metadata(&path).map_err(|error| OutputError::new(&path, error))?;
    Ok(data.len().saturating_sub(disks::root_at(plan)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Recipe {
        toml::from_str(include_str!("../../../../recipes/demo/recipe.toml")).unwrap()
    }

    #[test]
    fn what_only_the_initrd_holds_does_not_decide_the_root() {
        let before = parts(&demo());
        let changes: [fn(&mut Recipe); 6] = [
            |recipe| recipe.disk.max_mib = 9000,
            |recipe| recipe.guest.listen = 8443,
            |recipe| recipe.guest.workload.exec.push("--more".to_owned()),
            |recipe| recipe.kernel.cmdline.push("quiet".to_owned()),
            |recipe| recipe.platforms.clear(),
            |recipe| recipe.description.clear(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut recipe = demo();
            change(&mut recipe);
            assert_ne!(recipe, demo(), "{number}");
            assert_eq!(parts(&recipe), before, "{number}");
        }
    }

    #[test]
    fn what_the_root_is_made_of_decides_it() {
        let before = parts(&demo());
        let changes: [fn(&mut Recipe); 10] = [
            |recipe| {
                let variables = &mut recipe.guest.workload.environment;
                variables.insert("LD_LIBRARY_PATH".to_owned(), "/opt".to_owned());
            },
            |recipe| recipe.name.push('2'),
            |recipe| recipe.root.compression = "lz4".to_owned(),
            |recipe| recipe.root.drop.push("/usr/share/**".to_owned()),
            |recipe| recipe.users.clear(),
            |recipe| recipe.files.clear(),
            |recipe| recipe.python = None,
            |recipe| recipe.kernel.modules.clear(),
            |recipe| recipe.base.packages.push("dash".to_owned()),
            |recipe| recipe.disk.esp_mib += 1,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut recipe = demo();
            change(&mut recipe);
            assert_ne!(parts(&recipe), before, "{number}");
        }
    }
}
