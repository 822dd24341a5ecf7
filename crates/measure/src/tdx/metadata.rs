//! TDX metadata of an OVMF image: the sections that a VMM adds to a guest before it runs.
//!
//! Spec: Intel TDX Virtual Firmware Design Guide, section 11.2. An entry of the GUIDed table gives the distance of
//! the descriptor from the image end; the descriptor is `TDVF`, `u32` length, version 1, count, then per section 32
//! bytes: `u32` offset and size in the image, `u64` address and size in memory, `u32` type and attributes.
//! Checks beyond the format: sections may not overlap (a page is added once) and must fit in memory, as QEMU
//! (`hw/i386/tdvf.c`) and the TDX module demand.

use std::fmt;

use thiserror::Error;

use crate::digest::{Bank, Digest};
use crate::ovmf_table::{TableError, find, footer_table, u32_at};

/// Size of a page in bytes.
pub(super) const PAGE: usize = 4096;
/// Table entry with the distance of the descriptor from the image end.
const TDX_METADATA: &str = "e47a6535-984a-4798-865e-4685a7bf8ec2";
const DESCRIPTOR: usize = 16;
const SECTION: usize = 32;
/// Attribute bit 0: contents are measured.
const EXTEND: u32 = 1;
/// Attribute bit 1: pages are added while the guest runs, so they are not measured.
const PAGE_AUG: u32 = 2;
/// Largest image that is measured: firmware ends at 4 GiB and must not reach down into RAM.
const MAX_IMAGE: usize = 64 << 20;
/// Sections and pages that metadata may ask for: far more than any firmware, and quickly hashed.
const MAX_SECTIONS: u32 = 256;
const MAX_PAGES: u64 = 1 << 16;
/// Guest physical addresses end here at the latest.
const MAX_ADDRESS: u64 = 1 << 52;

/// Why bytes are not firmware that can be measured for TDX.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TdvfError {
    /// Larger than any firmware.
    #[error("firmware has {found} bytes, at most 64 MiB are measured")]
    Size {
        /// Size of the image.
        found: usize,
    },
    /// The table at the end is missing or damaged.
    #[error(transparent)]
    Table(#[from] TableError),
    /// No TDX metadata: this build cannot start a TDX guest.
    #[error("firmware has no TDX metadata, so no TDX guest can start from it")]
    NoMetadata,
    /// Metadata of another format.
    #[error("TDX metadata has {what} {found:#x}, wanted {wanted:#x}")]
    Metadata {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u32,
        /// The value that is read here.
        wanted: u32,
    },
    /// A section that contradicts itself, the image or another section.
    #[error("TDX metadata section {index} ({kind}) at {gpa:#x}: {fault}")]
    Section {
        /// Its position in the metadata.
        index: usize,
        /// Its type.
        kind: SectionKind,
        /// Guest physical address.
        gpa: u64,
        /// What is wrong.
        fault: SectionFault,
    },
    /// No section's contents are measured.
    #[error("no section of the TDX metadata is extended, so MRTD would not cover the firmware")]
    NothingMeasured,
}

/// What is wrong with a section of TDX metadata.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SectionFault {
    /// Not made of whole pages below 2^52, or the sections are too large together.
    #[error(
        "{size:#x} bytes of memory are not whole pages in range, or all sections are too large"
    )]
    Memory {
        /// Size in memory in bytes.
        size: u64,
    },
    /// Contents that lie outside the image.
    #[error(
        "{size:#x} bytes at image offset {offset:#x} lie outside the image of {image:#x} bytes"
    )]
    Image {
        /// Offset in the image.
        offset: u32,
        /// Size in the image.
        size: u32,
        /// Size of the image.
        image: usize,
    },
    /// More contents than memory, or measured pages without contents.
    #[error("{data:#x} bytes of contents for {memory:#x} bytes of memory")]
    Contents {
        /// Size in the image.
        data: u32,
        /// Size in memory.
        memory: u64,
    },
    /// Pages that are added late cannot be measured at launch.
    #[error("its attributes {attributes:#x} ask for pages that are both measured and added late")]
    Attributes {
        /// The attributes.
        attributes: u32,
    },
    /// A page can be added once.
    #[error("it overlaps section {other}")]
    Overlap {
        /// The earlier section.
        other: usize,
    },
}

