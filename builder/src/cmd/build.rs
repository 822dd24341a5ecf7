//! `cloister build`: from a lock to image files and reference values.
//!
//! Reads nothing but the recipe, its lock, the store and the guest's sources; the network is never used.

mod committed;
mod disks;
mod driver;
mod hints;
mod plan;
mod report;
mod root;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{CommandError, StoreContext};
use crate::output::OutputDirectory;
use plan::Plan;
use report::Summary;

/// Build image files and reference values from a locked recipe
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Recipe: a name under `recipes/`, a directory or a `recipe.toml`
    recipe: String,
    /// Compute reference values for this platform only; may be repeated [default: those of the recipe]
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<String>,
    /// Write to this directory [default: `out/RECIPE`]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Make everything anew: use no earlier outputs and no derived data of the store
    #[arg(long)]
    no_cache: bool,
    /// Write the reference values to `measurements/RECIPE/` as well
    #[arg(long)]
    update_measurements: bool,
}

/// Runs the verb.
pub(crate) fn run(args: Args, ctx: &StoreContext) -> Result<ExitCode, CommandError> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(ctx.jobs().get());
    threads
        .build_global()
        .context("threads could not be started")?;
    let plan = Plan::new(&args, ctx)?;
    driver::without_rims(&plan, args.update_measurements, ctx)?;
    let wait = || {
        ctx.progress.say(&format!(
            "waiting for another build of `{}`",
            plan.out.display()
        ))
    };
    let out = OutputDirectory::hold(&plan.out, wait)?;
    let known = if args.no_cache {
        None
    } else {
        out.unchanged(&plan.fingerprint)
    };
    let summary = match known {
        Some(outputs) => Summary::unchanged(outputs),
        None => {
            let mut staging = out.stage()?;
            let times = stages::run(&plan, &mut staging, ctx)?;
            Summary::built(staging.finish(plan.fingerprint, plan.root)?, times)
        }
    };
    let references = plan.references()?;
    if args.update_measurements {
        committed::update(&plan, &references)?;
    } else {
        committed::compare(&plan, &references, ctx);
    }
    summary.print(&plan, &references, ctx)?;
    Ok(ExitCode::SUCCESS)
}
