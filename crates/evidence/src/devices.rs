//! The `devices` section: what the guest says of its GPUs.
//!
//! Spec: `docs/evidence-format.md`, section 8. The evidence is carried as the GPU gave it; its nonce is
//! [`crate::binding::gpu_nonce`] of the leaf, or of a session that asked for new evidence. Not covered: what the bytes say; `cloister-gpu` judges them.

use crate::cbor::{CborError, Reader, Writer};

/// Longest attestation report of a GPU, in bytes: what NVML has room for.
pub const MAX_REPORT: usize = 0x2000;
/// Longest certificate chain of a GPU, in bytes: what NVML has room for.
pub const MAX_CHAIN: usize = 0x1400;

const WHAT: &str = "devices section";
const MAX_ENCODED: usize = MAX_REPORT + MAX_CHAIN + 64;
const NONE: &str = "none";
const H100: &str = "h100";

/// The devices that take part in the guest's confidentiality.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Devices {
    /// The recipe says `gpu = "none"`: the guest loads no GPU driver.
    None,
    /// One H100 in confidential mode.
    H100(GpuEvidence),
}

/// What one GPU says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuEvidence {
    /// SPDM `GET_MEASUREMENTS` request and `MEASUREMENTS` response.
    pub report: Vec<u8>,
    /// Five certificates in PEM, leaf first.
    pub chain: Vec<u8>,
}

impl Devices {
    /// The CBOR of the section: `{1: "none"}` or `{1: "h100", 2: [[report, chain]]}`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::None => {
                writer.map(1).uint(1).text(NONE);
            }
            Self::H100(GpuEvidence { report, chain }) => {
                writer.map(2).uint(1).text(H100);
                writer.uint(2).array(1).array(2).bytes(report).bytes(chain);
            }
        }
        writer.finish()
    }

    /// Reads the CBOR of the section.
    ///
    /// # Errors
    /// When `input` is anything but the encoding of a known value within the limits.
    pub fn decode(input: &[u8]) -> Result<Self, CborError> {
        let mut reader = Reader::new(WHAT, input, MAX_ENCODED)?;
        let entries = reader.map_of(2)?;
        reader.exact_uint(1, "key 1 (GPU)")?;
        let devices = if entries == 2 {
            reader.exact_text(H100, "the text `h100`")?;
            reader.exact_uint(2, "key 2 (evidence)")?;
            reader.array(1)?;
            reader.array(2)?;
            Self::H100(GpuEvidence {
                report: reader.bytes(MAX_REPORT)?.to_owned(),
                chain: reader.bytes(MAX_CHAIN)?.to_owned(),
            })
        } else {
            reader.exact_text(NONE, "the text `none`")?;
            Self::None
        };
        reader.finish(&devices.encode())?;
        Ok(devices)
    }

    /// The word of the recipe and of the log's `gpu` event.
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => NONE,
            Self::H100(_) => H100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h100(report: usize, chain: usize) -> Devices {
        Devices::H100(GpuEvidence {
            report: vec![1; report],
            chain: vec![2; chain],
        })
    }

    #[test]
    fn devices_round_trip() {
        let bytes = Devices::None.encode();
        assert_eq!(hex::encode(&bytes), "a101646e6f6e65");
        assert_eq!(Devices::decode(&bytes), Ok(Devices::None));
        for devices in [h100(2, 1), h100(4049, 4800), h100(MAX_REPORT, MAX_CHAIN)] {
            assert_eq!(Devices::decode(&devices.encode()), Ok(devices));
        }
    }

    #[test]
    fn decode_rejects_what_no_gpu_can_say() {
        for devices in [h100(MAX_REPORT + 1, 0), h100(0, MAX_CHAIN + 1)] {
            assert!(Devices::decode(&devices.encode()).is_err());
        }
        let bytes = h100(30, 20).encode();
        for cut in 0..bytes.len() {
            assert!(Devices::decode(&bytes[..cut]).is_err());
        }
        let mut two = Writer::default();
        two.map(2).uint(1).text(H100).uint(2).array(2);
        for _ in 0..2 {
            two.array(2).bytes(&[1]).bytes(&[2]);
        }
        assert!(Devices::decode(&two.finish()).is_err());
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
