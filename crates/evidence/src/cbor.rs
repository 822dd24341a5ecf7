//! The few CBOR forms that Cloister uses, deterministically encoded (RFC 8949, section 4.2.1).
//!
//! Reading goes through `minicbor`; a decoder of this crate then re-encodes what it read and demands
//! the same bytes, which rejects every other encoding of the same value at once.

use minicbor::decode::Error;
use minicbor::{Decoder, data::Type};

/// Why bytes were not accepted as one of Cloister's CBOR items.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborError {
    /// Larger than the format allows.
    #[error("{what} has {found} bytes or items, at most {limit} are allowed")]
    TooLarge {
        /// The item.
        what: &'static str,
        /// Most bytes or items allowed.
        limit: usize,
        /// Bytes or items found.
        found: usize,
    },
    /// The next item is not of the wanted form, or the input ends before it.
    #[error("{what}: wanted {wanted} at byte {offset}, found {found}")]
    Unexpected {
        /// The item being read.
        what: &'static str,
        /// What the format has at this place.
        wanted: &'static str,
        /// Offset in bytes from the start of the item.
        offset: usize,
        /// The CBOR type found, or `end of input`.
        found: &'static str,
    },
    /// Bytes follow the item.
    #[error("{what} ends at byte {offset}, but the input has {found} bytes")]
    Trailing {
        /// The item being read.
        what: &'static str,
        /// Where it ends, in bytes.
        offset: usize,
        /// Length of the input in bytes.
        found: usize,
    },
    /// The same value has another, shorter or sorted encoding.
    #[error("{what} is not in the deterministic encoding")]
    NotDeterministic {
        /// The item being read.
        what: &'static str,
    },
}

/// Writes deterministic CBOR; it cannot fail.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(0, value)
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(2, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(3, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    pub(crate) fn array(&mut self, items: usize) -> &mut Self {
        self.head(4, items as u64)
    }

    pub(crate) fn map(&mut self, entries: usize) -> &mut Self {
        self.head(5, entries as u64)
    }

    /// Major type and argument in the shortest form.
    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_be_bytes();
        let major = major << 5;
        match value {
            0..=23 => self.0.push(major | b7),
            24..=0xff => self.0.extend([major | 24, b7]),
            0x100..=0xffff => self.0.extend([major | 25, b6, b7]),
            0x1_0000..=0xffff_ffff => self.0.extend([major | 26, b4, b5, b6, b7]),
            _ => self.0.extend([major | 27, b0, b1, b2, b3, b4, b5, b6, b7]),
        }
        self
    }
}

/// Reads the items of one CBOR value in the order the format fixes.
pub(crate) struct Reader<'b> {
    inner: Decoder<'b>,
    what: &'static str,
}

impl<'b> Reader<'b> {
    /// Starts reading `input`, named `what` in errors.
    pub(crate) fn new(
        what: &'static str,
        input: &'b [u8],
        limit: usize,
    ) -> Result<Self, CborError> {
        at_most(what, limit, input.len())?;
        Ok(Self {
            inner: Decoder::new(input),
            what,
        })
    }

    /// A map of `entries` entries.
    pub(crate) fn map(&mut self, entries: usize) -> Result<(), CborError> {
        let found = self.take("a map", Decoder::map)?;
        self.check(found == Some(entries as u64), "a map of the right size")
    }

    /// A map; gives the number of entries, at most `limit`.
    pub(crate) fn map_of(&mut self, limit: usize) -> Result<usize, CborError> {
        let found = self.take("a map", Decoder::map)?;
        self.length(found, "a map of known size", limit)
    }

    /// An array of `items` items.
    pub(crate) fn array(&mut self, items: usize) -> Result<(), CborError> {
        let found = self.take("an array", Decoder::array)?;
        self.check(found == Some(items as u64), "an array of the right size")
    }

    /// An array; gives the number of items, at most `limit`.
    pub(crate) fn array_of(&mut self, limit: usize) -> Result<usize, CborError> {
        let found = self.take("an array", Decoder::array)?;
        self.length(found, "an array of known size", limit)
    }

    /// The unsigned integer `value`.
    pub(crate) fn exact_uint(&mut self, value: u64, wanted: &'static str) -> Result<(), CborError> {
        let found = self.take(wanted, Decoder::u64)?;
        self.check(found == value, wanted)
    }

    /// The text `value`.
    pub(crate) fn exact_text(
        &mut self,
        value: &str,
        wanted: &'static str,
    ) -> Result<(), CborError> {
        let found = self.take(wanted, Decoder::str)?;
        self.check(found == value, wanted)
    }

    /// An unsigned integer below 2^32.
    pub(crate) fn uint(&mut self) -> Result<u32, CborError> {
        self.take("an unsigned integer below 2^32", Decoder::u32)
    }

