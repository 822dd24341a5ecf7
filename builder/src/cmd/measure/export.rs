//! `cloister measure export`: reference values in the format of other verifiers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_measure::reference::ReferenceValues;
use serde_json::{Value, json};

use super::error::MeasureError;
use super::files::read;
use super::print_json;
use crate::cmd::{CommandError, Context};
use crate::corim;

/// Write reference values as an unsigned CoRIM
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Reference values, for example `measurements/demo/qemu-snp.json`
    #[arg(value_name = "FILE")]
    values: PathBuf,
    /// Where the CoRIM goes
    #[arg(long, value_name = "FILE")]
    corim: PathBuf,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let path = &args.values;
    let values = ReferenceValues::from_json(&read(path)?);
    let values = values.map_err(|source| MeasureError::Reference {
        path: path.clone(),
        source,
    })?;
    let bytes = corim::export(&values).map_err(|source| MeasureError::Corim {
        path: path.clone(),
        source,
    })?;
    std::fs::write(&args.corim, &bytes).map_err(|source| MeasureError::Output {
        path: args.corim.clone(),
        source,
    })?;
    if ctx.json {
        print_json(&as_json(&args.corim, bytes.len()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (file, size) = (args.corim.display(), bytes.len());
    ctx.progress
        .say(&format!("`{file}`: {size} bytes, not signed"));
    Ok(ExitCode::SUCCESS)
}

fn as_json(file: &Path, bytes: usize) -> Value {
    json!({"bytes": bytes, "file": file.display().to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_documented() {
        let document = as_json(Path::new("demo.corim"), 512);
        insta::assert_snapshot!(document, @r#"{"bytes":512,"file":"demo.corim"}"#);
    }
}
