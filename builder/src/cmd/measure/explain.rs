//! `cloister measure explain`: which inputs give a launch digest that nobody expected.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_measure::Digest;
use cloister_measure::explain::{Guess, Match, search};
use cloister_measure::snp::LaunchDigest;
use serde_json::json;

use super::error::{MeasureError, hash, read};
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
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = source)]
    kernel: Option<Source>,
    /// Initrd of a direct boot
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = source, requires = "kernel")]
    initrd: Option<Source>,
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

/// A file, or its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Hash([u8; 32]),
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let firmware = snp::firmware(&args.firmware)?;
    let kernel = args.kernel.as_ref().map(hashed).transpose()?;
    let initrd = args.initrd.as_ref().map(hashed).transpose()?;
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
    let matches = search(&guess, &args.digest);
    let digest = args.digest.to_string();
    if ctx.json {
        print_json(&json!({"digest": digest, "matches": matches}))?;
    } else {
        let line = |found: &Match| format!("{found}\n");
        print(&matches.iter().map(line).collect::<String>())?;
    }
    if matches.is_empty() {
        return Err(CommandError::from(MeasureError::NoMatch { digest }).with_code(DIFFERENT));
    }
    Ok(ExitCode::SUCCESS)
}

fn hashed(source: &Source) -> Result<[u8; 32], MeasureError> {
    match source {
        Source::File(path) => hash(path),
        Source::Hash(hash) => Ok(*hash),
    }
}

fn source(text: &str) -> Result<Source, String> {
    let Some(digits) = text.strip_prefix("sha256:") else {
        return Ok(Source::File(PathBuf::from(text)));
    };
    let mut hash = [0; 32];
    hex::decode_to_slice(digits, &mut hash).map_err(|error| format!("not a SHA-256: {error}"))?;
    Ok(Source::Hash(hash))
}

fn launch_digest(text: &str) -> Result<LaunchDigest, String> {
    match text.to_ascii_lowercase().parse() {
        Ok(Digest::Sha384(bytes)) => Ok(LaunchDigest(bytes)),
        _ => Err("not 96 hex digits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_digests_are_parsed() {
        assert_eq!(source("vmlinuz"), Ok(Source::File("vmlinuz".into())));
        let text = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(source(&text), Ok(Source::Hash([0xab; 32])));
        assert!(source("sha256:ab").is_err());
        assert_eq!(
            launch_digest(&"AB".repeat(48)),
            Ok(LaunchDigest([0xab; 48]))
        );
        assert!(launch_digest(&"ab".repeat(32)).is_err());
    }
}
