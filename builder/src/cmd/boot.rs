//! `cloister boot`: boot an image in QEMU with a software TPM.

use std::process::ExitCode;

use super::{CommandError, Context};

/// Boot an image in QEMU with a software TPM
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb.
pub(crate) fn run(_args: Args, _ctx: &Context) -> Result<ExitCode, CommandError> {
    Err(CommandError::new(anyhow::anyhow!(
        "`boot` is not written yet"
    )))
}
