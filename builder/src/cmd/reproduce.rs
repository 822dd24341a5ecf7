//! `cloister reproduce`: build twice in perturbed environments and compare.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Build twice in perturbed environments and compare
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`reproduce` is not written yet"
    )))
}
