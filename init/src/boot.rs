//! The boot: a list of stages, each of which consumes the proof of the one before.
//!
//! A stage that fails ends the guest; there is no way on without the value only it can make.
//! Progress lines: `docs/guest-configuration.md`, section "Console".

use std::convert::Infallible;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use cloister_evidence::bundle::CpuKind;
use nix::sys::signalfd::SignalFd;

use crate::attest::{AttestError, Attester};
use crate::config::{self, Configured};
use crate::console::Console;
use crate::gpu::{self, Gpu};
use crate::spawn::{self, Serve};
use crate::supervise::{Event, SuperviseError, Supervisor, child_signals};
use crate::verity::{self, Verity};
use crate::{block, clock, modules, mount, network, settings, tee, uevent};

/// Seconds for `serve` to ask for its first evidence, and to answer on its port.
const SERVE_SECONDS: u64 = 60;

/// Seconds until the workload's program is executed.
const START_SECONDS: u64 = 60;

/// Seconds that PID 1 waits for the canary beyond its limit.
const CANARY_GRACE_SECONDS: u64 = 10;

/// The stages, by the names on the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Kernel file systems and settings.
    Mount,
    /// Configuration and command line.
    Config,
    /// Kernel modules.
    Modules,
    /// Network device and address.
    Network,
    /// Verified root.
    Root,
    /// The GPU: its mode at first, its evidence with that of the first leaf.
    Gpu,
    /// Event log and first evidence.
    Attest,
    /// The attested listener.
    Serve,
    /// The program that answers.
    Workload,
    /// The question whose answer is known.
    Canary,
    /// Everything after.
    Supervise,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mount => "mount",
            Self::Config => "config",
            Self::Modules => "modules",
            Self::Network => "network",
            Self::Root => "root",
            Self::Gpu => "gpu",
            Self::Attest => "attest",
            Self::Serve => "serve",
            Self::Workload => "workload",
            Self::Canary => "canary",
            Self::Supervise => "supervise",
        })
    }
}

/// What ended the guest, and where.
#[derive(Debug, thiserror::Error)]
#[error("{stage}: {source}")]
pub struct BootError {
    /// The stage.
    pub stage: Stage,
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

type Outcome<T> = Result<T, BootError>;

impl Stage {
    fn failed<E: std::error::Error + Send + Sync + 'static>(self) -> impl FnOnce(E) -> BootError {
        move |source| BootError {
            stage: self,
            source: Box::new(source),
        }
    }
}

impl From<SuperviseError> for BootError {
    /// Names the part that failed, not the loop that noticed.
    fn from(error: SuperviseError) -> Self {
        let stage = match &error {
            SuperviseError::Serve(_) | SuperviseError::Channel(_) => Stage::Serve,
            SuperviseError::Workload(_) => Stage::Workload,
            SuperviseError::Corrupt(_) => Stage::Root,
            SuperviseError::Attest(AttestError::Gpu(_)) => Stage::Gpu,
            SuperviseError::Attest(_) => Stage::Attest,
            SuperviseError::Late(Event::Started, _) => Stage::Workload,
            SuperviseError::Late(Event::Healthy, _) => Stage::Canary,
            SuperviseError::Late(..) => Stage::Serve,
            SuperviseError::System { .. } => Stage::Supervise,
        };
        Self {
            stage,
            source: Box::new(error),
        }
    }
}

/// Kernel file systems are there, settings are made.
struct Mounted;

/// Configuration is read; `serve` is already on its way, without a port that listens.
struct Begun {
    configured: Configured,
    serve: Serve,
    signals: SignalFd,
}

/// All modules are loaded, and no more can be.
struct Loaded(Begun);

/// The network is up.
struct NetworkUp(Loaded);

/// The root is mounted through dm-verity, whose uevents are being collected.
struct RootVerified {
    begun: Begun,
    uevents: OwnedFd,
}

/// The hardware is what the configuration says.
struct GpuChecked {
    root: RootVerified,
    gpu: Gpu,
}

/// `serve` has evidence for its first leaf.
struct Attested {
    configured: Configured,
    supervisor: Supervisor,
    cpu: CpuKind,
}

/// `serve` answers on its port.
struct Serving(Attested);

/// Boots and supervises; returns only when the guest must end.
///
/// # Errors
/// The [`BootError`] that ends it.
pub fn run(console: &mut Console) -> Outcome<Infallible> {
    console.line("start");
    let mounted = timed(console, Stage::Mount, mount())?;
    let begun = configure(mounted);
    let begun = timed(console, Stage::Config, begun)?;
    console.line(&format!(
        "clock: {}, set by the host, not trusted",
        clock::report()
    ));
    let loaded = load(begun);
    let loaded = timed(console, Stage::Modules, loaded)?;
    let up = network(console, loaded);
    let up = timed(console, Stage::Network, up)?;
    let root = root(up);
    let root = timed(console, Stage::Root, root)?;
    let checked = check_gpu(root);
    let checked = timed(console, Stage::Gpu, checked)?;
    console.line(&format!("gpu: {}", checked.gpu));
    let attested = attest(checked);
    let attested = timed(console, Stage::Attest, attested)?;
    let serving = serve(attested);
    let serving = timed(console, Stage::Serve, serving)?;
    console.line(&format!(
        "serving on port {}",
        serving.0.configured.guest.listen
    ));
    if serving.0.cpu == CpuKind::Azure {
        spawn::provision().map_err(Stage::Serve.failed())?;
    }
    let canary = serving.0.configured.guest.canary.clone();
    let supervisor = workload(serving);
    let mut supervisor = timed(console, Stage::Workload, supervisor)?;
    if let Some(canary) = canary {
        // `serve` has the limit; this one is for a `serve` that keeps none.
        let seconds = u64::from(canary.seconds).saturating_add(CANARY_GRACE_SECONDS);
        let answered = supervisor.wait_for(Event::Healthy, seconds);
        timed(console, Stage::Canary, answered.map_err(BootError::from))?;
    }
    Ok(supervisor.run()?)
}

