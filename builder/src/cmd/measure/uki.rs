//! `cloister measure uki`: PCRs of a unified kernel image.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_measure::Bank;
use cloister_measure::uki::{PcrPrediction, predict};
use serde_json::{Map, Value, json};

use super::error::{MeasureError, read};
use super::{BankName, explained, print, print_json};
use crate::cmd::{CommandError, Context};

/// Compute PCR 4, 9, 11, 12 and 13 of a UKI that firmware boots from disk
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The UKI
    #[arg(value_name = "FILE")]
    uki: PathBuf,
    /// PCR banks
    #[arg(
        long,
        value_name = "BANK,...",
        value_delimiter = ',',
        default_value = "sha256"
    )]
    bank: Vec<BankName>,
    /// Explain each register step by step
    #[arg(long)]
    transcript: bool,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let image = read(&args.uki)?;
    let mut banks = Map::new();
    for bank in &args.bank {
        let prediction = predicted(&args.uki, &image, (*bank).into())?;
        if ctx.json {
            banks.insert(
                prediction.bank.to_string(),
                as_json(&prediction, args.transcript),
            );
        } else {
            print(&explained(args.transcript, &prediction.transcript))?;
            print(&as_text(&prediction, args.bank.len() > 1))?;
        }
    }
    if ctx.json {
        print_json(&Value::Object(banks))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Predicts the PCRs of the UKI read from `path`.
pub(super) fn predicted(
    path: &Path,
    image: &[u8],
    bank: Bank,
) -> Result<PcrPrediction, MeasureError> {
    let failed = |source| MeasureError::Uki {
        path: path.to_owned(),
        source,
    };
    predict(image, bank).map_err(failed)
}

fn as_text(prediction: &PcrPrediction, with_bank: bool) -> String {
    let bank = if with_bank {
        format!(" {}", prediction.bank)
    } else {
        String::new()
    };
    let value = |(index, value)| format!("pcr{index}{bank} {value}\n");
    let reason = |(index, reason)| format!("pcr{index}{bank} unpredicted: {reason}\n");
    let values = prediction.pcrs.iter().map(value);
    values
        .chain(prediction.unpredicted.iter().map(reason))
        .collect()
}

fn as_json(prediction: &PcrPrediction, transcript: bool) -> Value {
    let name = |index: &u32| format!("pcr{index}");
    let registers: Map<String, Value> = prediction
        .pcrs
        .iter()
        .map(|(i, value)| (name(i), json!(value)))
        .collect();
    let unpredicted: Map<String, Value> = prediction
        .unpredicted
        .iter()
        .map(|(i, reason)| (name(i), json!(reason)))
        .collect();
    let mut row = json!({"registers": registers, "unpredicted": unpredicted});
    if let (true, Some(row)) = (transcript, row.as_object_mut()) {
        row.insert("transcript".to_owned(), json!(prediction.transcript));
    }
    row
}
