//! `cloister lock`: resolve and pin every input of a recipe.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Resolve and pin every input of a recipe
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`lock` is not written yet"
    )))
}
