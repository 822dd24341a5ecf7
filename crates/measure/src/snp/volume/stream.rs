//! Bytes of firmware that are read once, front to back, and where they stand.

use std::fmt;
use std::io::Read;

use super::VolumeError;

/// Where something stands: offsets in the image, in what is unpacked there, and so on inwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(Vec<u64>);

impl Place {
    /// Returns the offsets from the outside inwards; the first is in the firmware image.
    pub fn offsets(&self) -> &[u64] {
        &self.0
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, offset) in self.0.iter().rev().enumerate() {
            let between = if index == 0 {
                ""
            } else {
                " of the unpacked section at "
            };
            write!(f, "{between}{offset:#x}")?;
        }
        Ok(())
    }
}

/// Bytes that are read once, from the image or from a packed section.
pub(super) struct Stream<'a> {
    pub(super) source: &'a mut dyn Read,
    /// Where the packed section is; empty in the image itself.
    pub(super) outside: &'a [u64],
    /// Offset of the next byte.
    pub(super) at: u64,
}

impl Stream<'_> {
    pub(super) fn place(&self, offset: u64) -> Place {
        Place(self.outside.iter().copied().chain([offset]).collect())
    }

    /// Fills `bytes`. Sizes were checked before, so that only a decoder can fail.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), VolumeError> {
        let place = self.place(self.at);
        self.source
            .read_exact(bytes)
            .map_err(|error| VolumeError::Unpack {
                place,
                reason: error.to_string(),
            })?;
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], VolumeError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn skip_to(&mut self, offset: u64) -> Result<(), VolumeError> {
        let mut chunk = [0; 4096];
        while let Some(left) = offset.checked_sub(self.at).filter(|&left| left > 0) {
            let length = usize::try_from(left)
                .unwrap_or(chunk.len())
                .min(chunk.len());
            self.fill(chunk.get_mut(..length).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Refuses a structure at `start` whose `size` is not in the range from `least` to `most`.
    ///
    /// # Errors
    /// [`VolumeError::Size`].
    pub(super) fn check(
        &self,
        start: u64,
        what: &'static str,
        size: u64,
        (least, most): (u64, u64),
    ) -> Result<(), VolumeError> {
        if (least..=most).contains(&size) {
            return Ok(());
        }
        let place = self.place(start);
        Err(VolumeError::Size {
            place,
            what,
            size,
            least,
            most,
        })
    }
}

/// The packed bytes of one section.
pub(super) struct Packed<'a, 'b> {
    pub(super) stream: &'a mut Stream<'b>,
    pub(super) left: u64,
}

impl Read for Packed<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(bytes.len())
            .min(bytes.len());
        let length = self
            .stream
            .source
            .read(bytes.get_mut(..most).unwrap_or_default())?;
        self.left = self.left.saturating_sub(length as u64);
        self.stream.at = self.stream.at.saturating_add(length as u64);
        Ok(length)
    }
}
