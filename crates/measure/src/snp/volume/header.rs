//! Headers of firmware volumes, files and sections.

use super::VolumeError;
use super::stream::Stream;
use crate::ovmf_table::guid;

const FFS2: &str = "8c8ce578-8a3d-4f1c-9935-896185c32dd3";
const FFS3: &str = "5473c07a-3dcb-4dca-bd6f-1e9689e7349a";
/// Signature of a volume, and its offset in the header.
const SIGNATURE: (usize, &[u8; 4]) = (40, b"_FVH");
/// Size of a volume header without its block map, and of a file header.
const VOLUME_HEADER: u64 = 56;
const FILE_HEADER: u64 = 24;
/// Attribute of a volume: bytes never written are ones.
const ERASED_ONES: u64 = 0x800;

/// The header of a volume.
pub(super) struct Volume {
    start: u64,
    /// Offset behind it.
    pub(super) end: u64,
    /// Offset of the first file; `None` when it holds something else, such as variables.
    pub(super) files: Option<u64>,
    /// Whether files may be larger than 16 MiB.
    large_files: bool,
    /// Value of a byte that was never written.
    erased: u8,
}

impl Volume {
    /// Returns whether `bytes` start with a sound volume header.
    pub(super) fn starts(bytes: &[u8]) -> bool {
        let signature = bytes.get(SIGNATURE.0..).unwrap_or_default();
        signature.starts_with(SIGNATURE.1) && {
            let length = usize::try_from(number(bytes, 48, 2)).unwrap_or_default();
            bytes.get(..length).is_some_and(adds_up)
        }
    }

    /// Reads a header; the volume ends at `end` at the latest.
    pub(super) fn read(stream: &mut Stream<'_>, end: u64) -> Result<Volume, VolumeError> {
        let (start, what) = (stream.at, "volume");
        let most = end.saturating_sub(start);
        stream.check(start, what, most, (VOLUME_HEADER, most))?;
        let mut header = stream.array::<56>()?.to_vec();
        let (length, header_length) = (number(&header, 32, 8), number(&header, 48, 2));
        stream.check(start, what, length, (VOLUME_HEADER, most))?;
        stream.check(
            start,
            "volume header",
            header_length,
            (VOLUME_HEADER, length),
        )?;
        header.resize(usize::try_from(header_length).unwrap_or_default(), 0);
        stream.fill(header.get_mut(56..).unwrap_or_default())?;
        if !Volume::starts(&header) {
            let place = stream.place(start);
            return Err(VolumeError::Header { place, what });
        }
        let mut volume = Volume {
            start,
            end: start.saturating_add(length),
            files: None,
            large_files: false,
            erased: if number(&header, 44, 4) & ERASED_ONES == 0 {
                0
            } else {
                0xff
            },
        };
        let system = header.get(16..32).unwrap_or_default();
        volume.large_files = system == guid(FFS3);
        if volume.large_files || system == guid(FFS2) {
            volume.files = Some(volume.first_file(stream, number(&header, 52, 2))?);
        }
        Ok(volume)
    }

    /// Returns where files start: behind the header, or behind the extended header at `extended` if there is one.
    fn first_file(&self, stream: &mut Stream<'_>, extended: u64) -> Result<u64, VolumeError> {
        if extended == 0 {
            return Ok(aligned(self.start, stream.at, 8));
        }
        let what = "extended volume header";
        let least = stream.at.saturating_sub(self.start);
        let most = self.end.saturating_sub(self.start).saturating_sub(20);
        stream.check(self.start, what, extended, (least, most))?;
        let start = self.start.saturating_add(extended);
        stream.skip_to(start)?;
        let bytes: [u8; 20] = stream.array()?;
        let size = number(&bytes, 16, 4);
        stream.check(start, what, size, (20, self.end.saturating_sub(start)))?;
        Ok(aligned(self.start, start.saturating_add(size), 8).min(self.end))
    }
}

/// The header of a file in a volume.
pub(super) struct File {
    /// Offset behind it.
    pub(super) end: u64,
    /// Whether it is a file that firmware finds, of a kind that is made of sections.
    pub(super) holds_sections: bool,
}

