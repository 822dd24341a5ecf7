//! `cloister build`: build image files and reference values from a locked recipe.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Build image files and reference values from a locked recipe
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`build` is not written yet"
    )))
}
