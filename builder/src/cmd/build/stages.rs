//! The stages of a build, in order; each takes what the one before it made.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::disks;
use super::driver;
use super::plan::{Plan, measurements_name};
use super::report::Times;
use super::root::{self, IMAGE, Kept, Root, TREE};
use crate::cmd::{CommandError, StoreContext};
use crate::deb::{Body, Deb};
use crate::disk::Layout;
use crate::guest::GpuFiles;
use crate::guest_binary::{self, GuestBinaryError, Options};
use crate::initrd::Members;
use crate::lock::Role;
use crate::manifest::{GpuEntry, GuestBinaryEntry, Manifest, SCHEMA_VERSION, VerityEntry};
use crate::measurements::{Firmware, Measured, reference};
use crate::output::{MANIFEST, Output, OutputError, Staging};
use crate::recipe::ToolPackage;
use crate::store::Digest;
use crate::tree::{Built, Module, Source, TreePath};
use crate::uki::{self, Sections};
use crate::verity::HashTree;
use crate::{guest, initrd, model};

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
    let (programs, root, kept) = programs_and_root(plan, staging, ctx, &compiled, &mut clock)?;
    let image = image_size(staging, kept.as_ref())?;
    let golden_text = plan.gpu.as_ref().map(|(golden, _)| golden.to_json());
    let golden = golden_text.as_deref().map(str::as_bytes);
    let configuration = guest::configuration(&plan.recipe, &root.modules, image / 4096, golden)?;
    let helper = programs.helper.as_deref();
    let gpu = golden
        .zip(helper)
        .map(|(golden, helper)| GpuFiles { golden, helper });
    let members = guest::members(&programs.init, &configuration, &root.modules, gpu);
    let same = kept.is_some();
    let (verity, initrd) = verity_beside_initrd(plan, staging, &members, kept, &mut clock)?;
    if !same {
        root.remember(plan, staging, &verity, ctx)?;
    }
    let cmdline = guest::command_line(&plan.recipe, verity.root)?;
    let sections = Sections {
        cmdline: cmdline.as_bytes(),
        initrd: &initrd,
        linux: &root.vmlinuz,
    };
    let uki = uki::build(&stub, &sections)?;
    let disk = clock.time("disk", || {
        disks::make(plan, staging, &uki, image, &verity, same)
    })?;
    clock.time("disk forms", || disks::make_forms(plan, staging, &disk))?;
    let google = disk.google_table()?;
    write_boot_files(staging, &sections, &uki, firmware.as_ref())?;
    let measured = Measured {
        recipe: &plan.recipe.name,
        uki: &uki,
        kernel: &root.vmlinuz,
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
    staging.write("sbom.cdx.json", &root.sbom)?;
    staging.write("provenance.json", &root.provenance)?;
    let parts = Parts {
        programs: &programs,
        root: &root,
        modules: &compiled,
        layout: &disk.layout,
        verity: &verity,
    };
    write_manifest(plan, staging, &parts)?;
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

/// Compiles the programs of the guest, while the root is made where that of the last build cannot be kept.
fn programs_and_root(
    plan: &Plan,
    staging: &Staging<'_>,
    ctx: &StoreContext,
    modules: &[Module],
    clock: &mut Clock,
) -> Result<(Programs, Root, Option<HashTree>), CommandError> {
    if let Some(Kept { root, verity }) = clock.time("kept root", || Kept::find(plan, staging, ctx))
    {
        let programs = clock.time("guest binary", || compile(plan, ctx))?;
        return Ok((programs, root, Some(verity)));
    }
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
        let guest = scope.spawn(|| timed(|| compile(plan, ctx)));
        let built = timed(unpack);
        (guest.join(), built)
    });
    let (guest, guest_time) =
        guest.map_err(|_| anyhow::anyhow!("guest binary: the stage panicked"))?;
    let (built, tree_time) = built;
    clock.add("guest binary", guest_time);
    clock.add("tree", tree_time);
    let (programs, mut built) = (guest?, built?);
    root::check_files(plan, &built)?;
    clock.time("libraries", || root::check_libraries(plan, &mut built, ctx))?;
    let described = clock.time("describe", || Root::of(plan, &built))?;
    clock.time("root", || root::write_image(plan, &built, staging, ctx))?;
    Ok((programs, described, None))
}

