//! The stages of a build, in order; each takes what the one before it made.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::disks::{self, Disk};
use super::driver;
use super::plan::{Plan, measurements_name};
use super::report::Times;
use crate::cmd::{CommandError, StoreContext};
use crate::deb::{Body, Deb};
use crate::disk::Layout;
use crate::erofs::{self, Compression, Parameters};
use crate::guest::GpuFiles;
use crate::guest_binary::{self, GuestBinaryError, Options};
use crate::guid::{Guid, Role as GuidRole};
use crate::initrd::Members;
use crate::lock::Role;
use crate::manifest::{GpuEntry, GuestBinaryEntry, Manifest, SCHEMA_VERSION, VerityEntry};
use crate::measurements::{Firmware, Measured, reference};
use crate::output::{MANIFEST, Output, OutputError, Staging};
use crate::provenance::Provenance;
use crate::recipe::ToolPackage;
use crate::store::Digest;
use crate::tool::Tool;
use crate::tree::{Built, Module, Source, TreePath};
use crate::uki::{self, Sections};
use crate::verity::HashTree;
use crate::{gpu_driver, guest, initrd, libraries, model, sbom, standin};

/// Room for everything but the root, in bytes.
const OTHER_OUTPUTS: u64 = 256 << 20;

/// Makes every output of `plan` and says how long each stage took.
pub(super) fn run(
    plan: &Plan,
    staging: &mut Staging<'_>,
    ctx: &StoreContext,
) -> Result<Times, CommandError> {
    check_store(plan, ctx)?;
    let mut clock = Clock::default();
    let stub =
        locked_file(plan, Role::Stub, Some(&plan.recipe.tools.stub), ctx)?.context("stub")?;
    // Firmware that would boot any kernel ends the build here, not after minutes of it.
    let firmware = locked_firmware(plan, ctx)?;
    let compiled = clock.time("modules", || driver::modules(plan, ctx))?;
    let (programs, mut built) = programs_beside_tree(plan, ctx, &compiled, &mut clock)?;
    check_files(plan, &built)?;
    clock.time("libraries", || check_libraries(plan, &mut built, ctx))?;
    let image = clock.time("root", || write_root(plan, &built, staging, ctx))?;
    let golden_text = plan.gpu.as_ref().map(|(golden, _)| golden.to_json());
    let golden = golden_text.as_deref().map(str::as_bytes);
    let blocks = image / 4096;
    let configuration = guest::configuration(&plan.recipe, &built.kernel.modules, blocks, golden)?;
    let helper = programs.helper.as_deref();
    let gpu = golden
        .zip(helper)
        .map(|(golden, helper)| GpuFiles { golden, helper });
    let modules = guest::module_files(&built.kernel.modules).context("modules")?;
    let members = guest::members(&programs.init, &configuration, &modules, gpu);
    let (verity, initrd) = verity_beside_initrd(plan, staging, &members, &mut clock)?;
    let cmdline = guest::command_line(&plan.recipe, verity.root)?;
    let linux = built.kernel.vmlinuz.read().context("kernel image")?;
    let linux: &[u8] = &linux;
    let sections = Sections {
        cmdline: cmdline.as_bytes(),
        initrd: &initrd,
        linux,
    };
    let uki = uki::build(&stub, &sections)?;
    let disk = write_disks(plan, staging, &uki, image, &verity, &mut clock)?;
    let google = disk.google_table()?;
    write_boot_files(staging, &sections, &uki, firmware.as_ref())?;
    staging.write("root.verity", &verity.tree)?;
    let measured = Measured {
        recipe: &plan.recipe.name,
        uki: &uki,
        kernel: linux,
        initrd: &initrd,
        cmdline: &cmdline,
        guest_configuration: &configuration,
        gpu: &plan.recipe.guest.gpu,
        golden: golden_text.as_deref(),
        model: &plan.recipe.guest.model,
        firmware: firmware.as_ref(),
        google_disk: &google,
    };
    clock.time("measure", || write_measurements(plan, staging, &measured))?;
    clock.time("describe", || write_descriptions(plan, staging, &built))?;
    write_manifest(
        plan,
        staging,
        &built,
        &programs,
        &compiled,
        &disk.layout,
        &verity,
    )?;
    Ok(clock.finish())
}