    /// A byte string of at most `limit` bytes.
    pub(crate) fn bytes(&mut self, limit: usize) -> Result<&'b [u8], CborError> {
        let found = self.take("a byte string", Decoder::bytes)?;
        at_most(self.what, limit, found.len())?;
        Ok(found)
    }

    /// A byte string of exactly 32 bytes.
    pub(crate) fn digest(&mut self) -> Result<[u8; 32], CborError> {
        let found = self.take("a byte string", Decoder::bytes)?;
        found
            .try_into()
            .map_err(|_| self.unexpected("32 bytes", "another length"))
    }

    /// Text of at most `limit` bytes.
    pub(crate) fn text(&mut self, limit: usize) -> Result<&'b str, CborError> {
        let found = self.take("text", Decoder::str)?;
        at_most(self.what, limit, found.len())?;
        Ok(found)
    }

    /// Demands the end of the input and that `encoded`, the re-encoded value, equals it.
    pub(crate) fn finish(self, encoded: &[u8]) -> Result<(), CborError> {
        let (what, offset, input) = (self.what, self.inner.position(), self.inner.input());
        if offset != input.len() {
            return Err(CborError::Trailing {
                what,
                offset,
                found: input.len(),
            });
        }
        if encoded != input {
            return Err(CborError::NotDeterministic { what });
        }
        Ok(())
    }

    fn take<T>(
        &mut self,
        wanted: &'static str,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<T, Error>,
    ) -> Result<T, CborError> {
        let offset = self.inner.position();
        let found = self.inner.datatype().map_or("end of input", type_name);
        read(&mut self.inner).map_err(|_| CborError::Unexpected {
            what: self.what,
            wanted,
            offset,
            found,
        })
    }

    fn length(
        &self,
        found: Option<u64>,
        wanted: &'static str,
        limit: usize,
    ) -> Result<usize, CborError> {
        let found = found.ok_or_else(|| self.unexpected(wanted, "indefinite length"))?;
        let found = usize::try_from(found).unwrap_or(usize::MAX);
        at_most(self.what, limit, found)?;
        Ok(found)
    }

    fn check(&self, holds: bool, wanted: &'static str) -> Result<(), CborError> {
        if holds {
            Ok(())
        } else {
            Err(self.unexpected(wanted, "another value"))
        }
    }

    /// The error for a well-formed item whose value is not the wanted one.
    pub(crate) fn unexpected(&self, wanted: &'static str, found: &'static str) -> CborError {
        CborError::Unexpected {
            what: self.what,
            wanted,
            offset: self.inner.position(),
            found,
        }
    }
}

fn at_most(what: &'static str, limit: usize, found: usize) -> Result<(), CborError> {
    if found > limit {
        Err(CborError::TooLarge { what, limit, found })
    } else {
        Ok(())
    }
}

/// Names of the CBOR types in errors.
fn type_name(found: Type) -> &'static str {
    match found {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => "an unsigned integer",
        Type::Bytes => "a byte string",
        Type::String => "text",
        Type::Array => "an array",
        Type::Map => "a map",
        Type::Tag => "a tag",
        Type::BytesIndef | Type::StringIndef | Type::ArrayIndef | Type::MapIndef => {
            "an item of indefinite length"
        }
        _ => "another type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writer_agrees_with_minicbor_at_every_width() {
        let edges = [
            0,
            23,
            24,
            255,
            256,
            65535,
            65536,
            0xffff_ffff,
            0x1_0000_0000,
            u64::MAX,
        ];
        for value in edges {
            let mut writer = Writer::default();
            writer.uint(value);
            assert_eq!(writer.finish(), minicbor::to_vec(value).unwrap());
        }
    }

    #[test]
    fn reader_names_what_it_wanted_and_found() {
        let mut reader = Reader::new("sample", &[0x01], 8).unwrap();
        assert_eq!(
            reader.map(1),
            Err(CborError::Unexpected {
                what: "sample",
                wanted: "a map",
                offset: 0,
                found: "an unsigned integer"
            })
        );
        let mut reader = Reader::new("sample", &[], 8).unwrap();
        assert_eq!(
            reader.uint(),
            Err(CborError::Unexpected {
                what: "sample",
                wanted: "an unsigned integer below 2^32",
                offset: 0,
                found: "end of input"
            })
        );
    }

    #[test]
    fn reader_rejects_indefinite_lengths_and_oversize() {
        let mut reader = Reader::new("sample", &[0x9f, 0xff], 8).unwrap();
        assert_eq!(
            reader.array_of(4),
            Err(CborError::Unexpected {
                what: "sample",
                wanted: "an array of known size",
                offset: 1,
                found: "indefinite length"
            })
        );
        let refused = Reader::new("sample", &[0; 9], 8).err();
        assert_eq!(
            refused,
            Some(CborError::TooLarge {
                what: "sample",
                limit: 8,
                found: 9
            })
        );
    }

    #[test]
    fn finish_rejects_a_longer_form_of_the_same_number() {
        let mut reader = Reader::new("sample", &[0x18, 0x05], 8).unwrap();
        assert_eq!(reader.uint(), Ok(5));
        let refused = reader.finish(&[0x05]);
        assert_eq!(refused, Err(CborError::NotDeterministic { what: "sample" }));
    }
}
