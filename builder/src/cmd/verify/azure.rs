//! `cloister verify azure`: evidence of a confidential VM on Azure, in files.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_verify::azure::{Beside, Expected, MICROSOFT, QuoteFiles, appraise};
use cloister_verify::collateral::{Collateral, Der};
use cloister_verify::policy::PolicyFile;
use cloister_verify::x509::{Crl, X509};

use super::evidence::{At, Nonce, conclude, nonce, read};
use super::{reference_values, snp, tdx};
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

/// What `--collateral` names.
#[derive(Default)]
struct Given {
    /// Certificates and revocation lists.
    files: Vec<Vec<u8>>,
    bundle: Collateral,
}

/// Reads each: a folder or a bundle fills what is not there yet; anything else is for [`sorted`].
fn given(paths: &[PathBuf]) -> Result<Given, CommandError> {
    let mut given = Given::default();
    for path in paths {
        let found = match path.is_dir() {
            true => tdx::collateral(path)?,
            false => {
                let bytes = read(path)?;
                // Certificates begin with a dash or a DER sequence; bundles are JSON or YAML.
                if !matches!(bytes.trim_ascii_start(), [b'{' | b'a'..=b'z', ..]) {
                    given.files.push(bytes);
                    continue;
                }
                tdx::bundle(path, &bytes)?
            }
        };
        given.bundle.snp = given.bundle.snp.take().or(found.snp);
        given.bundle.tdx = given.bundle.tdx.take().or(found.tdx);
    }
    Ok(given)
}

/// Certificates and revocation lists. A file with both counts as both; one with neither is for a check to refuse.
fn sorted(collateral: &[Vec<u8>]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let (mut certificates, mut crls): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for input in collateral {
        let lists = Crl::read_all(input).is_ok();
        if lists {
            crls.push(input);
        }
        if !lists || X509::read_all(input).is_ok() {
            certificates.push(input);
        }
    }
    (certificates, crls)
}
