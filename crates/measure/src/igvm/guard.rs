//! What must hold before hostile bytes reach the `igvm` crate, which panics on some of them.
//!
//! Each check names the panic it prevents (crate `igvm` 0.5.0, `src/lib.rs`). The crate's own checks come after these and are
//! not repeated. A header of a type or length that is not listed here ends the reading: the crate would print to stderr.

use thiserror::Error;

use super::{IgvmError, MAX_FILE};

const MAGIC: u32 = 0x4d56_4749;
/// Sizes of the fixed header of format version 1 and 2.
const FIXED: [usize; 2] = [24, 32];
const SUPPORTED_PLATFORM: u32 = 0x1;
const RELOCATABLE_REGION: u32 = 0x102;
const PAGE_TABLE_REGION: u32 = 0x103;
const CORIM_DOCUMENT: u32 = 0x104;
const CORIM_SIGNATURE: u32 = 0x105;
const PARAMETER_AREA: u32 = 0x301;
const PAGE_DATA: u32 = 0x302;
const VP_CONTEXT: u32 = 0x304;
/// Platform with VP contexts that are lists of registers.
const VSM_ISOLATION: u8 = 1;
const PAGE: usize = 4096;
/// Largest parameter area, in bytes.
const MAX_AREA: u64 = 64 << 20;
/// Data that headers may name together: the crate copies it for each, also when many name the same.
const MAX_COPIED: u64 = 1 << 30;
/// Guest physical addresses end here at the latest.
const MAX_ADDRESS: u64 = 1 << 52;

/// Types of variable headers that are read, with the length each has.
const LENGTHS: [(u32, usize); 25] = [
    (SUPPORTED_PLATFORM, 16),
    (0x101, 16), // guest policy
    (RELOCATABLE_REGION, 48),
    (PAGE_TABLE_REGION, 32),
    (CORIM_DOCUMENT, 16),
    (CORIM_SIGNATURE, 16),
    (0x106, 32), // policy of Arm CCA
    (PARAMETER_AREA, 16),
    (PAGE_DATA, 24),
    (0x303, 16), // parameter insert
    (VP_CONTEXT, 20),
    (0x305, 24), // required memory
    (0x307, 8),  // 0x307 to 0x30a: parameters
    (0x308, 8),
    (0x309, 8),
    (0x30a, 8),
    (0x30b, 696), // SNP ID block
    (0x30c, 8),   // memory map
    (0x30d, 16),  // error range
    (0x30e, 8),   // 0x30e to 0x310: parameters
    (0x30f, 8),
    (0x310, 8),
    (0x311, 864), // VBS measurement
    (0x312, 8),   // device tree
    (0x313, 8),   // environment
];

/// What is wrong with a variable header of an IGVM file.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderFault {
    /// A header that reaches past the end of the headers.
    #[error("reaches past the end of the headers")]
    Truncated,
    /// A type that is not read here.
    #[error("its type is not known")]
    Unknown,
    /// A length that its type does not have.
    #[error("its length is {found}, wanted {wanted}")]
    Length {
        /// Length in the header.
        found: u32,
        /// Length of the type.
        wanted: usize,
    },
    /// Data before, or past the end of, the file's data.
    #[error("its {size} bytes of data at byte {start} lie outside the file's data")]
    Data {
        /// Where the data starts in the file.
        start: u32,
        /// How long it is.
        size: u64,
    },
    /// A region of memory that is empty or ends past every address.
    #[error("its region of {size:#x} bytes at {gpa:#x} is empty, too large or out of range")]
    Region {
        /// Guest physical address.
        gpa: u64,
        /// Size in bytes.
        size: u64,
    },
    /// An alignment of zero.
    #[error("its alignment is 0")]
    Alignment,
    /// Registers of a VBS guest that the `igvm` crate does not read.
    #[error("its registers are not those of one VTL of the first processor")]
    VbsRegisters,
}

/// Refuses files that the `igvm` crate must not see.
///
/// # Errors
/// See [`IgvmError`].
pub(super) fn check(bytes: &[u8]) -> Result<(), IgvmError> {
    if bytes.len() > MAX_FILE {
        return Err(IgvmError::TooLarge { found: bytes.len() });
    }
    let file = File::open(bytes)?;
    let (mut vbs, mut copied) = (Vec::new(), 0_u64);
    let mut at = file.headers;
    while at < file.data {
        let header = Header::read(&file, at)?;
        let fault = |fault| IgvmError::Header {
            kind: header.kind,
            offset: at,
            fault,
        };
        copied = copied.saturating_add(header.check(&file, &mut vbs).map_err(fault)?);
        if copied > MAX_COPIED {
            return Err(IgvmError::TooManyPages);
        }
        // Headers start at multiples of 8 from the first one.
        at += 8 + header.body.len().next_multiple_of(8);
    }
    Ok(())
}

/// The sections of a file.
struct File<'a> {
    bytes: &'a [u8],
    /// Where the variable headers start.
    headers: usize,
    /// Where they end and data starts.
    data: usize,
}

