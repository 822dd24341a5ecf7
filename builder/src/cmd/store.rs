//! `cloister store`: look after the store.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Look after the store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`store` is not written yet"
    )))
}
