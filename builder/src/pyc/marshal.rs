//! A canonical form of CPython's marshalled code objects.
//!
//! Spec: CPython `Python/marshal.c`, versions 3.11 to 3.14 (format 4). An object that something
//! refers to later carries a flag, and references count flagged objects. CPython also flags
//! objects that nothing refers to, when their reference count at that moment was above one, so the
//! bytes depend on what else the process holds. Here only flags that are used are kept and the
//! references are renumbered: the meaning is the same, the bytes depend on the code alone.

use std::collections::{BTreeMap, BTreeSet};

const FLAG: u8 = 0x80;
/// Lengths and references are little-endian 32-bit.
const WORD: usize = 4;

/// Why bytes are not a marshalled code object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MarshalError {
    /// The bytes end inside an object.
    #[error("marshalled code is truncated")]
    Truncated,
    /// Bytes follow the object.
    #[error("bytes follow the marshalled code")]
    Trailing,
    /// A type that format 4 of the known versions does not have.
    #[error("marshalled code has an object of unknown type {0:#04x}")]
    Type(u8),
    /// A reference to an object that does not stand before it.
    #[error("marshalled code refers to object {0}, which does not stand before it")]
    Reference(u32),
}

/// What still has to be read.
#[derive(Clone, Copy)]
enum Need {
    /// This many objects.
    Objects(u64),
    /// This many plain bytes.
    Bytes(usize),
    /// Pairs of objects until a NULL.
    Dictionary,
}

/// Rewrites one marshalled object into its canonical form.
pub(crate) fn canonical(bytes: &[u8]) -> Result<Vec<u8>, MarshalError> {
    let scan = scan(bytes)?;
    // Flagged objects that are referred to, numbered by their order.
    let new_numbers: BTreeMap<u32, u32> = scan.used.iter().copied().zip(0..).collect();
    let mut out = bytes.to_vec();
    for (number, &at) in (0_u32..).zip(&scan.flagged) {
        if let Some(byte) = out.get_mut(at)
            && !scan.used.contains(&number)
        {
            *byte &= !FLAG;
        }
    }
    for &(at, number) in &scan.references {
        let new = new_numbers
            .get(&number)
            .copied()
            .ok_or(MarshalError::Reference(number))?;
        for (slot, byte) in out.iter_mut().skip(at).zip(new.to_le_bytes()) {
            *slot = byte;
        }
    }
    Ok(out)
}

