//! Cloister's event log: what the guest did between the kernel's start and its first quote.
//!
//! Spec: `docs/evidence-format.md`, section "Event log". Each event has a name and a value; its
//! digest is the SHA-256 over the label `cloister-ra/1 event` and both, framed. The digests extend
//! PCR 15 in order. The last event is [`SEPARATOR`], so that no later code can add to a log that a
//! verifier would still accept. The section also carries the firmware's log as the kernel gives it.

use sha2::{Digest, Sha256};

use crate::cbor::{CborError, Reader, Writer};
use crate::frame::Frame;

/// SHA-256 of the bytes of the guest configuration.
pub const CONFIGURATION: &str = "configuration";
/// What the GPU stage found, in ASCII: `none`.
pub const GPU: &str = "gpu";
/// Where the model lies, in ASCII: `root` when verity covers it as part of the root.
pub const MODEL: &str = "model";
/// All stages before the evidence are done; no value.
pub const READY: &str = "ready";
/// The fixed last event; no value.
pub const SEPARATOR: &str = "separator";

/// Most events in a log.
pub const MAX_EVENTS: usize = 64;
/// Longest name of an event, in bytes.
pub const MAX_NAME: usize = 64;
/// Longest value of an event, in bytes.
pub const MAX_VALUE: usize = 1024;
/// Longest firmware log, in bytes.
pub const MAX_FIRMWARE: usize = 512 * 1024;
/// Longest log section, in bytes.
pub const MAX_LOG: usize = MAX_FIRMWARE + MAX_EVENTS * (MAX_NAME + MAX_VALUE + 8) + 16;

const LABEL: &str = "cloister-ra/1 event";
const WHAT: &str = "log section";

/// A log that does not keep to the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Names are 1 to [`MAX_NAME`] bytes of `a-z`, `0-9` and `-`.
    #[error("event name of {found} bytes is not 1 to {MAX_NAME} of `a-z`, `0-9` and `-`")]
    Name {
        /// Length of the name in bytes.
        found: usize,
    },
    /// The value of an event is too long.
    #[error("value of event `{name}` has {found} bytes, at most {MAX_VALUE} are allowed")]
    Value {
        /// Name of the event.
        name: String,
        /// Length of the value in bytes.
        found: usize,
    },
    /// More than [`MAX_EVENTS`] events.
    #[error("log has {found} events, at most {MAX_EVENTS} are allowed")]
    Events {
        /// Number of events.
        found: usize,
    },
    /// The firmware log is longer than [`MAX_FIRMWARE`].
    #[error("firmware log has {found} bytes, at most {MAX_FIRMWARE} are allowed")]
    Firmware {
        /// Length in bytes.
        found: usize,
    },
    /// The section is not the CBOR of a log.
    #[error(transparent)]
    Cbor(#[from] CborError),
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    name: String,
    value: Vec<u8>,
    digest: [u8; 32],
}

impl Event {
    /// Makes an event.
    ///
    /// # Errors
    /// [`LogError::Name`] and [`LogError::Value`].
    pub fn new(name: &str, value: &[u8]) -> Result<Self, LogError> {
        let letters = name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if name.is_empty() || name.len() > MAX_NAME || !letters {
            return Err(LogError::Name { found: name.len() });
        }
        let refused = || LogError::Value {
            name: name.to_owned(),
            found: value.len(),
        };
        if value.len() > MAX_VALUE {
            return Err(refused());
        }
        let frame = Frame::<Sha256>::new(LABEL).slice(name.as_bytes());
        let frame = frame
            .and_then(|frame| frame.slice(value))
            .map_err(|_| refused())?;
        let (name, value) = (name.to_owned(), value.to_owned());
        Ok(Self {
            name,
            value,
            digest: frame.finish(),
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// What [`Event::digest`] is the hash of: the label and both fields, framed. A TPM that is given
    /// these bytes hashes them itself, for each of its banks.
    pub fn framed(&self) -> Vec<u8> {
        let mut framed = LABEL.as_bytes().to_vec();
        for field in [self.name.as_bytes(), &self.value] {
            // Both fit: `new` bounds them far below 65536 bytes.
            framed.extend(u16::try_from(field.len()).unwrap_or(u16::MAX).to_be_bytes());
            framed.extend(field);
        }
        framed
    }

    /// What PCR 15 is extended with.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// The events of a boot that came as far as serving, in their order, closed by [`SEPARATOR`].
///
/// `configuration` is the bytes of the guest configuration; `gpu` and `model` are the words that the
/// guest logs for them.
///
/// # Errors
/// [`LogError::Value`] when a word is too long.
pub fn boot_events(configuration: &[u8], gpu: &str, model: &str) -> Result<Vec<Event>, LogError> {
    let configuration: [u8; 32] = Sha256::digest(configuration).into();
    let events: [(&str, &[u8]); 5] = [
        (CONFIGURATION, &configuration),
        (GPU, gpu.as_bytes()),
        (MODEL, model.as_bytes()),
        (READY, &[]),
        (SEPARATOR, &[]),
    ];
    events
        .into_iter()
        .map(|(name, value)| Event::new(name, value))
        .collect()
}

/// PCR 15 (SHA-256 bank) after `events`, from its reset value of zeros.
pub fn predict_pcr15(events: &[Event]) -> [u8; 32] {
    events.iter().fold([0; 32], |pcr, event| {
        Sha256::new()
            .chain_update(pcr)
            .chain_update(event.digest)
            .finalize()
            .into()
    })
}

/// The `log` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog {
    events: Vec<Event>,
    firmware: Vec<u8>,
}

impl EventLog {
    /// A log of Cloister's `events` and the TCG event log of the firmware as the kernel gives it
    /// (`binary_bios_measurements`), empty where there is none.
    ///
    /// # Errors
    /// [`LogError::Events`] and [`LogError::Firmware`].
    pub fn new(events: Vec<Event>, firmware: Vec<u8>) -> Result<Self, LogError> {
        if events.len() > MAX_EVENTS {
            return Err(LogError::Events {
                found: events.len(),
            });
        }
        if firmware.len() > MAX_FIRMWARE {
            return Err(LogError::Firmware {
                found: firmware.len(),
            });
        }
        Ok(Self { events, firmware })
    }

    /// Cloister's events.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The TCG event log of the firmware.
    pub fn firmware(&self) -> &[u8] {
        &self.firmware
    }

    /// The CBOR of the section: `{1: [[name, value]...], 2: firmware log}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.map(2).uint(1).array(self.events.len());
        for event in &self.events {
            writer.array(2).text(&event.name).bytes(&event.value);
        }
        writer.uint(2).bytes(&self.firmware);
        writer.finish()
    }

    /// Reads the CBOR of the section.
    ///
    /// # Errors
    /// When `input` is not the deterministic encoding of a log within the limits.
    pub fn decode(input: &[u8]) -> Result<Self, LogError> {
        let mut reader = Reader::new(WHAT, input, MAX_LOG)?;
        reader.map(2)?;
        reader.exact_uint(1, "key 1 (events)")?;
        let events = (0..reader.array_of(MAX_EVENTS)?)
            .map(|_| {
                reader.array(2)?;
                Event::new(reader.text(MAX_NAME)?, reader.bytes(MAX_VALUE)?)
            })
            .collect::<Result<_, _>>()?;
        reader.exact_uint(2, "key 2 (firmware log)")?;
        let log = Self::new(events, reader.bytes(MAX_FIRMWARE)?.to_owned())?;
        reader.finish(&log.encode())?;
        Ok(log)
    }
}
