//! `cloister measure explain`: which inputs give a launch digest that nobody expected.

use std::process::ExitCode;

use cloister_measure::explain::{Guess, Match, search};
use cloister_measure::snp::LaunchDigest;
use serde_json::{Value, json};

use super::error::MeasureError;
use super::launch::{DirectBoot, Firmware};
use super::numbers::launch_digest;
use super::{print, print_json};
use crate::cmd::{CommandError, Context, DIFFERENT};

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  cloister measure explain --digest HEX --firmware OVMF.amdsev.fd --kernel vmlinuz \\
      --initrd initrd --cmdline 'console=ttyS0'
";

/// Say which vCPUs, features, host and command line give an SEV-SNP launch digest
///
/// Firmware, kernel and initrd are taken as given. Ends with exit code 1 when nothing matches.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// The launch digest of the report, 96 hex digits
    #[arg(long, value_name = "HEX", value_parser = launch_digest)]
    digest: LaunchDigest,
    #[command(flatten)]
    firmware: Firmware,
    #[command(flatten)]
    boot: DirectBoot,
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
fn matches(args: &Args) -> Result<Vec<Match>, CommandError> {
    args.boot.check()?;
    let firmware = args.firmware.read(false)?;
    let initrd = args.boot.initrd()?;
    let kernel = args.boot.kernel()?.map(|kernel| (kernel, initrd));
    let command_line = args.boot.command_line.bytes()?;
    let guess = Guess {
        firmware: &firmware,
        kernel,
        command_line: &command_line,
    };
    Ok(search(&guess, &args.digest))
}

fn as_json(args: &Args, matches: &[Match]) -> Value {
    json!({"digest": args.digest.to_string(), "matches": matches})
}

#[cfg(test)]
mod tests;