#[derive(Default)]
struct Scan {
    /// Offsets of the type bytes with a flag; the index is the number references use.
    flagged: Vec<usize>,
    /// Offset of each reference's number, and the number.
    references: Vec<(usize, u32)>,
    /// Numbers that are referred to.
    used: BTreeSet<u32>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn skip(&mut self, count: usize) -> Result<(), MarshalError> {
        let end = self.at.checked_add(count).ok_or(MarshalError::Truncated)?;
        self.bytes
            .get(self.at..end)
            .ok_or(MarshalError::Truncated)?;
        self.at = end;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, MarshalError> {
        let byte = self
            .bytes
            .get(self.at)
            .copied()
            .ok_or(MarshalError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn word(&mut self) -> Result<u32, MarshalError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let word = rest.first_chunk::<WORD>().ok_or(MarshalError::Truncated)?;
        self.at += WORD;
        Ok(u32::from_le_bytes(*word))
    }

    fn sized(&mut self, unit: usize) -> Result<(), MarshalError> {
        let count = usize::try_from(self.word()?).map_err(|_| MarshalError::Truncated)?;
        self.skip(count.checked_mul(unit).ok_or(MarshalError::Truncated)?)
    }
}

fn scan(bytes: &[u8]) -> Result<Scan, MarshalError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut scan = Scan::default();
    let mut needs = vec![Need::Objects(1)];
    while let Some(need) = needs.pop() {
        match need {
            Need::Objects(0) => {}
            Need::Objects(count) => {
                needs.push(Need::Objects(count - 1));
                object(&mut reader, &mut scan, &mut needs)?;
            }
            Need::Bytes(count) => reader.skip(count)?,
            Need::Dictionary => {
                if reader.bytes.get(reader.at) == Some(&b'0') {
                    reader.at += 1;
                } else {
                    needs.push(Need::Dictionary);
                    needs.push(Need::Objects(2));
                }
            }
        }
    }
    if reader.at == bytes.len() {
        Ok(scan)
    } else {
        Err(MarshalError::Trailing)
    }
}

/// Reads one object's type and plain part; what it holds is pushed onto `needs`.
fn object(
    reader: &mut Reader<'_>,
    scan: &mut Scan,
    needs: &mut Vec<Need>,
) -> Result<(), MarshalError> {
    let at = reader.at;
    let byte = reader.byte()?;
    if byte & FLAG != 0 {
        scan.flagged.push(at);
    }
    match byte & !FLAG {
        b'N' | b'F' | b'T' | b'S' | b'.' | b'0' => Ok(()),
        b'i' => reader.skip(4),
        b'I' | b'g' => reader.skip(8),
        b'y' => reader.skip(16),
        b's' | b't' | b'u' | b'a' | b'A' => reader.sized(1),
        b'z' | b'Z' | b'f' => {
            let count = usize::from(reader.byte()?);
            reader.skip(count)
        }
        b'x' => {
            for _ in 0..2 {
                let count = usize::from(reader.byte()?);
                reader.skip(count)?;
            }
            Ok(())
        }
        b'l' => {
            let digits = i32::from_le_bytes(reader.word()?.to_le_bytes()).unsigned_abs();
            reader.skip(
                usize::try_from(digits)
                    .map_err(|_| MarshalError::Truncated)?
                    .saturating_mul(2),
            )
        }
        b'r' => reference(reader, scan),
        b')' => {
            needs.push(Need::Objects(reader.byte()?.into()));
            Ok(())
        }
        b'(' | b'[' | b'<' | b'>' => {
            needs.push(Need::Objects(reader.word()?.into()));
            Ok(())
        }
        b'{' => {
            needs.push(Need::Dictionary);
            Ok(())
        }
        b':' => {
            needs.push(Need::Objects(3));
            Ok(())
        }
        b'c' => code(reader, needs),
        other => Err(MarshalError::Type(other)),
    }
}

/// A code object since 3.11: five numbers, eight objects, the first line, two objects.
fn code(reader: &mut Reader<'_>, needs: &mut Vec<Need>) -> Result<(), MarshalError> {
    reader.skip(5 * WORD)?;
    needs.extend([Need::Objects(2), Need::Bytes(WORD), Need::Objects(8)]);
    Ok(())
}

fn reference(reader: &mut Reader<'_>, scan: &mut Scan) -> Result<(), MarshalError> {
    let at = reader.at;
    let number = reader.word()?;
    let known = usize::try_from(number).is_ok_and(|n| n < scan.flagged.len());
    if !known {
        return Err(MarshalError::Reference(number));
    }
    scan.references.push((at, number));
    scan.used.insert(number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_drops_unused_flags_and_renumbers() {
        // A tuple (flagged, unused) of 'a' (flagged, unused), 'b' (flagged), reference to 'b'.
        let loose = b"\xa9\x03\xda\x01a\xda\x01br\x02\0\0\0";
        let tight = b")\x03Z\x01a\xda\x01br\0\0\0\0";
        assert_eq!(canonical(loose).unwrap(), tight);
        assert_eq!(canonical(tight).unwrap(), tight, "canonical stays as it is");
    }

    #[test]
    fn canonical_reads_every_kind_of_object() {
        let objects: [&[u8]; 14] = [
            b"N",
            b"i\x01\0\0\0",
            b"g\0\0\0\0\0\0\0\0",
            b"y\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"s\x02\0\0\0xy",
            b"u\x01\0\0\0x",
            b"l\xfe\xff\xff\xff\x01\0\x02\0",
            b"(\x01\0\0\0N",
            b">\x02\0\0\0NT",
            b"{NTNF0",
            b")\0",
            b":NNN",
            b"f\x011",
            b"x\x011\x012",
        ];
        for bytes in objects {
            assert_eq!(canonical(bytes).unwrap(), bytes);
            for end in 0..bytes.len() {
                assert_eq!(
                    canonical(&bytes[..end]),
                    Err(MarshalError::Truncated),
                    "{bytes:?} cut at {end}"
                );
            }
        }
    }

    #[test]
    fn canonical_refuses_what_it_does_not_know() {
        assert_eq!(canonical(b"?"), Err(MarshalError::Type(b'?')));
        assert_eq!(canonical(b"NN"), Err(MarshalError::Trailing));
        assert_eq!(canonical(b"r\0\0\0\0"), Err(MarshalError::Reference(0)));
        assert_eq!(
            canonical(b"(\xff\xff\xff\xffN"),
            Err(MarshalError::Truncated)
        );
    }
}
