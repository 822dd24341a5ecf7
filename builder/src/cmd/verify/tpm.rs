//! `cloister verify tpm`: a TPM quote in files.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_verify::policy::PolicyFile;
use cloister_verify::tpm::{BareQuote, Expected, appraise_quote};

use super::evidence::{At, Nonce, conclude, nonce, read};
use super::{reference_values, snp};
use crate::cmd::{CommandError, Context};

/// Judge a TPM quote against its key, a nonce and an image; says nothing about who owns the TPM
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The quote: `TPMS_ATTEST`, as `tpm2_quote --message` writes it
    #[arg(long, value_name = "FILE")]
    quote: PathBuf,
    /// Its signature: `TPMT_SIGNATURE`, or an RSA signature as it is
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// The attestation key: `TPMT_PUBLIC`, PEM, DER or JSON Web Key, RSA or P-256
    #[arg(long, value_name = "FILE")]
    ak: PathBuf,
    /// The PCR values, as `tpm2_quote --pcrs` writes them
    #[arg(long, value_name = "FILE")]
    pcrs: PathBuf,
    /// The qualifying data, in hex or as `ascii:TEXT`
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Nonce,
    /// The firmware's event log, which must replay to PCRs 0 to 9
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// Reference values of the image: a file `measurements/RECIPE/PLATFORM.json`
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Policy in TOML, table `tpm`
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Runs the verb: 0 accepted, 1 rejected.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let policy = match &args.policy {
        Some(path) => snp::policy(path)?.tpm,
        None => PolicyFile::default().tpm,
    };
    let reference = args.expect.as_deref().map(reference_values).transpose()?;
    let (quote, signature) = (read(&args.quote)?, read(&args.signature)?);
    let (ak, pcrs) = (read(&args.ak)?, read(&args.pcrs)?);
    let event_log = args.event_log.as_deref().map(read).transpose()?;
    let evidence = BareQuote {
        attest: &quote,
        signature: &signature,
        ak: &ak,
        pcrs: &pcrs,
        event_log: event_log.as_deref(),
    };
    let expected = Expected {
        nonce: Some(&args.nonce.0),
        reference: reference.as_ref(),
    };
    let verdict = appraise_quote(&evidence, &expected, &policy, args.at.seconds());
    conclude(verdict, &args.at, ctx)
}
