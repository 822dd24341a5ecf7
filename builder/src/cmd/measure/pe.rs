//! `cloister measure pe`: the Authenticode digests of a PE image.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_measure::pe::Pe;
use cloister_measure::{Bank, Digest};
use serde_json::{Value, json};

use super::error::MeasureError;
use super::files::{Format, read_large};
use super::{print, print_json};
use crate::cmd::{CommandError, Context};

/// Compute the Authenticode digests of a PE image, which firmware extends PCR 4 or RTMR1 with
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The image: a UKI, a kernel, a boot loader
    #[arg(value_name = "FILE")]
    image: PathBuf,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let digests = digests(&args.image)?;
    if ctx.json {
        print_json(&as_json(digests))?;
    } else {
        let [sha256, sha384] = digests;
        print(&format!("sha256 {sha256}\nsha384 {sha384}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Computes both digests, SHA-256 first.
fn digests(path: &Path) -> Result<[Digest; 2], MeasureError> {
    let image = read_large(path, Format::PE)?;
    let pe = Pe::parse(&image).map_err(|source| MeasureError::Pe {
        path: path.to_owned(),
        source,
    })?;
    Ok([Bank::Sha256, Bank::Sha384].map(|bank| pe.authenticode(bank)))
}

fn as_json([sha256, sha384]: [Digest; 2]) -> Value {
    json!({"authenticode-sha256": sha256, "authenticode-sha384": sha384})
}

#[cfg(test)]
mod tests;
