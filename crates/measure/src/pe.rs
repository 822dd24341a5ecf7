//! PE images: headers, sections and the Authenticode digest.
//!
//! Spec: Microsoft PE Format; Windows Authenticode Portable Executable Signature Format, "Calculating
//! the PE Image Hash", as firmware does it (edk2 `SecurityPkg/Library/DxeTpm2MeasureBootLib`).
//! Units: offsets and sizes in bytes, integers little-endian.
//! Not covered: PE32 (32-bit) images, relocation, signatures; only what is hashed.

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

use crate::digest::{Bank, Digest};

/// Sections read at most; firmware of today refuses more than 96.
const MAX_SECTIONS: u16 = 96;
/// Zero bytes a section may have in memory beyond its bytes in the file.
const MAX_ZERO_FILL: usize = 64 << 10;
/// Size of a section header.
const SECTION_HEADER: usize = 40;
/// Offsets inside the optional header of PE32+.
const MAGIC_PE32_PLUS: u16 = 0x20b;
const IMAGE_VERSION: usize = 44;
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const DIRECTORY_COUNT: usize = 108;
const CERTIFICATE_DIRECTORY: usize = 112 + 4 * 8;

/// Why bytes are not a PE image that can be measured.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeError {
    /// A structure reaches past the end.
    #[error("PE {what} at offset {offset} reaches past the end of the image of {have} bytes")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// Where it starts.
        offset: usize,
        /// Bytes of the image.
        have: usize,
    },
    /// No `MZ` or no `PE\0\0` where it must be.
    #[error("not a PE image: no `{wanted}` signature")]
    Signature {
        /// The missing signature.
        wanted: &'static str,
    },
    /// A 32-bit or unknown optional header.
    #[error("PE optional header has magic {found:#x}, wanted {MAGIC_PE32_PLUS:#x} (PE32+)")]
    Magic {
        /// The magic found.
        found: u16,
    },
    /// An optional header without a certificate directory, or shorter than its fields.
    #[error("PE optional header has {found} bytes, wanted at least {wanted}")]
    OptionalHeader {
        /// Size in the file header.
        found: usize,
        /// Size needed.
        wanted: usize,
    },
    /// More sections than anybody reads.
    #[error("PE image has {found} sections, at most {MAX_SECTIONS} are read")]
    TooManySections {
        /// The number in the file header.
        found: u16,
    },
    /// Headers, sections and certificates overlap, so that bytes would be hashed twice.
    #[error("PE headers, sections and certificates cover more bytes than the image has")]
    Overlap,
    /// A certificate table elsewhere than at the end, where tools disagree about what is hashed.
    #[error("PE certificate table ends at {found}, wanted the end of the image at {wanted}")]
    CertificatesNotLast {
        /// Where the table ends.
        found: usize,
        /// The image's size.
        wanted: usize,
    },
    /// A section that is mostly zeros made up by the loader.
    #[error("PE section `{name}` has {found} zero bytes beyond the file, at most {MAX_ZERO_FILL}")]
    ZeroFill {
        /// The section.
        name: String,
        /// Bytes the loader would add.
        found: usize,
    },
}

/// One section header with the bytes it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    name: &'a [u8],
    raw: &'a [u8],
    raw_offset: usize,
    virtual_size: usize,
}

impl<'a> Section<'a> {
    /// Returns the name without padding; bytes that are not UTF-8 are replaced.
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }

    /// Returns the section's bytes in the file, `SizeOfRawData` of them.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Returns the size in memory (`VirtualSize`).
    pub fn virtual_size(&self) -> usize {
        self.virtual_size
    }

    /// Returns the section as the loader lays it out: `VirtualSize` bytes, cut off or filled with zeros.
    ///
    /// # Errors
    /// [`PeError::ZeroFill`] when more than 64 KiB of zeros would be made up.
    pub fn contents(&self) -> Result<Cow<'a, [u8]>, PeError> {
        if let Some(bytes) = self.raw.get(..self.virtual_size) {
            return Ok(Cow::Borrowed(bytes));
        }
        let found = self.virtual_size.saturating_sub(self.raw.len());
        if found > MAX_ZERO_FILL {
            return Err(PeError::ZeroFill {
                name: self.name().into_owned(),
                found,
            });
        }
        let mut bytes = self.raw.to_vec();
        bytes.resize(self.virtual_size, 0);
        Ok(Cow::Owned(bytes))
    }
}

/// A parsed PE32+ image.
#[derive(Debug, Clone)]
pub struct Pe<'a> {
    data: &'a [u8],
    image_version: (u16, u16),
    sections: Vec<Section<'a>>,
    hashed: Vec<Range<usize>>,
}

impl<'a> Pe<'a> {
    /// Parses headers and section table of a whole image file.
    ///
    /// # Errors
    /// See [`PeError`]; every offset is checked here, so that later calls cannot fail on them.
    pub fn parse(data: &'a [u8]) -> Result<Pe<'a>, PeError> {
        if data.get(..2) != Some(b"MZ") {
            return Err(PeError::Signature { wanted: "MZ" });
        }
        let coff = usize32(data, "DOS header", 0x3c)?;
        if slice(data, "signature", coff, 4)? != b"PE\0\0" {
            return Err(PeError::Signature { wanted: "PE" });
        }
        let count = u16_at(data, "file header", coff.saturating_add(6))?;
        if count > MAX_SECTIONS {
            return Err(PeError::TooManySections { found: count });
        }
        let size = usize::from(u16_at(data, "file header", coff.saturating_add(20))?);
        let start = coff.saturating_add(24);
        let optional = slice(data, "optional header", start, size)?;
        let header = OptionalHeader::parse(optional)?;
        let table = start.saturating_add(size);
        let sections = (0..usize::from(count))
            .map(|index| section(data, table.saturating_add(index * SECTION_HEADER)))
            .collect::<Result<Vec<_>, _>>()?;
        let hashed = hashed_ranges(data, start, &header, &sections)?;
        Ok(Pe {
            data,
            image_version: header.image_version,
            sections,
            hashed,
        })
    }

    /// Returns the sections in the order of the section table.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// Returns the first section called `name`, which is the one loaders use.
    pub fn section(&self, name: &str) -> Option<&Section<'a>> {
        self.sections
            .iter()
            .find(|section| section.name == name.as_bytes())
    }

