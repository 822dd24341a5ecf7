//! `cloister deploy`: the commands that bring a built image to a cloud and start it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};

use super::{CommandError, Context};
use crate::cloud::Image;
use crate::cloud::commands::{self, Azure, Gcp};

/// Print the commands that bring a built image to a cloud and start it there
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    cloud: To,
}

#[derive(Debug, clap::Subcommand)]
enum To {
    /// Commands of `az` and `azcopy`, for a confidential VM of Azure
    Azure(Request<Azure>),
    /// Commands of `gcloud`, for a confidential VM of Google Compute Engine
    Gcp(Request<Gcp>),
}

#[derive(Debug, clap::Args)]
struct Request<N: clap::Args> {
    /// Output directory of a build, such as `out/demo`
    image: PathBuf,
    /// Print the commands and run nothing; required, since this version runs none
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    names: N,
}

/// Runs the verb.
pub(crate) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let script = match &args.cloud {
        To::Azure(request) => {
            let image = request.image("azure")?;
            commands::azure(&image, &request.names)?
        }
        To::Gcp(request) => {
            let image = request.image("gcp")?;
            commands::gcp(&image, &request.names)?
        }
    };
    if ctx.json {
        let script = serde_json::json!({ "script": script });
        let text = serde_json::to_string_pretty(&script);
        println!("{}", text.context("script could not be written")?);
    } else {
        print!("{script}");
    }
    Ok(ExitCode::SUCCESS)
}

impl<N: clap::Args> Request<N> {
    fn image(&self, cloud: &str) -> Result<Image, CommandError> {
        if self.dry_run {
            return Ok(Image::open(&self.image)?);
        }
        let error = anyhow!("`deploy {cloud}` runs no command of a cloud in this version");
        let hint = format!(
            "add `--dry-run` and read what it prints; `cloister deploy {cloud} --dry-run ... | sh` runs that"
        );
        Err(CommandError::new(error).with_hint(hint))
    }
}
