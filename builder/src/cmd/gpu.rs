//! `cloister gpu`: what a GPU must measure, out of the manifests that NVIDIA signs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_gpu::GoldenValues;
use cloister_rim::{Rim, RimError, RootKey};
use rayon::prelude::*;

use super::verify::{At, read};
use super::{CommandError, Context, DIFFERENT};
use crate::golden::{RimsError, golden_values};

/// Make golden values of a GPU from the manifests that NVIDIA signs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Golden(Golden),
}

/// Verify RIMs against NVIDIA's root and print their golden values
///
/// With `--json` it is the file that `verify gpu --golden` takes: every driver of the files with every VBIOS of them.
/// Exit codes: 0 done, 1 a RIM was refused, 2 could not run.
#[derive(Debug, clap::Args)]
struct Golden {
    /// RIMs of drivers and of VBIOSes
    #[arg(long = "rim", required = true, num_args = 1.., value_name = "FILE")]
    rims: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let Verb::Golden(args) = &args.verb;
    let rims = verified(&args.rims, args.at.seconds())?;
    let golden = golden_values(&rims);
    let text = match (ctx.json, golden) {
        (true, golden) => golden.map_err(no_pair)?.to_json(),
        (false, Err(RimsError::Missing(_))) => describe(&args.rims, &rims),
        (false, golden) => {
            let mut text = describe(&args.rims, &rims);
            for pair in golden.map_err(no_pair)?.pairs() {
                let _ = writeln!(
                    text,
                    "golden values: driver {} with VBIOS {}, {} measurements",
                    pair.driver(),
                    pair.vbios(),
                    pair.values().len()
                );
            }
            text
        }
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(CommandError::new)?;
    Ok(ExitCode::SUCCESS)
}

/// Golden values with the names of the RIMs they are of, or what is wrong with these, each in its own words.
pub(super) type Judged = Result<(GoldenValues, String), String>;

/// Golden values of RIMs in files, which are verified first, all at once. Only a file that cannot be read is an error.
pub(super) fn judged(paths: &[PathBuf], at: u64) -> Result<Judged, CommandError> {
    let (mut rims, mut names, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    let verify = |path: &PathBuf| -> Result<_, CommandError> {
        let file = read(path)?;
        Ok(cloister_rim::verify(&file, &[RootKey::nvidia()], at))
    };
    let verified: Vec<Result<_, CommandError>> = paths.par_iter().map(verify).collect();
    for (path, verified) in paths.iter().zip(verified) {
        match verified? {
            Ok(rim) => {
                names.push(format!("{} {}", rim.kind, rim.version));
                rims.push(rim);
            }
            Err(error) => refused.push(format!("{}: {error}", path.display())),
        }
    }
    if !refused.is_empty() {
        return Ok(Err(refused.join("; ")));
    }
    let golden = golden_values(&rims).map_err(|error| error.to_string());
    Ok(golden.map(|golden| (golden, names.join(", "))))
}

/// Reads and verifies every file; the first that does not hold ends it.
fn verified(paths: &[PathBuf], at: u64) -> Result<Vec<Rim>, CommandError> {
    paths.iter().map(|path| verify(path, at)).collect()
}

fn verify(path: &Path, at: u64) -> Result<Rim, CommandError> {
    let file = read(path)?;
    cloister_rim::verify(&file, &[RootKey::nvidia()], at).map_err(|refused| {
        let hint = hint(&refused);
        let error =
            anyhow::Error::new(refused).context(format!("RIM `{}` is refused", path.display()));
        CommandError::new(error)
            .with_hint(hint)
            .with_code(DIFFERENT)
    })
}

fn hint(error: &RimError) -> &'static str {
    match error {
        RimError::Time(_) => {
            "get the newest edition of the RIM from NVIDIA, or say with `--at` which time counts"
        }
        RimError::Content(_) | RimError::Document(_) => {
            "wanted a driver or VBIOS RIM as NVIDIA publishes it: the XML itself, not the service's JSON around it"
        }
        _ => "get the RIM from NVIDIA again; this file is not what they signed",
    }
}

fn no_pair(error: RimsError) -> CommandError {
    CommandError::new(anyhow::Error::new(error).context("these RIMs give no golden values"))
        .with_hint("name with `--rim` one file or more for the driver and for the VBIOS of one kind of GPU, each version once")
}

/// Each RIM for people: where it comes from, and every active measurement with its alternatives.
fn describe(paths: &[PathBuf], rims: &[Rim]) -> String {
    let mut text = String::new();
    for (path, rim) in paths.iter().zip(rims) {
        let _ = write!(
            text,
            "{}: {} {} of {}\n  tag id       {}\n  sha-256      {}\n  valid        {} to {}, checked at {}\n  measurements {} of {} are active\n",
            path.display(),
            rim.kind,
            rim.version,
            rim.product,
            rim.tag_id,
            hex::encode(rim.sha256),
            instant(rim.valid_from),
            instant(rim.valid_until),
            instant(rim.checked_at),
            rim.values.len(),
            rim.entries,
        );
        for (index, digests) in &rim.values {
            let mut label = format!("{index:>4}");
            for digest in digests {
                let _ = writeln!(text, "  {label}  {}", hex::encode(digest));
                label = "  or".to_owned();
            }
        }
    }
    text
}

/// Seconds since the Unix epoch as a date.
fn instant(seconds: u64) -> String {
    let date = i64::try_from(seconds).map(jiff::Timestamp::from_second);
    match date {
        Ok(Ok(date)) => date.to_string(),
        _ => format!("{seconds} s"),
    }
}
