//! `cloister measure replay`: registers that an event log leads to, and what is odd about the log.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_measure::eventlog::{EventLog, Finding, Registers, check};
use cloister_measure::transcript::Transcript;
use serde_json::{Value, json};

use super::error::MeasureError;
use super::files::read;
use super::{explained, print, print_json};
use crate::cmd::{CommandError, Context, DIFFERENT};

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  cloister measure replay --strict /sys/kernel/security/tpm0/binary_bios_measurements
  cloister measure replay --transcript /sys/firmware/acpi/tables/data/CCEL
";

/// Compute the registers that a TCG2 or CCEL event log leads to, in every bank
///
/// A log proves nothing: compare the result with registers that a quote or report signs.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// The log, for example `/sys/kernel/security/tpm0/binary_bios_measurements`
    #[arg(value_name = "LOG")]
    log: PathBuf,
    /// Refuse a log that replays but that no firmware writes, with exit code 1
    #[arg(long)]
    strict: bool,
    /// What the log's register numbers mean [default: told from banks and registers]
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Print each event with what it extends
    #[arg(long)]
    transcript: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// TPM log: PCR numbers
    Tpm,
    /// CCEL of a TDX guest: 1 to 4 are RTMR0 to RTMR3
    Ccel,
}

/// A log with its registers.
struct Replayed {
    kind: Registers,
    registers: Vec<Value>,
    findings: Vec<Finding>,
    transcript: Transcript,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let bytes = read(&args.log)?;
    let log = EventLog::parse(&bytes).map_err(|source| MeasureError::Log {
        path: args.log.clone(),
        source,
    })?;
    let kind = match args.kind {
        Some(Kind::Tpm) => Registers::Pcr,
        Some(Kind::Ccel) => Registers::Cc,
        None => log.kind(),
    };
    let mut replayed = replay(&log, kind);
    let refused = refusal(args, &replayed.findings);
    if refused.is_some() {
        // A refused log leads nowhere.
        replayed.registers.clear();
        replayed.transcript = Transcript::default();
    }
    if ctx.json {
        print_json(&as_json(&replayed, args.transcript))?;
    } else {
        print(&explained(args.transcript, &replayed.transcript))?;
        print(&as_text(&replayed))?;
    }
    match refused {
        Some(error) => Err(CommandError::from(error).with_code(DIFFERENT)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn replay(log: &EventLog<'_>, kind: Registers) -> Replayed {
    let mut replayed = Replayed {
        kind,
        registers: Vec::new(),
        findings: check(log, kind),
        transcript: Transcript::default(),
    };
    for bank in log.banks() {
        let mut transcript = Transcript::default();
        // A bank in which an event has no digest has no registers; there is a finding about the event.
        let Ok(values) = log.replay_into(bank, kind, &mut transcript) else {
            continue;
        };
        replayed.transcript.steps.extend(transcript.steps);
        let row =
            |(index, value)| json!({"register": kind.name(index), "bank": bank, "value": value});
        replayed.registers.extend(values.into_iter().map(row));
    }
    replayed
}

fn refusal(args: &Args, findings: &[Finding]) -> Option<MeasureError> {
    let refused = findings.iter().filter(|finding| finding.refused);
    let first = refused.clone().next().filter(|_| args.strict)?;
    Some(MeasureError::Refused {
        path: args.log.clone(),
        count: refused.count(),
        first: as_line(first),
    })
}

fn as_json(replayed: &Replayed, transcript: bool) -> Value {
    let mut document = json!({
        "kind": replayed.kind,
        "registers": replayed.registers,
        "findings": replayed.findings,
    });
    if let (true, Some(document)) = (transcript, document.as_object_mut()) {
        document.insert("transcript".to_owned(), json!(replayed.transcript));
    }
    document
}

fn as_text(replayed: &Replayed) -> String {
    let word = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
    let register = |row: &Value| {
        let words = ["register", "bank", "value"].map(|key| word(row, key).unwrap_or_default());
        format!("{}\n", words.join(" "))
    };
    let finding = |finding: &Finding| format!("finding: {}\n", as_line(finding));
    let registers = replayed.registers.iter().map(register);
    registers
        .chain(replayed.findings.iter().map(finding))
        .collect()
}

fn as_line(finding: &Finding) -> String {
    let Finding { rule, message, .. } = finding;
    let place = match (finding.event, finding.offset) {
        (Some(event), Some(offset)) => format!("event {event} at byte {offset}"),
        _ => "the whole log".to_owned(),
    };
    let shown: String = message
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    format!("{rule}, {place}: {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SHA-1 log with one separator in each of PCR 0 to 7, and `more` in PCR 4.
    fn log(more: usize) -> Vec<u8> {
        let separator = hex::decode("9069ca78e7450a285173431b3e52c5c25299e473").unwrap();
        let registers = (0..8_u32).chain(std::iter::repeat_n(4, more));
        let event = |register: u32| {
            [
                &register.to_le_bytes()[..],
                &4_u32.to_le_bytes(),
                &separator,
                &4_u32.to_le_bytes(),
                &[0; 4],
            ]
            .concat()
        };
        registers.flat_map(event).collect()
    }

    #[test]
    fn json_has_kind_registers_and_findings() {
        let bytes = log(1);
        let parsed = EventLog::parse(&bytes).unwrap();
        let replayed = replay(&parsed, parsed.kind());
        let document = as_json(&replayed, false);
        let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["findings", "kind", "registers"]);
        assert_eq!(document["kind"], "tpm");
        // Seen in every recorded log: what a register with nothing but a separator holds.
        let wanted = json!({"register": "pcr2", "bank": "sha1", "value": "b2a83b0ebf2f8374299a5b2bdfc31ea955ad7236"});
        assert_eq!(document["registers"][2], wanted);
        let wanted = json!({
            "event": 8, "offset": 288, "rule": "second-separator", "refused": true,
            "message": "second separator of register 4, the first is 4",
        });
        assert_eq!(document["findings"][0], wanted);
        let text = as_text(&replayed);
        assert!(text.starts_with("pcr0 sha1 b2a83b"), "{text}");
        assert!(
            text.contains("\nfinding: second-separator, event 8 at byte 288: second"),
            "{text}"
        );
    }

    #[test]
    fn json_of_a_log_with_findings_is_as_documented() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fuzz/seeds/event_log/short"
        );
        let bytes = read(path.as_ref()).unwrap();
        let replayed = replay(&EventLog::parse(&bytes).unwrap(), Registers::Pcr);
        insta::assert_snapshot!(format!("{:#}", as_json(&replayed, true)));
    }

    #[test]
    fn strict_refuses_what_is_more_than_odd() {
        let args = |strict| Args {
            log: PathBuf::from("log"),
            strict,
            kind: None,
            transcript: false,
        };
        for (more, strict, refused) in [(1, true, true), (1, false, false), (0, true, false)] {
            let bytes = log(more);
            let findings = replay(&EventLog::parse(&bytes).unwrap(), Registers::Pcr).findings;
            assert_eq!(
                refusal(&args(strict), &findings).is_some(),
                refused,
                "{findings:?}"
            );
        }
    }
}
