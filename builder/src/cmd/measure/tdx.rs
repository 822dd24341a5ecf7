//! `cloister measure tdx`: MRTD of a firmware, RTMR1 and RTMR2 of a direct boot, RTMR0 event by event from a log.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_measure::Bank;
use cloister_measure::digest::Digest;
use cloister_measure::eventlog::{EventLog, EventLogError};
use cloister_measure::tdx::{
    DirectBoot, DirectBootError, Initrd, KernelImage, NoSha384, PageOrder, Rtmr0Event, Section,
    SectionFault, Tdvf, TdvfError, rtmr0_events, rtmr0_transcript,
};
use cloister_measure::transcript::Transcript;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::error::MeasureError;
use super::files::{Format, pieces, read, read_large};
use super::launch::{CommandLine, without_kernel};
use super::{explained, print, print_json};
use crate::cmd::{CommandError, Context, Hinted};

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  cloister measure tdx --firmware OVMF.inteltdx.ms.fd
  cloister measure tdx --kernel vmlinuz --initrd initrd --cmdline 'console=hvc0' --memory 4096
  cloister measure tdx --firmware OVMF.fd --ccel /sys/firmware/acpi/tables/data/CCEL
";

/// Compute MRTD of a TDX firmware, and the registers of a direct boot on QEMU
///
/// MRTD is printed in both page orders: which one a host uses depends on its kernel.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Firmware image, whole
    #[arg(long, value_name = "FILE", required_unless_present_any = ["kernel", "ccel"])]
    firmware: Option<PathBuf>,
    /// Kernel of a direct boot: adds RTMR1 and RTMR2
    #[arg(long, value_name = "FILE", requires = "memory")]
    kernel: Option<PathBuf>,
    /// Initrd of a direct boot; hashed in constant memory
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    #[command(flatten)]
    command_line: CommandLine,
    /// Memory of the guest in MiB: QEMU writes the initrd's place into the kernel
    #[arg(long, value_name = "MIB", requires = "kernel")]
    memory: Option<u32>,
    /// Event log of a TDX guest: names each event of RTMR0
    #[arg(long, value_name = "LOG")]
    ccel: Option<PathBuf>,
    /// Explain each register step by step
    #[arg(long)]
    transcript: bool,
}

#[derive(Debug, Error)]
enum TdxError {
    #[error("cannot measure firmware `{}`", path.display())]
    Firmware { path: PathBuf, source: TdvfError },
    #[error("cannot predict a direct boot of `{}`", path.display())]
    Direct {
        path: PathBuf,
        source: DirectBootError,
    },
    #[error("command line is not UTF-8")]
    CommandLine(#[source] std::str::Utf8Error),
    #[error("cannot read event log `{}`", path.display())]
    Log {
        path: PathBuf,
        source: EventLogError,
    },
    #[error("cannot read event log `{}`", path.display())]
    Events { path: PathBuf, source: NoSha384 },
}

impl Hinted for TdxError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            TdxError::Firmware {
                source:
                    TdvfError::Section {
                        fault: SectionFault::Image { .. },
                        ..
                    },
                ..
            } => "name the firmware with code and variables in one file, not `OVMF_CODE`",
            TdxError::Firmware { .. } => {
                "name a whole firmware that was built for TDX, for example Debian's `OVMF.inteltdx.ms.fd`"
            }
            TdxError::Direct {
                source: DirectBootError::Initrd { .. },
                ..
            } => "give the guest more `--memory`, as QEMU would refuse too",
            TdxError::Direct {
                source: DirectBootError::VideoMode { .. } | DirectBootError::Nul,
                ..
            }
            | TdxError::CommandLine(_) => "give the line as QEMU is given it with `-append`",
            TdxError::Direct { .. } => {
                "name a Linux kernel for x86-64, such as `/boot/vmlinuz-...`"
            }
            TdxError::Events { .. } | TdxError::Log { .. } => {
                "a TDX guest's log is at `/sys/firmware/acpi/tables/data/CCEL`"
            }
        };
        Some(hint.to_owned())
    }
}

/// What was asked for, as lines and as JSON.
#[derive(Default)]
struct Results {
    text: String,
    fields: Map<String, Value>,
    transcripts: Map<String, Value>,
}

impl Results {
    fn value(
        &mut self,
        register: &str,
        variant: &str,
        value: Digest,
        transcript: &Transcript,
        explain: bool,
    ) {
        let space = if variant.is_empty() { "" } else { " " };
        self.text += &explained(explain, transcript);
        self.text += &format!("{register}{space}{variant} {value}\n");
        let dash = if variant.is_empty() { "" } else { "-" };
        self.transcripts
            .insert(format!("{register}{dash}{variant}"), json!(transcript));
    }

