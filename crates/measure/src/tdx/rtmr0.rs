//! RTMR0, event by event: what a log says the host and firmware put there, and who decides it.
//!
//! RTMR0 holds the memory layout, the ACPI tables of one VMM version and device order, and firmware variables. None of it
//! comes from the image, so it is not computed here: an appraiser pins single events and accepts others.
//!
//! Spec: TCG PC Client Platform Firmware Profile 1.06, section 10 (event data); edk2 `OvmfPkg/IntelTdx`, td-shim (names).
//! Seen: the CCEL of a GCE C3 machine and one of td-shim. A log proves nothing until it replays to a signed RTMR0.

use thiserror::Error;

use crate::digest::{Bank, Digest};
use crate::eventlog::{Event, EventLog};
use crate::pcr::{Extension, extend};
use crate::transcript::{Register, Transcript};

/// Number of RTMR0 in a CCEL.
const RTMR0: u32 = 1;
const EV_SEPARATOR: u32 = 4;
const EV_PLATFORM_CONFIG_FLAGS: u32 = 0xa;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
const EV_EFI_PLATFORM_FIRMWARE_BLOB2: u32 = 0x8000_000a;
const EV_EFI_HANDOFF_TABLES2: u32 = 0x8000_000b;
const EV_EFI_VARIABLE_BOOT2: u32 = 0x8000_000c;
const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;

/// An event without the digest that RTMRs take.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("event {event} of the log has no sha384 digest, so it cannot be in an RTMR")]
pub struct NoSha384 {
    /// Number of the event, the first after the header is 1.
    pub event: usize,
}

/// Whose choice an event records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy {
    /// The VMM: memory size, devices, ACPI tables.
    Host,
    /// The firmware image, or variables that were set in it.
    Firmware,
    /// The disk: the shim boot loader's own events.
    Image,
    /// Not known here.
    Unknown,
}

impl DecidedBy {
    /// Returns the name in output.
    pub fn name(self) -> &'static str {
        match self {
            DecidedBy::Host => "host",
            DecidedBy::Firmware => "firmware",
            DecidedBy::Image => "image",
            DecidedBy::Unknown => "unknown",
        }
    }
}

/// What of a log the digest of an event covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// The event data, whole: the log shows what was measured.
    Event,
    /// The data of the variable in the event, without its name.
    Variable,
    /// Bytes that are not in the log.
    NotInLog,
}

impl Covers {
    /// Returns the name in output.
    pub fn name(self) -> &'static str {
        match self {
            Covers::Event => "event",
            Covers::Variable => "variable",
            Covers::NotInLog => "not-in-log",
        }
    }
}

/// One extend of RTMR0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtmr0Event {
    /// Number in the log, the first after the header is 1.
    pub event: usize,
    /// What was measured.
    pub name: String,
    /// Whose choice it is.
    pub decided_by: DecidedBy,
    /// What the digest covers.
    pub covers: Covers,
    /// SHA-384 that is extended.
    pub digest: Digest,
    /// RTMR0 afterwards.
    pub value: Digest,
}

/// Lists the extends of RTMR0 in a CCEL, with names.
///
/// # Errors
/// [`NoSha384`].
pub fn rtmr0_events(log: &EventLog<'_>) -> Result<Vec<Rtmr0Event>, NoSha384> {
    let mut value = Digest::zero(Bank::Sha384);
    let mut events = Vec::new();
    for (index, event) in log.events.iter().enumerate() {
        if event.register != RTMR0 || !event.is_extended() {
            continue;
        }
        let number = index + 1;
        let digest = *event
            .digest(Bank::Sha384)
            .ok_or(NoSha384 { event: number })?;
        value = extend(&value, &digest);
        let (name, decided_by) = describe(event);
        let covers = covers(event, &digest);
        events.push(Rtmr0Event {
            event: number,
            name,
            decided_by,
            covers,
            digest,
            value,
        });
    }
    Ok(events)
}

