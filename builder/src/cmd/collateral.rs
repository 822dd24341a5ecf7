//! `cloister collateral`: brings what vendors publish beside evidence.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use cloister_evidence::bundle::Bundle;
use cloister_measure::azure::{HclReport, TeeReport};
use cloister_verify::azure;
use cloister_verify::collateral::Collateral;
use cloister_verify::snp::Product;

use super::verify::{carried, decoded, read};
use super::{CommandError, Context, MISSING, ambient};
use crate::collateral::{Agent, FetchError, Fetcher, Services};
use crate::source::collateral_services;
use crate::store::write_atomically;

/// Bring certificates, revocation lists and TCB data for evidence
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Fetch(Box<Fetch>),
}

/// Fetch the collateral of a report or quote into one file
///
/// Exit codes: 0 done, 2 could not run, 3 offline and not in the cache.
#[derive(Debug, clap::Args)]
struct Fetch {
    #[command(flatten)]
    evidence: Evidence,
    /// Product of a report that does not name its own
    #[arg(long, value_name = "NAME", value_parser = product)]
    product: Option<Product>,
    /// File to write [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    services: Services,
    /// Directory of the cache [default: `cloister/collateral` in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Take everything from the cache, however old
    #[arg(long)]
    offline: bool,
    /// Seconds that one attempt may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// What collateral is for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Evidence {
    /// SEV-SNP report in any form of `verify snp`; or evidence of a VM on Azure, also as its guest serves it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// TD quote: raw, hex or base64
    #[arg(long, value_name = "FILE")]
    quote: Option<PathBuf>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, _: &Context) -> Result<ExitCode, CommandError> {
    let Verb::Fetch(args) = &args.verb;
    let environment = ambient::environment();
    let services = args.services.clone().or(collateral_services(&environment)?);
    let fetcher = Fetcher {
        agent: Agent::new(Duration::from_secs(args.timeout))?,
        cache: match &args.cache {
            Some(cache) => cache.clone(),
            None => ambient::cache(&environment)
                .context("neither `HOME` nor `XDG_CACHE_HOME` is set")
                .map_err(|error| {
                    CommandError::new(error).with_hint("name the cache with `--cache DIR`")
                })?
                .join("cloister/collateral"),
        },
        offline: args.offline,
    };
    let mut collateral = Collateral::default();
    if let Some(path) = &args.evidence.report {
        let report = report(read(path)?)?;
        let fetched = fetcher.snp(&report, args.product, &services);
        collateral.snp = Some(fetched.map_err(failed)?);
    }
    if let Some(path) = &args.evidence.quote {
        let quote = decoded(read(path)?);
        collateral.tdx = Some(fetcher.tdx(&quote, &services).map_err(failed)?);
    }
    let text = collateral.to_json().map_err(CommandError::new)?;
    match &args.out {
        Some(path) => write_atomically(path, text.as_bytes())?,
        None => print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(error: FetchError) -> CommandError {
    let offline = matches!(error, FetchError::Offline { .. });
    let error = CommandError::from(error);
    match offline {
        true => error.with_code(MISSING),
        false => error,
    }
}

/// The report by itself, inside KBS evidence, or inside evidence of a VM on Azure: that is the paravisor's, which has the same processor.
fn report(input: Vec<u8>) -> Result<Vec<u8>, CommandError> {
    let bundle = Bundle::decode(&input).map(|bundle| bundle.cpu.value);
    let azure = azure::Evidence::parse(bundle.as_deref().unwrap_or(&input));
    if let Ok(evidence) = azure {
        let hcl = HclReport::parse(&evidence.hcl_report).map_err(CommandError::new)?;
        return match hcl.report {
            TeeReport::Snp(_) => Ok(hcl.hardware_report),
            TeeReport::Tdx(_) => Err(CommandError::new(anyhow!("HCL report of a VM on TDX"))
                .with_hint("give its TD quote as `--quote`")),
        };
    }
    Ok(carried(input)?.report)
}

fn product(name: &str) -> Result<Product, String> {
    let known = Product::ALL.into_iter();
    let mut known = known.filter(|product| product.name().eq_ignore_ascii_case(name));
    known
        .next()
        .ok_or_else(|| "wanted Milan, Genoa or Turin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    use cloister_evidence::azure::AzureEvidence;
    use cloister_evidence::bundle::{CpuKind, CpuSection};
    use cloister_evidence::tpm::PcrBank;
    use cloister_test_pki::azure::{CLAIMS, hcl_report};
    use sha2::{Digest as _, Sha256};

    /// An HCL report around `report`, which gets the hash of its claims.
    fn hcl(report: &mut [u8], kind: u32, report_data: usize) -> Vec<u8> {
        let claims = br#"{"keys":[{"kid":"HCLAkPub","kty":"RSA","e":"AQAB","n":"AQ"}],"vm-configuration":{"console-enabled":true,"secure-boot":true,"tpm-enabled":true,"vmUniqueId":""}}"#;
        report[report_data..report_data + 32].copy_from_slice(&Sha256::digest(claims));
        hcl_report(report, kind, claims)[..CLAIMS + claims.len()].to_vec()
    }

    #[test]
    fn report_is_found_in_what_a_guest_on_azure_serves() {
        let mut snp = vec![0; 1184];
        snp[0] = 3;
        let hcl = hcl(&mut snp, 2, 0x50);
        assert_eq!(report(hcl.clone()).unwrap(), snp);
        let evidence = AzureEvidence {
            attest: vec![1],
            signature: vec![2],
            hcl_report: hcl,
            pcrs: PcrBank([[0; 32]; 16]),
        };
        let bundle = Bundle {
            cpu: CpuSection {
                kind: CpuKind::Azure,
                value: evidence.encode(),
            },
            log: vec![0xa0],
            batch: None,
            devices: vec![0xa0],
        };
        assert_eq!(report(evidence.encode()).unwrap(), snp);
        assert_eq!(report(bundle.encode()).unwrap(), snp);
        assert_eq!(report(snp.clone()).unwrap(), snp);
        assert_eq!(report(hex::encode(&snp).into_bytes()).unwrap(), snp);
        let guid = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd_u128.to_be_bytes();
        let entry = [&guid[..], &48_u32.to_le_bytes(), &[0; 28]].concat();
        assert_eq!(report([&snp[..], &entry].concat()).unwrap(), snp);
    }

    #[test]
    fn report_of_a_vm_on_tdx_is_none() {
        let mut tdreport = vec![0; 1024];
        tdreport[0] = 0x81;
        let error = report(hcl(&mut tdreport, 4, 128)).unwrap_err();
        assert_eq!(error.error.to_string(), "HCL report of a VM on TDX");
    }
}
