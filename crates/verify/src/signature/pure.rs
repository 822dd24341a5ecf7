//! RustCrypto: WebAssembly's backend, and the oracle of the native one in tests.

use p256::ecdsa::signature::Verifier;
use rsa::{BigUint, RsaPublicKey, pkcs1v15, pss};
use sha2::{Digest as _, Sha256, Sha384};

use super::{PublicKey, Scheme, SignatureError};

/// Longest RSA modulus, in bits.
const MAX_BITS: usize = 8192;

pub(super) fn verify(
    key: &PublicKey,
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let verified = match (key, scheme) {
        (PublicKey::P256(point), Scheme::EcdsaSha256 | Scheme::EcdsaSha256Der) => {
            p256(point, scheme == Scheme::EcdsaSha256Der, message, signature)
        }
        (PublicKey::P384(point), Scheme::EcdsaSha384 | Scheme::EcdsaSha384Der) => {
            p384(point, scheme == Scheme::EcdsaSha384Der, message, signature)
        }
        (PublicKey::P384(point), Scheme::EcdsaP384Sha256Der) => {
            p384_sha256(point, message, signature)
        }
        (PublicKey::Rsa { modulus, exponent }, _) => {
            return rsa_key(modulus, exponent).and_then(|key| rsa(key, scheme, message, signature));
        }
        _ => return Err(SignatureError::Scheme),
    };
    verified.ok_or(SignatureError::Invalid)
}

fn p256(point: &[u8], der: bool, message: &[u8], signature: &[u8]) -> Option<()> {
    use p256::ecdsa::{Signature, VerifyingKey};
    let signature = match der {
        true => Signature::from_der(signature).ok()?,
        false => Signature::from_slice(signature).ok()?,
    };
    let key = VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify(message, &signature).ok()
}

fn p384(point: &[u8], der: bool, message: &[u8], signature: &[u8]) -> Option<()> {
    use p384::ecdsa::{Signature, VerifyingKey};
    let signature = match der {
        true => Signature::from_der(signature).ok()?,
        false => Signature::from_slice(signature).ok()?,
    };
    let key = VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify(message, &signature).ok()
}

fn p384_sha256(point: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    use p384::ecdsa::signature::hazmat::PrehashVerifier as _;
    use p384::ecdsa::{Signature, VerifyingKey};
    let signature = Signature::from_der(signature).ok()?;
    let key = VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify_prehash(&Sha256::digest(message), &signature)
        .ok()
}

fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Result<RsaPublicKey, SignatureError> {
    let number = BigUint::from_bytes_be;
    RsaPublicKey::new_with_max_size(number(modulus), number(exponent), MAX_BITS)
        .map_err(|_| SignatureError::Invalid)
}

fn rsa(
    key: RsaPublicKey,
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let pkcs1 = || pkcs1v15::Signature::try_from(signature).ok();
    let pss = || pss::Signature::try_from(signature).ok();
    let verified = match scheme {
        Scheme::RsaPssSha256 => pss().and_then(|signature| {
            let key = pss::VerifyingKey::<Sha256>::new_with_salt_len(key, 32);
            key.verify(message, &signature).ok()
        }),
        Scheme::RsaPssSha384 => pss().and_then(|signature| {
            let key = pss::VerifyingKey::<Sha384>::new_with_salt_len(key, 48);
            key.verify(message, &signature).ok()
        }),
        Scheme::RsaPkcs1Sha256 => pkcs1().and_then(|signature| {
            let key = pkcs1v15::VerifyingKey::<Sha256>::new(key);
            key.verify(message, &signature).ok()
        }),
        Scheme::RsaPkcs1Sha384 => pkcs1().and_then(|signature| {
            let key = pkcs1v15::VerifyingKey::<Sha384>::new(key);
            key.verify(message, &signature).ok()
        }),
        _ => return Err(SignatureError::Scheme),
    };
    verified.ok_or(SignatureError::Invalid)
}
