//! `cloister inspect`: say what a file is, field by field.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{CommandError, Context, read_hint};

/// Say what a file is: image, disk, evidence, certificate, event log, firmware, lock, ...
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to look into
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Runs the verb.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let mut reports = Vec::new();
    for path in &args.files {
        let name = path.display();
        let report = File::open(path).and_then(crate::inspect::inspect);
        let report = report.map_err(|source| {
            let hint = read_hint(&source);
            let error = anyhow::Error::new(source).context(format!("`{name}` could not be read"));
            CommandError::new(error).with_hint(hint)
        })?;
        let Some(report) = report else {
            let error = anyhow::anyhow!("`{name}` is no kind of file that Cloister knows");
            return Err(CommandError::new(error).with_hint(
                "known are the files that `cloister build` writes, recipes and locks, attestation bundles, leaf \
                 certificates, reports and quotes, evidence and RIMs of GPUs, TCG2 event logs and OVMF firmware",
            ));
        };
        reports.push((path, report));
    }
    if ctx.json {
        let values: Vec<serde_json::Value> =
            reports.iter().map(|(_, report)| report.to_json()).collect();
        let value = if let [one] = values.as_slice() {
            one.clone()
        } else {
            values.into()
        };
        println!(
            "{}",
            serde_json::to_string_pretty(&value).context("report could not be written")?
        );
        return Ok(ExitCode::SUCCESS);
    }
    for (path, report) in &reports {
        print!("{}: {}", path.display(), report.to_text());
    }
    Ok(ExitCode::SUCCESS)
}
