//! The `devices` section: what the guest says of its GPUs.
//!
//! Spec: `docs/evidence-format.md`, section "Devices". Only "no device" exists so far; GPU evidence
//! will add keys to this map.

use crate::cbor::{CborError, Reader, Writer};

const WHAT: &str = "devices section";
const MAX_ENCODED: usize = 16;

/// The devices that take part in the guest's confidentiality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Devices {
    /// The recipe says `gpu = "none"`: the guest loads no GPU driver.
    None,
}

impl Devices {
    /// The CBOR of the section: `{1: "none"}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::None => writer.map(1).uint(1).text("none"),
        };
        writer.finish()
    }

    /// Reads the CBOR of the section.
    ///
    /// # Errors
    /// When `input` is anything but the encoding of a known value.
    pub fn decode(input: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(WHAT, input, MAX_ENCODED)?;
        reader.map(1)?;
        reader.exact_uint(1, "key 1 (GPU)")?;
        reader.exact_text("none", "the text `none`")?;
        reader.finish(&Self::None.encode())?;
        Ok(Self::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_round_trip() {
        let bytes = Devices::None.encode();
        assert_eq!(hex::encode(&bytes), "a101646e6f6e65");
        assert_eq!(Devices::decode(&bytes), Ok(Devices::None));
    }

    #[test]
    fn decode_rejects_every_other_byte_and_length() {
        let bytes = Devices::None.encode();
        for place in 0..bytes.len() {
            assert!(Devices::decode(&bytes[..place]).is_err());
            for flip in 1..=255 {
                let mut changed = bytes.clone();
                changed[place] ^= flip;
                assert!(Devices::decode(&changed).is_err(), "{changed:02x?}");
            }
        }
    }
}
