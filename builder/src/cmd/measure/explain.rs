//! `cloister measure explain`: which inputs give a launch digest that nobody expected.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use cloister_measure::explain::{Guess, Match, search};
use cloister_measure::snp::LaunchDigest;
use serde_json::{Value, json};

use super::error::{MeasureError, read};
use super::numbers::{Input, launch_digest};
use super::{print, print_json, snp};
use crate::cmd::{CommandError, Context, DIFFERENT};

/// Say which vCPUs, features, host and command line give an SEV-SNP launch digest
///
/// Firmware, kernel and initrd are taken as given. Ends with exit code 1 when nothing matches.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The launch digest of the report, 96 hex digits
    #[arg(long, value_name = "HEX", value_parser = launch_digest)]
    digest: LaunchDigest,
    /// Firmware image, whole
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    /// Kernel of a direct boot
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = OsStringValueParser::new().try_map(Input::parse))]
    kernel: Option<Input>,
    /// Initrd of a direct boot
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = OsStringValueParser::new().try_map(Input::parse), requires = "kernel")]
    initrd: Option<Input>,
    /// Kernel command line that was meant
    #[arg(
        long,
        value_name = "STR",
        allow_hyphen_values = true,
        requires = "kernel"
    )]
    cmdline: Option<String>,
    /// File with the command line, byte for byte
    #[arg(
        long,
        value_name = "FILE",
        requires = "kernel",
        conflicts_with = "cmdline"
    )]
    cmdline_file: Option<PathBuf>,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let matches = matches(args)?;
    if ctx.json {
        print_json(&as_json(args, &matches))?;
    } else {
        let line = |found: &Match| format!("{found}\n");
        print(&matches.iter().map(line).collect::<String>())?;
    }
    if matches.is_empty() {
        let digest = args.digest.to_string();
        return Err(CommandError::from(MeasureError::NoMatch { digest }).with_code(DIFFERENT));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads what was given and searches.
fn matches(args: &Args) -> Result<Vec<Match>, MeasureError> {
    let firmware = snp::firmware(&args.firmware)?;
    let kernel = args.kernel.as_ref().map(Input::sha256).transpose()?;
    let initrd = args.initrd.as_ref().map(Input::sha256).transpose()?;
    let command_line = match (&args.cmdline, &args.cmdline_file) {
        (_, Some(path)) => read(path)?,
        (Some(text), None) => text.clone().into_bytes(),
        (None, None) => Vec::new(),
    };
    let guess = Guess {
        firmware: &firmware,
        kernel: kernel.map(|kernel| (kernel, initrd)),
        command_line: &command_line,
    };
    Ok(search(&guess, &args.digest))
}

fn as_json(args: &Args, matches: &[Match]) -> Value {
    json!({"digest": args.digest.to_string(), "matches": matches})
}

#[cfg(test)]
mod tests;