/// Writes what firmware starts, whole and in parts.
fn write_boot_files(
    staging: &mut Staging<'_>,
    parts: &Sections<'_>,
    uki: &[u8],
    firmware: Option<&Firmware>,
) -> Result<(), CommandError> {
    for (name, bytes) in [
        ("cmdline", parts.cmdline),
        ("initrd", parts.initrd),
        ("kernel", parts.linux),
        ("uki.efi", uki),
    ] {
        staging.write(name, bytes)?;
    }
    if let Some(firmware) = firmware {
        staging.write("firmware/OVMF.amdsev.fd", &firmware.image)?;
    }
    Ok(())
}

/// Refuses to begin when a locked input is not in the store.
fn check_store(plan: &Plan, ctx: &StoreContext) -> Result<(), CommandError> {
    let digests = plan.lock.digests();
    let missing = digests
        .iter()
        .filter(|digest| !ctx.store.contains(digest))
        .count();
    if missing == 0 {
        return Ok(model::check_store(&plan.models, &ctx.store)?);
    }
    let error = anyhow::anyhow!("store lacks {missing} of {} locked inputs", digests.len());
    let hint = format!("run `cloister fetch {}`", plan.recipe.name);
    Err(CommandError::new(error).with_hint(hint))
}

/// Refuses files that no image may have, and a driver that is not the recipe's.
fn check_files(plan: &Plan, built: &Built) -> Result<(), CommandError> {
    let modules = &built.kernel.modules;
    standin::refuse(&built.tree, modules)?;
    if let Some(gpu) = &plan.recipe.gpu {
        gpu_driver::check(&built.tree, modules, &gpu.driver)?;
    }
    Ok(())
}

/// Refuses a tree in which something needs a library that is not there; says what the recipe accepts.
fn check_libraries(plan: &Plan, built: &mut Built, ctx: &StoreContext) -> Result<(), CommandError> {
    let found = libraries::check(&built.tree, &plan.recipe, &ctx.store, plan.cache)?;
    built.report.warnings.extend(found.notes);
    Ok(())
}

/// The firmware that the recipe locks, if any.
fn locked_firmware(plan: &Plan, ctx: &StoreContext) -> Result<Option<Firmware>, CommandError> {
    let wanted = plan.recipe.tools.firmware.as_ref();
    let image = locked_file(plan, Role::Firmware, wanted, ctx)?;
    Ok(image.map(Firmware::new).transpose()?)
}

/// One file of a locked package.
fn locked_file(
    plan: &Plan,
    role: Role,
    wanted: Option<&ToolPackage>,
    ctx: &StoreContext,
) -> Result<Option<Vec<u8>>, CommandError> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let name = &wanted.package;
    let package = plan
        .lock
        .with_role(role)
        .find(|package| package.name == *name);
    let package = package.with_context(|| format!("the lock has no package `{name}`"))?;
    let bytes = ctx.store.read(&package.sha256)?;
    let deb = Deb::read(&bytes).with_context(|| format!("package `{name}`"))?;
    let file = wanted.file.as_deref().unwrap_or_default();
    let path =
        TreePath::new(file.as_bytes()).with_context(|| format!("`file` of package `{name}`"))?;
    let member = deb
        .members
        .into_iter()
        .find(|member| member.path.as_ref() == Some(&path));
    match member.map(|member| member.body) {
        Some(Body::File(bytes)) => Ok(Some(bytes)),
        _ => Err(anyhow::anyhow!("package `{name}` has no file `{file}`").into()),
    }
}

