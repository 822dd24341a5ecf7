//! Event logs: what firmware, boot stub and kernel say they measured.
//!
//! A log proves nothing by itself: the host can write it. It explains register values that a quote or report
//! signs, once [`EventLog::replay`] gives exactly those values. [`check`] says where data and digests of a log do not fit
//! together, and what firmware would never have written.
//!
//! Spec: TCG PC Client Platform Firmware Profile 1.06, section 10 (`TCG_PCClientPCREvent` for the first event,
//! `TCG_PCR_EVENT2` after it), integers little-endian. The CCEL table of TDX guests has the same format with register 1
//! to 4 for RTMR0 to RTMR3. Logs of TPM 1.2 and SHA-1-only firmware are `TCG_PCClientPCREvent` throughout.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::digest::{Bank, Digest};
use crate::pcr::Extension;
use crate::transcript::{Register, Transcript};

mod check;
mod digests;
mod parse;

pub use check::{Finding, check};

/// The largest log read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// First bytes of an event that says at which locality the TPM was started.
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";
/// Events of this type are not extended.
const EV_NO_ACTION: u32 = 3;

/// Names of event types (PC Client Platform Firmware Profile, table 27).
const TYPES: [(u32, &str); 37] = [
    (0x0, "EV_PREBOOT_CERT"),
    (0x1, "EV_POST_CODE"),
    (0x3, "EV_NO_ACTION"),
    (0x4, "EV_SEPARATOR"),
    (0x5, "EV_ACTION"),
    (0x6, "EV_EVENT_TAG"),
    (0x7, "EV_S_CRTM_CONTENTS"),
    (0x8, "EV_S_CRTM_VERSION"),
    (0x9, "EV_CPU_MICROCODE"),
    (0xa, "EV_PLATFORM_CONFIG_FLAGS"),
    (0xb, "EV_TABLE_OF_DEVICES"),
    (0xc, "EV_COMPACT_HASH"),
    (0xd, "EV_IPL"),
    (0xe, "EV_IPL_PARTITION_DATA"),
    (0xf, "EV_NONHOST_CODE"),
    (0x10, "EV_NONHOST_CONFIG"),
    (0x11, "EV_NONHOST_INFO"),
    (0x12, "EV_OMIT_BOOT_DEVICE_EVENTS"),
    (0x13, "EV_POST_CODE2"),
    (0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG"),
    (0x8000_0002, "EV_EFI_VARIABLE_BOOT"),
    (0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION"),
    (0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER"),
    (0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER"),
    (0x8000_0006, "EV_EFI_GPT_EVENT"),
    (0x8000_0007, "EV_EFI_ACTION"),
    (0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB"),
    (0x8000_0009, "EV_EFI_HANDOFF_TABLES"),
    (0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2"),
    (0x8000_000b, "EV_EFI_HANDOFF_TABLES2"),
    (0x8000_000c, "EV_EFI_VARIABLE_BOOT2"),
    (0x8000_000d, "EV_EFI_GPT_EVENT2"),
    (0x8000_0010, "EV_EFI_HCRTM_EVENT"),
    (0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY"),
    (0x8000_00e1, "EV_EFI_SPDM_FIRMWARE_BLOB"),
    (0x8000_00e2, "EV_EFI_SPDM_FIRMWARE_CONFIG"),
    (0x8000_00e3, "EV_EFI_SPDM_DEVICE_POLICY"),
];

/// Why bytes are not an event log.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventLogError {
    /// Larger than [`MAX_BYTES`].
    #[error("event log has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Size of the log.
        found: usize,
    },
    /// A field reaches past the end.
    #[error("event {event} of the log: {what} at byte {offset} reaches past the end")]
    Truncated {
        /// Number of the event, the first is 0.
        event: usize,
        /// The field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// Neither the header of a crypto-agile log nor an event of an old one at the start.
    #[error("log starts neither with a `Spec ID Event03` event nor with an event of a SHA-1 log")]
    NotALog,
    /// A header with too many or too large algorithms, or one twice.
    #[error("log header announces an impossible list of hash algorithms")]
    Algorithms,
    /// An event with a digest of an algorithm the header does not announce, or one twice.
    #[error(
        "event {event} of the log has a digest of algorithm {algorithm:#x}, which is not announced or stands twice"
    )]
    Algorithm {
        /// Number of the event.
        event: usize,
        /// TPM algorithm identifier.
        algorithm: u16,
    },
    /// An event for a register that no machine has.
    #[error("event {event} of the log is for register {register}, wanted 0 to 23")]
    Register {
        /// Number of the event.
        event: usize,
        /// The register.
        register: u32,
    },
    /// An event that would be extended has no digest in the bank that is replayed.
    #[error("event {event} of the log has no {bank} digest")]
    MissingDigest {
        /// Number of the event.
        event: usize,
        /// The bank.
        bank: Bank,
    },
}

/// Which registers a log's indices mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registers {
    /// TPM PCRs by index.
    #[serde(rename = "tpm")]
    Pcr,
    /// CCEL: 0 is MRTD, 1 to 4 are RTMR0 to RTMR3.
    #[serde(rename = "ccel")]
    Cc,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Number of the event; the header of a crypto-agile log is 0.
    pub number: usize,
    /// Where the event starts in the log, in bytes.
    pub offset: usize,
    /// Register index as logged; see [`Registers`].
    pub register: u32,
    /// Event type as logged; see [`Event::type_name`].
    pub event_type: u32,
    /// Digests of the banks this crate knows; others are skipped.
    pub digests: Vec<Digest>,
    /// TPM algorithm identifiers of all digests, known or not.
    pub algorithms: Vec<u16>,
    /// Event data: sometimes what was hashed, sometimes a description of it.
    pub data: &'a [u8],
}

impl Event<'_> {
    /// Returns the name of the event type, `EV_?` for unknown ones.
    pub fn type_name(&self) -> &'static str {
        TYPES
            .iter()
            .find(|(code, _)| *code == self.event_type)
            .map_or("EV_?", |(_, name)| name)
    }

    /// Returns whether the event is extended; `EV_NO_ACTION` only informs.
    pub fn is_extended(&self) -> bool {
        self.event_type != EV_NO_ACTION
    }

    /// Returns the digest in `bank`.
    pub fn digest(&self, bank: Bank) -> Option<&Digest> {
        self.digests.iter().find(|digest| digest.bank() == bank)
    }

    /// Returns the data as a short line: printable text (also UTF-16), else its length.
    pub fn summary(&self) -> String {
        let narrow: String = self.data.iter().map(|&byte| char::from(byte)).collect();
        let wide: Vec<u16> = self
            .data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u16::from_le_bytes(*pair))
            .collect();
        for text in [narrow, String::from_utf16_lossy(&wide)] {
            let text = text.trim_end_matches('\0');
            if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
                return text.chars().take(100).collect();
            }
        }
        format!("{} bytes", self.data.len())
    }

    fn startup_locality(&self) -> Option<u8> {
        let rest = self.data.strip_prefix(STARTUP_LOCALITY)?;
        rest.first()
            .copied()
            .filter(|_| !self.is_extended() && self.register == 0)
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "register {} {} {}",
            self.register,
            self.type_name(),
            self.summary()
        )
    }
}

