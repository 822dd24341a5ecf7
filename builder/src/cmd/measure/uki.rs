//! `cloister measure uki`: registers of a unified kernel image.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_measure::Bank;
use cloister_measure::pe::Pe;
use cloister_measure::uki::{PcrPrediction, RtmrCandidate, Survey, predict, survey};
use cloister_measure::{Digest, gpt};
use serde_json::{Map, Value, json};

use super::error::MeasureError;
use super::files::{Format, read_large};
use super::{BankName, boot_log, explained, print, print_json};
use crate::cmd::{CommandError, Context};

/// Bytes of a disk that are searched for its partition table.
const TABLE_BYTES: u64 = 1 << 20;

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  cloister measure uki uki.efi --disk disk.raw
  # where a guest's log parts from what was predicted
  cloister measure uki --json --transcript uki.efi --disk disk.raw > predicted.json
  cloister diff predicted.json binary_bios_measurements
";

/// Compute PCR 4, 5, 8, 9, 11 to 15 and RTMR1, RTMR2 of a UKI that firmware boots from disk
///
/// PCR 11 is the same before and after Cloister's PID 1, which extends PCR 15. Works for any PE file with UKI sections; what
/// does not follow from it is named with the reason.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// The UKI
    #[arg(value_name = "FILE")]
    uki: PathBuf,
    /// Banks; the RTMRs of TDX are `sha384`
    #[arg(
        long,
        value_name = "BANK,...",
        value_delimiter = ',',
        default_value = "sha256"
    )]
    bank: Vec<BankName>,
    /// The disk that it is booted from, for PCR 5 and RTMR1
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Print PCR 11 after each phase word of systemd as well, for images with systemd as PID 1
    #[arg(long)]
    phases: bool,
    /// Explain each register step by step
    #[arg(long)]
    transcript: bool,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let image = read_large(&args.uki, Format::PE)?;
    let disk = args.disk.as_deref().map(table).transpose()?;
    let of = |bank: &BankName| surveyed(&args.uki, &image, disk.as_deref(), (*bank).into());
    let banks = args.bank.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    if ctx.json {
        print_json(&document(&banks, args.transcript))?;
        return Ok(ExitCode::SUCCESS);
    }
    for found in &banks {
        print(&explained(args.transcript, &found.transcript))?;
        print(&as_text(found, args))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All banks by name.
fn document(banks: &[Survey], transcript: bool) -> Value {
    let row = |found: &Survey| (found.bank.to_string(), as_json(found, transcript));
    Value::Object(banks.iter().map(row).collect())
}

/// Reads the start of a disk, and checks that it holds a partition table.
fn table(path: &Path) -> Result<Vec<u8>, MeasureError> {
    let failed = |source| MeasureError::Read {
        path: path.to_owned(),
        source,
    };
    let mut start = Vec::new();
    let disk = File::open(path).map_err(failed)?;
    disk.take(TABLE_BYTES)
        .read_to_end(&mut start)
        .map_err(failed)?;
    match gpt::event(&start) {
        Ok(_) => Ok(start),
        Err(source) => Err(MeasureError::Disk {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Predicts the PCRs of the UKI read from `path` that reference values pin.
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

/// Everything that follows from the UKI read from `path`; with PCR 15 when its initrd is Cloister's.
fn surveyed(
    path: &Path,
    image: &[u8],
    disk: Option<&[u8]>,
    bank: Bank,
) -> Result<Survey, MeasureError> {
    let failed = |source| MeasureError::Uki {
        path: path.to_owned(),
        source,
    };
    let mut found = survey(image, disk, bank).map_err(failed)?;
    let pe = Pe::parse(image).ok();
    let initrd = pe.as_ref().and_then(|pe| pe.section(".initrd"));
    let initrd = initrd.and_then(|section| section.contents().ok());
    match initrd.and_then(|initrd| boot_log::pcr15(&initrd, bank)) {
        Some(log) => {
            let value = log.finish(&mut found.transcript);
            found.pcrs.insert(15, vec![value]);
        }
        None => found
            .notes
            .push("pcr15 is zero until PID 1 extends it; this initrd is not Cloister's".to_owned()),
    }
    Ok(found)
}

fn as_text(found: &Survey, args: &Args) -> String {
    let bank = match args.bank.len() {
        1 => String::new(),
        _ => format!(" {}", found.bank),
    };
    let several = |values: &[Digest]| {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        values.join(" or ")
    };
    let mut lines: Vec<String> = found
        .pcrs
        .iter()
        .map(|(index, values)| format!("pcr{index}{bank} {}", several(values)))
        .collect();
    for (phase, value) in found.pcr11.systemd_phases.iter().filter(|_| args.phases) {
        lines.push(format!("pcr11:{phase}{bank} {value}"));
    }
    for candidate in &found.rtmrs {
        let RtmrCandidate { model, rtmr2, .. } = candidate;
        if !candidate.rtmr1.is_empty() {
            lines.push(format!("rtmr1 if {model} {}", several(&candidate.rtmr1)));
        }
        lines.extend(rtmr2.map(|value| format!("rtmr2 if {model} {value}")));
    }
    let open = found.unpredicted.iter();
    lines.extend(open.map(|(index, reason)| format!("pcr{index}{bank} unpredicted: {reason}")));
    lines.extend(found.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n") + "\n"
}

fn as_json(found: &Survey, transcript: bool) -> Value {
    let name = |index: &u32| format!("pcr{index}");
    let (mut registers, mut sets) = (Map::new(), Map::new());
    for (index, values) in &found.pcrs {
        match values.as_slice() {
            [value] => drop(registers.insert(name(index), json!(value))),
            values => drop(sets.insert(name(index), json!(values))),
        }
    }
    let reasons = found.unpredicted.iter();
    let unpredicted: Map<String, Value> = reasons
        .map(|(index, reason)| (name(index), json!(reason)))
        .collect();
    let mut rtmrs = json!(found.rtmrs);
    if let (false, Some(rtmrs)) = (transcript, rtmrs.as_array_mut()) {
        for candidate in rtmrs.iter_mut().filter_map(Value::as_object_mut) {
            candidate.remove("transcript");
        }
    }
    let mut row = json!({
        "registers": registers,
        "sets": sets,
        "pcr11": found.pcr11,
        "rtmrs": rtmrs,
        "unpredicted": unpredicted,
        "notes": found.notes,
    });
    if let (true, Some(row)) = (transcript, row.as_object_mut()) {
        row.insert("transcript".to_owned(), json!(found.transcript));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> (PathBuf, Vec<u8>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds/uki/plain");
        let bytes = read_large(&path, Format::PE).unwrap();
        (path, bytes)
    }

    #[test]
    fn json_has_values_sets_and_reasons() {
        let (path, image) = seed();
        let found = surveyed(&path, &image, None, Bank::Sha384).unwrap();
        let document = as_json(&found, false);
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        let wanted = [
            "notes",
            "pcr11",
            "registers",
            "rtmrs",
            "sets",
            "unpredicted",
        ];
        assert_eq!(keys, wanted);
        let registers = document["registers"].as_object().unwrap();
        let names: Vec<&str> = registers.keys().map(String::as_str).collect();
        let wanted = [
            "pcr11", "pcr12", "pcr13", "pcr14", "pcr15", "pcr4", "pcr8", "pcr9",
        ];
        assert_eq!(names, wanted);
        let pcr11 = &document["pcr11"];
        assert_eq!(pcr11["before-pid1"], pcr11["after-pid1"]);
        assert_eq!(registers["pcr11"], pcr11["before-pid1"]);
        assert_eq!(document["rtmrs"][0]["model"], "kernel-measures");
        assert_eq!(document["rtmrs"][0].get("transcript"), None);
        let told = as_json(&found, true);
        assert!(
            told["transcript"]
                .as_array()
                .is_some_and(|steps| steps.len() > 10)
        );
        assert!(told["rtmrs"][1]["transcript"].is_array());
        let accounts = cloister_measure::explain::Account::of_json(&json!({"sha384": told}));
        assert_eq!(accounts.len(), 3);
    }

    /// The start of a disk with an empty partition table.
    fn disk() -> Vec<u8> {
        let mut disk = vec![0; gpt::USUAL_BYTES];
        disk[512..520].copy_from_slice(b"EFI PART");
        disk[512 + 72] = 2;
        disk[512 + 80] = 128;
        disk[512 + 84] = 128;
        disk
    }

    #[test]
    fn json_of_two_banks_and_a_disk_is_as_documented() {
        let (path, image) = seed();
        let banks = [Bank::Sha256, Bank::Sha384]
            .map(|bank| surveyed(&path, &image, Some(&disk()), bank).unwrap());
        insta::assert_snapshot!(format!("{:#}", document(&banks, false)));
    }

    #[test]
    fn json_with_transcripts_is_as_documented() {
        let (path, image) = seed();
        let banks = [surveyed(&path, &image, None, Bank::Sha384).unwrap()];
        insta::assert_snapshot!(format!("{:#}", document(&banks, true)));
    }

    #[test]
    fn table_refuses_a_file_that_is_no_disk() {
        let error = table(&seed().0).unwrap_err();
        assert!(matches!(
            error,
            MeasureError::Disk {
                source: gpt::GptError::NoHeader,
                ..
            }
        ));
    }
}