    /// Returns `MajorImageVersion` and `MinorImageVersion`; Linux tells the age of its EFI stub there.
    pub fn image_version(&self) -> (u16, u16) {
        self.image_version
    }

    /// Returns the Authenticode digest: everything but the checksum and the certificates.
    pub fn authenticode(&self, bank: Bank) -> Digest {
        let mut hasher = bank.hasher();
        for range in &self.hashed {
            hasher.update(self.data.get(range.clone()).unwrap_or_default());
        }
        hasher.finish()
    }
}

/// The fields of the optional header that decide what is hashed.
struct OptionalHeader {
    image_version: (u16, u16),
    size_of_headers: usize,
    certificates: Range<usize>,
}

impl OptionalHeader {
    fn parse(header: &[u8]) -> Result<OptionalHeader, PeError> {
        let what = "optional header";
        let short = |wanted| PeError::OptionalHeader {
            found: header.len(),
            wanted,
        };
        let magic = u16_at(header, what, 0).map_err(|_| short(CERTIFICATE_DIRECTORY + 8))?;
        if magic != MAGIC_PE32_PLUS {
            return Err(PeError::Magic { found: magic });
        }
        if header.len() < CERTIFICATE_DIRECTORY + 8 || usize32(header, what, DIRECTORY_COUNT)? < 5 {
            return Err(short(CERTIFICATE_DIRECTORY + 8));
        }
        let version = |offset| u16_at(header, what, offset);
        let certificates = usize32(header, what, CERTIFICATE_DIRECTORY)?;
        let size = usize32(header, what, CERTIFICATE_DIRECTORY + 4)?;
        Ok(OptionalHeader {
            image_version: (version(IMAGE_VERSION)?, version(IMAGE_VERSION + 2)?),
            size_of_headers: usize32(header, what, SIZE_OF_HEADERS)?,
            certificates: certificates..certificates.saturating_add(size),
        })
    }
}

/// Lists the ranges that the Authenticode digest covers, in order; `optional` is the offset of the
/// optional header.
fn hashed_ranges(
    data: &[u8],
    optional: usize,
    header: &OptionalHeader,
    sections: &[Section<'_>],
) -> Result<Vec<Range<usize>>, PeError> {
    let checksum = optional.saturating_add(CHECKSUM);
    let directory = optional.saturating_add(CERTIFICATE_DIRECTORY);
    let rest = directory.saturating_add(8);
    let headers = header.size_of_headers;
    if headers < rest {
        return Err(PeError::Overlap);
    }
    slice(data, "headers", 0, headers)?;
    let mut ranges = vec![0..checksum, checksum + 4..directory, rest..headers];
    let mut by_offset: Vec<&Section<'_>> = sections
        .iter()
        .filter(|section| !section.raw.is_empty())
        .collect();
    by_offset.sort_by_key(|section| section.raw_offset);
    let mut hashed = headers;
    for section in by_offset {
        ranges.push(section.raw_offset..section.raw_offset.saturating_add(section.raw.len()));
        hashed = hashed.saturating_add(section.raw.len());
    }
    let certificates = &header.certificates;
    if !certificates.is_empty() && certificates.end != data.len() {
        let (found, wanted) = (certificates.end, data.len());
        return Err(PeError::CertificatesNotLast { found, wanted });
    }
    let end = data.len().saturating_sub(certificates.len());
    if hashed > end {
        return Err(PeError::Overlap);
    }
    ranges.push(hashed..end);
    Ok(ranges)
}

fn section(data: &[u8], offset: usize) -> Result<Section<'_>, PeError> {
    let header = slice(data, "section header", offset, SECTION_HEADER)?;
    let name = slice(header, "section name", 0, 8)?;
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    let what = "section header";
    let raw_offset = usize32(header, what, 20)?;
    let raw_size = usize32(header, what, 16)?;
    let raw = if raw_size == 0 {
        &[][..]
    } else {
        slice(data, "section", raw_offset, raw_size)?
    };
    Ok(Section {
        name: name.get(..end).unwrap_or_default(),
        raw,
        raw_offset,
        virtual_size: usize32(header, what, 8)?,
    })
}

fn slice<'a>(
    data: &'a [u8],
    what: &'static str,
    offset: usize,
    size: usize,
) -> Result<&'a [u8], PeError> {
    offset
        .checked_add(size)
        .and_then(|end| data.get(offset..end))
        .ok_or(PeError::Truncated {
            what,
            offset,
            have: data.len(),
        })
}

fn u16_at(data: &[u8], what: &'static str, offset: usize) -> Result<u16, PeError> {
    let truncated = PeError::Truncated {
        what,
        offset,
        have: data.len(),
    };
    let bytes = data
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .ok_or(truncated)?;
    Ok(u16::from_le_bytes(*bytes))
}

fn usize32(data: &[u8], what: &'static str, offset: usize) -> Result<usize, PeError> {
    let truncated = PeError::Truncated {
        what,
        offset,
        have: data.len(),
    };
    let bytes = data
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .ok_or(truncated.clone())?;
    usize::try_from(u32::from_le_bytes(*bytes)).map_err(|_| truncated)
}

#[cfg(test)]
pub(crate) mod tests;
