//! `cloister fetch`: fill the store with the locked inputs.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Fill the store with the locked inputs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`fetch` is not written yet"
    )))
}