/// Our programs in the initrd.
struct Programs {
    init: Vec<u8>,
    /// Where there must be a GPU.
    helper: Option<Vec<u8>>,
}

/// Compiles the programs of the guest while the tree is made.
fn programs_beside_tree(
    plan: &Plan,
    ctx: &StoreContext,
    modules: &[Module],
    clock: &mut Clock,
) -> Result<(Programs, Built), CommandError> {
    let options = Options {
        environment: &plan.environment,
        jobs: ctx.jobs(),
        epoch: plan.lock.epoch,
        cache: plan.cache,
    };
    let program = |inputs| {
        let say = |line: &str| ctx.progress.say(&format!("guest binary: {line}"));
        guest_binary::build(&plan.repository, inputs, &ctx.store, &options, &say)
    };
    let compile = || {
        let helper = plan.gpu.as_ref().map(|(_, inputs)| program(inputs));
        Ok::<_, GuestBinaryError>(Programs {
            init: program(&plan.guest_inputs)?,
            helper: helper.transpose()?,
        })
    };
    let source = Source {
        recipe: &plan.recipe,
        directory: &plan.directory,
        models: &plan.models,
        lock: &plan.lock,
        store: &ctx.store,
        modules,
        cache: plan.cache,
    };
    let unpack = || Built::from_lock(source);
    let (guest, built) = std::thread::scope(|scope| {
        let guest = scope.spawn(|| timed(compile));
        let built = timed(unpack);
        (guest.join(), built)
    });
    let (guest, guest_time) =
        guest.map_err(|_| anyhow::anyhow!("guest binary: the stage panicked"))?;
    let (built, tree_time) = built;
    clock.add("guest binary", guest_time);
    clock.add("tree", tree_time);
    Ok((guest?, built?))
}

/// Writes `root.erofs` and returns its length in bytes.
fn write_root(
    plan: &Plan,
    built: &Built,
    staging: &Staging<'_>,
    ctx: &StoreContext,
) -> Result<u64, CommandError> {
    let path = staging.path("root.erofs")?;
    // The tool keeps a second copy of all contents while it works; afterwards `disk.raw` takes that room, and each
    // other form of the disk as much again.
    let copies = (plan.disk_formats().len() as u64).saturating_add(1);
    let bytes = built.report.bytes.saturating_mul(copies.max(2));
    staging.require(bytes.saturating_add(OTHER_OUTPUTS))?;
    let packages: Vec<_> = plan.lock.with_role(Role::Erofs).collect();
    let tool = Tool::open(&ctx.store, &packages)?;
    let parameters = Parameters {
        epoch: plan.lock.epoch,
        uuid: Guid::derive(&plan.recipe.name, GuidRole::RootFilesystem),
        compression: plan.recipe.root.compression.parse::<Compression>()?,
    };
    erofs::build(&built.tree, &tool, &ctx.store, &path, parameters)?;
    Ok(std::fs::metadata(&path)
        .map_err(|error| OutputError::new(&path, error))?
        .len())
}

/// Hashes the root while the initrd is compressed.
fn verity_beside_initrd(
    plan: &Plan,
    staging: &mut Staging<'_>,
    members: &Members<'_>,
    clock: &mut Clock,
) -> Result<(HashTree, Vec<u8>), CommandError> {
    let path = staging.path("root.erofs")?;
    let root = File::open(&path).map_err(|error| OutputError::new(&path, error))?;
    let compress = || {
        let archive = initrd::archive(members, plan.lock.epoch)?;
        initrd::compress(&archive, plan.lock.compression.level)
    };
    let ((verity, verity_time), (initrd, initrd_time)) =
        rayon::join(|| timed(|| HashTree::of(root)), || timed(compress));
    clock.add("verity", verity_time);
    clock.add("initrd", initrd_time);
    let verity = verity?;
    staging.add(
        "root.erofs",
        Output {
            sha256: Digest(verity.data_sha256),
            size: verity.data_blocks * 4096,
        },
    );
    Ok((verity, initrd?))
}

