//! From the bytes of a log to its events, in both formats.

use std::collections::BTreeMap;

use super::{EV_NO_ACTION, Event, EventLog, EventLogError, TYPES};
use crate::digest::{Bank, Digest};

/// Hash algorithms a log may announce.
const MAX_ALGORITHMS: u32 = 16;
/// Largest digest an algorithm may announce.
const MAX_DIGEST: u16 = 64;
/// First bytes of the first event's data.
pub(super) const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";
/// TPM identifier of SHA-1, and the size of its digests.
const SHA1: (u16, u16) = (0x0004, 20);
/// The largest register of a TPM.
const LAST_REGISTER: u32 = 23;

/// Parses a log that is not too large.
pub(super) fn log(bytes: &[u8]) -> Result<EventLog<'_>, EventLogError> {
    let mut reader = Reader::new(bytes);
    let (algorithms, agile) = match header(&mut reader)? {
        Some(algorithms) => (algorithms, true),
        None if starts_old_log(bytes) => (BTreeMap::from([SHA1]), false),
        None => return Err(EventLogError::NotALog),
    };
    if !agile {
        reader = Reader::new(bytes);
    }
    let mut events = Vec::new();
    while !reader.is_padding() {
        if agile || !events.is_empty() {
            reader.event += 1;
        }
        events.push(event(&mut reader, agile.then_some(&algorithms))?);
    }
    Ok(EventLog { events, algorithms })
}

/// Reads the first event; gives the announced algorithms, or `None` when it is no header of a crypto-agile log.
fn header(reader: &mut Reader<'_>) -> Result<Option<BTreeMap<u16, u16>>, EventLogError> {
    let not_a_log = |_| EventLogError::NotALog;
    // The register is meaningless here; some firmware writes 1.
    reader.u32("register").map_err(not_a_log)?;
    let event_type = reader.u32("event type").map_err(not_a_log)?;
    reader.take("digest", 20).map_err(not_a_log)?;
    let size = reader.u32("event size").map_err(not_a_log)?;
    let data = reader.take("event", size as usize).map_err(not_a_log)?;
    if event_type != EV_NO_ACTION || !data.starts_with(SPEC_ID) {
        return Ok(None);
    }
    let mut data = Reader::new(data);
    data.take("signature", SPEC_ID.len())?;
    data.take("platform class and version", 8)?;
    let count = data.u32("number of algorithms")?;
    if count > MAX_ALGORITHMS {
        return Err(EventLogError::Algorithms);
    }
    let mut algorithms = BTreeMap::new();
    for _ in 0..count {
        let (algorithm, size) = (data.u16("algorithm")?, data.u16("digest size")?);
        let known = Bank::from_algorithm(algorithm).map(Bank::len);
        let wrong = known.is_some_and(|known| known != usize::from(size));
        if wrong || size > MAX_DIGEST || algorithms.insert(algorithm, size).is_some() {
            return Err(EventLogError::Algorithms);
        }
    }
    let vendor = data.take("vendor information size", 1)?;
    let vendor = vendor.first().copied().unwrap_or_default();
    data.take("vendor information", usize::from(vendor))?;
    Ok(Some(algorithms))
}

/// Returns whether the first event is one that a SHA-1 log can start with: a known type, a register of a TPM, and a digest
/// where there is something to extend. Nothing else tells such a log from other bytes.
fn starts_old_log(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    let Ok(first) = event(&mut reader, None) else {
        return false;
    };
    let zero = Digest::zero(Bank::Sha1);
    let known = TYPES.iter().any(|(code, _)| *code == first.event_type);
    known && (!first.is_extended() || first.digest(Bank::Sha1) != Some(&zero))
}

/// Reads one `TCG_PCR_EVENT2`, or without `algorithms` one `TCG_PCClientPCREvent`.
fn event<'a>(
    reader: &mut Reader<'a>,
    algorithms: Option<&BTreeMap<u16, u16>>,
) -> Result<Event<'a>, EventLogError> {
    let (number, offset) = (reader.event, reader.offset);
    let register = reader.u32("register")?;
    let event_type = reader.u32("event type")?;
    if register > LAST_REGISTER && event_type != EV_NO_ACTION {
        return Err(EventLogError::Register {
            event: number,
            register,
        });
    }
    let (digests, algorithms) = match algorithms {
        Some(algorithms) => digests(reader, algorithms)?,
        None => {
            let bytes = reader.take("digest", usize::from(SHA1.1))?;
            let digest = Digest::from_bytes(Bank::Sha1, bytes).ok();
            (digest.into_iter().collect(), vec![SHA1.0])
        }
    };
    let size = reader.u32("event size")?;
    let data = reader.take("event", size as usize)?;
    Ok(Event {
        number,
        offset,
        register,
        event_type,
        digests,
        algorithms,
        data,
    })
}

/// Reads the digests of an event: those of known banks, and the identifiers of all.
fn digests(
    reader: &mut Reader<'_>,
    announced: &BTreeMap<u16, u16>,
) -> Result<(Vec<Digest>, Vec<u16>), EventLogError> {
    let (mut digests, mut algorithms) = (Vec::new(), Vec::new());
    for _ in 0..reader.u32("number of digests")? {
        let algorithm = reader.u16("algorithm")?;
        let unknown = EventLogError::Algorithm {
            event: reader.event,
            algorithm,
        };
        let size = announced
            .get(&algorithm)
            .filter(|_| !algorithms.contains(&algorithm))
            .ok_or(unknown)?;
        let bytes = reader.take("digest", usize::from(*size))?;
        let bank = Bank::from_algorithm(algorithm);
        digests.extend(bank.and_then(|bank| Digest::from_bytes(bank, bytes).ok()));
        algorithms.push(algorithm);
    }
    Ok((digests, algorithms))
}

/// Takes fields off the front of a log.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    event: usize,
    /// Where the filling at the end starts: zeros or ones, which no event starts with.
    filling: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Reader<'a> {
        let before = |byte: u8| {
            let last = bytes.iter().rposition(|&found| found != byte);
            last.map_or(0, |last| last + 1)
        };
        Reader {
            bytes,
            offset: 0,
            event: 0,
            filling: before(0).min(before(0xff)),
        }
    }

    fn take(&mut self, what: &'static str, size: usize) -> Result<&'a [u8], EventLogError> {
        let Reader { event, offset, .. } = *self;
        let end = offset.checked_add(size);
        let taken = end.and_then(|end| self.bytes.get(offset..end));
        let taken = taken.ok_or(EventLogError::Truncated {
            event,
            what,
            offset,
        })?;
        self.offset = offset.saturating_add(size);
        Ok(taken)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, EventLogError> {
        let bytes = self.take(what, 4)?;
        Ok(u32::from_le_bytes(
            bytes.first_chunk().copied().unwrap_or_default(),
        ))
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, EventLogError> {
        let bytes = self.take(what, 2)?;
        Ok(u16::from_le_bytes(
            bytes.first_chunk().copied().unwrap_or_default(),
        ))
    }

    /// Returns whether nothing but filling is left.
    fn is_padding(&self) -> bool {
        self.offset >= self.filling
    }
}