impl<'a> File<'a> {
    /// Prevents: overflow of offset plus size of the headers; a split past the end.
    fn open(bytes: &'a [u8]) -> Result<File<'a>, IgvmError> {
        let fixed = |what, found: usize, wanted: usize| IgvmError::Fixed {
            what,
            found: found as u64,
            wanted: wanted as u64,
        };
        let magic = long(bytes, 0) as usize;
        if magic != MAGIC as usize {
            return Err(fixed("magic", magic, MAGIC as usize));
        }
        let version = long(bytes, 4) as usize;
        let size = version.checked_sub(1).and_then(|index| FIXED.get(index));
        let size = *size.ok_or(fixed("format version", version, FIXED.len()))?;
        if bytes.len() < size {
            return Err(fixed("size", bytes.len(), size));
        }
        let total = long(bytes, 16) as usize;
        if total != bytes.len() {
            return Err(fixed("total file size", total, bytes.len()));
        }
        let headers = long(bytes, 8) as usize;
        if headers < size || headers >= total {
            return Err(fixed("variable header offset", headers, size));
        }
        let length = long(bytes, 12) as usize;
        let data = headers.checked_add(length).filter(|data| *data < total);
        let data = data.ok_or(fixed("variable header size", length, total - headers))?;
        Ok(File {
            bytes,
            headers,
            data,
        })
    }

    /// Prevents: underflow of a data offset before the data, and slices past its end.
    fn data(&self, start: u32, size: u64) -> Result<&'a [u8], HeaderFault> {
        let outside = HeaderFault::Data { start, size };
        let length = usize::try_from(size).map_err(|_| outside)?;
        let place = (start as usize >= self.data).then_some(start as usize);
        let rest = place.and_then(|start| self.bytes.get(start..));
        rest.and_then(|rest| rest.get(..length)).ok_or(outside)
    }
}

/// A variable header.
struct Header<'a> {
    kind: u32,
    body: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(file: &File<'a>, at: usize) -> Result<Header<'a>, IgvmError> {
        let rest = file.bytes.get(at..file.data).unwrap_or_default();
        let (kind, length) = (long(rest, 0), long(rest, 4));
        let fault = |fault| IgvmError::Header {
            kind,
            offset: at,
            fault,
        };
        if rest.len() < 8 {
            return Err(fault(HeaderFault::Truncated));
        }
        let known = LENGTHS.iter().find(|(known, _)| *known == kind);
        let (_, wanted) = *known.ok_or(fault(HeaderFault::Unknown))?;
        if length as usize != wanted {
            return Err(fault(HeaderFault::Length {
                found: length,
                wanted,
            }));
        }
        // The padding behind a header belongs to it: the crate skips it without looking.
        let whole = rest
            .get(8..)
            .and_then(|body| body.get(..wanted.next_multiple_of(8)));
        let body = whole
            .and_then(|body| body.get(..wanted))
            .ok_or(fault(HeaderFault::Truncated))?;
        Ok(Header { kind, body })
    }

    /// Returns how many bytes of data the header names.
    fn check(&self, file: &File<'_>, vbs: &mut Vec<u32>) -> Result<u64, HeaderFault> {
        let body = self.body;
        match self.kind {
            SUPPORTED_PLATFORM if body.get(5) == Some(&VSM_ISOLATION) => vbs.push(long(body, 0)),
            // Prevents: division by an alignment of 0.
            RELOCATABLE_REGION if longer(body, 8) == 0 => return Err(HeaderFault::Alignment),
            RELOCATABLE_REGION => region(longer(body, 16), longer(body, 24))?,
            PAGE_TABLE_REGION => region(longer(body, 8), longer(body, 16))?,
            CORIM_DOCUMENT | CORIM_SIGNATURE => {
                return data(file, long(body, 4), long(body, 8).into());
            }
            PARAMETER_AREA => {
                let size = longer(body, 0);
                if size > MAX_AREA {
                    return Err(HeaderFault::Region { gpa: 0, size });
                }
                return data(file, long(body, 12), size);
            }
            PAGE_DATA => return data(file, long(body, 12), PAGE as u64),
            VP_CONTEXT if vbs.contains(&long(body, 8)) => registers(file, body)?,
            // A processor always has a context: 0 is no place for it.
            VP_CONTEXT => return file.data(long(body, 12), PAGE as u64).map(length),
            _ => {}
        }
        Ok(0)
    }
}

/// Data that may be absent, which an offset of 0 says.
fn data(file: &File<'_>, start: u32, size: u64) -> Result<u64, HeaderFault> {
    if start == 0 {
        return Ok(0);
    }
    file.data(start, size).map(length)
}

fn length(data: &[u8]) -> u64 {
    data.len() as u64
}

/// Prevents: underflow of the last address of an empty region, overflow of its end.
fn region(gpa: u64, size: u64) -> Result<(), HeaderFault> {
    let end = gpa
        .checked_add(size)
        .filter(|end| *end <= MAX_ADDRESS && size > 0);
    end.map(drop).ok_or(HeaderFault::Region { gpa, size })
}

/// Prevents: assertions that all registers are of one VTL and the processor is the first.
fn registers(file: &File<'_>, body: &[u8]) -> Result<(), HeaderFault> {
    let start = long(body, 12);
    let count = u64::from(long(file.data(start, 4)?, 0));
    let list = file
        .data(start, 4 + 32 * count)?
        .get(4..)
        .unwrap_or_default();
    let (list, _) = list.as_chunks::<32>();
    let vtl = |register: &[u8; 32]| register.first().copied();
    let one = list
        .iter()
        .all(|register| vtl(register) == list.first().and_then(vtl));
    let first = body.get(16..18) == Some(&[0, 0]);
    (one && first)
        .then_some(())
        .ok_or(HeaderFault::VbsRegisters)
}

/// Returns the integer at byte `at`; where it is missing, 0.
fn long(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// As [`long`], for 64 bits.
fn longer(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
