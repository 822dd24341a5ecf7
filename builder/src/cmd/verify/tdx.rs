//! `cloister verify tdx`: judges a TD quote.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use cloister_verify::policy::PolicyFile;
use cloister_verify::tdx::{Endorsed, Expected, INTEL, appraise};
use cloister_verify::x509::X509;

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
    /// Google's launch endorsement of the firmware, as it is published for each MRTD of Compute Engine; it stands for the MRTD, and
    /// pins no image
    #[arg(long, value_name = "FILE", requires = "google_root")]
    google_endorsement: Option<PathBuf>,
    /// Certificate of Google's root for endorsements (GCE-cc-tcb-root), PEM or DER: none is built in
    #[arg(long, value_name = "FILE", requires = "google_endorsement")]
    google_root: Option<PathBuf>,
    /// REPORTDATA, 64 bytes in hex
    #[arg(long, value_name = "HEX", value_parser = bytes::<64>)]
    report_data: Option<[u8; 64]>,
    /// Judge authenticity, validity and TCB status alone; says nothing about the image
    #[arg(long, conflicts_with_all = ["expect", "expect_mrtd", "report_data", "event_log", "google_endorsement"])]
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
    let endorsement = args.google_endorsement.as_deref().map(read).transpose()?;
    let google_root = args.google_root.as_deref().map(root).transpose()?;
    let endorsed = endorsement.as_deref().zip(google_root.as_ref());
    let expected = Expected {
        reference: reference.as_ref(),
        mrtd: args.expect_mrtd,
        event_log: event_log.as_deref(),
        endorsed: endorsed.map(|(endorsement, root)| Endorsed { endorsement, root }),
        report_data: args.report_data,
        signature_only: args.signature_only,
    };
    let quote = decoded(read(&args.quote)?);
    let at = args.at.seconds();
    let verdict = appraise(&quote, tdx.as_ref(), &expected, &policy, &INTEL, at);
    conclude(verdict, &args.at, ctx)
}

/// Reads the one certificate in the file at `path`.
fn root(path: &Path) -> Result<X509, CommandError> {
    let mut read = X509::read_all(&read(path)?)
        .with_context(|| format!("root `{}` cannot be used", path.display()))?;
    match (read.pop(), read.is_empty()) {
        (Some(root), true) => Ok(root),
        _ => {
            let error = anyhow::anyhow!("`{}` has several certificates", path.display());
            Err(CommandError::new(error).with_hint("give the file with Google's root alone"))
        }
    }
}
