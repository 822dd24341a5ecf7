//! `cloister verify tdx`: judges a TD quote.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_verify::policy::PolicyFile;
use cloister_verify::tdx::{Expected, INTEL, appraise};

use super::collateral;
use super::evidence::{At, conclude, decoded, read};
use super::reference_values;
use super::snp::{bytes, policy};
use crate::cmd::{CommandError, Context};

/// Hold a TD quote against Intel's key, collateral, a policy and an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The quote, version 4 or 5, zeros behind it allowed: raw, hex or base64
    #[arg(long, value_name = "FILE")]
    quote: PathBuf,
    /// Collateral: a bundle of `cloister collateral fetch`, the JSON or YAML of others, or a folder with the responses of Intel's
    /// certification service; without it the verdict is `collateral-missing` at best
    #[arg(long, value_name = "FILE|DIR")]
    collateral: Option<PathBuf>,
    /// Event log of the guest (CCEL), to be replayed
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// Reference values of the image, for the RTMRs: a file `measurements/RECIPE/PLATFORM.json`
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// MRTD, 48 bytes in hex; alone it pins the firmware, and not what the firmware booted
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    expect_mrtd: Option<[u8; 48]>,
    /// REPORTDATA, 64 bytes in hex
    #[arg(long, value_name = "HEX", value_parser = bytes::<64>)]
    report_data: Option<[u8; 64]>,
    /// Judge authenticity, validity and TCB status alone; says nothing about the image
    #[arg(long, conflicts_with_all = ["expect", "expect_mrtd", "report_data", "event_log"])]
    signature_only: bool,
    /// Policy in TOML, table `tdx`
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Runs the verb: 0 accepted, 1 rejected, 3 collateral missing.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let policy = match &args.policy {
        Some(path) => policy(path)?.tdx,
        None => PolicyFile::default().tdx,
    };
    let reference = args.expect.as_deref().map(reference_values).transpose()?;
    let event_log = args.event_log.as_deref().map(read).transpose()?;
    let collateral = args
        .collateral
        .as_deref()
        .map(collateral::read_bundle)
        .transpose()?;
    let tdx = collateral.and_then(|collateral| collateral.tdx);
    let expected = Expected {
        reference: reference.as_ref(),
        mrtd: args.expect_mrtd,
        event_log: event_log.as_deref(),
        report_data: args.report_data,
        signature_only: args.signature_only,
    };
    let quote = decoded(read(&args.quote)?);
    let at = args.at.seconds();
    let verdict = appraise(&quote, tdx.as_ref(), &expected, &policy, &INTEL, at);
    conclude(verdict, &args.at, ctx)
}
