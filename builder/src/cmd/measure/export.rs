//! `cloister measure export`: reference values in the format of other verifiers.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_measure::reference::ReferenceValues;

use super::error::{MeasureError, read};
use crate::cmd::{CommandError, Context};
use crate::corim;

/// Write reference values as an unsigned CoRIM
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Reference values, for example `measurements/demo/qemu-snp.json`
    #[arg(value_name = "FILE")]
    values: PathBuf,
    /// Where the CoRIM goes
    #[arg(long, value_name = "FILE")]
    corim: PathBuf,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let path = &args.values;
    let values = ReferenceValues::from_json(&read(path)?);
    let values = values.map_err(|source| MeasureError::Reference {
        path: path.clone(),
        source,
    })?;
    let bytes = corim::export(&values).map_err(|source| MeasureError::Corim {
        path: path.clone(),
        source,
    })?;
    std::fs::write(&args.corim, &bytes).map_err(|source| MeasureError::Output {
        path: args.corim.clone(),
        source,
    })?;
    let (file, size) = (args.corim.display(), bytes.len());
    ctx.progress
        .say(&format!("`{file}`: {size} bytes, not signed"));
    Ok(ExitCode::SUCCESS)
}
