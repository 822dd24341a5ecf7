//! Unified kernel image: sections appended to the locked systemd stub.
//!
//! Spec: UAPI.5 Unified Kernel Image; Microsoft PE/COFF, sections "COFF File Header", "Optional Header", "Section Table".
//! Layout: the stub's own sections stay as they are (with its `.sbat`); `.cmdline`, `.initrd` and `.linux` follow in
//! this order (the kernel last, as `ukify` does), each at the next multiple of the section alignment in memory and of
//! the file alignment in the file, padded with zeros. `VirtualSize` is the exact length, so that what PCR 11 measures
//! is the content. Time stamp and checksum are zero: neither is read by firmware, both are covered by no signature here.
//! Not covered: signatures (a signed stub is refused), `.osrel` and the like (they would change PCR 9 and say nothing).

use thiserror::Error;

use crate::le::{array_at, put, u16_at, u32_at};

/// Path of the UKI on the EFI system partition: the one that firmware starts without a boot entry (UEFI 2.10, 3.5.1.1).
pub(crate) const BOOT_PATH: &str = "EFI/BOOT/BOOTX64.EFI";

const SECTION_HEADER: usize = 40;
const COFF_HEADER: usize = 24;
const PE32_PLUS: u16 = 0x20b;
/// Initialised data, readable.
const CHARACTERISTICS: u32 = 0x4000_0040;

/// Contents of the sections that we add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sections<'a> {
    /// Kernel command line, without a trailing NUL.
    pub(crate) cmdline: &'a [u8],
    /// Initial RAM disk.
    pub(crate) initrd: &'a [u8],
    /// Kernel with EFI stub (bzImage).
    pub(crate) linux: &'a [u8],
}

