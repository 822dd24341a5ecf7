//! `cloister connect`: serve a verified local endpoint.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Serve a verified local endpoint
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`connect` is not written yet"
    )))
}
