//! `cloister diff`: say why two images or measurements differ.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Say why two images or measurements differ
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`diff` is not written yet"
    )))
}