impl File {
    /// Reads the header of the next file of `volume`; `None` where only free space follows.
    pub(super) fn next(
        stream: &mut Stream<'_>,
        volume: &Volume,
    ) -> Result<Option<File>, VolumeError> {
        let start = aligned(volume.start, stream.at, 8);
        let most = volume.end.saturating_sub(start);
        if most < FILE_HEADER {
            return Ok(None);
        }
        stream.skip_to(start)?;
        let header: [u8; 24] = stream.array()?;
        if header.iter().all(|byte| *byte == volume.erased) {
            return Ok(None);
        }
        let [.., sum, kind, attributes, a, b, c, state] = header;
        let mut total = add(&header).wrapping_sub(sum).wrapping_sub(state);
        let (mut size, mut least) = (u64::from(u32::from_le_bytes([a, b, c, 0])), FILE_HEADER);
        if volume.large_files && attributes & 1 == 1 && most >= FILE_HEADER + 8 {
            let large: [u8; 8] = stream.array()?;
            total = total.wrapping_add(add(&large));
            (size, least) = (u64::from_le_bytes(large), FILE_HEADER + 8);
        }
        if total != 0 {
            let (place, what) = (stream.place(start), "file");
            return Err(VolumeError::Header { place, what });
        }
        stream.check(start, "file", size, (least, most))?;
        // The highest bit counts: 0x04 data valid, 0x08 marked for update; 0x10 and above are gone.
        let bits = (state ^ volume.erased) & 0x3f;
        Ok(Some(File {
            end: start.saturating_add(size),
            holds_sections: (0x04..0x10).contains(&bits) && (0x02..0xc0).contains(&kind),
        }))
    }
}

/// The header of a section.
pub(super) struct Section {
    /// Offset of the header.
    pub(super) start: u64,
    /// Offset behind it.
    pub(super) end: u64,
    /// Type.
    pub(super) kind: u8,
}

impl Section {
    /// Reads the next of the sections that started at `first` and end at `end`; `None` when there are no more.
    pub(super) fn next(
        stream: &mut Stream<'_>,
        first: u64,
        end: u64,
    ) -> Result<Option<Section>, VolumeError> {
        let start = aligned(first, stream.at, 4);
        let most = end.saturating_sub(start);
        if most < 4 {
            return Ok(None);
        }
        stream.skip_to(start)?;
        let [a, b, c, kind] = stream.array()?;
        let (mut size, mut least) = (u64::from(u32::from_le_bytes([a, b, c, 0])), 4);
        if size == 0xff_ffff && most >= 8 {
            (size, least) = (u64::from(u32::from_le_bytes(stream.array()?)), 8);
        }
        stream.check(start, "section", size, (least, most))?;
        let end = start.saturating_add(size);
        Ok(Some(Section { start, end, kind }))
    }

    /// Refuses a section with fewer than `least` bytes behind the header that was read.
    pub(super) fn holds(&self, stream: &Stream<'_>, least: u64) -> Result<(), VolumeError> {
        let left = self.end.saturating_sub(stream.at);
        stream.check(self.start, "section contents", left, (least, left))
    }
}

/// Returns the first offset from `at` on that is a multiple of `step` away from `first`.
fn aligned(first: u64, at: u64, step: u64) -> u64 {
    let away = at.saturating_sub(first);
    at.saturating_add(away.wrapping_neg() % step)
}

/// Returns the little-endian number of `length` bytes at `offset`; bytes that are missing count as zero.
fn number(bytes: &[u8], offset: usize, length: usize) -> u64 {
    let field = bytes.iter().skip(offset).take(length);
    field
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Returns whether the 16-bit words of a volume header add up to zero.
fn adds_up(header: &[u8]) -> bool {
    let (words, rest) = header.as_chunks::<2>();
    let add = |sum: u16, word: &[u8; 2]| sum.wrapping_add(u16::from_le_bytes(*word));
    rest.is_empty() && words.iter().fold(0, add) == 0
}

fn add(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
