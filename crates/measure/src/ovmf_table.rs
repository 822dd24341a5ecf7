//! The GUIDed table at the end of an OVMF image: how firmware tells a VMM what to launch.
//!
//! Source: edk2 `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.nasm.inc`. The table ends 32 bytes before the image end and is
//! read backwards; an entry is data, `u16` length of data plus 18, GUID. Integers are little-endian.

use thiserror::Error;

const FOOTER: &str = "96b582de-1fb2-45f7-baea-a366c55a082d";
/// Bytes between the table and the end of the image.
const TAIL: usize = 32;
/// A `u16` length and a GUID.
const ENTRY: usize = 18;

/// Why bytes do not end with an OVMF table.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// No table: not OVMF, or a variable store, or an image with something behind it.
    #[error("firmware has no OVMF GUID table 32 bytes before its end")]
    NoTable,
    /// The table, one of its entries, or what an entry points at is cut off.
    #[error("OVMF {what} is damaged: {need} bytes needed, {have} there")]
    Damaged {
        /// The structure.
        what: &'static str,
        /// Bytes needed.
        need: usize,
        /// Bytes there.
        have: usize,
    },
}

/// Returns the GUIDed table without its footer entry.
pub(crate) fn footer_table(image: &[u8]) -> Result<&[u8], TableError> {
    let end = image.len().checked_sub(TAIL).ok_or(TableError::NoTable)?;
    let before = image.get(..end).unwrap_or_default();
    let (rest, name) = before.split_last_chunk::<16>().ok_or(TableError::NoTable)?;
    if *name != guid(FOOTER) {
        return Err(TableError::NoTable);
    }
    let (rest, size) = rest.split_last_chunk::<2>().ok_or(TableError::NoTable)?;
    let size = usize::from(u16::from_le_bytes(*size));
    let damaged = TableError::Damaged {
        what: "GUID table",
        need: size,
        have: rest.len(),
    };
    let length = size.checked_sub(ENTRY).ok_or(damaged.clone())?;
    let start = rest.len().checked_sub(length).ok_or(damaged.clone())?;
    rest.get(start..).ok_or(damaged)
}

/// Walks the table from its end to the entry called `name` and returns its data.
pub(crate) fn find<'a>(mut table: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, TableError> {
    let wanted = guid(name);
    while !table.is_empty() {
        let damaged = TableError::Damaged {
            what: "GUID table entry",
            need: ENTRY,
            have: table.len(),
        };
        let (rest, found) = table.split_last_chunk::<16>().ok_or(damaged.clone())?;
        let (rest, size) = rest.split_last_chunk::<2>().ok_or(damaged.clone())?;
        let size = usize::from(u16::from_le_bytes(*size));
        let start = size
            .checked_sub(ENTRY)
            .and_then(|size| rest.len().checked_sub(size));
        let (rest, data) = rest
            .split_at_checked(start.ok_or(damaged.clone())?)
            .ok_or(damaged)?;
        if *found == wanted {
            return Ok(Some(data));
        }
        table = rest;
    }
    Ok(None)
}

/// Returns the integer at byte `offset` of the structure `what`.
pub(crate) fn u32_at(bytes: &[u8], what: &'static str, offset: usize) -> Result<u32, TableError> {
    let need = offset.saturating_add(4);
    let chunk = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    let chunk = chunk.ok_or(TableError::Damaged {
        what,
        need,
        have: bytes.len(),
    })?;
    Ok(u32::from_le_bytes(*chunk))
}

/// Returns a GUID's 16 bytes in firmware order: the first three groups little-endian.
pub(crate) fn guid(text: &str) -> [u8; 16] {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let value = u128::from_str_radix(&digits, 16).unwrap_or_default();
    let [a, b, c, d, e, f, g, h, rest @ ..] = value.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// Returns the text of a GUID from its 16 bytes in firmware order.
pub(crate) fn guid_text(bytes: [u8; 16]) -> String {
    let [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p] = bytes;
    let groups: [&[u8]; 5] = [
        &[a, b, c, d],
        &[e, f],
        &[g, h],
        &[i, j],
        &[k, l, m, n, o, p],
    ];
    groups.map(hex::encode).join("-")
}
