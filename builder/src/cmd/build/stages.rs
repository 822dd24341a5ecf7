//! The stages of a build, in order; each takes what the one before it made.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::disks;
use super::driver;
use super::plan::{Plan, measurements_name};
use super::report::Times;
use super::root::{self, Kept, Root};
use crate::cmd::{CommandError, StoreContext};
use crate::deb::{Body, Deb};
use crate::disk::Layout;
use crate::guest::GpuFiles;
use crate::guest_binary::{self, GuestBinaryError, Options};
use crate::lock::Role;
use crate::manifest::{GpuEntry, GuestBinaryEntry, Manifest, SCHEMA_VERSION, VerityEntry};
use crate::measurements::{Firmware, Measured, reference};
use crate::output::{MANIFEST, Staging};
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
    let made = Made::of(plan, staging, ctx, &compiled, &mut clock)?;
    let Made {
        root,
        verity,
        initrd,
        ..
    } = &made;
    if !made.kept {
        root.remember(plan, verity, ctx)?;
    }
    let cmdline = guest::command_line(&plan.recipe, verity.root)?;
    let sections = Sections {
        cmdline: cmdline.as_bytes(),
        initrd: &initrd.archive,
        linux: &root.vmlinuz,
    };
    let uki = uki::build(&stub, &sections)?;
    let disk = clock.time("disk", || {
        let disk = disks::make(plan, staging, &uki, verity, made.kept)?;
        disks::make_forms(plan, staging, &disk)?;
        Ok::<_, CommandError>(disk)
    })?;
    let google = disk.google_table()?;
    write_boot_files(staging, &sections, &uki, firmware.as_ref())?;
    let measured = Measured {
        recipe: &plan.recipe.name,
        uki: &uki,
        kernel: &root.vmlinuz,
        initrd: &initrd.archive,
        cmdline: &cmdline,
        guest_configuration: &initrd.configuration,
        gpu: &plan.recipe.guest.gpu,
        golden: initrd.golden.as_deref(),
        model: &plan.recipe.guest.model,
        firmware: firmware.as_ref(),
        google_disk: &google,
    };
    clock.time("measure", || write_measurements(plan, staging, &measured))?;
    staging.write("sbom.cdx.json", &root.sbom)?;
    staging.write("provenance.json", &root.provenance)?;
    write_manifest(plan, staging, &made, &compiled, &disk.layout)?;
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

/// What the disk is made of.
struct Made {
    programs: Programs,
    root: Root,
    verity: HashTree,
    initrd: Initrd,
    /// Whether the root is that of the last build.
    kept: bool,
}

impl Made {
    /// Compiles the programs of the guest while the root is made, and packs the initrd while that is hashed.
    fn of(
        plan: &Plan,
        staging: &Staging<'_>,
        ctx: &StoreContext,
        modules: &[Module],
        clock: &mut Clock,
    ) -> Result<Self, CommandError> {
        let panicked = |_| anyhow::anyhow!("a stage panicked");
        std::thread::scope(|scope| {
            let programs = scope.spawn(|| timed(|| compile(plan, ctx)));
            let (root, kept) = make_root(plan, staging, ctx, modules, clock)?;
            let same = kept.is_some();
            let image = match &kept {
                Some(verity) => verity.data_size(),
                None => root::size(plan, staging)?,
            };
            let hash = || kept.map_or_else(|| root::hash(plan, staging), Ok);
            let verity = scope.spawn(|| timed(hash));
            let (programs, time) = programs.join().map_err(panicked)?;
            clock.add("guest binary", time);
            let programs = programs?;
            let initrd = clock.time("initrd", || Initrd::of(plan, &programs, &root, image))?;
            let (verity, time) = verity.join().map_err(panicked)?;
            clock.add("verity", time);
            Ok(Self {
                programs,
                root,
                verity: verity?,
                initrd,
                kept: same,
            })
        })
    }
}

/// Makes the root where that of the last build cannot be kept; gives the hash tree of one that is.
fn make_root(
    plan: &Plan,
    staging: &Staging<'_>,
    ctx: &StoreContext,
    modules: &[Module],
    clock: &mut Clock,
) -> Result<(Root, Option<HashTree>), CommandError> {
    if let Some(Kept { root, verity }) = clock.time("kept root", || Kept::find(plan, staging, ctx))
    {
        return Ok((root, Some(verity)));
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
    let mut built = clock.time("tree", || Built::from_lock(source))?;
    clock.time("files", || root::check_files(plan, &built, ctx))?;
    clock.time("libraries", || root::check_libraries(plan, &mut built, ctx))?;
    let described = clock.time("describe", || Root::of(plan, &built))?;
    clock.time("root", || root::write_image(plan, &built, staging, ctx))?;
    Ok((described, None))
}

/// The initrd and what measurements know of it.
struct Initrd {
    /// Compressed.
    archive: Vec<u8>,
    /// `guest.conf`.
    configuration: Vec<u8>,
    /// What a GPU must measure.
    golden: Option<String>,
}

impl Initrd {
    /// Packs it for a root of `image` bytes.
    fn of(plan: &Plan, programs: &Programs, root: &Root, image: u64) -> Result<Self, CommandError> {
        let golden = plan.gpu.as_ref().map(|(golden, _)| golden.to_json());
        let text = golden.as_deref().map(str::as_bytes);
        let configuration = guest::configuration(&plan.recipe, &root.modules, image / 4096, text)?;
        let helper = programs.helper.as_deref();
        let gpu = text
            .zip(helper)
            .map(|(golden, helper)| GpuFiles { golden, helper });
        let members = guest::members(&programs.init, &configuration, &root.modules, gpu);
        let archive = initrd::archive(&members, plan.lock.epoch)?;
        let archive = initrd::compress(&archive, plan.lock.compression.level)?;
        Ok(Self {
            archive,
            configuration,
            golden,
        })
    }
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

fn write_manifest(
    plan: &Plan,
    staging: &mut Staging<'_>,
    made: &Made,
    compiled: &[Module],
    layout: &Layout,
) -> Result<(), CommandError> {
    let program = |inputs, bytes: &[u8]| GuestBinaryEntry {
        inputs,
        sha256: Digest::of(bytes),
        size: bytes.len(),
    };
    let gpu = plan.gpu.as_ref().zip(made.programs.helper.as_ref());
    let manifest = Manifest {
        builder: format!("cloister {}", env!("CARGO_PKG_VERSION")),
        epoch: plan.lock.epoch,
        gpu: gpu.map(|((golden, inputs), helper)| GpuEntry {
            helper: program(inputs, helper),
            modules: compiled.iter().map(Into::into).collect(),
            rims: &golden.rims,
        }),
        guest_binary: program(&plan.guest_inputs, &made.programs.init),
        kernel_release: &made.root.release,
        lock: &plan.lock,
        lock_sha256: plan.lock_sha256,
        outputs: staging.outputs(),
        partitions: layout.table.partitions.iter().map(Into::into).collect(),
        platforms: &plan.platform_names(),
        recipe: &plan.recipe.name,
        report: made.root.report.clone(),
        schema_version: SCHEMA_VERSION,
        verity: VerityEntry {
            data_blocks: made.verity.data_blocks,
            data_sha256: root::image_of(&made.verity).sha256,
            hash_blocks: made.verity.tree.len() as u64 / 4096,
            hash_sha256: root::tree_of(&made.verity).sha256,
            root: Digest(made.verity.root),
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
