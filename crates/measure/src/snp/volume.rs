//! Firmware volumes: meets every executable of a firmware image, packed ones included, in one pass.
//!
//! Spec: UEFI Platform Initialization 1.8, volume 3, sections 3.2.1 (volume), 3.2.3 (file), 3.2.4 and 3.2.5 (section).
//! Source for the packed section: edk2 `MdeModulePkg/Include/Guid/LzmaDecompress.h`; contents are an LZMA stream with
//! properties, dictionary size and unpacked size in front. Sizes and offsets are in bytes, integers little-endian.
//! Nothing is held in memory but the LZMA window. Not covered: sections packed by anything else, which are reported.

use std::ops::ControlFlow;

use lzma_rust2::LzmaReader;
use thiserror::Error;

use crate::ovmf_table::{guid, guid_text};

mod header;
mod stream;

use header::{File, Section, Volume};
use stream::{Packed, Stream};

pub use stream::Place;

const LZMA: &str = "ee4e5898-3914-4259-9d6e-dc7bd79403cf";
const CRC32: &str = "fc1bcdb0-7d31-49aa-936a-a4600d9dd083";
/// Volumes and packed sections inside each other: OVMF has 3.
const MAX_DEPTH: usize = 8;
/// LZMA windows open at once, which is what takes memory.
const MAX_PACKED_DEPTH: usize = 2;
/// Bytes that are unpacked from one image in all: OVMF has 16 MiB.
const MAX_UNPACKED: u64 = 64 << 20;
const CHUNK: usize = 32 << 10;

/// Why firmware volumes cannot be read to their end.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeError {
    /// A structure that is smaller than its own header or larger than what holds it.
    #[error("firmware {what} at {place} has size {size:#x}, wanted {least:#x} to {most:#x}")]
    Size {
        /// Where it starts.
        place: Place,
        /// The structure.
        what: &'static str,
        /// Its size in bytes, as it says.
        size: u64,
        /// Bytes it must have.
        least: u64,
        /// Bytes there are for it.
        most: u64,
    },
    /// A header without its signature, or one that does not add up to zero.
    #[error("firmware {what} at {place} has a header with a wrong signature or checksum")]
    Header {
        /// Where it starts.
        place: Place,
        /// The structure.
        what: &'static str,
    },
    /// A packed section that does not unpack.
    #[error("packed firmware section at {place} cannot be unpacked: {reason}")]
    Unpack {
        /// Where its contents start.
        place: Place,
        /// What the decoder says.
        reason: String,
    },
    /// More than any firmware holds.
    #[error("firmware unpacks to more than {MAX_UNPACKED} bytes at {place}")]
    Unpacked {
        /// Where it becomes too much.
        place: Place,
    },
    /// Volumes in sections in volumes.
    #[error("firmware volumes and sections are nested too deeply at {place}")]
    Depth {
        /// Where it becomes too deep.
        place: Place,
    },
}

/// What the walk meets.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'a> {
    /// An executable starts; what follows belongs to it.
    Executable,
    /// The next bytes of the executable.
    Bytes(&'a [u8]),
}

/// What a walk to the end came past.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Number of executables.
    pub(super) executables: usize,
    /// First section that is packed in an unknown way, and its GUID.
    pub(super) closed: Option<(Place, String)>,
}