/// Prints `STAGE: ok MILLISECONDS` if it is.
fn timed<T>(console: &mut Console, stage: Stage, outcome: Outcome<T>) -> Outcome<T> {
    let value = outcome?;
    console.line(&format!("{stage}: ok {}", console.milliseconds()));
    Ok(value)
}

fn mount() -> Outcome<Mounted> {
    mount::apply_all(&mount::boot_plan()).map_err(Stage::Mount.failed())?;
    settings::apply(Path::new("/"), settings::EARLY).map_err(Stage::Mount.failed())?;
    settings::apply(Path::new("/"), settings::CGROUPS).map_err(Stage::Mount.failed())?;
    Ok(Mounted)
}

fn configure(_: Mounted) -> Outcome<Begun> {
    let configured = config::load(Path::new("/")).map_err(Stage::Config.failed())?;
    let signals = child_signals().map_err(Stage::Config.failed())?;
    // Its key is made while the devices come up.
    let serve = spawn::serve(&configured.guest).map_err(Stage::Serve.failed())?;
    Ok(Begun {
        configured,
        serve,
        signals,
    })
}

fn load(begun: Begun) -> Outcome<Loaded> {
    modules::load(&begun.configured.guest.modules).map_err(Stage::Modules.failed())?;
    mount::apply_all(&mount::configfs_plan(Path::new("/sys"))).map_err(Stage::Modules.failed())?;
    settings::apply(Path::new("/"), settings::LATE).map_err(Stage::Modules.failed())?;
    Ok(Loaded(begun))
}

fn network(console: &mut Console, loaded: Loaded) -> Outcome<NetworkUp> {
    let up = network::bring_up(loaded.0.configured.guest.network);
    let up = up.map_err(Stage::Network.failed())?;
    console.line(&format!("network: {up}"));
    Ok(NetworkUp(loaded))
}

fn root(up: NetworkUp) -> Outcome<RootVerified> {
    let NetworkUp(Loaded(begun)) = up;
    let Configured {
        guest,
        command_line,
        ..
    } = &begun.configured;
    let uevents = uevent::open().map_err(Stage::Root.failed())?;
    let find = |uuid, blocks| {
        block::wait(
            Path::new("/sys"),
            Path::new("/dev"),
            uuid,
            blocks,
            block::PATIENCE,
        )
        .map_err(Stage::Root.failed())
    };
    let data = find(&guest.root.data, guest.root.data_blocks)?;
    let hash = find(&guest.root.hash, 1)?;
    let verity = Verity {
        data: data.device,
        hash: hash.device,
        blocks: guest.root.data_blocks,
        root: command_line.verity_root,
    };
    verity.open().map_err(Stage::Root.failed())?;
    let mounted = mount::apply(&mount::root_plan(verity::DEVICE));
    // A corrupt block explains a failed mount better than the mount does.
    if let Ok(Some(corruption)) = uevent::corruption(&uevents) {
        return Err(Stage::Root.failed()(corruption));
    }
    mounted.map_err(Stage::Root.failed())?;
    Ok(RootVerified { begun, uevents })
}

fn check_gpu(root: RootVerified) -> Outcome<GpuChecked> {
    let gpu = gpu::check(&root.begun.configured.guest.gpu).map_err(Stage::Gpu.failed())?;
    Ok(GpuChecked { root, gpu })
}

fn attest(checked: GpuChecked) -> Outcome<Attested> {
    let GpuChecked {
        root: RootVerified { begun, uevents },
        gpu,
    } = checked;
    let Begun {
        configured,
        serve,
        signals,
    } = begun;
    let tee = tee::detect().map_err(Stage::Attest.failed())?;
    let cpu = tee.kind();
    let word = configured.guest.gpu.word();
    let attester = Attester::new(tee, configured.bytes.clone(), word, gpu)
        .map_err(|error| BootError::from(SuperviseError::Attest(error)))?;
    let mut supervisor = Supervisor::new(attester, serve, uevents, signals);
    supervisor.wait_for(Event::Attested, SERVE_SECONDS)?;
    Ok(Attested {
        configured,
        supervisor,
        cpu,
    })
}

fn serve(mut attested: Attested) -> Outcome<Serving> {
    attested
        .supervisor
        .wait_for(Event::Listening, SERVE_SECONDS)?;
    Ok(Serving(attested))
}

fn workload(serving: Serving) -> Outcome<Supervisor> {
    let Serving(Attested {
        configured,
        mut supervisor,
        ..
    }) = serving;
    let running = spawn::workload(&configured.guest.workload).map_err(Stage::Workload.failed())?;
    supervisor.watch(running);
    supervisor.wait_for(Event::Started, START_SECONDS)?;
    Ok(supervisor)
}
