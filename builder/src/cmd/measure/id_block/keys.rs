//! Keys of an ID block: read from PEM, sign, verify. Nothing that is signed goes out unverified.

use std::path::{Path, PathBuf};

use cloister_measure::snp::{IdKey, IdSignature};
use p384::ecdsa::signature::{Signer as _, Verifier as _};
use p384::ecdsa::{Signature, SigningKey, VerifyingKey};
use p384::elliptic_curve::sec1::ToEncodedPoint as _;
use p384::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use p384::{PublicKey, SecretKey};
use thiserror::Error;

use super::{MeasureError, read};
use crate::cmd::Hinted;

/// Why there is no key or signature.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Read(#[from] MeasureError),
    #[error("`{}` is not a private key on P-384 in PEM", path.display())]
    Private { path: PathBuf },
    #[error("`{}` is not a public key on P-384 in PEM", path.display())]
    Public { path: PathBuf },
    #[error("`{}` is not an ECDSA signature over P-384: wanted DER, or 96 bytes of r and s", path.display())]
    Signature { path: PathBuf },
    #[error("signature `{}` is not of these {length} bytes by `{}`", signature.display(), key.display())]
    Mismatch {
        signature: PathBuf,
        key: PathBuf,
        length: usize,
    },
    #[error("an author key signs the ID key, and there is none")]
    AuthorAlone,
}

impl Hinted for KeyError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            KeyError::Private { .. } => {
                "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384`; it must not be encrypted"
            }
            KeyError::Public { .. } => "take it from the private key with `openssl pkey -pubout`",
            KeyError::Signature { .. } => "sign with `openssl dgst -sha384 -sign KEY`",
            KeyError::Mismatch { .. } => {
                "sign the file that `--out DIR` writes for the same digest, ids, policy and version: `id-block.bin`, by an author `id-key.bin`"
            }
            KeyError::AuthorAlone => "add `--id-key PEM`, or `--signature FILE --public-key PEM`",
            KeyError::Read(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

/// A signature and the key it is by.
pub(super) struct Signed {
    pub(super) signature: IdSignature,
    pub(super) key: IdKey,
}

impl Signed {
    /// Signs `bytes` with the private key in `path`; the same bytes get the same signature (RFC 6979).
    pub(super) fn here(path: &Path, bytes: &[u8]) -> Result<Signed, KeyError> {
        let key = SigningKey::from(private(path)?);
        let signature: Signature = key.sign(bytes);
        Ok(Signed {
            signature: parts(&signature),
            key: point(&PublicKey::from(key.verifying_key())),
        })
    }

    /// Takes a signature of `bytes` that was made elsewhere.
    pub(super) fn elsewhere(
        signature: &Path,
        key: &Path,
        bytes: &[u8],
    ) -> Result<Signed, KeyError> {
        let public = read_public(key)?;
        let encoded = read(signature)?;
        let parsed = Signature::from_der(&encoded).or_else(|_| Signature::from_slice(&encoded));
        let parsed = parsed.map_err(|_| KeyError::Signature {
            path: signature.to_owned(),
        })?;
        match VerifyingKey::from(&public).verify(bytes, &parsed) {
            Ok(()) => Ok(Signed {
                signature: parts(&parsed),
                key: point(&public),
            }),
            Err(_) => Err(KeyError::Mismatch {
                signature: signature.to_owned(),
                key: key.to_owned(),
                length: bytes.len(),
            }),
        }
    }
}

/// Reads a public key.
pub(super) fn public(path: &Path) -> Result<IdKey, KeyError> {
    Ok(point(&read_public(path)?))
}

fn read_public(path: &Path) -> Result<PublicKey, KeyError> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    PublicKey::from_public_key_pem(text).map_err(|_| KeyError::Public {
        path: path.to_owned(),
    })
}

/// Takes PKCS #8 or SEC 1; OpenSSL writes parameters before the latter.
fn private(path: &Path) -> Result<SecretKey, KeyError> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let from = |label: &str| text.find(label).and_then(|start| text.get(start..));
    let sec1 = from("-----BEGIN EC PRIVATE KEY-----").map(|pem| SecretKey::from_sec1_pem(pem).ok());
    let pkcs8 = from("-----BEGIN PRIVATE KEY-----").map(|pem| SecretKey::from_pkcs8_pem(pem).ok());
    let key = sec1.or(pkcs8).flatten();
    key.ok_or_else(|| KeyError::Private {
        path: path.to_owned(),
    })
}

fn parts(signature: &Signature) -> IdSignature {
    let (r, s) = signature.split_bytes();
    IdSignature {
        r: r.into(),
        s: s.into(),
    }
}

/// The coordinates of a key; neither can be missing, since a public key is never the point at infinity.
fn point(key: &PublicKey) -> IdKey {
    let point = key.to_encoded_point(false);
    IdKey {
        x: point.x().copied().unwrap_or_default().into(),
        y: point.y().copied().unwrap_or_default().into(),
    }
}
