//! `cloister diff`: why two builds, images, reference values, transcripts or event logs differ.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{CommandError, Context, Hinted};
use crate::difference::{self, DifferenceError};

/// Say why two builds, images or reference values differ, down to the changed file and package
///
/// Transcripts (`cloister measure ... --transcript --json`) and event logs are compared too, also one with the other: the first
/// step at which each register parts is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Output directory of a build, an image file, reference values, a transcript or an event log
    a: PathBuf,
    /// The same kind of thing; an event log goes with a transcript too
    b: PathBuf,
}

impl Hinted for DifferenceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, .. } if path.ends_with(crate::output::MANIFEST) => {
                Some("an output directory of `cloister build` has a manifest".to_owned())
            }
            _ => None,
        }
    }
}

/// Runs the verb; exit code 1 when there is a difference.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let changes = difference::compare(&args.a, &args.b)?;
    if ctx.json {
        let text = serde_json::to_string_pretty(
            &serde_json::json!({ "equal": changes.is_empty(), "changes": changes }),
        );
        println!("{}", text.context("differences could not be written")?);
    } else {
        print!("{}", difference::render(&changes));
    }
    if changes.is_empty() {
        ctx.progress.say("no difference");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}
