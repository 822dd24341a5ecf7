//! Attestation reports of NVIDIA GPUs and switches: the request of 37 bytes and the signed response behind it.
//!
//! Spec: DMTF DSP0274 1.1, `GET_MEASUREMENTS` request and `MEASUREMENTS` response; opaque data as NVIDIA's verifiers read it.
//! Units: offsets and lengths in bytes, integers little-endian. SPDM block i + 1 is index i of a RIM.
//!
//! Reading is strict. The end is computed from the fields, and bytes behind the signature are refused: nobody signed
//! them, and NVML says how long a report is. Opaque fields whose number has no name are kept and listed, so that newer
//! firmware stays readable; a field that stands twice is refused. Memory is proportional to the input, never to a length in it.
//! Not covered: what the values mean ([`crate::appraise`]), SPDM 1.2 and later, slots other than 0.

mod cursor;
mod opaque;

use thiserror::Error;

use crate::Digest;
use crate::signature::{Encoding, Point, Verify};
use cursor::Cursor;

pub use opaque::{Feature, Field, Opaque, Status};

/// Length of the request in bytes.
pub const REQUEST: usize = 37;
/// Length of a nonce in bytes.
pub const NONCE: usize = 32;
/// Length of the signature in bytes: r and s of P-384.
pub const SIGNATURE: usize = 96;
/// Blocks in the report of a GPU.
pub const GPU_BLOCKS: usize = 64;
/// Length of one measurement block: header, DMTF header, SHA-384.
const BLOCK: u32 = 55;
const SPDM_1_1: u8 = 0x11;
const GET_MEASUREMENTS: u8 = 0xe0;
const MEASUREMENTS: u8 = 0x60;

/// Why bytes are not a report. Offsets are from the start of the request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The input ends inside of a part.
    #[error("{part} at offset {offset} needs {need} bytes, {have} are left")]
    Truncated {
        /// Name of the part.
        part: &'static str,
        /// Where it starts.
        offset: usize,
        /// Its length.
        need: usize,
        /// What is there.
        have: usize,
    },
    /// A field whose value is fixed has another one.
    #[error("{part} at offset {offset} is {found:#x}, wanted {wanted:#x}")]
    Value {
        /// Name of the field.
        part: &'static str,
        /// Where it stands.
        offset: usize,
        /// The only value.
        wanted: u32,
        /// The value there.
        found: u32,
    },
    /// No block, or more than an index can name.
    #[error("number of blocks at offset {offset} is {found}, wanted 1 to 64")]
    Blocks {
        /// Where it stands.
        offset: usize,
        /// The number there.
        found: u8,
    },
    /// An opaque field that stands twice.
    #[error("opaque field {kind} stands twice, again at offset {offset}")]
    Twice {
        /// Its number.
        kind: u16,
        /// Where the second one starts.
        offset: usize,
    },
    /// The number that NVIDIA keeps for no field.
    #[error("opaque field at offset {offset} has the invalid number 255")]
    Invalid {
        /// Where the field starts.
        offset: usize,
    },
    /// An opaque field of another length than it has.
    #[error("opaque field {name} at offset {offset} has {found} bytes, wanted {wanted}")]
    Length {
        /// Its name.
        name: &'static str,
        /// Where the field starts.
        offset: usize,
        /// The length or lengths it may have.
        wanted: &'static str,
        /// The length there.
        found: usize,
    },
    /// An opaque field that should be text and is not: visible ASCII, then zeros alone.
    #[error("opaque field {name} at offset {offset} is not ASCII text with zeros behind it")]
    Text {
        /// Its name.
        name: &'static str,
        /// Where the field starts.
        offset: usize,
    },
    /// An opaque field that holds none of the known values.
    #[error("opaque field {name} at offset {offset} has the unknown value {found:#x}")]
    Unknown {
        /// Its name.
        name: &'static str,
        /// Where the field starts.
        offset: usize,
        /// The value there.
        found: u16,
    },
    /// Bytes behind the signature, which nobody signed.
    #[error("{found} bytes behind the signature, which ends at offset {offset}")]
    Trailing {
        /// Where the signature ends.
        offset: usize,
        /// How many bytes follow.
        found: usize,
    },
}

/// A report: the structure is right, nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    /// What the requester chose: the nonce to compare.
    pub nonce: [u8; NONCE],
    /// What the device chose.
    pub responder_nonce: [u8; NONCE],
    /// SHA-384 by index of a RIM, 1 to 64 of them.
    pub measurements: Vec<Digest>,
    /// Opaque fields in the order of the report.
    pub fields: Vec<Field<'a>>,
    /// The fields that are understood.
    pub opaque: Opaque,
    /// r and s, 48 bytes each, big-endian.
    pub signature: [u8; SIGNATURE],
    signed: &'a [u8],
}

