//! Taking parts from the front, with the offset of each.

use super::ReportError;

/// What is left of the input, and where that starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    all: &'a [u8],
    /// Where `all` starts in the report.
    base: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(all: &'a [u8]) -> Self {
        Self {
            all,
            base: 0,
            at: 0,
        }
    }

    /// Offset of the next byte in the report.
    pub(super) fn offset(&self) -> usize {
        self.base + self.at
    }

    /// Everything before the next byte, and everything from it on.
    pub(super) fn split(&self) -> (&'a [u8], &'a [u8]) {
        // `at` never passes the end.
        self.all
            .split_at_checked(self.at)
            .unwrap_or((self.all, &[]))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.split().1.is_empty()
    }

    pub(super) fn bytes(
        &mut self,
        part: &'static str,
        need: usize,
    ) -> Result<&'a [u8], ReportError> {
        let (_, rest) = self.split();
        let Some((taken, _)) = rest.split_at_checked(need) else {
            return Err(ReportError::Truncated {
                part,
                offset: self.offset(),
                need,
                have: rest.len(),
            });
        };
        self.at += need;
        Ok(taken)
    }

    /// The next `need` bytes as an input of their own, which knows where it stands.
    pub(super) fn part(&mut self, part: &'static str, need: usize) -> Result<Self, ReportError> {
        let base = self.offset();
        let all = self.bytes(part, need)?;
        Ok(Self { all, base, at: 0 })
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        part: &'static str,
    ) -> Result<[u8; N], ReportError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(part, N)?);
        Ok(array)
    }

    /// A byte that can have one value.
    pub(super) fn constant(&mut self, part: &'static str, wanted: u8) -> Result<(), ReportError> {
        let offset = self.offset();
        let [found] = self.array(part)?;
        same(part, offset, wanted.into(), found.into())
    }

    /// Two bytes that can have one value.
    pub(super) fn constant16(
        &mut self,
        part: &'static str,
        wanted: u16,
    ) -> Result<(), ReportError> {
        let offset = self.offset();
        let found = u16::from_le_bytes(self.array(part)?);
        same(part, offset, wanted.into(), found.into())
    }
}

fn same(part: &'static str, offset: usize, wanted: u32, found: u32) -> Result<(), ReportError> {
    match found == wanted {
        true => Ok(()),
        false => Err(ReportError::Value {
            part,
            offset,
            wanted,
            found,
        }),
    }
}
