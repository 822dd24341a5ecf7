//! `cloister measure`: compute what hardware will report, from files or hashes, before anything boots.

mod azure;
mod boot_log;
mod error;
mod explain;
mod export;
mod id_block;
mod igvm;
mod image;
mod launch;
mod numbers;
mod pe;
mod replay;
mod snp;
mod tdx;
mod uki;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use cloister_measure::Bank;
use cloister_measure::transcript::Transcript;

use self::error::MeasureError;
use super::{CommandError, Context};

/// Compute what hardware will report
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Snp(snp::Args),
    IdBlock(id_block::Args),
    Tdx(tdx::Args),
    Igvm(igvm::Args),
    Azure(azure::Args),
    Uki(uki::Args),
    Pe(pe::Args),
    Image(image::Args),
    Replay(replay::Args),
    Explain(explain::Args),
    Export(export::Args),
}

/// Runs the verb.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    match args.what {
        What::Snp(args) => snp::run(&args, ctx),
        What::IdBlock(args) => id_block::run(&args, ctx),
        What::Tdx(args) => tdx::run(&args, ctx),
        What::Igvm(args) => igvm::run(&args, ctx),
        What::Azure(args) => azure::run(&args, ctx),
        What::Uki(args) => uki::run(&args, ctx),
        What::Image(args) => image::run(&args, ctx),
        What::Pe(args) => pe::run(&args, ctx),
        What::Replay(args) => replay::run(&args, ctx),
        What::Explain(args) => explain::run(&args, ctx),
        What::Export(args) => export::run(&args, ctx),
    }
}

/// A PCR bank, as written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BankName {
    Sha256,
    Sha384,
}

impl From<BankName> for Bank {
    fn from(name: BankName) -> Bank {
        match name {
            BankName::Sha256 => Bank::Sha256,
            BankName::Sha384 => Bank::Sha384,
        }
    }
}

/// Writes results to stdout. A reader that has gone away, as in a pipe to `head`, is no error.
fn print(text: &str) -> Result<(), MeasureError> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => {
            Err(MeasureError::Write { source })
        }
        _ => Ok(()),
    }
}

/// Prints a JSON document and a newline.
fn print_json(value: &serde_json::Value) -> Result<(), MeasureError> {
    print(&format!("{value:#}\n"))
}

/// Returns the account of a measurement as text, when asked for.
fn explained(wanted: bool, transcript: &Transcript) -> String {
    if wanted {
        transcript.to_string()
    } else {
        String::new()
    }
}
