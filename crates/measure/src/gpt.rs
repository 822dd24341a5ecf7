//! The partition table as firmware measures it: `EV_EFI_GPT_EVENT`, into PCR 5 of a TPM and RTMR1 of a TDX guest.
//!
//! Firmware measures the table of the disk that it boots from, once, before the boot program.
//! Spec: UEFI 2.10, section 5.3 (GPT); TCG PC Client Platform Firmware Profile 1.06, section 10 (`UEFI_GPT_DATA`); as edk2
//! `SecurityPkg/Library/DxeTpm2MeasureBootLib` does it. Units: bytes, integers little-endian, sectors of 512 bytes.
//! Not covered: disks with other sectors, entries larger than 128 bytes, whether the table's checksums are right.

use thiserror::Error;

/// Size of a sector.
const SECTOR: usize = 512;
/// Bytes of the header that are measured (`EFI_PARTITION_TABLE_HEADER`).
const HEADER: usize = 92;
/// Size of an entry.
const ENTRY: usize = 128;
/// Bytes from the start of the disk that hold a usual table: protective MBR, header, 128 entries.
pub const USUAL_BYTES: usize = SECTOR * 2 + ENTRY * 128;

/// Why a disk has no partition table that can be measured.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GptError {
    /// No table where it must be.
    #[error("disk has no `EFI PART` header at byte 512")]
    NoHeader,
    /// A field reaches past the bytes given.
    #[error("partition {what} at byte {offset} reaches past the {have} bytes that were read")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// Bytes there were.
        have: usize,
    },
    /// Entries of another size.
    #[error("partition table has entries of {found} bytes, wanted {ENTRY}")]
    EntrySize {
        /// Size in the header.
        found: u32,
    },
}

/// Returns the event data, which is what is hashed: header, number of used entries as `u64`, those entries. `disk` is the
/// start of the disk with the whole table; see [`USUAL_BYTES`].
///
/// # Errors
/// See [`GptError`].
pub fn event(disk: &[u8]) -> Result<Vec<u8>, GptError> {
    let header = slice(disk, "header", SECTOR, HEADER)?;
    if !header.starts_with(b"EFI PART") {
        return Err(GptError::NoHeader);
    }
    let size = word(header, 84)?;
    if usize::try_from(size).ok() != Some(ENTRY) {
        return Err(GptError::EntrySize { found: size });
    }
    let sector = header
        .get(72..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| u64::from_le_bytes(*bytes))
        .and_then(|sector| usize::try_from(sector).ok())
        .unwrap_or(usize::MAX);
    let count = usize::try_from(word(header, 80)?).unwrap_or(usize::MAX);
    let start = sector.saturating_mul(SECTOR);
    let entries = slice(disk, "entries", start, count.saturating_mul(ENTRY))?;
    let (entries, _) = entries.as_chunks::<ENTRY>();
    // An entry is used when its type is not zero.
    let used = entries
        .iter()
        .filter(|entry| entry.iter().take(16).any(|&byte| byte != 0));
    let used: Vec<&[u8; ENTRY]> = used.collect();
    let mut data = header.to_vec();
    data.extend(u64::try_from(used.len()).unwrap_or(u64::MAX).to_le_bytes());
    data.extend(used.into_iter().flatten());
    Ok(data)
}

fn slice<'a>(
    disk: &'a [u8],
    what: &'static str,
    offset: usize,
    size: usize,
) -> Result<&'a [u8], GptError> {
    offset
        .checked_add(size)
        .and_then(|end| disk.get(offset..end))
        .ok_or(GptError::Truncated {
            what,
            offset,
            have: disk.len(),
        })
}

fn word(header: &[u8], offset: usize) -> Result<u32, GptError> {
    let bytes = slice(header, "header", offset, 4)?;
    Ok(u32::from_le_bytes(
        bytes.first_chunk().copied().unwrap_or_default(),
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::digest::Bank;
    use crate::eventlog::EventLog;
    use crate::vectors;

    /// The disk that a recorded event describes.
    pub(crate) fn disk(event: &[u8]) -> Vec<u8> {
        let mut disk = vec![0; USUAL_BYTES];
        disk[SECTOR..SECTOR + HEADER].copy_from_slice(&event[..HEADER]);
        // Firmware packs the used entries, which need not be the first.
        for (index, entry) in event[HEADER + 8..].chunks(ENTRY).enumerate() {
            let start = SECTOR * 2 + ENTRY * (index * 3);
            disk[start..start + ENTRY].copy_from_slice(entry);
        }
        disk[SECTOR + 72..SECTOR + 80].copy_from_slice(&2_u64.to_le_bytes());
        disk
    }

    /// Origin: `EV_EFI_GPT_EVENT` of every recorded UEFI log of the shared vectors.
    #[test]
    fn event_equals_the_recorded_events() {
        let Some(directory) = vectors::directory() else {
            return;
        };
        let mut compared = 0;
        for name in [
            "ubuntu-2404-amd-sevsnp.bin",
            "cos-101-amd-sev.bin",
            "cos-113-intel-tdx.bin",
            "rhel8-uefi.bin",
            "arch-linux-workstation.bin",
        ] {
            let bytes = std::fs::read(directory.join("eventlogs").join(name)).unwrap();
            let log = EventLog::parse(&bytes).unwrap();
            let mut events = log.events.iter();
            let recorded = events
                .find(|event| event.type_name() == "EV_EFI_GPT_EVENT")
                .unwrap();
            let found = event(&disk(recorded.data)).unwrap();
            assert_eq!(found, recorded.data, "{name}");
            let digest = recorded
                .digests
                .iter()
                .find(|digest| digest.bank() != Bank::Sha1);
            assert_eq!(digest.unwrap(), &digest.unwrap().bank().hash(&[&found]));
            compared += 1;
        }
        assert_eq!(compared, 5);
    }

    #[test]
    fn event_names_what_is_wrong() {
        let mut good = vec![0; USUAL_BYTES];
        good[SECTOR..SECTOR + 8].copy_from_slice(b"EFI PART");
        good[SECTOR + 72] = 2;
        good[SECTOR + 80] = 128;
        good[SECTOR + 84] = 128;
        assert_eq!(event(&good).unwrap().len(), HEADER + 8);
        for length in 0..good.len() {
            assert!(matches!(
                event(&good[..length]),
                Err(GptError::Truncated { .. })
            ));
        }
        let change = |offset: usize, byte: u8| {
            let mut disk = good.clone();
            disk[SECTOR + offset] = byte;
            event(&disk).unwrap_err()
        };
        assert_eq!(change(0, b'X'), GptError::NoHeader);
        assert_eq!(change(85, 1), GptError::EntrySize { found: 384 });
        for (offset, byte) in [(79, 0xff), (83, 0xff), (72, 3)] {
            assert!(matches!(
                change(offset, byte),
                GptError::Truncated {
                    what: "entries",
                    ..
                }
            ));
        }
    }
}
