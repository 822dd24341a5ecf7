//! `cloister measure pe`: the Authenticode digests of a PE image.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_measure::Bank;
use cloister_measure::pe::Pe;
use serde_json::json;

use super::error::{MeasureError, read};
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
    let image = read(&args.image)?;
    let pe = Pe::parse(&image).map_err(|source| MeasureError::Pe {
        path: args.image.clone(),
        source,
    })?;
    let [sha256, sha384] = [Bank::Sha256, Bank::Sha384].map(|bank| pe.authenticode(bank));
    if ctx.json {
        print_json(&json!({"authenticode-sha256": sha256, "authenticode-sha384": sha384}))?;
    } else {
        print(&format!("sha256 {sha256}\nsha384 {sha384}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