/// Writes the disk in every form.
fn write_disks(
    plan: &Plan,
    staging: &mut Staging<'_>,
    uki: &[u8],
    root: u64,
    verity: &HashTree,
    clock: &mut Clock,
) -> Result<Disk, CommandError> {
    let disk = clock.time("disk", || {
        disks::write_raw(plan, staging, uki, root, verity)
    })?;
    clock.time("disk forms", || disks::write_forms(plan, staging, &disk))?;
    Ok(disk)
}

fn write_measurements(
    plan: &Plan,
    staging: &mut Staging<'_>,
    measured: &Measured<'_>,
) -> Result<(), CommandError> {
    for platform in &plan.platforms {
        let text = reference(platform, measured)?
            .to_json()
            .context("reference values could not be written")?;
        staging.write(&measurements_name(&platform.name), text.as_bytes())?;
    }
    Ok(())
}

fn write_descriptions(
    plan: &Plan,
    staging: &mut Staging<'_>,
    built: &Built,
) -> Result<(), CommandError> {
    let path = plan.repository.join("Cargo.lock");
    let cargo_lock = std::fs::read_to_string(&path)
        .with_context(|| format!("`{}` cannot be read", path.display()))?;
    let sbom =
        sbom::write(&plan.lock, built, Some(&cargo_lock)).context("SBOM could not be written")?;
    staging.write("sbom.cdx.json", &sbom)?;
    let provenance = Provenance::of(&built.tree, &built.kernel).to_json();
    staging.write(
        "provenance.json",
        &provenance.context("provenance index could not be written")?,
    )?;
    Ok(())
}

fn write_manifest(
    plan: &Plan,
    staging: &mut Staging<'_>,
    built: &Built,
    programs: &Programs,
    modules: &[Module],
    layout: &Layout,
    verity: &HashTree,
) -> Result<(), CommandError> {
    let program = |inputs, bytes: &[u8]| GuestBinaryEntry {
        inputs,
        sha256: Digest::of(bytes),
        size: bytes.len(),
    };
    let gpu = plan.gpu.as_ref().zip(programs.helper.as_ref());
    let manifest = Manifest {
        builder: format!("cloister {}", env!("CARGO_PKG_VERSION")),
        epoch: plan.lock.epoch,
        gpu: gpu.map(|((golden, inputs), helper)| GpuEntry {
            helper: program(inputs, helper),
            modules: modules.iter().map(Into::into).collect(),
            rims: &golden.rims,
        }),
        guest_binary: program(&plan.guest_inputs, &programs.init),
        kernel_release: &built.kernel.release,
        lock: &plan.lock,
        lock_sha256: plan.lock_sha256,
        outputs: staging.outputs(),
        partitions: layout.table.partitions.iter().map(Into::into).collect(),
        platforms: &plan.platform_names(),
        recipe: &plan.recipe.name,
        report: serde_json::to_value(&built.report).context("build report could not be written")?,
        schema_version: SCHEMA_VERSION,
        verity: VerityEntry {
            data_blocks: verity.data_blocks,
            hash_blocks: verity.tree.len() as u64 / 4096,
            root: Digest(verity.root),
        },
    };
    let text = manifest
        .to_json()
        .context("manifest could not be written")?;
    staging.write(MANIFEST, text.as_bytes())?;
    Ok(())
}

/// Times of stages; those that run beside others overlap.
struct Clock {
    start: Instant,
    stages: Times,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            stages: Times::new(),
        }
    }
}

impl Clock {
    fn time<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let (result, time) = timed(work);
        self.add(stage, time);
        result
    }

    fn add(&mut self, stage: &'static str, time: Duration) {
        self.stages.push((stage, time));
    }

    fn finish(mut self) -> Times {
        self.stages.push(("all", self.start.elapsed()));
        self.stages
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
