//! The `cloister` command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cmd::{CommandError, Context, Deferred, StoreContext};

mod client;
mod cloud;
mod cmd;
mod collateral;
mod corim;
mod cuda;
mod deb;
mod debian;
mod difference;
mod digest;
mod disk;
mod effects;
mod erofs;
mod fat;
mod fetch;
mod gcp_tar;
mod golden;
mod gpt;
mod gpu_driver;
mod gpu_evidence;
mod guest;
mod guest_binary;
mod guid;
mod initrd;
mod inspect;
mod json_bytes;
mod kernel_build;
mod le;
mod libraries;
mod lock;
mod locking;
mod manifest;
mod measurements;
mod model;
mod modules;
mod output;
mod parallel;
mod platform;
mod progress;
mod provenance;
mod pyc;
mod qemu;
mod recipe;
mod reproduce;
mod sandbox;
mod sbom;
mod source;
mod standin;
mod store;
mod suggest;
mod superblock;
mod tool;
mod tree;
mod uki;
mod verity;
mod vhd;
mod wheel;

/// Heading of the options that every verb has.
const GLOBAL: &str = "Options of every verb";

/// Reproducible confidential-VM images, and what hardware will measure when they boot
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// Directory of the content-addressed store [default: `cloister/store` in the user's cache directory]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    store: Option<PathBuf>,
    /// Print results as JSON on stdout
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Print no progress
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    quiet: bool,
    /// Threads to work with; never changes a byte of output [default: one for each core]
    #[arg(long, global = true, value_name = "N", help_heading = GLOBAL)]
    jobs: Option<NonZeroUsize>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Resolve and pin every input of a recipe in `recipe.lock`
    Lock(Deferred<cmd::lock::Args>),
    /// Fill the store with everything a lock names
    Fetch(Deferred<cmd::fetch::Args>),
    /// Build image files and reference values from a locked recipe
    Build(Deferred<cmd::build::Args>),
    /// Compute what hardware will report
    Measure(Deferred<cmd::measure::Args>),
    /// Say what a file is: image, disk, evidence, certificate, event log, firmware, lock, ...
    Inspect(Deferred<cmd::inspect::Args>),
    /// Compare a running guest's evidence with `measurements/`, or judge evidence in files
    Verify(Deferred<cmd::verify::Args>),
    /// Bring certificates, revocation lists and TCB data for evidence
    Collateral(Deferred<cmd::collateral::Args>),
    /// Make golden values of a GPU from the manifests that NVIDIA signs
    Gpu(Deferred<cmd::gpu::Args>),
    /// Make a model an input of images
    Model(Deferred<cmd::model::Args>),
    /// Say why two builds, images or reference values differ, down to the changed file and package
    Diff(Deferred<cmd::diff::Args>),
    /// Build twice in environments that differ, and compare with the committed measurements
    Reproduce(Deferred<cmd::reproduce::Args>),
    /// Say whether a cloud can import and boot a built image, demand by demand
    Check(Deferred<cmd::check::Args>),
    /// Print the commands that bring a built image to a cloud and start it there
    Deploy(Deferred<cmd::deploy::Args>),
    /// Boot a built image in QEMU with a software TPM; ends with the guest
    Boot(Deferred<cmd::boot::Args>),
    /// Serve a verified guest at `http://127.0.0.1:PORT/v1`
    Connect(Deferred<cmd::connect::Args>),
    /// Look after the content-addressed store
    Store(Deferred<cmd::store::Args>),
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
        jobs: cli.jobs,
    };
    let place = cli.store;
    let stocked = |ctx| -> Result<StoreContext, CommandError> {
        let dir = place.map_or_else(default_store, Ok)?;
        Ok(StoreContext::new(ctx, store::Store::open(&dir)?))
    };
    match cli.verb {
        Verb::Lock(Deferred(args)) => cmd::lock::run(args, &stocked(ctx)?),
        Verb::Fetch(Deferred(args)) => cmd::fetch::run(args, &stocked(ctx)?),
        Verb::Build(Deferred(args)) => cmd::build::run(args, &stocked(ctx)?),
        Verb::Measure(Deferred(args)) => cmd::measure::run(args, &ctx),
        Verb::Inspect(Deferred(args)) => cmd::inspect::run(args, &ctx),
        Verb::Verify(Deferred(args)) => cmd::verify::run(args, &ctx),
        Verb::Collateral(Deferred(args)) => cmd::collateral::run(&args, &ctx),
        Verb::Gpu(Deferred(args)) => cmd::gpu::run(&args, &ctx),
        Verb::Model(Deferred(args)) => cmd::model::run(args, &stocked(ctx)?),
        Verb::Diff(Deferred(args)) => cmd::diff::run(args, &ctx),
        Verb::Reproduce(Deferred(args)) => cmd::reproduce::run(args, &stocked(ctx)?),
        Verb::Check(Deferred(args)) => cmd::check::run(&args, &ctx),
        Verb::Deploy(Deferred(args)) => cmd::deploy::run(&args, &ctx),
        Verb::Boot(Deferred(args)) => cmd::boot::run(args, &ctx),
        Verb::Connect(Deferred(args)) => cmd::connect::run(args, &ctx),
        Verb::Store(Deferred(args)) => cmd::store::run(args, &stocked(ctx)?),
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

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, CommandFactory as _};

    use super::*;

    /// Names and descriptions of the verbs of `command`, as they are listed before the options of any are built.
    fn listed(command: &Command) -> Vec<(String, String)> {
        let about = |verb: &Command| verb.get_about().map(ToString::to_string);
        let verbs = command.get_subcommands();
        verbs
            .map(|verb| (verb.get_name().to_owned(), about(verb).unwrap_or_default()))
            .collect()
    }

    #[test]
    fn every_verb_is_listed_as_it_describes_itself() {
        let measure = cmd::measure::Args::augment_args(Command::new("measure"));
        let mut verbs = 0;
        for mut command in [Cli::command(), measure] {
            let before = listed(&command);
            command.build();
            for (before, after) in before.iter().zip(listed(&command)) {
                assert_eq!(*before, after);
                assert!(!after.1.is_empty(), "{after:?}");
                verbs += 1;
            }
        }
        assert_eq!(verbs, 27);
        Cli::command().debug_assert();
    }
}
