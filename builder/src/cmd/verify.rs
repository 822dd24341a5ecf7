//! `cloister verify`: compare a running guest's evidence with reference values.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Compare a running guest's evidence with reference values
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`verify` is not written yet"
    )))
}