/// What a section of TDX metadata holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// 0: boot firmware volume, the code.
    BootFirmware,
    /// 1: configuration firmware volume, the variables; firmware measures it into RTMR0.
    ConfigurationFirmware,
    /// 2: hand-off block, written by the VMM; firmware measures it into RTMR0.
    TdHob,
    /// 3: memory of early firmware stages.
    TempMem,
    /// 4: memory that is given to the guest before it runs.
    PermMem,
    /// 5: a kernel or other payload.
    Payload,
    /// 6: parameters of the payload.
    PayloadParam,
    /// A type newer than this crate. Its attributes alone decide what is measured; QEMU refuses it.
    Unknown(u32),
}

impl SectionKind {
    fn new(kind: u32) -> SectionKind {
        match kind {
            0 => SectionKind::BootFirmware,
            1 => SectionKind::ConfigurationFirmware,
            2 => SectionKind::TdHob,
            3 => SectionKind::TempMem,
            4 => SectionKind::PermMem,
            5 => SectionKind::Payload,
            6 => SectionKind::PayloadParam,
            other => SectionKind::Unknown(other),
        }
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectionKind::BootFirmware => f.write_str("BFV"),
            SectionKind::ConfigurationFirmware => f.write_str("CFV"),
            SectionKind::TdHob => f.write_str("TD_HOB"),
            SectionKind::TempMem => f.write_str("TempMem"),
            SectionKind::PermMem => f.write_str("PermMem"),
            SectionKind::Payload => f.write_str("Payload"),
            SectionKind::PayloadParam => f.write_str("PayloadParam"),
            SectionKind::Unknown(kind) => write!(f, "unknown type {kind:#x}"),
        }
    }
}

/// A range of guest memory that firmware wants before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// What it holds.
    pub kind: SectionKind,
    /// First guest physical address, on a page boundary.
    pub gpa: u64,
    /// Size in memory in bytes, whole pages; may be zero.
    pub size: u64,
    /// Contents from the image; empty where the VMM or nobody fills the pages. As long as `size` when measured.
    pub data: &'a [u8],
    /// Attributes as stored: bit 0 extend, bit 1 page-aug.
    pub attributes: u32,
}

impl Section<'_> {
    /// Returns whether the pages are added before the guest runs, which measures their addresses.
    pub fn is_added(&self) -> bool {
        self.attributes & PAGE_AUG == 0
    }

    /// Returns whether the contents are measured too.
    pub fn is_extended(&self) -> bool {
        self.attributes & EXTEND != 0
    }

    /// Returns the first address behind the section.
    pub fn end(&self) -> u64 {
        self.gpa.saturating_add(self.size)
    }

    fn overlaps(&self, other: &Section<'_>) -> bool {
        self.size > 0 && other.size > 0 && self.gpa < other.end() && other.gpa < self.end()
    }
}

/// Firmware with TDX metadata ("TDVF"), checked so that both page orders can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tdvf<'a> {
    sections: Vec<Section<'a>>,
}

