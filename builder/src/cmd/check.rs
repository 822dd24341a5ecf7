//! `cloister check`: whether a cloud can import and boot a built image.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{CommandError, Context, DIFFERENT};
use crate::cloud::{self, Check, Cloud, Image};

/// Say whether a cloud can import and boot a built image, demand by demand
///
/// Reads the files of the build and asks no cloud. Exit code 0 when every demand holds, 1 when one does not, 2 when there is
/// no build to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Output directory of a build, such as `out/demo`
    image: PathBuf,
    /// Cloud that shall import it
    #[arg(long, value_enum)]
    cloud: Cloud,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let image = Image::open(&args.image)?;
    let checks = cloud::check(&image, args.cloud);
    let failed = checks.iter().filter(|check| !check.pass).count();
    if ctx.json {
        let result = serde_json::json!({
            "cloud": args.cloud.title(),
            "recipe": image.manifest.recipe,
            "pass": failed == 0,
            "checks": checks,
        });
        let text = serde_json::to_string_pretty(&result);
        println!("{}", text.context("checks could not be written")?);
    } else {
        checks.iter().for_each(|check| print!("{}", text(check)));
    }
    if args.cloud == Cloud::Gcp {
        ctx.progress
            .warn("no guest of this version makes evidence on `gcp-snp` or `gcp-tdx`: it ends before it serves");
    }
    if failed == 0 {
        ctx.progress.say(&format!(
            "{}: {} takes it, {} checks",
            image.manifest.recipe,
            args.cloud.title(),
            checks.len()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    ctx.progress.say(&format!(
        "{}: {failed} of {} checks failed",
        image.manifest.recipe,
        checks.len()
    ));
    Ok(ExitCode::from(DIFFERENT))
}

/// A line for a check that holds, three for one that does not.
fn text(check: &Check) -> String {
    let Check {
        name,
        pass,
        wanted,
        found,
    } = check;
    if *pass {
        return format!("pass  {name:<20}  {found}\n");
    }
    format!("fail  {name}\n        wanted  {wanted}\n        found   {found}\n")
}
