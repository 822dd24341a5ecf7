//! `cloister verify snp`: a SEV-SNP report in a file.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_verify::collateral::Der;
use cloister_verify::policy::PolicyFile;
use cloister_verify::snp::{
    AMD, Endorsements, Expected, Image, KbsEvidence, LENGTH, Table, appraise,
};

use super::collateral::read_bundle;
use super::evidence::{At, conclude, read, read_all};
use super::reference_values;
use crate::cmd::{CommandError, Context};

/// Judge a SEV-SNP report against AMD's keys, a policy and an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The report: 1184 bytes, also with its certificate table behind it, the same in hex, or KBS evidence in JSON, which
    /// may carry certificates
    #[arg(long, value_name = "FILE")]
    report: PathBuf,
    /// Certificate of the key that signed: VCEK or VLEK, PEM or DER; certificates behind it count as `--chain`
    #[arg(long, value_name = "FILE")]
    vcek: Option<PathBuf>,
    /// Bundle of `cloister collateral fetch`; what other flags name comes first
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// ASK or ASVK and ARK, PEM or DER; AMD's are built in, and only its keys are trusted
    #[arg(long, value_name = "FILE")]
    chain: Vec<PathBuf>,
    /// Revocation list of the ARK, PEM or DER
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Reference values of the image: a file `measurements/RECIPE/PLATFORM.json`
    #[arg(long, value_name = "FILE", conflicts_with = "expect_measurement")]
    expect: Option<PathBuf>,
    /// The launch digest, 48 bytes in hex
    #[arg(long, value_name = "HEX", value_parser = bytes::<48>)]
    expect_measurement: Option<[u8; 48]>,
    /// REPORT_DATA, 64 bytes in hex
    #[arg(long, value_name = "HEX", value_parser = bytes::<64>)]
    report_data: Option<[u8; 64]>,
    /// Judge authenticity, validity and TCB status alone; says nothing about the image
    #[arg(long, conflicts_with_all = ["expect", "expect_measurement", "report_data"])]
    signature_only: bool,
    /// Policy in TOML, table `snp`
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Runs the verb: 0 accepted, 1 rejected, 3 collateral missing.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let policy = match &args.policy {
        Some(path) => policy(path)?.snp,
        None => PolicyFile::default().snp,
    };
    let reference = args.expect.as_deref().map(reference_values).transpose()?;
    let mut evidence = carried(read(&args.report)?)?;
    if let Some(path) = &args.collateral {
        let bundle = read_bundle(path)?.snp.unwrap_or_default();
        let der = |all: Vec<Der>| all.into_iter().map(|der| der.0);
        evidence.vek = evidence.vek.or(bundle.vek.map(|der| der.0));
        evidence.chain.extend(der(bundle.chain));
        evidence.crls.extend(der(bundle.crls));
    }
    if let Some(path) = &args.vcek {
        evidence.vek = Some(unhexed(read(path)?));
    }
    evidence.chain.extend(read_all(&args.chain)?);
    evidence.crls.extend(read_all(&args.crl)?);
    let chain: Vec<&[u8]> = evidence.chain.iter().map(Vec::as_slice).collect();
    let crls: Vec<&[u8]> = evidence.crls.iter().map(Vec::as_slice).collect();
    let endorsements = Endorsements {
        vek: evidence.vek.as_deref(),
        chain: &chain,
        crls: &crls,
    };
    let measurement = args.expect_measurement.map(Image::Measurement);
    let expected = Expected {
        image: reference.as_ref().map(Image::Reference).or(measurement),
        report_data: args.report_data,
        signature_only: args.signature_only,
    };
    let at = args.at.seconds();
    let verdict = appraise(
        &evidence.report,
        &endorsements,
        &expected,
        &policy,
        &AMD,
        at,
    );
    conclude(verdict, &args.at, ctx)
}

/// Reads a policy file.
pub(super) fn policy(path: &std::path::Path) -> Result<PolicyFile, CommandError> {
    use anyhow::Context as _;
    let text = String::from_utf8(read(path)?);
    text.map_err(anyhow::Error::from)
        .and_then(|text| Ok(PolicyFile::from_toml(&text)?))
        .with_context(|| format!("policy `{}` cannot be used", path.display()))
        .map_err(CommandError::new)
}

/// The report by itself, or with what came with it. Bytes that are no report are for the verdict to refuse.
pub(crate) fn carried(input: Vec<u8>) -> Result<KbsEvidence, CommandError> {
    if input.len() != LENGTH && input.trim_ascii_start().starts_with(b"{") {
        return KbsEvidence::from_json(&input).map_err(|error| {
            CommandError::new(anyhow::Error::from(error))
                .with_hint("wanted is what the `sev` crate 8 and Trustee write for tee `snp`")
        });
    }
    Ok(extended(unhexed(input)))
}

/// A report by itself, or with the certificate table behind it that an extended guest request gives.
fn extended(mut report: Vec<u8>) -> KbsEvidence {
    let table = report.get(LENGTH..).map(Table::parse);
    let table = table.and_then(Result::ok).unwrap_or_default();
    let owned = |all: &[&[u8]]| all.iter().map(|bytes| bytes.to_vec()).collect();
    let (vek, chain, crls) = (
        table.vek.map(<[u8]>::to_vec),
        owned(&table.chain),
        owned(&table.crls),
    );
    // Anything else behind a report is for the verdict to refuse.
    if table != Table::default() {
        report.truncate(LENGTH);
    }
    KbsEvidence {
        report,
        vek,
        chain,
        crls,
    }
}

/// Bytes written in hex, with white space around; other bytes as they are.
fn unhexed(input: Vec<u8>) -> Vec<u8> {
    hex::decode(input.trim_ascii()).unwrap_or(input)
}

/// Takes exactly `N` bytes in hex.
pub(super) fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(format!("wanted {N} bytes in hex")),
    }
}