impl<'a> Report<'a> {
    /// Reads request and response; nothing may follow.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReportError> {
        let mut cursor = Cursor::new(bytes);
        let nonce = request(&mut cursor)?;
        let measurements = response(&mut cursor)?;
        let responder_nonce = cursor.array("responder nonce")?;
        let length = u16::from_le_bytes(cursor.array("opaque length")?);
        let fields = opaque::fields(cursor.part("opaque data", usize::from(length))?)?;
        let opaque = Opaque::read(&fields)?;
        let (signed, rest) = cursor.split();
        let signature = cursor.array("signature")?;
        match rest.len() - SIGNATURE {
            0 => Ok(Self {
                nonce,
                responder_nonce,
                measurements,
                fields,
                opaque,
                signature,
                signed,
            }),
            found => Err(ReportError::Trailing {
                offset: cursor.offset(),
                found,
            }),
        }
    }

    /// Whether the holder of `key` signed request and response, as they were read.
    pub(crate) fn signed_by(&self, key: &Point, verify: Verify) -> bool {
        verify(key, Encoding::Fixed, self.signed, &self.signature)
    }

    /// Opaque fields without a name, in the order of the report.
    pub fn unknown(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter().filter(|field| field.name().is_none())
    }

    /// Id of the driver's RIM at NVIDIA's service, where the report has the parts of it.
    pub fn driver_rim(&self) -> Option<String> {
        let driver = self.opaque.driver.as_ref()?;
        Some(format!("NV_GPU_DRIVER_GH100_{driver}"))
    }

    /// Id of the VBIOS RIM at NVIDIA's service, where the report has the parts of it.
    pub fn vbios_rim(&self) -> Option<String> {
        let Opaque {
            project,
            project_sku,
            chip_sku,
            vbios,
            ..
        } = &self.opaque;
        let vbios = vbios.as_ref()?.replace('.', "").to_uppercase();
        let (project, project_sku) = (project.as_ref()?, project_sku.as_ref()?);
        let chip_sku = chip_sku.as_ref()?;
        Some(format!(
            "NV_GPU_VBIOS_{project}_{project_sku}_{chip_sku}_{vbios}"
        ))
    }
}

/// Reads the request and gives its nonce.
fn request(cursor: &mut Cursor<'_>) -> Result<[u8; NONCE], ReportError> {
    cursor.constant("SPDM version of the request", SPDM_1_1)?;
    cursor.constant("code of the request", GET_MEASUREMENTS)?;
    cursor.constant("Param1 of the request", 1)?;
    cursor.constant("Param2 of the request", 0xff)?;
    let nonce = cursor.array("requester nonce")?;
    cursor.constant("SlotIDParam", 0)?;
    Ok(nonce)
}

/// Reads the response up to the responder's nonce and gives the measurements.
fn response(cursor: &mut Cursor<'_>) -> Result<Vec<Digest>, ReportError> {
    cursor.constant("SPDM version of the response", SPDM_1_1)?;
    cursor.constant("code of the response", MEASUREMENTS)?;
    cursor.constant("Param1 of the response", 0)?;
    cursor.constant("Param2 of the response", 0)?;
    let offset = cursor.offset();
    let [count] = cursor.array("number of blocks")?;
    if !(1..=64).contains(&count) {
        return Err(ReportError::Blocks {
            offset,
            found: count,
        });
    }
    let offset = cursor.offset();
    let [low, middle, high] = cursor.array("record length")?;
    let found = u32::from_le_bytes([low, middle, high, 0]);
    let wanted = u32::from(count) * BLOCK;
    if found != wanted {
        return Err(ReportError::Value {
            part: "record length",
            offset,
            wanted,
            found,
        });
    }
    (1..=count).map(|index| block(cursor, index)).collect()
}

/// Reads the block at its place: indices count from 1 without a gap.
fn block(cursor: &mut Cursor<'_>, index: u8) -> Result<Digest, ReportError> {
    cursor.constant("block index", index)?;
    cursor.constant("measurement specification", 1)?;
    cursor.constant16("measurement size", 51)?;
    cursor.constant("measurement value type", 1)?;
    cursor.constant16("measurement value size", 48)?;
    cursor.array("measurement value")
}
