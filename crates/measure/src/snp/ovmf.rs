//! What firmware tells about its launch: the GUIDed table at the end of an OVMF image.
//!
//! Source: edk2 `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.nasm.inc` (table) and
//! `OvmfPkg/ResetVector/X64/OvmfSevMetadata.nasm.inc` (SEV metadata). The table ends 32 bytes before the image end and is
//! read backwards; an entry is data, `u16` length of data plus 18, GUID. Integers are little-endian.

use std::fmt;

use thiserror::Error;

use super::gctx::{Gctx, LaunchDigest, PageType, contents};
use super::vmsa::PAGE_SIZE;

use crate::ovmf_table::{TableError, find, footer_table, u32_at};

const AP_RESET: &str = "00f771de-1a7e-4fcb-890e-68c77e2fb44e";
const HASH_TABLE: &str = "7255371f-3a3b-4b04-927b-1da6efa8d454";
const SEV_METADATA: &str = "dc886566-984a-4798-a75e-5585a7bf67cc";
/// Largest image that is measured: firmware ends at 4 GiB and must not reach down into RAM.
const MAX_IMAGE: usize = 64 << 20;
/// Descriptors and pages that metadata may ask for: far more than any firmware, and quickly hashed.
const MAX_SECTIONS: u32 = 256;
const MAX_PAGES: u64 = 1 << 16;
/// Guest physical address where firmware ends.
const FIRMWARE_END: u64 = 1 << 32;

/// Why bytes are not firmware that can be measured for SEV-SNP.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OvmfError {
    /// Firmware is launched in whole pages.
    #[error("firmware has {found} bytes, wanted a multiple of 4096, at most 64 MiB")]
    Size {
        /// Size of the image.
        found: usize,
    },
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
    /// No SEV metadata: this build cannot start an SEV-SNP guest.
    #[error("firmware has no SEV metadata, so no SEV-SNP guest can start from it")]
    NoSevMetadata,
    /// Metadata of another format.
    #[error("SEV metadata has {what} {found:#x}, wanted {wanted:#x}")]
    Metadata {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u32,
        /// The value that is read here.
        wanted: u32,
    },
    /// A section that is not made of whole pages below 4 GiB, or more pages than are hashed.
    #[error(
        "SEV metadata section {index} at {gpa:#x} of {size:#x} bytes is not made of whole pages, or the sections are too large"
    )]
    SectionRange {
        /// Its position in the metadata.
        index: usize,
        /// Guest physical address.
        gpa: u32,
        /// Size in bytes.
        size: u32,
    },
}

impl From<TableError> for OvmfError {
    fn from(error: TableError) -> OvmfError {
        match error {
            TableError::NoTable => OvmfError::NoTable,
            TableError::Damaged { what, need, have } => OvmfError::Damaged { what, need, have },
        }
    }
}

/// What a section of SEV metadata holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// 1: memory of early firmware stages.
    SecMem,
    /// 2: the secrets page.
    Secrets,
    /// 3: the CPUID page.
    Cpuid,
    /// 4: calling area of an SVSM.
    SvsmCaa,
    /// 0x10: hashes of kernel, initrd and command line.
    KernelHashes,
    /// A type newer than this crate; QEMU launches such pages as zeros.
    Unknown(u32),
}

impl SectionKind {
    fn new(kind: u32) -> SectionKind {
        match kind {
            1 => SectionKind::SecMem,
            2 => SectionKind::Secrets,
            3 => SectionKind::Cpuid,
            4 => SectionKind::SvsmCaa,
            0x10 => SectionKind::KernelHashes,
            other => SectionKind::Unknown(other),
        }
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SectionKind::SecMem => f.write_str("SEC_MEM"),
            SectionKind::Secrets => f.write_str("SNP_SECRETS"),
            SectionKind::Cpuid => f.write_str("CPUID"),
            SectionKind::SvsmCaa => f.write_str("SVSM_CAA"),
            SectionKind::KernelHashes => f.write_str("SNP_KERNEL_HASHES"),
            SectionKind::Unknown(kind) => write!(f, "unknown type {kind:#x}"),
        }
    }
}

/// A range of guest memory that firmware wants launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// First guest physical address, on a page boundary.
    pub gpa: u32,
    /// Size in bytes, whole pages; may be zero.
    pub size: u32,
    /// What it holds.
    pub kind: SectionKind,
}

impl Section {
    /// Returns the guest physical addresses of the section's pages.
    pub(super) fn pages(&self) -> impl Iterator<Item = u64> + use<> {
        let start = u64::from(self.gpa);
        (start..start.saturating_add(u64::from(self.size))).step_by(PAGE_SIZE)
    }
}

/// Firmware as far as the launch digest depends on it: the digest of its pages, and its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ovmf {
    seed: LaunchDigest,
    ap_reset: Option<u32>,
    hash_table: Option<u32>,
    sections: Vec<Section>,
}