    fn into_json(mut self, transcript: bool) -> Value {
        if transcript {
            let transcripts = self.transcripts.into();
            self.fields.insert("transcript".to_owned(), transcripts);
        }
        self.fields.into()
    }
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let results = measure(args)?;
    if ctx.json {
        print_json(&results.into_json(args.transcript))?;
    } else {
        print(&results.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args) -> Result<Results, CommandError> {
    let mut results = Results::default();
    let image = args.firmware.as_deref().map(read).transpose()?;
    let mut volume = None;
    if let (Some(path), Some(image)) = (&args.firmware, &image) {
        let failed = |source| TdxError::Firmware {
            path: path.clone(),
            source,
        };
        let firmware = Tdvf::from_image(image).map_err(failed)?;
        volume = firmware.configuration_volume();
        mrtd(&firmware, args.transcript, &mut results);
    }
    if let (None, Some(option)) = (&args.kernel, args.command_line.given()) {
        return Err(without_kernel(option));
    }
    if let (Some(kernel), Some(memory)) = (&args.kernel, args.memory) {
        direct(args, kernel, memory, &mut results)?;
    }
    if let Some(path) = &args.ccel {
        rtmr0(path, volume, args.transcript, &mut results)?;
    }
    Ok(results)
}

fn mrtd(firmware: &Tdvf<'_>, explain: bool, results: &mut Results) {
    let mut values = Map::new();
    for order in PageOrder::ALL {
        let value = firmware.mrtd(order);
        results.value(
            "mrtd",
            order.name(),
            value,
            &firmware.transcript(order),
            explain,
        );
        values.insert(order.name().to_owned(), json!(value));
    }
    let sections: Vec<Value> = firmware.sections().iter().map(section).collect();
    results.fields.insert("mrtd".to_owned(), values.into());
    results
        .fields
        .insert("sections".to_owned(), sections.into());
    results.fields.insert(
        "configuration-volume".to_owned(),
        json!(firmware.configuration_volume()),
    );
}

fn section(section: &Section<'_>) -> Value {
    let measured = match (section.is_added(), section.is_extended()) {
        _ if section.size == 0 => "nothing",
        (false, _) => "nothing",
        (true, false) => "addresses",
        (true, true) => "contents",
    };
    json!({
        "gpa": format!("{:#x}", section.gpa),
        "kind": section.kind.to_string(),
        "measured": measured,
        "size": section.size,
    })
}

fn direct(
    args: &Args,
    path: &Path,
    memory: u32,
    results: &mut Results,
) -> Result<(), CommandError> {
    let kernel = read_large(path, Format::LINUX)?;
    let initrd = args.initrd.as_deref().map(initrd).transpose()?.flatten();
    let command_line = String::from_utf8(args.command_line.bytes()?)
        .map_err(|error| TdxError::CommandLine(error.utf8_error()))?;
    let boot = DirectBoot {
        kernel: &kernel,
        initrd,
        command_line: &command_line,
        memory: u64::from(memory) << 20,
    };
    let failed = |source| TdxError::Direct {
        path: path.to_owned(),
        source,
    };
    let mut values = Map::new();
    for image in KernelImage::ALL {
        let mut transcript = Transcript::default();
        let value = boot.rtmr1(image, &mut transcript).map_err(failed)?;
        results.value("rtmr1", image.name(), value, &transcript, args.transcript);
        values.insert(image.name().to_owned(), json!(value));
    }
    let mut transcript = Transcript::default();
    let value = boot.rtmr2(&mut transcript).map_err(failed)?;
    results.value("rtmr2", "", value, &transcript, args.transcript);
    results.fields.insert("rtmr1".to_owned(), values.into());
    results.fields.insert("rtmr2".to_owned(), json!(value));
    Ok(())
}

/// Hashes an initrd in constant memory; an empty one is none.
fn initrd(path: &Path) -> Result<Option<Initrd>, MeasureError> {
    let mut hasher = Bank::Sha384.hasher();
    let size = pieces(path, |piece| hasher.update(piece))?;
    let digest = hasher.finish();
    Ok((size > 0).then_some(Initrd { size, digest }))
}

fn rtmr0(
    path: &Path,
    volume: Option<Digest>,
    explain: bool,
    results: &mut Results,
) -> Result<(), CommandError> {
    let bytes = read(path)?;
    let log = EventLog::parse(&bytes).map_err(|source| TdxError::Log {
        path: path.to_owned(),
        source,
    })?;
    let events = rtmr0_events(&log).map_err(|source| TdxError::Events {
        path: path.to_owned(),
        source,
    })?;
    let value = events
        .last()
        .map_or(Digest::zero(Bank::Sha384), |event| event.value);
    results.text += &events
        .iter()
        .map(|event| line(event, volume))
        .collect::<String>();
    results.value("rtmr0", "", value, &rtmr0_transcript(&events), explain);
    let events: Vec<Value> = events.iter().map(|event| as_json(event, volume)).collect();
    results.fields.insert(
        "rtmr0".to_owned(),
        json!({"events": events, "value": value}),
    );
    Ok(())
}

/// Says whether an event is the configuration volume of the firmware that was given too.
fn from_firmware(event: &Rtmr0Event, volume: Option<Digest>) -> Option<bool> {
    let volume = volume.filter(|_| event.name.starts_with("configuration volume"))?;
    Some(volume == event.digest)
}

fn line(event: &Rtmr0Event, volume: Option<Digest>) -> String {
    let note = match from_firmware(event, volume) {
        Some(true) => ", as in the firmware",
        Some(false) => ", NOT as in the firmware",
        None => "",
    };
    let Rtmr0Event {
        event: number,
        name,
        decided_by,
        digest,
        ..
    } = event;
    format!(
        "rtmr0 event {number} {digest} {}: {name}{note}\n",
        decided_by.name()
    )
}

fn as_json(event: &Rtmr0Event, volume: Option<Digest>) -> Value {
    json!({
        "as-in-firmware": from_firmware(event, volume),
        "covers": event.covers.name(),
        "decided-by": event.decided_by.name(),
        "digest": event.digest,
        "event": event.event,
        "name": event.name,
        "value": event.value,
    })
}

#[cfg(test)]
mod tests;
