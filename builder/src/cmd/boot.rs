//! `cloister boot RECIPE`: runs the built image in QEMU with a software TPM until the guest ends.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};

use super::verify::runtime;
use super::{CommandError, Context};
use crate::platform::Platform;
use crate::qemu::Choice;
use crate::qemu::guest::{Guest, Request};

/// The platform whose machine this verb provides.
const PLATFORM: &str = "qemu-vtpm";

/// Boot a built image in QEMU with a software TPM; ends with the guest
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Recipe: a name under `recipes/` or a path
    recipe: String,
    /// Directory `cloister build` wrote to, if not `out/RECIPE`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Port on 127.0.0.1 that leads to the guest; 0 takes a free one
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Emulate in software, use KVM, or KVM only where it really runs guests
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    accel: Choice,
    /// Memory of the guest in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Number of vCPUs; if not given 2 with KVM and 1 in emulation, where QEMU with more sometimes runs code that the
    /// guest's kernel has replaced (`Oops: int3`)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: Option<u32>,
    /// The processor, in the words of QEMU's `-cpu`; if not given the host's with KVM, and `max,-cx16` in emulation, where
    /// programs that demand x86-64-v2 (NumPy) need `max`, and QEMU 7.2 now and then computes wrongly for it
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
}

/// Runs the verb: 0 when the guest has ended or the user interrupts, 2 when QEMU fails.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let (recipe, _) = ctx.recipe(&args.recipe)?;
    let out = args
        .out
        .unwrap_or_else(|| Path::new("out").join(&recipe.name));
    let request = Request {
        disk: out.join("disk.raw"),
        choice: args.accel,
        memory_mib: args.memory,
        cpus: args.cpus,
        cpu: args.cpu,
        host_port: args.port,
        guest_port: recipe.guest.listen,
    };
    let platform = Platform::load(PLATFORM)?;
    runtime()?.block_on(attend(&request, &platform, ctx))
}

async fn attend(
    request: &Request,
    platform: &Platform,
    ctx: &Context,
) -> Result<ExitCode, CommandError> {
    // Before the guest starts, so that no signal can leave it behind.
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let mut guest = tokio::select! {
        biased;
        ended = &mut interrupted => return ended.map(|()| ExitCode::SUCCESS),
        guest = Guest::start(request, platform) => guest?,
    };
    let (accelerator, port) = (guest.accelerator(), guest.host_port());
    ctx.progress.say(&format!(
        "booting {} with {accelerator}: https://127.0.0.1:{port}",
        request.disk.display()
    ));
    let status = tokio::select! {
        ended = &mut interrupted => { ended?; None }
        status = guest.ended() => Some(status.map_err(CommandError::new)?),
    };
    guest.stop().await.map_err(CommandError::new)?;
    match status {
        Some(status) if !status.success() => {
            Err(CommandError::new(anyhow!("QEMU ended with {status}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Waits until the user or the system wants the program to end.
pub(crate) async fn interrupted() -> Result<(), CommandError> {
    let listen = |kind| signal(kind).map_err(CommandError::new);
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
