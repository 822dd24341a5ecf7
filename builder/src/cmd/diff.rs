//! `cloister diff`: why two builds, images, reference values, transcripts or event logs differ.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{CommandError, Context, Hinted, read_hint};
use crate::difference::{self, Change, DifferenceError};

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
        let hint = match self {
            Self::Read { path, .. } if path.ends_with(crate::output::MANIFEST) => {
                "an output directory of `cloister build` has a manifest"
            }
            Self::Read { source, .. } => read_hint(source),
            Self::Json { .. } => "build the image again",
            Self::Kinds { .. } => "name two directories, or two files",
        };
        Some(hint.to_owned())
    }
}

/// Runs the verb; exit code 1 when there is a difference.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let changes = difference::compare(&args.a, &args.b)?;
    if ctx.json {
        println!("{}", as_json(&changes)?);
    } else {
        print!("{}", difference::render(&changes));
    }
    if changes.is_empty() {
        ctx.progress.say("no difference");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(1))
}

/// The document of `docs/measurement.md`.
fn as_json(changes: &[Change]) -> anyhow::Result<String> {
    let document = serde_json::json!({ "equal": changes.is_empty(), "changes": changes });
    serde_json::to_string_pretty(&document).context("differences could not be written")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    /// The JSON of `docs/measurement.md`, for reference values that differ in one register and one input.
    #[test]
    fn json_names_what_differs_on_both_sides_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let values = |name: &str, pcr4: &str, uki: &str| {
            let path = folder.path().join(name);
            let text = format!(
                r#"{{"bank":"sha256","confidential":false,"inputs":{{"uki":"{}"}},"launch-digests":[],"launch-policy":null,
                "platform":"qemu-vtpm","recipe":"demo","registers":{{"pcr4":{{"class":"image","values":["{}"]}}}},
                "schema-version":1,"unpredicted":{{}}}}"#,
                uki.repeat(32),
                pcr4.repeat(32),
            );
            std::fs::write(&path, text).unwrap();
            path
        };
        let (a, b) = (values("a.json", "aa", "01"), values("b.json", "bb", "02"));
        assert_snapshot!(as_json(&difference::compare(&a, &b).unwrap()).unwrap());
        assert_snapshot!(as_json(&difference::compare(&a, &a).unwrap()).unwrap(), @r#"
        {
          "changes": [],
          "equal": true
        }
        "#);
    }
}
