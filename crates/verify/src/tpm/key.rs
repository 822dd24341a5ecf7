//! The attestation key, in the forms in which it is handed over.
//!
//! Specs: TPM 2.0 Library, Part 2 (`TPMT_PUBLIC`, and `TPM2B_PUBLIC` as `tpm2_readpublic` writes it), RFC 5280 and RFC 7468
//! (SubjectPublicKeyInfo, DER and PEM), RFC 7517 and RFC 7518, section 6.3.1 (JSON Web Key, RSA). Not covered: certificates.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloister_evidence::tpm::{self, ALG_ECC, ALG_RSA, RsaAttestationKey, TpmError};
use cloister_measure::azure::JsonWebKey;
use thiserror::Error;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::signature::{KeyError, PublicKey};

/// Longest form of a key that is read, in bytes.
const MAX_BYTES: usize = 16 << 10;
const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// Why bytes are not an attestation key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AkError {
    /// Longer than any.
    #[error("key has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// None of the forms.
    #[error("neither TPMT_PUBLIC nor SubjectPublicKeyInfo (PEM or DER) nor JSON Web Key")]
    Form,
    /// A public area of a TPM that is not of such a key.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// Not the DER of a SubjectPublicKeyInfo.
    #[error("SubjectPublicKeyInfo is not strict DER")]
    Der,
    /// Not one PEM block.
    #[error("PEM is not closed, not base64, or has something around it")]
    Pem,
    /// Not a JSON Web Key of RSA.
    #[error("JSON Web Key: {reason}")]
    Jwk {
        /// What is wrong.
        reason: String,
    },
    /// A key that cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A curve that no TPM of these signs with.
    #[error("key is of P-384, wanted RSA or P-256")]
    Curve,
}

/// An attestation key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ak {
    /// What signatures are verified with.
    pub key: PublicKey,
    /// `objectAttributes`, where the form has them.
    pub attributes: Option<u32>,
}

impl Ak {
    /// Reads a key: `TPMT_PUBLIC`, `TPM2B_PUBLIC`, SubjectPublicKeyInfo in DER or PEM, or a JSON Web Key.
    ///
    /// # Errors
    /// See [`AkError`].
    pub fn parse(input: &[u8]) -> Result<Self, AkError> {
        let found = input.len();
        if found > MAX_BYTES {
            return Err(AkError::TooLarge { found });
        }
        if let Some((start, rest)) = input.split_first_chunk::<2>() {
            let start = u16::from_be_bytes(*start);
            if [ALG_RSA, ALG_ECC].contains(&start) {
                return Self::from_public(input);
            }
            if usize::from(start) == rest.len() {
                return Self::from_public(rest);
            }
        }
        let text = || core::str::from_utf8(input).map_err(|_| AkError::Form);
        match input.trim_ascii_start().first() {
            Some(0x30) => Self::from_der(input),
            Some(b'-') => Self::from_der(&unarmoured(text()?)?),
            Some(b'{') => {
                let jwk = serde_json::from_str(text()?);
                Self::from_jwk(&jwk.map_err(|error| AkError::Jwk {
                    reason: error.to_string(),
                })?)
            }
            _ => Err(AkError::Form),
        }
    }

    /// Reads `TPMT_PUBLIC`.
    fn from_public(input: &[u8]) -> Result<Self, AkError> {
        if input.starts_with(&ALG_RSA.to_be_bytes()) {
            let key = RsaAttestationKey::parse(input)?;
            return Ok(Self {
                key: PublicKey::rsa(&key.modulus, &key.exponent.to_be_bytes())?,
                attributes: Some(key.attributes),
            });
        }
        let key = tpm::AttestationKey::parse(input)?;
        Ok(Self {
            key: PublicKey::p256(key.x.iter().chain(&key.y)),
            attributes: Some(key.attributes),
        })
    }

    fn from_der(input: &[u8]) -> Result<Self, AkError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(input).map_err(|_| AkError::Der)?;
        if spki.to_der().ok().as_deref() != Some(input) {
            return Err(AkError::Der);
        }
        let key = PublicKey::from_spki(&spki)?;
        if matches!(key, PublicKey::P384(_)) {
            return Err(AkError::Curve);
        }
        Ok(Self {
            key,
            attributes: None,
        })
    }

    /// Takes the key out of a JSON Web Key of RSA.
    ///
    /// # Errors
    /// See [`AkError`].
    pub fn from_jwk(jwk: &JsonWebKey) -> Result<Self, AkError> {
        let error = |reason: &str| AkError::Jwk {
            reason: reason.to_owned(),
        };
        if jwk.kty != "RSA" {
            return Err(error("`kty` is not `RSA`"));
        }
        let number = |text: &str, reason| {
            let decoded = URL_SAFE_NO_PAD.decode(text);
            decoded.map_err(|_| error(reason))
        };
        let modulus = number(&jwk.n, "`n` is not base64url without padding")?;
        let exponent = number(&jwk.e, "`e` is not base64url without padding")?;
        Ok(Self {
            key: PublicKey::rsa(&modulus, &exponent)?,
            attributes: None,
        })
    }
}

/// The DER in one PEM block, with nothing but white space around it.
fn unarmoured(text: &str) -> Result<Vec<u8>, AkError> {
    let body = text.trim().strip_prefix(BEGIN);
    let body = body.and_then(|body| body.strip_suffix(END));
    let body: String = body.ok_or(AkError::Pem)?.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_| AkError::Pem)
}