impl<'a> Tdvf<'a> {
    /// Parses a whole firmware image.
    ///
    /// # Errors
    /// See [`TdvfError`].
    pub fn from_image(image: &'a [u8]) -> Result<Tdvf<'a>, TdvfError> {
        if image.len() > MAX_IMAGE {
            return Err(TdvfError::Size { found: image.len() });
        }
        let entry = find(footer_table(image)?, TDX_METADATA)?.ok_or(TdvfError::NoMetadata)?;
        let distance = u32_at(entry, "TDX metadata entry", 0)? as usize;
        let start = image.len().checked_sub(distance);
        let descriptor = start.and_then(|start| image.get(start..));
        let descriptor = descriptor.ok_or(TableError::Damaged {
            what: "TDX metadata",
            need: distance,
            have: image.len(),
        })?;
        let sections = sections(descriptor, image)?;
        if !sections.iter().any(|s| s.is_extended() && s.size > 0) {
            return Err(TdvfError::NothingMeasured);
        }
        Ok(Tdvf { sections })
    }

    /// Returns the sections in the order of the metadata.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// Returns the SHA-384 of the configuration volume as shipped: the second event of RTMR0 on QEMU.
    pub fn configuration_volume(&self) -> Option<Digest> {
        let is_volume = |section: &&Section<'_>| section.kind == SectionKind::ConfigurationFirmware;
        let section = self.sections.iter().find(is_volume)?;
        Some(Bank::Sha384.hash(&[section.data]))
    }
}

fn sections<'a>(descriptor: &[u8], image: &'a [u8]) -> Result<Vec<Section<'a>>, TdvfError> {
    let what = "TDX metadata";
    let count = count(descriptor)?;
    let mut pages = 0_u64;
    let mut sections: Vec<Section<'a>> = Vec::new();
    for index in 0..count as usize {
        let at = DESCRIPTOR + SECTION * index;
        let raw = RawSection::read(descriptor.get(at..).unwrap_or_default(), what)?;
        let section = raw.check(image).and_then(|section| {
            pages = pages.saturating_add(section.size / PAGE as u64);
            let earlier = sections.iter().position(|other| section.overlaps(other));
            match earlier {
                _ if pages > MAX_PAGES => Err(SectionFault::Memory { size: section.size }),
                Some(other) => Err(SectionFault::Overlap { other }),
                None => Ok(section),
            }
        });
        let fault = |fault| TdvfError::Section {
            index,
            kind: SectionKind::new(raw.kind),
            gpa: raw.gpa,
            fault,
        };
        sections.push(section.map_err(fault)?);
    }
    Ok(sections)
}

/// Checks the descriptor and returns the number of sections.
fn count(descriptor: &[u8]) -> Result<u32, TdvfError> {
    let field = |offset| u32_at(descriptor, "TDX metadata", offset);
    let check = |what, found, wanted| match found == wanted {
        true => Ok(()),
        false => Err(TdvfError::Metadata {
            what,
            found,
            wanted,
        }),
    };
    check("signature", field(0)?, u32::from_le_bytes(*b"TDVF"))?;
    check("version", field(8)?, 1)?;
    let count = field(12)?;
    if count > MAX_SECTIONS {
        check("count", count, MAX_SECTIONS)?;
    }
    check("length", field(4)?, 16 + 32 * count)?;
    Ok(count)
}

/// The fields of a section as stored.
#[derive(Debug, Clone, Copy)]
struct RawSection {
    offset: u32,
    data: u32,
    gpa: u64,
    size: u64,
    kind: u32,
    attributes: u32,
}

impl RawSection {
    fn read(bytes: &[u8], what: &'static str) -> Result<RawSection, TableError> {
        let word = |offset| u32_at(bytes, what, offset);
        let long = |offset| Ok(u64::from(word(offset)?) | u64::from(word(offset + 4)?) << 32);
        Ok(RawSection {
            offset: word(0)?,
            data: word(4)?,
            gpa: long(8)?,
            size: long(16)?,
            kind: word(24)?,
            attributes: word(28)?,
        })
    }

    fn check<'a>(&self, image: &'a [u8]) -> Result<Section<'a>, SectionFault> {
        let RawSection {
            offset,
            data: length,
            gpa,
            size,
            kind,
            attributes,
        } = *self;
        let end = gpa.checked_add(size).filter(|end| *end <= MAX_ADDRESS);
        if (gpa | size) % PAGE as u64 != 0 || end.is_none() {
            return Err(SectionFault::Memory { size });
        }
        let data = image
            .get(offset as usize..)
            .and_then(|rest| rest.get(..length as usize));
        let outside = SectionFault::Image {
            offset,
            size: length,
            image: image.len(),
        };
        // The place of absent contents means nothing.
        let data = if length == 0 {
            &[]
        } else {
            data.ok_or(outside)?
        };
        let section = Section {
            kind: SectionKind::new(kind),
            gpa,
            size,
            data,
            attributes,
        };
        let filled = u64::from(length) == size;
        if u64::from(length) > size || section.is_extended() && !filled {
            return Err(SectionFault::Contents {
                data: length,
                memory: size,
            });
        }
        if section.is_extended() && !section.is_added() {
            return Err(SectionFault::Attributes { attributes });
        }
        Ok(section)
    }
}
