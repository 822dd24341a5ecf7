//! `cloister measure`: compute what hardware will report, from files or hashes, before anything boots.

mod azure;
mod boot_log;
mod error;
mod explain;
mod export;
mod files;
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
use super::{CommandError, Context, Deferred};

/// Compute what hardware will report
///
/// Nothing is asked of hardware: values come from files or their hashes. Exit codes: 0 done, 1 difference, refusal or no match,
/// 2 could not run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Compute the SEV-SNP launch digest of a guest on QEMU or a cloud
    Snp(Deferred<snp::Args>),
    /// Make the ID block and ID authentication information of an SEV-SNP guest, as QEMU takes them
    IdBlock(Deferred<id_block::Args>),
    /// Compute MRTD of a TDX firmware, and the registers of a direct boot on QEMU
    Tdx(Deferred<tdx::Args>),
    /// Compute the SEV-SNP launch digest of an IGVM file
    Igvm(Deferred<igvm::Args>),
    /// Show what an Azure HCL report says, and whose each value is
    Azure(Deferred<azure::Args>),
    /// Compute PCR 4, 5, 8, 9, 11 to 15 and RTMR1, RTMR2 of a UKI that firmware boots from disk
    Uki(Deferred<uki::Args>),
    /// Compute the Authenticode digests of a PE image, which firmware extends PCR 4 or RTMR1 with
    Pe(Deferred<pe::Args>),
    /// Compute the values of a built image again and compare them with its `measurements/`
    Image(Deferred<image::Args>),
    /// Compute the registers that a TCG2 or CCEL event log leads to, in every bank
    Replay(Deferred<replay::Args>),
    /// Say which vCPUs, features, host and command line give an SEV-SNP launch digest
    Explain(Deferred<explain::Args>),
    /// Write reference values as an unsigned CoRIM
    Export(Deferred<export::Args>),
}

/// Runs the verb.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    match args.what {
        What::Snp(Deferred(args)) => snp::run(&args, ctx),
        What::IdBlock(Deferred(args)) => id_block::run(&args, ctx),
        What::Tdx(Deferred(args)) => tdx::run(&args, ctx),
        What::Igvm(Deferred(args)) => igvm::run(&args, ctx),
        What::Azure(Deferred(args)) => azure::run(&args, ctx),
        What::Uki(Deferred(args)) => uki::run(&args, ctx),
        What::Image(Deferred(args)) => image::run(&args, ctx),
        What::Pe(Deferred(args)) => pe::run(&args, ctx),
        What::Replay(Deferred(args)) => replay::run(&args, ctx),
        What::Explain(Deferred(args)) => explain::run(&args, ctx),
        What::Export(Deferred(args)) => export::run(&args, ctx),
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