/// Compiles the programs of the guest, or takes them from the store.
fn compile(plan: &Plan, ctx: &StoreContext) -> Result<Programs, GuestBinaryError> {
    let compiler: Vec<_> = plan.lock.with_role(Role::GuestTools).collect();
    let options = Options {
        store: &ctx.store,
        environment: &plan.environment,
        sandbox: &compiler,
        jobs: ctx.jobs(),
        epoch: plan.lock.epoch,
        cache: plan.cache,
    };
    let program = |inputs| {
        let say = |line: &str| ctx.progress.say(&format!("guest binary: {line}"));
        guest_binary::build(&plan.repository, inputs, &options, &say)
    };
    let helper = plan.gpu.as_ref().map(|(_, inputs)| program(inputs));
    Ok(Programs {
        init: program(&plan.guest_inputs)?,
        helper: helper.transpose()?,
    })
}

/// Length of the root image in bytes.
fn image_size(staging: &Staging<'_>, kept: Option<&HashTree>) -> Result<u64, CommandError> {
    if let Some(verity) = kept {
        return Ok(verity.data_blocks * 4096);
    }
    let path = staging.path(IMAGE)?;
    let data = std::fs::metadata(&path).map_err(|error| OutputError::new(&path, error))?;
    Ok(data.len())
}

/// Hashes the root while the initrd is compressed; the tree of a root that is `kept` is known.
fn verity_beside_initrd(
    plan: &Plan,
    staging: &mut Staging<'_>,
    members: &Members<'_>,
    kept: Option<HashTree>,
    clock: &mut Clock,
) -> Result<(HashTree, Vec<u8>), CommandError> {
    let path = staging.path(IMAGE)?;
    let compress = || {
        let archive = initrd::archive(members, plan.lock.epoch)?;
        initrd::compress(&archive, plan.lock.compression.level)
    };
    let same = kept.is_some();
    let hash = || kept.map_or_else(|| root::hash(&path), Ok);
    let ((verity, verity_time), (initrd, initrd_time)) =
        rayon::join(|| timed(hash), || timed(compress));
    clock.add("verity", verity_time);
    clock.add("initrd", initrd_time);
    let verity = verity?;
    let image = Output {
        sha256: Digest(verity.data_sha256),
        size: verity.data_blocks * 4096,
    };
    if same {
        let tree = Output {
            sha256: Digest::of(&verity.tree),
            size: verity.tree.len() as u64,
        };
        staging.keep(IMAGE, image);
        staging.keep(TREE, tree);
    } else {
        staging.add(IMAGE, image);
        staging.write(TREE, &verity.tree)?;
    }
    Ok((verity, initrd?))
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

/// What the manifest describes beside inputs and outputs.
struct Parts<'a> {
    programs: &'a Programs,
    root: &'a Root,
    /// Modules that were compiled.
    modules: &'a [Module],
    layout: &'a Layout,
    verity: &'a HashTree,
}

fn write_manifest(
    plan: &Plan,
    staging: &mut Staging<'_>,
    parts: &Parts<'_>,
) -> Result<(), CommandError> {
    let program = |inputs, bytes: &[u8]| GuestBinaryEntry {
        inputs,
        sha256: Digest::of(bytes),
        size: bytes.len(),
    };
    let gpu = plan.gpu.as_ref().zip(parts.programs.helper.as_ref());
    let manifest = Manifest {
        builder: format!("cloister {}", env!("CARGO_PKG_VERSION")),
        epoch: plan.lock.epoch,
        gpu: gpu.map(|((golden, inputs), helper)| GpuEntry {
            helper: program(inputs, helper),
            modules: parts.modules.iter().map(Into::into).collect(),
            rims: &golden.rims,
        }),
        guest_binary: program(&plan.guest_inputs, &parts.programs.init),
        kernel_release: &parts.root.release,
        lock: &plan.lock,
        lock_sha256: plan.lock_sha256,
        outputs: staging.outputs(),
        partitions: parts
            .layout
            .table
            .partitions
            .iter()
            .map(Into::into)
            .collect(),
        platforms: &plan.platform_names(),
        recipe: &plan.recipe.name,
        report: parts.root.report.clone(),
        schema_version: SCHEMA_VERSION,
        verity: VerityEntry {
            data_blocks: parts.verity.data_blocks,
            hash_blocks: parts.verity.tree.len() as u64 / 4096,
            root: Digest(parts.verity.root),
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
