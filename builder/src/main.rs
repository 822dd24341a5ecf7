//! The `cloister` command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;

use clap::{Parser, Subcommand};

use crate::cmd::{CommandError, Context, StoreContext};

mod client;
mod cmd;
mod collateral;
mod corim;
mod deb;
mod debian;
mod difference;
mod digest;
mod disk;
mod effects;
mod erofs;
mod fat;
mod fetch;
mod gpt;
mod guest;
mod guest_binary;
mod guid;
mod initrd;
mod inspect;
mod le;
mod lock;
mod locking;
mod manifest;
mod measurements;
mod modules;
mod output;
mod platform;
mod progress;
mod provenance;
mod pyc;
mod qemu;
mod recipe;
mod reproduce;
mod sbom;
mod source;
mod store;
mod suggest;
mod superblock;
mod tool;
mod tree;
mod uki;
mod verity;
mod wheel;

/// Reproducible confidential-VM images, and what hardware will measure when they boot
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// Directory of the content-addressed store [default: `cloister/store` in the user's cache directory]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print results as JSON on stdout
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Threads to work with; never changes a byte of output [default: one for each core]
    #[arg(long, global = true, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Lock(cmd::lock::Args),
    Fetch(cmd::fetch::Args),
    Build(cmd::build::Args),
    Measure(cmd::measure::Args),
    Inspect(cmd::inspect::Args),
    Verify(cmd::verify::Args),
    Collateral(cmd::collateral::Args),
    Diff(cmd::diff::Args),
    Reproduce(cmd::reproduce::Args),
    Boot(cmd::boot::Args),
    Connect(cmd::connect::Args),
    Store(cmd::store::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let ctx = Context {
        progress: progress::Progress::new(cli.quiet),
        json: cli.json,
        jobs: cli
            .jobs
            .or_else(|| available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN),
    };
    let place = cli.store;
    let stocked = |ctx| -> Result<StoreContext, CommandError> {
        let dir = place.map_or_else(default_store, Ok)?;
        Ok(StoreContext::new(ctx, store::Store::open(&dir)?))
    };
    match cli.verb {
        Verb::Lock(args) => cmd::lock::run(args, &stocked(ctx)?),
        Verb::Fetch(args) => cmd::fetch::run(args, &stocked(ctx)?),
        Verb::Build(args) => cmd::build::run(args, &stocked(ctx)?),
        Verb::Measure(args) => cmd::measure::run(args, &ctx),
        Verb::Inspect(args) => cmd::inspect::run(args, &ctx),
        Verb::Verify(args) => cmd::verify::run(args, &ctx),
        Verb::Collateral(args) => cmd::collateral::run(&args, &ctx),
        Verb::Diff(args) => cmd::diff::run(args, &ctx),
        Verb::Reproduce(args) => cmd::reproduce::run(args, &stocked(ctx)?),
        Verb::Boot(args) => cmd::boot::run(args, &ctx),
        Verb::Connect(args) => cmd::connect::run(args, &ctx),
        Verb::Store(args) => cmd::store::run(args, &stocked(ctx)?),
    }
}

/// The store's place by the XDG base directory specification.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the user's directories are looked up"
)]
fn default_store() -> Result<PathBuf, CommandError> {
    let set = |name| {
        std::env::var(name)
            .ok()
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_CACHE_HOME")
        .or_else(|| Some(set("HOME")?.join(".cache")))
        .map(|cache| cache.join("cloister/store"))
        .ok_or_else(|| {
            CommandError::new(anyhow::anyhow!(
                "neither `HOME` nor `XDG_CACHE_HOME` is set"
            ))
            .with_hint("name the store with `--store DIR`")
        })
}