/// Returns the account of RTMR0 as a transcript.
pub fn rtmr0_transcript(events: &[Rtmr0Event]) -> Transcript {
    let mut rtmr = Extension::new(Register::Rtmr(0), Bank::Sha384);
    for event in events {
        let input = format!("event {}, by the {}", event.event, event.decided_by.name());
        rtmr.extend(event.digest, event.name.clone(), input);
    }
    let mut transcript = Transcript::default();
    rtmr.finish(&mut transcript);
    transcript
}

fn covers(event: &Event<'_>, digest: &Digest) -> Covers {
    let is = |bytes: &[u8]| Bank::Sha384.hash(&[bytes]) == *digest;
    match Variable::parse(event.data) {
        _ if is(event.data) => Covers::Event,
        Some(variable) if is(variable.data) => Covers::Variable,
        _ => Covers::NotInLog,
    }
}

fn describe(event: &Event<'_>) -> (String, DecidedBy) {
    let variable = Variable::parse(event.data);
    match (event.event_type, variable) {
        (EV_SEPARATOR, _) => ("separator".to_owned(), DecidedBy::Firmware),
        (EV_EFI_VARIABLE_DRIVER_CONFIG, Some(variable)) => {
            (variable.shown("Secure Boot variable"), DecidedBy::Firmware)
        }
        (EV_EFI_VARIABLE_BOOT | EV_EFI_VARIABLE_BOOT2, Some(variable)) => {
            (variable.shown("boot variable"), DecidedBy::Host)
        }
        (EV_EFI_VARIABLE_AUTHORITY, Some(variable)) => {
            (variable.shown("authority"), DecidedBy::Image)
        }
        (EV_PLATFORM_CONFIG_FLAGS, _) if event.data.starts_with(b"ACPI DATA") => {
            ("ACPI tables from the VMM".to_owned(), DecidedBy::Host)
        }
        (EV_PLATFORM_CONFIG_FLAGS, _) if event.data.starts_with(b"td_hob") => (
            "TD HOB: memory layout from the VMM".to_owned(),
            DecidedBy::Host,
        ),
        (EV_EFI_HANDOFF_TABLES2, _)
            if blob(event.data).is_some_and(|name| name.starts_with(b"TdxTable")) =>
        {
            (
                "TD HOB: memory layout from the VMM".to_owned(),
                DecidedBy::Host,
            )
        }
        (EV_EFI_PLATFORM_FIRMWARE_BLOB2, _)
            if blob(event.data).is_some_and(|name| name.starts_with(b"Fv(")) =>
        {
            (
                "configuration volume: firmware variables as shipped".to_owned(),
                DecidedBy::Firmware,
            )
        }
        _ => (
            format!("{} {}", event.type_name(), event.summary()),
            DecidedBy::Unknown,
        ),
    }
}

/// Returns the name of a blob: one byte of length, then text.
fn blob(data: &[u8]) -> Option<&[u8]> {
    let (length, rest) = data.split_first()?;
    rest.get(..usize::from(*length))
}

/// `UEFI_VARIABLE_DATA`: GUID, `u64` length of the name in UTF-16 units, `u64` length of the data, name, data.
struct Variable<'a> {
    name: String,
    data: &'a [u8],
}

impl<'a> Variable<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Variable<'a>> {
        let (_, rest) = bytes.split_first_chunk::<16>()?;
        let (units, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let units = usize::try_from(u64::from_le_bytes(*units)).ok()?;
        let (name, rest) = rest.split_at_checked(units.checked_mul(2)?)?;
        let data = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        let units: Vec<u16> = name
            .as_chunks::<2>()
            .0
            .iter()
            .map(|unit| u16::from_le_bytes(*unit))
            .collect();
        let name = String::from_utf16(&units).ok()?;
        name.chars()
            .all(|c| c.is_ascii_graphic())
            .then_some(Variable { name, data })
    }

    fn shown(&self, what: &str) -> String {
        match self.data {
            [] => format!("{what} `{}`, empty", self.name),
            [byte] => format!("{what} `{}` = {byte:#04x}", self.name),
            data => format!("{what} `{}`, {} bytes", self.name, data.len()),
        }
    }
}