/// Shows `see` every executable in the volumes of `image`, until it breaks; returns `None` then.
///
/// # Errors
/// See [`VolumeError`]. What follows a break is not looked at.
pub(super) fn walk(
    image: &[u8],
    see: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
) -> Result<Option<Seen>, VolumeError> {
    let mut walk = Walk {
        see,
        seen: Seen::default(),
        left: MAX_UNPACKED,
        chunk: vec![0; CHUNK],
    };
    match walk.image(image) {
        Ok(()) => Ok(Some(walk.seen)),
        Err(Stop::Enough) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Why the walk ends before the end.
enum Stop {
    Enough,
    Failed(VolumeError),
}

impl From<VolumeError> for Stop {
    fn from(error: VolumeError) -> Stop {
        Stop::Failed(error)
    }
}

struct Walk<'v> {
    see: &'v mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    seen: Seen,
    /// Bytes that may still be unpacked.
    left: u64,
    chunk: Vec<u8>,
}

impl Walk<'_> {
    /// Finds volumes by their signature: an image has other things between them.
    fn image(&mut self, image: &[u8]) -> Result<(), Stop> {
        let mut start = 0;
        while let Some(rest) = image.get(start..).filter(|rest| !rest.is_empty()) {
            if !Volume::starts(rest) {
                start += 8;
                continue;
            }
            let mut source = rest;
            let mut stream = Stream {
                source: &mut source,
                outside: &[],
                at: start as u64,
            };
            self.volume(&mut stream, image.len() as u64, 0)?;
            start = usize::try_from(stream.at).unwrap_or(image.len());
            start = start.next_multiple_of(8);
        }
        Ok(())
    }

    /// Reads a volume that ends at `end` at the latest, and stands behind it afterwards.
    fn volume(&mut self, stream: &mut Stream<'_>, end: u64, depth: usize) -> Result<(), Stop> {
        self.not_too_deep(stream, depth, MAX_DEPTH)?;
        let volume = Volume::read(stream, end)?;
        if let Some(files) = volume.files {
            stream.skip_to(files)?;
            while let Some(file) = File::next(stream, &volume)? {
                if file.holds_sections {
                    self.sections(stream, file.end, depth)?;
                }
                stream.skip_to(file.end)?;
            }
        }
        Ok(stream.skip_to(volume.end)?)
    }

    fn not_too_deep(&self, stream: &Stream<'_>, depth: usize, most: usize) -> Result<(), Stop> {
        match depth < most {
            true => Ok(()),
            false => Err(Stop::Failed(VolumeError::Depth {
                place: stream.place(stream.at),
            })),
        }
    }

    /// Reads sections up to `end`; each starts on a multiple of 4 from the first.
    fn sections(&mut self, stream: &mut Stream<'_>, end: u64, depth: usize) -> Result<(), Stop> {
        self.not_too_deep(stream, depth, MAX_DEPTH)?;
        let first = stream.at;
        while let Some(section) = Section::next(stream, first, end)? {
            self.section(stream, &section, depth)?;
            stream.skip_to(section.end)?;
        }
        Ok(())
    }

    fn section(
        &mut self,
        stream: &mut Stream<'_>,
        section: &Section,
        depth: usize,
    ) -> Result<(), Stop> {
        match section.kind {
            0x01 => {
                section.holds(stream, 5)?;
                let [.., method] = stream.array::<5>()?;
                match method {
                    0 => self.sections(stream, section.end, depth + 1)?,
                    _ => self.closed(stream, section, format!("compression type {method:#x}")),
                }
            }
            0x02 => self.guided(stream, section, depth)?,
            0x10 | 0x12 => self.executable(stream, section.end)?,
            0x17 if section.end > stream.at => self.volume(stream, section.end, depth + 1)?,
            _ => {}
        }
        Ok(())
    }

    /// A section whose contents are encoded as a GUID says.
    fn guided(
        &mut self,
        stream: &mut Stream<'_>,
        section: &Section,
        depth: usize,
    ) -> Result<(), Stop> {
        section.holds(stream, 20)?;
        let name: [u8; 16] = stream.array()?;
        let [a, b, c, d] = stream.array()?;
        let (data, attributes) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let least = stream.at.saturating_sub(section.start);
        let most = section.end.saturating_sub(section.start);
        let what = "section header";
        stream.check(section.start, what, u64::from(data), (least, most))?;
        stream.skip_to(section.start.saturating_add(u64::from(data)))?;
        // Attribute bit 0: contents must be processed before they can be read.
        if name == guid(LZMA) {
            self.unpack(stream, section.end, depth + 1)
        } else if attributes & 1 == 0 || name == guid(CRC32) {
            self.sections(stream, section.end, depth + 1)
        } else {
            self.closed(stream, section, format!("GUID {}", guid_text(name)));
            Ok(())
        }
    }

    fn unpack(&mut self, stream: &mut Stream<'_>, end: u64, depth: usize) -> Result<(), Stop> {
        self.not_too_deep(stream, stream.outside.len(), MAX_PACKED_DEPTH)?;
        let (start, most) = (stream.at, end.saturating_sub(stream.at));
        stream.check(start, "packed section", most, (13, most.max(13)))?;
        let place = stream.place(start);
        let failed = |reason: std::io::Error| VolumeError::Unpack {
            place: place.clone(),
            reason: reason.to_string(),
        };
        let [properties, a, b, c, d] = stream.array()?;
        let window = u64::from(u32::from_le_bytes([a, b, c, d]));
        let size = u64::from_le_bytes(stream.array()?);
        self.left = self.left.checked_sub(size).ok_or(VolumeError::Unpacked {
            place: place.clone(),
        })?;
        // A window beyond the unpacked size is never used.
        let window = u32::try_from(window.min(size)).unwrap_or(u32::MAX);
        let packed = Packed {
            left: end.saturating_sub(stream.at),
            stream,
        };
        let mut reader =
            LzmaReader::new_with_props(packed, size, properties, window, None).map_err(failed)?;
        let mut inside = Stream {
            source: &mut reader,
            outside: place.offsets(),
            at: 0,
        };
        self.sections(&mut inside, size, depth)?;
        Ok(inside.skip_to(size)?)
    }

    fn executable(&mut self, stream: &mut Stream<'_>, end: u64) -> Result<(), Stop> {
        self.seen.executables += 1;
        self.show(Piece::Executable)?;
        let mut chunk = std::mem::take(&mut self.chunk);
        while let Some(left) = end.checked_sub(stream.at).filter(|&left| left > 0) {
            let length = usize::try_from(left).unwrap_or(CHUNK).min(chunk.len());
            let bytes = chunk.get_mut(..length).unwrap_or_default();
            stream.fill(bytes)?;
            self.show(Piece::Bytes(bytes))?;
        }
        self.chunk = chunk;
        Ok(())
    }

    fn show(&mut self, piece: Piece<'_>) -> Result<(), Stop> {
        match (self.see)(piece) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Enough),
        }
    }

    fn closed(&mut self, stream: &Stream<'_>, section: &Section, how: String) {
        let place = stream.place(section.start);
        self.seen.closed.get_or_insert((place, how));
    }
}
