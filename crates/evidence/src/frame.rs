//! The framing of everything that is hashed: an ASCII label, then each field as a `u16` big-endian
//! length and the bytes.

use sha2::Digest;

/// A hash over a label and length-framed fields.
pub(crate) struct Frame<D>(D);

/// A field longer than 65535 bytes cannot be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("field of {found} bytes cannot be framed, at most 65535 are possible")]
pub(crate) struct FieldTooLong {
    found: usize,
}

impl<D: Digest> Frame<D> {
    pub(crate) fn new(label: &str) -> Self {
        Self(D::new().chain_update(label))
    }

    /// Adds a field whose length is known when compiling.
    pub(crate) fn array<const N: usize>(self, field: &[u8; N]) -> Self {
        const { assert!(N <= 0xffff) };
        let [.., high, low] = N.to_be_bytes();
        Self(self.0.chain_update([high, low]).chain_update(field))
    }

    /// Adds a field of any length up to 65535 bytes.
    pub(crate) fn slice(self, field: &[u8]) -> Result<Self, FieldTooLong> {
        let length = u16::try_from(field.len()).map_err(|_| FieldTooLong { found: field.len() })?;
        Ok(Self(
            self.0
                .chain_update(length.to_be_bytes())
                .chain_update(field),
        ))
    }

    pub(crate) fn finish<const N: usize>(self) -> [u8; N]
    where
        sha2::digest::Output<D>: Into<[u8; N]>,
    {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Sha256;

    #[test]
    fn array_and_slice_frame_alike() {
        let array: [u8; 32] = Frame::<Sha256>::new("label").array(b"abc").finish();
        let slice: [u8; 32] = Frame::<Sha256>::new("label")
            .slice(b"abc")
            .unwrap()
            .finish();
        let plain: [u8; 32] = Sha256::digest(b"label\x00\x03abc").into();
        assert_eq!(array, plain);
        assert_eq!(slice, plain);
    }

    #[test]
    fn slice_refuses_what_a_u16_cannot_count() {
        assert!(Frame::<Sha256>::new("").slice(&[0; 65535]).is_ok());
        let refused = Frame::<Sha256>::new("").slice(&[0; 65536]).err();
        assert_eq!(refused, Some(FieldTooLong { found: 65536 }));
    }
}