/// A parsed event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    /// Events in order, without the header event.
    pub events: Vec<Event<'a>>,
    /// Announced algorithms by TPM identifier, with the size of their digests in bytes.
    pub algorithms: BTreeMap<u16, u16>,
}

impl<'a> EventLog<'a> {
    /// Parses a whole log; zeros or 0xff bytes that fill the rest of a firmware table are skipped.
    ///
    /// # Errors
    /// See [`EventLogError`].
    pub fn parse(bytes: &'a [u8]) -> Result<EventLog<'a>, EventLogError> {
        if bytes.len() > MAX_BYTES {
            return Err(EventLogError::TooLarge { found: bytes.len() });
        }
        parse::log(bytes)
    }

    /// Returns the banks that the log announces and this crate knows.
    pub fn banks(&self) -> Vec<Bank> {
        let known = self.algorithms.keys();
        known.filter_map(|id| Bank::from_algorithm(*id)).collect()
    }

    /// Tells from the log what its register numbers mean: a CCEL has SHA-384 only and extends nothing but registers 1 to
    /// 4, while firmware with a TPM extends PCR 0.
    pub fn kind(&self) -> Registers {
        let sha384 = self.banks() == [Bank::Sha384] && self.algorithms.len() == 1;
        let mut extended = self.events.iter().filter(|event| event.is_extended());
        let inside = extended.all(|event| (1..=4).contains(&event.register));
        if sha384 && inside {
            Registers::Cc
        } else {
            Registers::Pcr
        }
    }

    /// Replays the log in `bank`: every register that an event names, with its final value. PCR 0 starts at the
    /// locality that a `StartupLocality` event gives.
    ///
    /// # Errors
    /// [`EventLogError::MissingDigest`].
    pub fn replay(&self, bank: Bank) -> Result<BTreeMap<u32, Digest>, EventLogError> {
        let mut transcript = Transcript::default();
        self.replay_into(bank, Registers::Pcr, &mut transcript)
    }

    /// Replays the log and appends every extend to `transcript`, in the order of the registers.
    ///
    /// # Errors
    /// [`EventLogError::MissingDigest`].
    pub fn replay_into(
        &self,
        bank: Bank,
        registers: Registers,
        transcript: &mut Transcript,
    ) -> Result<BTreeMap<u32, Digest>, EventLogError> {
        let mut extensions: BTreeMap<u32, Extension> = BTreeMap::new();
        for event in &self.events {
            if let Some(locality) = event.startup_locality() {
                let start = starting_at(bank, locality);
                extensions
                    .entry(0)
                    .or_insert_with(|| Extension::starting_at(Register::Pcr(0), start));
            }
            if !event.is_extended() {
                continue;
            }
            let missing = EventLogError::MissingDigest {
                event: event.number,
                bank,
            };
            let digest = event.digest(bank).ok_or(missing)?;
            extensions
                .entry(event.register)
                .or_insert_with(|| Extension::new(registers.name(event.register), bank))
                .extend(*digest, event.type_name(), event.summary());
        }
        let finish = |(index, extension): (u32, Extension)| (index, extension.finish(transcript));
        Ok(extensions.into_iter().map(finish).collect())
    }
}

impl Registers {
    /// Returns the register that `index` means in such a log.
    pub fn name(self, index: u32) -> Register {
        match (self, index.checked_sub(1)) {
            (Registers::Pcr, _) | (Registers::Cc, None) => Register::Pcr(index),
            (Registers::Cc, Some(rtmr)) => Register::Rtmr(rtmr),
        }
    }
}

/// A register that is zero but for the locality in its last byte.
fn starting_at(bank: Bank, locality: u8) -> Digest {
    let mut value = Digest::zero(bank);
    let last = match &mut value {
        Digest::Sha1(bytes) => bytes.last_mut(),
        Digest::Sha256(bytes) => bytes.last_mut(),
        Digest::Sha384(bytes) => bytes.last_mut(),
        Digest::Sha512(bytes) => bytes.last_mut(),
    };
    if let Some(byte) = last {
        *byte = locality;
    }
    value
}

#[cfg(test)]
mod tests;
