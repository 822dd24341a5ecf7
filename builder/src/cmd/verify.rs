//! `cloister verify`: appraises a live endpoint, or evidence in files, and prints every check.

mod azure;
mod cert;
mod collateral;
mod evidence;
mod gpu;
mod snp;
mod tdx;
mod tpm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use cloister_measure::reference::ReferenceValues;
use cloister_verify::Policy;
use tokio::time::{Instant, sleep};

pub(super) use evidence::{At, decoded, read};
pub(super) use snp::carried;

use super::{CommandError, Context};
use crate::client::attest::{self, Session};
use crate::client::{Appraised, ClientError, Endpoint, Expectation};

/// The platform whose live evidence is judged with collateral and a policy.
const AZURE: &str = "azure-snp";

/// Compare a running guest's evidence with `measurements/`, or judge evidence in files
///
/// Exit codes: 0 accepted, 1 rejected, 2 could not run, 3 collateral missing.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    /// Address of the guest: `https://HOST[:PORT]`
    #[arg(required = true)]
    url: Option<Endpoint>,
    #[command(flatten)]
    expected: Expected,
    /// Have the guest ask its GPU anew, for this connection alone; it does so once a minute, and otherwise shows its leaf's evidence
    #[arg(long)]
    new_gpu_evidence: bool,
    #[command(subcommand)]
    kind: Option<Kind>,
}

/// Evidence in files.
#[derive(Debug, clap::Subcommand)]
enum Kind {
    Cert(Box<cert::Args>),
    Snp(Box<snp::Args>),
    Azure(Box<azure::Args>),
    Tpm(Box<tpm::Args>),
    Tdx(Box<tdx::Args>),
    Gpu(Box<gpu::Args>),
}

/// What an endpoint is held against, for every verb that attests one.
#[derive(Debug, clap::Args)]
pub(crate) struct Expected {
    /// Reference values: a file `measurements/RECIPE/PLATFORM.json`
    #[arg(long, value_name = "FILE", required = true)]
    expect: Option<PathBuf>,
    /// Certificates behind the hardware's report, for `azure-snp`: a bundle of `cloister collateral fetch`
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// Policy in TOML, tables `azure` and `snp`, for `azure-snp`
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Reject platforms that cannot keep the host out
    #[arg(long)]
    require_confidential: bool,
    /// Try again for this long while the endpoint cannot be reached or its model is not loaded
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

/// Runs the verb: 0 accepted, 1 rejected, 2 not reached, 3 collateral missing.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    match (&args.kind, &args.url) {
        (Some(Kind::Cert(args)), _) => cert::run(args, ctx),
        (Some(Kind::Snp(args)), _) => snp::run(args, ctx),
        (Some(Kind::Azure(args)), _) => azure::run(args, ctx),
        (Some(Kind::Tpm(args)), _) => tpm::run(args, ctx),
        (Some(Kind::Tdx(args)), _) => tdx::run(args, ctx),
        (Some(Kind::Gpu(args)), _) => gpu::run(args, ctx),
        (None, Some(url)) => endpoint(url, &args, ctx),
        // The command line demands an address unless a kind of evidence is named.
        (None, None) => Err(nothing()),
    }
}

fn nothing() -> CommandError {
    CommandError::new(anyhow::anyhow!("nothing to verify")).with_hint(
        "name an address and `--expect FILE`, or a kind of evidence: see `cloister verify --help`",
    )
}

fn endpoint(url: &Endpoint, args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let expected = &args.expected;
    let mut expectation = expected.load()?;
    expectation.new_gpu = args.new_gpu_evidence;
    if expectation.new_gpu && expectation.reference.gpu.is_none() {
        let error = anyhow::anyhow!("reference values name no GPU that could be asked anew");
        let hint =
            "leave `--new-gpu-evidence` out, or give reference values of an image with a GPU";
        return Err(CommandError::new(error).with_hint(hint));
    }
    let runtime = runtime()?;
    let (appraised, session) = runtime.block_on(expected.open(url, &expectation, ctx))?;
    if let Some(session) = session {
        session.abort();
    }
    print(&appraised, ctx)?;
    Ok(evidence::code(appraised.conclusion))
}

impl Expected {
    /// Reads reference values, collateral and policy.
    pub(crate) fn load(&self) -> Result<Expectation, CommandError> {
        let policy = Policy {
            require_confidential: self.require_confidential,
            ..Policy::default()
        };
        let expect = self.expect.as_deref().ok_or_else(nothing)?;
        let reference = reference_values(expect)?;
        self.refuse(&reference)?;
        let platform = self.policy.as_deref().map(snp::policy).transpose()?;
        let collateral = self
            .collateral
            .as_deref()
            .map(collateral::read_bundle)
            .transpose()?;
        Ok(Expectation {
            reference,
            policy,
            platform: platform.unwrap_or_default(),
            collateral: collateral.and_then(|collateral| collateral.snp),
            new_gpu: false,
        })
    }

    /// An option that the platform has no use for would be silently ignored.
    fn refuse(&self, reference: &ReferenceValues) -> Result<(), CommandError> {
        let given = [
            ("--collateral", self.collateral.is_some()),
            ("--policy", self.policy.is_some()),
        ];
        let stray = given.iter().find(|(_, given)| *given);
        let platform = &reference.platform;
        match stray {
            Some((name, _)) if platform != AZURE => {
                let error = anyhow::anyhow!(
                    "reference values are for `{platform}`, for which `{name}` means nothing"
                );
                let hint = format!("leave it out, or give reference values of `{AZURE}`");
                Err(CommandError::new(error).with_hint(&hint))
            }
            _ => Ok(()),
        }
    }

    /// How long an endpoint may take to become ready.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }

    /// Attests the endpoint, again and again while it cannot be reached and `--wait` allows it.
    pub(crate) async fn open(
        &self,
        url: &Endpoint,
        expectation: &Expectation,
        ctx: &Context,
    ) -> Result<(Appraised, Option<Session>), ClientError> {
        let start = Instant::now();
        let limit = self.wait();
        let mut told = false;
        loop {
            match attest::open(url, expectation, now()).await {
                Err(error) if start.elapsed() < limit => {
                    if !told {
                        ctx.progress.say(&format!("waiting for {url}: {error}"));
                        told = true;
                    }
                    sleep(Duration::from_millis(250)).await;
                }
                outcome => return outcome,
            }
        }
    }
}

fn reference_values(path: &Path) -> Result<ReferenceValues, CommandError> {
    let read = || -> anyhow::Result<ReferenceValues> {
        let bytes = std::fs::read(path)?;
        Ok(ReferenceValues::from_json(&bytes)?)
    };
    read()
        .with_context(|| format!("reference values `{}` cannot be used", path.display()))
        .map_err(|error| {
            CommandError::new(error).with_hint(
                "`cloister build` writes them to `out/RECIPE/measurements/PLATFORM.json`",
            )
        })
}

/// Prints the verdict: JSON, or one line a check.
fn print(appraised: &Appraised, ctx: &Context) -> Result<(), CommandError> {
    use std::io::Write as _;
    let text = if ctx.json {
        serde_json::to_string_pretty(appraised).map_err(CommandError::new)? + "\n"
    } else {
        appraised.to_string()
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(CommandError::new)?;
    Ok(())
}

/// One thread for everything a client does.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")
        .map_err(CommandError::new)
}

/// Seconds since the Unix epoch, against which the validity of a leaf is held.
#[expect(
    clippy::disallowed_methods,
    reason = "a leaf's validity is held against this machine's clock; no image byte depends on it"
)]
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
