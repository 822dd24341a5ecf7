//! Signatures of other parties: public keys, and whether they signed.
//!
//! The one place where this crate meets public-key cryptography. Natively it is AWS-LC (`aws-lc-rs`), several
//! times faster than pure Rust on P-384 and RSA; WebAssembly gets the RustCrypto crates, which are also the
//! oracle of the tests.
//!
//! Specs: FIPS 186-5 (ECDSA, RSA), RFC 8017 (PSS with a salt as long as the digest, PKCS #1 v1.5), SEC 1 (points),
//! RFC 5480 and RFC 3279 (keys in certificates). Not covered: other curves, RSA below 2048 bits, SHA-1.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(any(test, target_arch = "wasm32"))]
mod pure;

#[cfg(not(target_arch = "wasm32"))]
use native as backend;
#[cfg(target_arch = "wasm32")]
use pure as backend;

use thiserror::Error;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RSA moduli that are taken, in bytes: 2048 to 8192 bits.
const MODULUS: core::ops::RangeInclusive<usize> = 256..=1024;
/// An exponent of more bytes is nobody's.
const MAX_EXPONENT: usize = 8;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// A point of P-256, SEC 1 without compression, 65 bytes.
    P256([u8; 65]),
    /// A point of P-384, SEC 1 without compression, 97 bytes.
    P384([u8; 97]),
    /// RSA, big-endian without leading zeros.
    Rsa {
        /// n, 256 to 1024 bytes.
        modulus: Vec<u8>,
        /// e, at most 8 bytes.
        exponent: Vec<u8>,
    },
}

/// How a signature was made and is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// ECDSA P-256 with SHA-256, r and s of 32 bytes each, big-endian.
    EcdsaSha256,
    /// The same as a DER sequence.
    EcdsaSha256Der,
    /// ECDSA P-384 with SHA-384, r and s of 48 bytes each, big-endian.
    EcdsaSha384,
    /// The same as a DER sequence.
    EcdsaSha384Der,
    /// ECDSA P-384 with SHA-256 as a DER sequence: some certificates are signed like that.
    EcdsaP384Sha256Der,
    /// RSASSA-PSS, SHA-256, MGF1 with SHA-256, salt of 32 bytes.
    RsaPssSha256,
    /// RSASSA-PSS, SHA-384, MGF1 with SHA-384, salt of 48 bytes.
    RsaPssSha384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsaPkcs1Sha384,
}

/// Why bytes are not a public key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Another algorithm or curve.
    #[error("key has algorithm {oid}, wanted ECDSA on P-256 or P-384, or RSA")]
    Algorithm {
        /// Object identifier of the algorithm or curve.
        oid: String,
    },
    /// A point that is compressed or has another length.
    #[error("point of {curve} has {found} bytes, wanted an uncompressed point")]
    Point {
        /// The curve.
        curve: &'static str,
        /// Length in bytes.
        found: usize,
    },
    /// Not the DER of an RSA key.
    #[error("RSA key is not strict DER")]
    Rsa,
    /// A modulus that is too short to trust or too long to read.
    #[error("RSA modulus has {found} bytes, wanted 256 to 1024")]
    Modulus {
        /// Length in bytes.
        found: usize,
    },
    /// An exponent that is no exponent.
    #[error("RSA exponent is empty, even, or longer than {MAX_EXPONENT} bytes")]
    Exponent,
}

/// Why a signature is not one of this key over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The key cannot make signatures of this scheme.
    #[error("a key of another algorithm")]
    Scheme,
    /// Badly encoded, or made by another key or over another message.
    #[error("one that does not verify")]
    Invalid,
}

impl PublicKey {
    /// The key of P-256 with these coordinates: x and y, 32 bytes each, big-endian. Whether the point lies on the curve shows when it
    /// verifies.
    pub(crate) fn p256<'a>(coordinates: impl IntoIterator<Item = &'a u8>) -> Self {
        let mut point = [4; 65];
        for (to, from) in point.iter_mut().skip(1).zip(coordinates) {
            *to = *from;
        }
        Self::P256(point)
    }

    /// Takes the key out of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let bytes = spki.subject_public_key.as_bytes().unwrap_or_default();
        let parameters = spki.algorithm.parameters.as_ref();
        match spki.algorithm.oid {
            RSA_ENCRYPTION => Self::from_rsa_der(bytes),
            EC_PUBLIC_KEY => {
                let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
                match curve {
                    Some(P256) => point("P-256", bytes).map(PublicKey::P256),
                    Some(P384) => point("P-384", bytes).map(PublicKey::P384),
                    other => Err(KeyError::Algorithm {
                        oid: other.unwrap_or(EC_PUBLIC_KEY).to_string(),
                    }),
                }
            }
            other => Err(KeyError::Algorithm {
                oid: other.to_string(),
            }),
        }
    }

    /// An RSA key from modulus and exponent, big-endian; leading zeros are dropped.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let (modulus, exponent) = (trimmed(modulus), trimmed(exponent));
        if !MODULUS.contains(&modulus.len()) {
            return Err(KeyError::Modulus {
                found: modulus.len(),
            });
        }
        let odd = exponent.last().is_some_and(|last| last % 2 == 1);
        if !odd || exponent.len() > MAX_EXPONENT {
            return Err(KeyError::Exponent);
        }
        Ok(PublicKey::Rsa {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        })
    }

    /// RSAPublicKey of RFC 8017, appendix A.1.1.
    fn from_rsa_der(der: &[u8]) -> Result<Self, KeyError> {
        let parse = || -> x509_cert::der::Result<(Vec<u8>, Vec<u8>)> {
            let mut reader = SliceReader::new(der)?;
            let numbers = reader.sequence(|body| {
                let modulus = UintRef::decode(body)?.as_bytes().to_vec();
                let exponent = UintRef::decode(body)?.as_bytes().to_vec();
                Ok((modulus, exponent))
            })?;
            reader.finish(numbers)
        };
        let (modulus, exponent) = parse().map_err(|_| KeyError::Rsa)?;
        Self::rsa(&modulus, &exponent)
    }

    /// Checks that this key made `signature` over `message`, hashed as the scheme says.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(
        &self,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        backend::verify(self, scheme, message, signature)
    }
}

fn point<const N: usize>(curve: &'static str, bytes: &[u8]) -> Result<[u8; N], KeyError> {
    let uncompressed = bytes.first() == Some(&4);
    let point = bytes.try_into().ok().filter(|_| uncompressed);
    point.ok_or(KeyError::Point {
        curve,
        found: bytes.len(),
    })
}

fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
