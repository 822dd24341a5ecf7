//! `cloister verify tdx`: judges a TD quote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use cloister_verify::collateral::{Collateral, CollateralError};
use cloister_verify::policy::PolicyFile;
use cloister_verify::tdx::{Expected, INTEL, appraise};

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
    let collateral = args.collateral.as_deref().map(collateral).transpose()?;
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

/// Reads a bundle, or the files of a folder.
pub(super) fn collateral(path: &Path) -> Result<Collateral, CommandError> {
    match path.is_dir() {
        true => usable(path, Collateral::from_files(&files(path)?)),
        false => bundle(path, &read(path)?),
    }
}

/// Reads the bundle that is in the file at `path`.
pub(super) fn bundle(path: &Path, input: &[u8]) -> Result<Collateral, CommandError> {
    usable(path, Collateral::read(input))
}

fn usable(
    path: &Path,
    parsed: Result<Collateral, CollateralError>,
) -> Result<Collateral, CommandError> {
    parsed
        .with_context(|| format!("collateral `{}` cannot be used", path.display()))
        .map_err(|error| {
            CommandError::new(error).with_hint(
                "wanted is what `cloister collateral fetch` writes, or what Intel's services answer",
            )
        })
}

/// The files of a folder that collateral is made of.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, CommandError> {
    let mut files = BTreeMap::new();
    for name in Collateral::FILES {
        let path = folder.join(name);
        if path.is_file() {
            files.insert(name.to_owned(), read(&path)?);
        }
    }
    Ok(files)
}