impl Ovmf {
    /// Parses a whole firmware image and hashes its pages.
    ///
    /// # Errors
    /// See [`OvmfError`].
    pub fn from_image(image: &[u8]) -> Result<Ovmf, OvmfError> {
        let (pages, rest) = image.as_chunks::<PAGE_SIZE>();
        if !rest.is_empty() || pages.is_empty() || image.len() > MAX_IMAGE {
            return Err(OvmfError::Size { found: image.len() });
        }
        let mut firmware = Ovmf::from_tables(image, LaunchDigest([0; 48]))?;
        let mut gctx = Gctx::new();
        let start = FIRMWARE_END.saturating_sub(image.len() as u64);
        for (page, gpa) in pages.iter().zip((start..).step_by(PAGE_SIZE)) {
            gctx.update(PageType::Normal, gpa, &contents(page));
        }
        firmware.seed = gctx.digest();
        Ok(firmware)
    }

    /// Parses the end of a firmware image and takes the launch digest after its pages as computed before.
    ///
    /// # Errors
    /// See [`OvmfError`].
    pub fn from_tables(tail: &[u8], seed: LaunchDigest) -> Result<Ovmf, OvmfError> {
        let table = footer_table(tail)?;
        let address = |name, what| match find(table, name)? {
            Some(entry) => u32_at(entry, what, 0).map(Some),
            None => Ok(None),
        };
        let ap_reset = address(AP_RESET, "AP reset entry")?;
        // A base of zero means that this build has no hash table (edk2 before 2025-09).
        let hash_table = address(HASH_TABLE, "hash table entry")?.filter(|&base| base != 0);
        let offset = find(table, SEV_METADATA)?.ok_or(OvmfError::NoSevMetadata)?;
        let offset = u32_at(offset, "SEV metadata entry", 0)? as usize;
        let damaged = OvmfError::Damaged {
            what: "SEV metadata",
            need: offset,
            have: tail.len(),
        };
        let start = tail.len().checked_sub(offset).ok_or(damaged.clone())?;
        let sections = metadata(tail.get(start..).ok_or(damaged)?)?;
        Ok(Ovmf {
            seed,
            ap_reset,
            hash_table,
            sections,
        })
    }

    /// Returns the launch digest after the firmware's own pages, usable with [`Ovmf::from_tables`].
    pub fn seed(&self) -> LaunchDigest {
        self.seed
    }

    /// Returns where vCPUs other than the first start, if firmware says so.
    pub fn ap_reset_address(&self) -> Option<u32> {
        self.ap_reset
    }

    /// Returns the guest physical address at which firmware looks for the hashes, if it does.
    pub fn hash_table_address(&self) -> Option<u32> {
        self.hash_table
    }

    /// Returns the sections in the order of the metadata.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Returns whether the firmware has a page for kernel hashes. Whether it compares them is
    /// [`check_enforcement`](super::check_enforcement)'s to say.
    pub(super) fn has_hash_page(&self) -> bool {
        let page =
            |section: &Section| section.kind == SectionKind::KernelHashes && section.size > 0;
        self.sections.iter().any(page)
    }

    /// Returns the sections of types newer than this crate, which are measured as zero pages, as QEMU launches them.
    pub fn unknown_sections(&self) -> impl Iterator<Item = &Section> {
        let unknown = |section: &&Section| matches!(section.kind, SectionKind::Unknown(_));
        self.sections.iter().filter(unknown)
    }
}

/// Parses SEV metadata: `ASEV`, length, version 1, count, then address, size and type of each section.
fn metadata(bytes: &[u8]) -> Result<Vec<Section>, OvmfError> {
    let what = "SEV metadata";
    let field = |offset| u32_at(bytes, what, offset);
    let check = |what, found, wanted| match found == wanted {
        true => Ok(()),
        false => Err(OvmfError::Metadata {
            what,
            found,
            wanted,
        }),
    };
    check("signature", field(0)?, u32::from_le_bytes(*b"ASEV"))?;
    check("version", field(8)?, 1)?;
    let count = field(12)?;
    if count > MAX_SECTIONS {
        return Err(OvmfError::Metadata {
            what: "count",
            found: count,
            wanted: MAX_SECTIONS,
        });
    }
    let mut pages = 0_u64;
    let mut sections = Vec::new();
    for index in 0..count as usize {
        let at = 16 + 12 * index;
        let (gpa, size, kind) = (field(at)?, field(at + 4)?, SectionKind::new(field(at + 8)?));
        pages = pages.saturating_add(u64::from(size) / PAGE_SIZE as u64);
        let whole = (gpa | size).trailing_zeros() >= PAGE_SIZE.trailing_zeros();
        if !whole || pages > MAX_PAGES || gpa.checked_add(size).is_none() {
            return Err(OvmfError::SectionRange { index, gpa, size });
        }
        sections.push(Section { gpa, size, kind });
    }
    Ok(sections)
}
