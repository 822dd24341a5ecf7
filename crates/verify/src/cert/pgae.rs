//! The GPU evidence envelope of Privasys: `PGAE`, version 1, then tagged values.
//!
//! Spec: Privasys documentation of the object identifier 1.3.6.1.4.1.65230.5.1; numbers big-endian. Tags without known meaning, a tag
//! twice and bytes behind the last value are refused. What the report says is not looked into.

use thiserror::Error;

/// Longest envelope that is read, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Where the SPDM report repeats the nonce, in bytes.
const NONCE_AT: usize = 4;

/// Why bytes are not an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PgaeError {
    /// Longer than any.
    #[error("GPU envelope has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// No `PGAE` version 1 in front.
    #[error("GPU envelope does not begin with PGAE, version 1")]
    Header,
    /// A value that does not fit into the envelope.
    #[error("GPU envelope ends within the value of tag {tag:#x}")]
    Truncated {
        /// The tag; 0 where there is none.
        tag: u8,
    },
    /// A tag without meaning.
    #[error("tag {tag:#x} of the GPU envelope is not known")]
    Tag {
        /// The tag.
        tag: u8,
    },
    /// A tag that stands twice.
    #[error("tag {tag:#x} of the GPU envelope stands twice")]
    Twice {
        /// The tag.
        tag: u8,
    },
    /// A value of another length.
    #[error("tag {tag:#x} of the GPU envelope has {found} bytes, wanted {wanted}")]
    Length {
        /// The tag.
        tag: u8,
        /// Length in bytes.
        found: usize,
        /// Length that it has.
        wanted: usize,
    },
    /// Text that is not printable ASCII.
    #[error("tag {tag:#x} of the GPU envelope is not printable text")]
    Text {
        /// The tag.
        tag: u8,
    },
    /// No nonce or no report.
    #[error("GPU envelope has no value of tag {tag:#x}")]
    Missing {
        /// The tag.
        tag: u8,
    },
    /// A report with another nonce.
    #[error("the GPU's report has another nonce than the envelope")]
    Nonce,
}

/// An envelope, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The nonce, which the guest chose itself.
    pub nonce: [u8; 32],
    /// SPDM measurement report with request.
    pub report: Vec<u8>,
    /// PEM chain of the GPU's key.
    pub chain: Option<String>,
    /// UUID of the GPU.
    pub uuid: Option<String>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Version of the VBIOS.
    pub vbios: Option<String>,
    /// NVML's environment: 1 simulation, 2 production.
    pub environment: Option<u32>,
    /// NVML's confidential computing feature: 1 on.
    pub feature: Option<u32>,
    /// NVML's developer tools mode: 0 off.
    pub devtools: Option<u32>,
}

impl Envelope {
    /// Reads an envelope.
    ///
    /// # Errors
    /// See [`PgaeError`].
    pub fn parse(input: &[u8]) -> Result<Self, PgaeError> {
        let found = input.len();
        if found > MAX_BYTES {
            return Err(PgaeError::TooLarge { found });
        }
        let mut rest = input.strip_prefix(b"PGAE\x01").ok_or(PgaeError::Header)?;
        let mut values = Values::default();
        while let Some((&tag, behind)) = rest.split_first() {
            let cut = PgaeError::Truncated { tag };
            let (length, behind) = behind.split_first_chunk::<4>().ok_or(cut.clone())?;
            let length = u32::from_be_bytes(*length) as usize;
            let (value, behind) = behind.split_at_checked(length).ok_or(cut)?;
            values.add(tag, value)?;
            rest = behind;
        }
        let envelope = Self {
            nonce: values.sized(1)?.ok_or(PgaeError::Missing { tag: 1 })?,
            report: values
                .take(2)
                .ok_or(PgaeError::Missing { tag: 2 })?
                .to_vec(),
            chain: values.text(3)?,
            uuid: values.text(5)?,
            driver: values.text(6)?,
            vbios: values.text(7)?,
            environment: values.number(8)?,
            feature: values.number(9)?,
            devtools: values.number(10)?,
        };
        let repeated = envelope.report.get(NONCE_AT..NONCE_AT + 32);
        match repeated == Some(&envelope.nonce[..]) {
            true => Ok(envelope),
            false => Err(PgaeError::Nonce),
        }
    }
}

/// The values by tag.
#[derive(Default)]
struct Values<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Values<'a> {
    fn add(&mut self, tag: u8, value: &'a [u8]) -> Result<(), PgaeError> {
        if !matches!(tag, 1..=3 | 5..=10) {
            return Err(PgaeError::Tag { tag });
        }
        if self.take(tag).is_some() {
            return Err(PgaeError::Twice { tag });
        }
        self.0.push((tag, value));
        Ok(())
    }

    fn take(&self, tag: u8) -> Option<&'a [u8]> {
        let found = self.0.iter().find(|(known, _)| *known == tag);
        found.map(|(_, value)| *value)
    }

    fn sized<const N: usize>(&self, tag: u8) -> Result<Option<[u8; N]>, PgaeError> {
        let Some(value) = self.take(tag) else {
            return Ok(None);
        };
        let found = value.len();
        let sized = value.try_into();
        sized.map(Some).map_err(|_| PgaeError::Length {
            tag,
            found,
            wanted: N,
        })
    }

    fn number(&self, tag: u8) -> Result<Option<u32>, PgaeError> {
        Ok(self.sized(tag)?.map(u32::from_be_bytes))
    }

    fn text(&self, tag: u8) -> Result<Option<String>, PgaeError> {
        let Some(value) = self.take(tag) else {
            return Ok(None);
        };
        let printable = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0x20..=0x7e);
        match value.iter().all(printable) {
            true => Ok(Some(String::from_utf8_lossy(value).into_owned())),
            false => Err(PgaeError::Text { tag }),
        }
    }
}
