//! AWS-LC.

use aws_lc_rs::signature::{
    self as lc, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

use super::{PublicKey, Scheme, SignatureError};

enum Algorithm {
    Ecdsa(&'static EcdsaVerificationAlgorithm),
    Rsa(&'static RsaParameters),
}

pub(super) fn verify(
    key: &PublicKey,
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let algorithm = match scheme {
        Scheme::EcdsaSha256 => Algorithm::Ecdsa(&lc::ECDSA_P256_SHA256_FIXED),
        Scheme::EcdsaSha256Der => Algorithm::Ecdsa(&lc::ECDSA_P256_SHA256_ASN1),
        Scheme::EcdsaSha384 => Algorithm::Ecdsa(&lc::ECDSA_P384_SHA384_FIXED),
        Scheme::EcdsaSha384Der => Algorithm::Ecdsa(&lc::ECDSA_P384_SHA384_ASN1),
        Scheme::EcdsaP384Sha256Der => Algorithm::Ecdsa(&lc::ECDSA_P384_SHA256_ASN1),
        Scheme::RsaPssSha256 => Algorithm::Rsa(&lc::RSA_PSS_2048_8192_SHA256),
        Scheme::RsaPssSha384 => Algorithm::Rsa(&lc::RSA_PSS_2048_8192_SHA384),
        Scheme::RsaPkcs1Sha256 => Algorithm::Rsa(&lc::RSA_PKCS1_2048_8192_SHA256),
        Scheme::RsaPkcs1Sha384 => Algorithm::Rsa(&lc::RSA_PKCS1_2048_8192_SHA384),
    };
    let p256 = matches!(scheme, Scheme::EcdsaSha256 | Scheme::EcdsaSha256Der);
    let verified = match (algorithm, key) {
        (Algorithm::Ecdsa(algorithm), PublicKey::P256(point)) if p256 => {
            UnparsedPublicKey::new(algorithm, point).verify(message, signature)
        }
        (Algorithm::Ecdsa(algorithm), PublicKey::P384(point)) if !p256 => {
            UnparsedPublicKey::new(algorithm, point).verify(message, signature)
        }
        (Algorithm::Rsa(parameters), PublicKey::Rsa { modulus, exponent }) => {
            let (n, e) = (modulus, exponent);
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
        }
        _ => return Err(SignatureError::Scheme),
    };
    verified.map_err(|_| SignatureError::Invalid)
}
