//! `cloister measure replay`: registers that an event log leads to.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_measure::eventlog::{EventLog, Registers};
use cloister_measure::transcript::Transcript;
use serde_json::{Map, Value, json};

use super::error::{MeasureError, read};
use super::{BankName, explained, print, print_json};
use crate::cmd::{CommandError, Context};

/// Compute the registers that a TCG2 or CCEL event log leads to
///
/// A log proves nothing: compare the result with registers that a quote or report signs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The log, for example `/sys/kernel/security/tpm0/binary_bios_measurements`
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Bank to replay; CCEL logs have `sha384` only
    #[arg(long, value_name = "BANK", default_value = "sha256")]
    bank: BankName,
    /// What the log's register numbers mean
    #[arg(long, value_name = "KIND", default_value = "pcr")]
    registers: Kind,
    /// Print each event with what it extends
    #[arg(long)]
    transcript: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// TPM log: PCR numbers
    Pcr,
    /// CCEL of a TDX guest: 1 to 4 are RTMR0 to RTMR3
    Ccel,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let bytes = read(&args.log)?;
    let failed = |source| MeasureError::Log {
        path: args.log.clone(),
        source,
    };
    let log = EventLog::parse(&bytes).map_err(failed)?;
    let registers = match args.registers {
        Kind::Pcr => Registers::Pcr,
        Kind::Ccel => Registers::Cc,
    };
    let mut transcript = Transcript::default();
    let values = log
        .replay_into(args.bank.into(), registers, &mut transcript)
        .map_err(failed)?;
    let values = values
        .iter()
        .map(|(index, value)| (registers.name(*index).to_string(), value));
    if ctx.json {
        let values: Map<String, Value> = values.map(|(name, v)| (name, json!(v))).collect();
        let mut document = json!({"events": log.events.len(), "registers": values});
        if let (true, Some(document)) = (args.transcript, document.as_object_mut()) {
            document.insert("transcript".to_owned(), json!(transcript));
        }
        print_json(&document)?;
    } else {
        let values: String = values
            .map(|(name, value)| format!("{name} {value}\n"))
            .collect();
        print(&(explained(args.transcript, &transcript) + &values))?;
    }
    Ok(ExitCode::SUCCESS)
}
