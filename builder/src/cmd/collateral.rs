//! `cloister collateral`: brings what vendors publish beside evidence.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use cloister_verify::collateral::Collateral;
use cloister_verify::snp::{KbsEvidence, Product};

use super::verify::{decoded, read};
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
    /// SEV-SNP report: 1184 bytes, hex, or KBS evidence in JSON
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

/// The report by itself or inside KBS evidence.
fn report(input: Vec<u8>) -> Result<Vec<u8>, CommandError> {
    if input.trim_ascii_start().starts_with(b"{") {
        let evidence = KbsEvidence::from_json(&input).map_err(CommandError::new)?;
        return Ok(evidence.report);
    }
    Ok(hex::decode(input.trim_ascii()).unwrap_or(input))
}

fn product(name: &str) -> Result<Product, String> {
    let known = Product::ALL.into_iter();
    let mut known = known.filter(|product| product.name().eq_ignore_ascii_case(name));
    known
        .next()
        .ok_or_else(|| "wanted Milan, Genoa or Turin".to_owned())
}
