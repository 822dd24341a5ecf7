//! Hash algorithms of measurement registers, and digests in them.
//!
//! Spec: TCG PC Client Platform Firmware Profile 1.06, on digests of events, TCG Algorithm
//! Registry (identifiers). SM3 and SHA-3 banks are left out. SHA-1 is here to read old logs with; it pins nothing,
//! and reference values refuse it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use thiserror::Error;

/// A hash algorithm in which registers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bank {
    /// SHA-1, TPM algorithm 0x0004, 20 bytes. Collisions are cheap: never a reference value.
    Sha1,
    /// SHA-256, TPM algorithm 0x000B, 32 bytes.
    Sha256,
    /// SHA-384, TPM algorithm 0x000C, 48 bytes.
    Sha384,
    /// SHA-512, TPM algorithm 0x000D, 64 bytes.
    Sha512,
}

impl Bank {
    /// Returns the size of a digest in bytes.
    pub fn len(self) -> usize {
        match self {
            Bank::Sha1 => 20,
            Bank::Sha256 => 32,
            Bank::Sha384 => 48,
            Bank::Sha512 => 64,
        }
    }

    /// Returns false: no bank has empty digests.
    pub fn is_empty(self) -> bool {
        false
    }

    /// Returns the bank of a `TPM_ALG_ID`, or `None` where this crate has no such bank.
    pub fn from_algorithm(id: u16) -> Option<Bank> {
        match id {
            0x0004 => Some(Bank::Sha1),
            0x000b => Some(Bank::Sha256),
            0x000c => Some(Bank::Sha384),
            0x000d => Some(Bank::Sha512),
            _ => None,
        }
    }

    /// Hashes the concatenation of `parts`.
    pub fn hash(self, parts: &[&[u8]]) -> Digest {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(part);
        }
        hasher.finish()
    }

    /// Starts an incremental hash.
    pub fn hasher(self) -> Hasher {
        match self {
            Bank::Sha1 => Hasher(State::Sha1(Sha1::new())),
            Bank::Sha256 => Hasher(State::Sha256(Sha256::new())),
            Bank::Sha384 => Hasher(State::Sha384(Sha384::new())),
            Bank::Sha512 => Hasher(State::Sha512(Sha512::new())),
        }
    }
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bank::Sha1 => "sha1",
            Bank::Sha256 => "sha256",
            Bank::Sha384 => "sha384",
            Bank::Sha512 => "sha512",
        })
    }
}

/// An incremental hash in one bank's algorithm.
#[derive(Debug, Clone)]
pub struct Hasher(State);

#[derive(Debug, Clone)]
enum State {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// Hashes `bytes` after what was hashed before.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha1(hasher) => hasher.update(bytes),
            State::Sha256(hasher) => hasher.update(bytes),
            State::Sha384(hasher) => hasher.update(bytes),
            State::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the digest of everything hashed.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha1(hasher) => Digest::Sha1(hasher.finalize().into()),
            State::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            State::Sha384(hasher) => Digest::Sha384(hasher.finalize().into()),
            State::Sha512(hasher) => Digest::Sha512(hasher.finalize().into()),
        }
    }
}

/// A digest, or the value of a register. Shown, parsed and serialised as lower-case hex, whose
/// length tells the bank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Digest {
    /// 20 bytes of SHA-1.
    Sha1([u8; 20]),
    /// 32 bytes of SHA-256.
    Sha256([u8; 32]),
    /// 48 bytes of SHA-384.
    Sha384([u8; 48]),
    /// 64 bytes of SHA-512.
    Sha512([u8; 64]),
}

impl Digest {
    /// Returns the all-zero value, which every register but the debug PCRs holds at reset.
    pub fn zero(bank: Bank) -> Digest {
        match bank {
            Bank::Sha1 => Digest::Sha1([0; 20]),
            Bank::Sha256 => Digest::Sha256([0; 32]),
            Bank::Sha384 => Digest::Sha384([0; 48]),
            Bank::Sha512 => Digest::Sha512([0; 64]),
        }
    }

    /// Takes digest bytes of `bank`.
    ///
    /// # Errors
    /// [`DigestError::Length`] unless `bytes` is exactly as long as the bank's digests.
    pub fn from_bytes(bank: Bank, bytes: &[u8]) -> Result<Digest, DigestError> {
        let length = |_| DigestError::Length { found: bytes.len() };
        Ok(match bank {
            Bank::Sha1 => Digest::Sha1(bytes.try_into().map_err(length)?),
            Bank::Sha256 => Digest::Sha256(bytes.try_into().map_err(length)?),
            Bank::Sha384 => Digest::Sha384(bytes.try_into().map_err(length)?),
            Bank::Sha512 => Digest::Sha512(bytes.try_into().map_err(length)?),
        })
    }

    /// Returns the bank this digest belongs to.
    pub fn bank(&self) -> Bank {
        match self {
            Digest::Sha1(_) => Bank::Sha1,
            Digest::Sha256(_) => Bank::Sha256,
            Digest::Sha384(_) => Bank::Sha384,
            Digest::Sha512(_) => Bank::Sha512,
        }
    }

    /// Returns the bytes of the digest.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Digest::Sha1(bytes) => bytes,
            Digest::Sha256(bytes) => bytes,
            Digest::Sha384(bytes) => bytes,
            Digest::Sha512(bytes) => bytes,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.bank())
    }
}

/// Why text or bytes are not a digest.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DigestError {
    /// A digest of another algorithm, or cut off.
    #[error("digest has {found} bytes, wanted 20 (sha1), 32 (sha256), 48 (sha384) or 64 (sha512)")]
    Length {
        /// Bytes there were.
        found: usize,
    },
    /// Digests are written in lower-case hex, so that one value has one spelling.
    #[error("digest is not lower-case hex")]
    NotHex,
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(DigestError::NotHex);
        }
        let bytes = hex::decode(text).map_err(|_| DigestError::NotHex)?;
        let bank = match bytes.len() {
            20 => Bank::Sha1,
            32 => Bank::Sha256,
            48 => Bank::Sha384,
            64 => Bank::Sha512,
            found => return Err(DigestError::Length { found }),
        };
        Digest::from_bytes(bank, &bytes)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_text_round_trips_in_every_bank() {
        for bank in [Bank::Sha1, Bank::Sha256, Bank::Sha384, Bank::Sha512] {
            let digest = bank.hash(&[b"a", b"bc"]);
            assert_eq!(digest.to_string().parse(), Ok(digest));
            assert_eq!(digest, bank.hash(&[b"abc"]));
            assert_eq!(digest.as_bytes().len(), bank.len());
        }
    }

    #[test]
    fn digest_refuses_other_spellings() {
        assert_eq!("AB".repeat(32).parse::<Digest>(), Err(DigestError::NotHex));
        assert_eq!("0x".repeat(32).parse::<Digest>(), Err(DigestError::NotHex));
        assert_eq!(
            "ab".repeat(21).parse::<Digest>(),
            Err(DigestError::Length { found: 21 })
        );
    }
}
