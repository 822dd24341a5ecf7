//! `cloister verify gpu`: an NVIDIA GPU's attestation report and certificate chain, in files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use cloister_gpu::{Expected, GoldenValues, RootKey};
use cloister_verify::gpu::{appraise, appraise_with_rims};

use super::evidence::{At, conclude, read};
use super::snp::bytes;
use crate::cmd::gpu::judged;
use crate::cmd::{CommandError, Context};
use crate::gpu_evidence::{Entry, from_hex};

/// Hold the attestation report of an H100 against NVIDIA's device root and golden values
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The report: raw, hex (`\x`, `0x` and white space allowed), or the JSON evidence of NVIDIA's tools, which has the chain
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
    /// The five certificates, leaf first, PEM or DER
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// Which GPU of JSON evidence, from 0 on
    #[arg(long, value_name = "N", conflicts_with = "chain", default_value_t = 0)]
    index: usize,
    /// The nonce that the GPU was asked with, 32 bytes in hex
    #[arg(long, value_name = "HEX", value_parser = bytes::<32>)]
    nonce: [u8; 32],
    /// Golden values, canonical JSON; without them the verdict is `collateral-missing` at best
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// RIMs of drivers and of VBIOSes, to be verified at the same time and to make the golden values of
    #[arg(long = "rim", num_args = 1.., value_name = "FILE", conflicts_with = "golden")]
    rims: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Runs the verb: 0 accepted, 1 rejected, 3 golden values missing.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let golden = args.golden.as_deref().map(golden).transpose()?;
    let (report, chain) = evidence(args)?;
    let expected = Expected {
        nonce: &args.nonce,
        driver: None,
        vbios: None,
        golden: golden.as_ref(),
        roots: &[RootKey::nvidia()],
        at: args.at.seconds(),
    };
    let verdict = match args.rims.as_slice() {
        [] => appraise(&report, &chain, &expected),
        rims => appraise_with_rims(&report, &chain, judged(rims, expected.at)?, &expected),
    };
    conclude(verdict, &args.at, ctx)
}

fn golden(path: &Path) -> Result<GoldenValues, CommandError> {
    GoldenValues::from_json(&read(path)?)
        .with_context(|| format!("golden values `{}` cannot be used", path.display()))
        .map_err(CommandError::new)
}

/// Report and chain.
fn evidence(args: &Args) -> Result<(Vec<u8>, Vec<u8>), CommandError> {
    let input = read(&args.report)?;
    let json = input.trim_ascii_start().first() == Some(&b'[');
    match (&args.chain, json) {
        (Some(chain), false) => Ok((from_hex(&input).unwrap_or(input), read(chain)?)),
        (None, true) => entry(&input, args.index)
            .with_context(|| format!("`{}` cannot be used", args.report.display()))
            .map_err(CommandError::new),
        (Some(_), true) => {
            let error = anyhow::anyhow!("`{}` has the chain in it", args.report.display());
            Err(CommandError::new(error).with_hint("leave `--chain` out"))
        }
        (None, false) => {
            let error = anyhow::anyhow!("`{}` is a report by itself", args.report.display());
            Err(CommandError::new(error).with_hint("give its certificates with `--chain FILE`"))
        }
    }
}

fn entry(input: &[u8], index: usize) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let entries =
        Entry::list(input).context("wanted a list of objects with `evidence` and `certificate`")?;
    let count = entries.len();
    let entry = entries
        .get(index)
        .with_context(|| format!("has {count} GPUs, and no index {index}"))?;
    let report = entry.report().context("`evidence` is not base64")?;
    let chain = entry.chain().context("`certificate` is not base64")?;
    Ok((report, chain))
}
