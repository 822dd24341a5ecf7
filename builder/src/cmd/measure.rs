//! `cloister measure`: compute what hardware will report.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Compute what hardware will report
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`measure` is not written yet"
    )))
}
