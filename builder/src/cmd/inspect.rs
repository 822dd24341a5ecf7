//! `cloister inspect`: say what a file is, field by field.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Say what a file is, field by field
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`inspect` is not written yet"
    )))
}