/// Why no UKI could be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum UkiError {
    /// The stub is not a PE32+ file, or ends inside of a header.
    #[error("stub is not a PE32+ file: {0} is missing or wrong")]
    NotPe(&'static str),
    /// The section table cannot grow.
    #[error(
        "stub has room for {room} more section headers before its first section, wanted {wanted}"
    )]
    NoRoom {
        /// Headers that fit.
        room: usize,
        /// Headers to add.
        wanted: usize,
    },
    /// The stub is signed, or has a symbol table, behind its last section.
    #[error("stub has a {0}, which added sections would damage")]
    Trailing(&'static str),
    /// The stub already has a section that we add.
    #[error("stub already has a section `{0}`")]
    Present(String),
    /// The file would pass 4 GiB.
    #[error("kernel image does not fit a PE file: {0} passes 4 GiB")]
    TooLarge(&'static str),
    /// A section would be empty.
    #[error("section `{0}` is empty")]
    Empty(&'static str),
}

/// Offsets and numbers of the stub that appending needs.
struct Stub {
    coff: usize,
    optional: usize,
    table_end: usize,
    count: u16,
    section_alignment: u32,
    file_alignment: u32,
    next_address: u32,
}

/// The UKI made of `stub` and `sections`.
pub(crate) fn build(stub: &[u8], sections: &Sections<'_>) -> Result<Vec<u8>, UkiError> {
    let added = [
        (".cmdline", sections.cmdline),
        (".initrd", sections.initrd),
        (".linux", sections.linux),
    ];
    let layout = Stub::read(stub, added.len())?;
    let mut image = stub.to_vec();
    let mut address = layout.next_address;
    let mut data_size = 0_u32;
    for (index, (name, bytes)) in added.into_iter().enumerate() {
        if bytes.is_empty() {
            return Err(UkiError::Empty(name));
        }
        align_file(&mut image, layout.file_alignment)?;
        let offset = u32::try_from(image.len()).map_err(|_| UkiError::TooLarge(name))?;
        let size = u32::try_from(bytes.len()).map_err(|_| UkiError::TooLarge(name))?;
        image.extend(bytes);
        align_file(&mut image, layout.file_alignment)?;
        let raw = u32::try_from(image.len()).map_err(|_| UkiError::TooLarge(name))? - offset;
        let header = section_header(name, [size, address, raw, offset]);
        let at = layout.table_end + index * SECTION_HEADER;
        put(&mut image, at, &header).ok_or(UkiError::NotPe("section table"))?;
        let end = address.checked_add(size).ok_or(UkiError::TooLarge(name))?;
        address = align(end, layout.section_alignment).ok_or(UkiError::TooLarge(name))?;
        data_size = data_size.checked_add(raw).ok_or(UkiError::TooLarge(name))?;
    }
    layout
        .finish(&mut image, address, data_size)
        .ok_or(UkiError::NotPe("optional header"))?;
    Ok(image)
}

impl Stub {
    fn read(stub: &[u8], wanted: usize) -> Result<Self, UkiError> {
        let word = |at, what| u32_at(stub, at).ok_or(UkiError::NotPe(what));
        if stub.get(..2) != Some(b"MZ") {
            return Err(UkiError::NotPe("`MZ`"));
        }
        let coff =
            usize::try_from(word(0x3c, "e_lfanew")?).map_err(|_| UkiError::NotPe("e_lfanew"))?;
        if array_at(stub, coff) != Some(*b"PE\0\0") {
            return Err(UkiError::NotPe("`PE` signature"));
        }
        let count = u16_at(stub, coff + 6).ok_or(UkiError::NotPe("section count"))?;
        let optional = coff + COFF_HEADER;
        if u16_at(stub, optional) != Some(PE32_PLUS) {
            return Err(UkiError::NotPe("optional header magic"));
        }
        let optional_size =
            u16_at(stub, coff + 20).ok_or(UkiError::NotPe("optional header size"))?;
        let table = optional + usize::from(optional_size);
        let table_end = table + usize::from(count) * SECTION_HEADER;
        let headers = stub
            .get(table..table_end)
            .ok_or(UkiError::NotPe("section table"))?;
        let (section_alignment, file_alignment) = (
            word(optional + 32, "section alignment")?,
            word(optional + 36, "file alignment")?,
        );
        if !section_alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
            return Err(UkiError::NotPe("alignment"));
        }
        check_trailing(stub, coff, optional)?;
        let next_address = next_address(headers, section_alignment)?;
        let found = Self {
            coff,
            optional,
            table_end,
            count,
            section_alignment,
            file_alignment,
            next_address,
        };
        found.check_room(stub, headers, wanted)?;
        Ok(found)
    }

    /// New headers must end before `SizeOfHeaders` and before the first section's bytes, over zeros only.
    fn check_room(&self, stub: &[u8], headers: &[u8], wanted: usize) -> Result<(), UkiError> {
        let limits = headers
            .chunks_exact(SECTION_HEADER)
            .filter_map(|h| u32_at(h, 20))
            .filter(|at| *at != 0);
        let size_of_headers = u32_at(stub, self.optional + 60).unwrap_or(0);
        let limit = limits
            .chain([size_of_headers])
            .min()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0);
        let free = stub.get(self.table_end..limit).unwrap_or_default();
        let zeros = free.iter().take_while(|byte| **byte == 0).count();
        let room = zeros / SECTION_HEADER;
        if room < wanted {
            Err(UkiError::NoRoom { room, wanted })
        } else {
            Ok(())
        }
    }

    fn finish(&self, image: &mut [u8], size_of_image: u32, data_size: u32) -> Option<()> {
        let initialised = u32_at(image, self.optional + 8)?.checked_add(data_size)?;
        put(image, self.coff + 6, &(self.count + 3).to_le_bytes())?;
        put(image, self.coff + 8, &[0; 4])?;
        put(image, self.optional + 8, &initialised.to_le_bytes())?;
        put(image, self.optional + 56, &size_of_image.to_le_bytes())?;
        put(image, self.optional + 64, &[0; 4])
    }
}

fn check_trailing(stub: &[u8], coff: usize, optional: usize) -> Result<(), UkiError> {
    let symbols = u32_at(stub, coff + 12).ok_or(UkiError::NotPe("symbol table pointer"))?;
    let certificates = u32_at(stub, optional + 144).ok_or(UkiError::NotPe("data directories"))?;
    match (symbols, certificates) {
        (0, 0) => Ok(()),
        (0, _) => Err(UkiError::Trailing("certificate table")),
        _ => Err(UkiError::Trailing("symbol table")),
    }
}

fn next_address(headers: &[u8], alignment: u32) -> Result<u32, UkiError> {
    let mut end = 0;
    for header in headers.chunks_exact(SECTION_HEADER) {
        let name: [u8; 8] = array_at(header, 0).ok_or(UkiError::NotPe("section header"))?;
        let name = String::from_utf8_lossy(&name)
            .trim_end_matches('\0')
            .to_owned();
        if matches!(name.as_str(), ".cmdline" | ".initrd" | ".linux") {
            return Err(UkiError::Present(name));
        }
        let (Some(size), Some(address)) = (u32_at(header, 8), u32_at(header, 12)) else {
            return Err(UkiError::NotPe("section header"));
        };
        end = end.max(
            address
                .checked_add(size)
                .ok_or(UkiError::NotPe("section address"))?,
        );
    }
    align(end, alignment).ok_or(UkiError::NotPe("section address"))
}

