//! `cloister verify azure`: evidence of a confidential VM on Azure, in files.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_verify::azure::{Beside, Expected, MICROSOFT, QuoteFiles, appraise};
use cloister_verify::collateral::Der;
use cloister_verify::policy::PolicyFile;

use super::collateral::{Given, given, sorted};
use super::evidence::{At, Nonce, conclude, nonce, read};
use super::{reference_values, snp};
use crate::cmd::{CommandError, Context};

/// Judge evidence of a confidential VM on Azure: HCL report, vTPM quote and processor
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// HCL report, Cloister's `cpu` section, CoCo's JSON (wire versions 0 to 2, also in an envelope) or attested-tls's YAML
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// The quote, `TPMS_ATTEST`, where the evidence is an HCL report by itself
    #[arg(long, value_name = "FILE", requires = "signature")]
    quote: Option<PathBuf>,
    /// Its signature: `TPMT_SIGNATURE`, or the RSA signature as it is
    #[arg(long, value_name = "FILE", requires = "quote")]
    signature: Option<PathBuf>,
    /// The PCR values, as `tpm2_quote --pcrs` writes them
    #[arg(long, value_name = "FILE", requires = "quote")]
    pcrs: Option<PathBuf>,
    /// The firmware's event log, which must replay to PCRs 0 to 9
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// VCEK, PEM or DER, where the evidence has none; certificates behind it count as `--collateral`
    #[arg(long, value_name = "FILE")]
    vcek: Option<PathBuf>,
    /// Certificates or revocation lists, PEM or DER: AMD's chain (built in otherwise), or the one above the vTPM key's certificate; or what
    /// `verify tdx --collateral` takes, for the TD quote
    #[arg(long, value_name = "FILE|DIR")]
    collateral: Vec<PathBuf>,
    /// The nonce that the quote must have, in hex or as `ascii:TEXT`
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Option<Nonce>,
    /// Reference values of the image: a file `measurements/RECIPE/azure-snp.json`
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Policy in TOML, tables `azure`, and `snp` or `tdx`
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Runs the verb: 0 accepted, 1 rejected, 3 collateral missing.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let policy = match &args.policy {
        Some(path) => snp::policy(path)?,
        None => PolicyFile::default(),
    };
    let reference = args.expect.as_deref().map(reference_values).transpose()?;
    let evidence = read(&args.evidence)?;
    let optional = |path: &Option<PathBuf>| path.as_deref().map(read).transpose();
    let (quote, signature) = (optional(&args.quote)?, optional(&args.signature)?);
    let (pcrs, event_log) = (optional(&args.pcrs)?, optional(&args.event_log)?);
    let vek = optional(&args.vcek)?;
    let Given { files, bundle } = given(&args.collateral)?;
    let of_amd = bundle.snp.unwrap_or_default();
    let vek = vek.or(of_amd.vek.map(|Der(der)| der));
    let bundled = of_amd.chain.iter().map(|Der(der)| der.as_slice());
    let (mut certificates, mut crls) = sorted(&files);
    certificates.extend(bundled);
    crls.extend(of_amd.crls.iter().map(|Der(der)| der.as_slice()));
    let beside = Beside {
        quote: quote
            .as_deref()
            .zip(signature.as_deref())
            .map(|(attest, signature)| QuoteFiles {
                attest,
                signature,
                pcrs: pcrs.as_deref(),
            }),
        vek: vek.as_deref(),
        certificates: &certificates,
        crls: &crls,
        tdx: bundle.tdx.as_ref(),
        event_log: event_log.as_deref(),
    };
    let expected = Expected {
        nonce: args.nonce.as_ref().map(|nonce| nonce.0.as_slice()),
        reference: reference.as_ref(),
    };
    let at = args.at.seconds();
    let verdict = appraise(&evidence, &beside, &expected, &policy, &MICROSOFT, at);
    conclude(verdict, &args.at, ctx)
}