/// `numbers`: virtual size, address, raw size, raw offset.
fn section_header(name: &str, numbers: [u32; 4]) -> Vec<u8> {
    let mut header = name.as_bytes().to_vec();
    header.resize(8, 0);
    numbers
        .iter()
        .for_each(|number| header.extend(number.to_le_bytes()));
    header.extend([0; 12]);
    header.extend(CHARACTERISTICS.to_le_bytes());
    header
}

fn align(value: u32, to: u32) -> Option<u32> {
    value.checked_next_multiple_of(to)
}

fn align_file(image: &mut Vec<u8>, to: u32) -> Result<(), UkiError> {
    let to = usize::try_from(to).map_err(|_| UkiError::NotPe("file alignment"))?;
    image.resize(image.len().next_multiple_of(to), 0);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A PE32+ file with one section, enough to append to.
    pub(crate) fn small_stub() -> Vec<u8> {
        let mut stub = vec![0; 0x600];
        let mut set = |at: usize, bytes: &[u8]| put(&mut stub, at, bytes).unwrap();
        set(0, b"MZ");
        set(0x3c, &0x80_u32.to_le_bytes());
        set(0x80, b"PE\0\0\x64\x86\x01\0\x99\x99\x99\x99");
        set(0x80 + 20, &240_u16.to_le_bytes());
        set(0x80 + 22, &0x206_u16.to_le_bytes());
        set(0x98, &PE32_PLUS.to_le_bytes());
        set(0x98 + 32, &0x1000_u32.to_le_bytes());
        set(0x98 + 36, &0x200_u32.to_le_bytes());
        set(0x98 + 56, &0x2000_u32.to_le_bytes());
        set(0x98 + 60, &0x400_u32.to_le_bytes());
        set(0x98 + 64, &[7; 4]);
        set(0x98 + 68, &10_u16.to_le_bytes());
        set(0x98 + 108, &16_u32.to_le_bytes());
        set(
            0x98 + 240,
            &section_header(".sbat", [0x30, 0x1000, 0x200, 0x400]),
        );
        set(0x400, b"sbat,1,SBAT Version,sbat,1\n");
        stub
    }

    fn sections() -> Sections<'static> {
        Sections {
            cmdline: b"console=ttyS0",
            initrd: &[2; 513],
            linux: &[3; 5000],
        }
    }

    #[test]
    fn goblin_reads_the_added_sections() {
        let image = build(&small_stub(), &sections()).unwrap();
        let pe = goblin::pe::PE::parse(&image).unwrap();
        let found: Vec<_> = pe
            .sections
            .iter()
            .map(|s| (s.name().unwrap(), s.virtual_address, s.virtual_size))
            .collect();
        let wanted = [
            (".sbat", 0x1000, 0x30),
            (".cmdline", 0x2000, 13),
            (".initrd", 0x3000, 513),
            (".linux", 0x4000, 5000),
        ];
        assert_eq!(found, wanted);
        let linux = &pe.sections[3];
        let at = linux.pointer_to_raw_data as usize;
        assert_eq!(image[at..at + 5000], [3; 5000]);
        assert_eq!(image.len(), at + linux.size_of_raw_data as usize);
        let header = pe.header.optional_header.unwrap();
        assert_eq!(
            (
                header.windows_fields.size_of_image,
                header.windows_fields.check_sum
            ),
            (0x6000, 0)
        );
        assert_eq!(pe.header.coff_header.time_date_stamp, 0);
    }

    #[test]
    fn build_refuses_signed_full_damaged_and_finished_stubs() {
        let mut signed = small_stub();
        signed[0x98 + 144] = 1;
        assert_eq!(
            build(&signed, &sections()),
            Err(UkiError::Trailing("certificate table"))
        );
        let mut full = small_stub();
        full[0x98 + 240 + 40 + 2 * 40 + 5] = 1;
        assert_eq!(
            build(&full, &sections()),
            Err(UkiError::NoRoom { room: 2, wanted: 3 })
        );
        let finished = build(&small_stub(), &sections()).unwrap();
        assert_eq!(
            build(&finished, &sections()),
            Err(UkiError::Present(".cmdline".to_owned()))
        );
        assert_eq!(build(b"MZ", &sections()), Err(UkiError::NotPe("e_lfanew")));
        let empty = Sections {
            initrd: b"",
            ..sections()
        };
        assert_eq!(
            build(&small_stub(), &empty),
            Err(UkiError::Empty(".initrd"))
        );
        for end in 0..0x400 {
            assert!(
                build(&small_stub()[..end], &sections()).is_err(),
                "{end} bytes"
            );
        }
    }
}
