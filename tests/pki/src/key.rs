//! Keys of the kinds that AMD, Intel and Microsoft use.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RsaKeyPair,
};
use p384::pkcs8::EncodePrivateKey as _;
use sha2::{Digest as _, Sha384};
use x509_cert::der::Any;
use x509_cert::der::asn1::{AnyRef, BitString, Null, ObjectIdentifier};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::{Parameters, PkiError, kept};

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A private key.
#[derive(Debug)]
pub enum Key {
    /// RSA.
    Rsa(Box<RsaKeyPair>),
    /// P-384: signs structures and reports, which encode signatures differently.
    P384 {
        /// For certificates: DER.
        der: Box<EcdsaKeyPair>,
        /// For reports: r and s of 48 bytes.
        fixed: Box<EcdsaKeyPair>,
    },
    /// P-256, likewise.
    P256 {
        /// For certificates: DER.
        der: Box<EcdsaKeyPair>,
        /// For quotes: r and s of 32 bytes.
        fixed: Box<EcdsaKeyPair>,
    },
}

impl Key {
    /// A fresh RSA key of 4096 bits.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when AWS-LC refuses.
    pub fn rsa() -> Result<Self, PkiError> {
        Self::rsa_of(KeySize::Rsa4096)
    }

    /// A fresh RSA key of 2048 bits, as TPMs have them.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when AWS-LC refuses.
    pub fn rsa_2048() -> Result<Self, PkiError> {
        Self::rsa_of(KeySize::Rsa2048)
    }

    fn rsa_of(size: KeySize) -> Result<Self, PkiError> {
        let pair = match kept::folder() {
            Some(folder) => kept::next(&folder, size)?,
            None => RsaKeyPair::generate(size).map_err(|_| PkiError::Crypto)?,
        };
        Ok(Key::Rsa(Box::new(pair)))
    }

    /// A fresh P-384 key.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when AWS-LC refuses.
    pub fn p384() -> Result<Self, PkiError> {
        let fixed = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let (der, fixed) = ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, fixed)?;
        Ok(Key::P384 { der, fixed })
    }

    /// The P-384 key that follows from `label`, the same in every process: a test's key, which everybody can make.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when AWS-LC refuses.
    pub fn p384_of(label: &str) -> Result<Self, PkiError> {
        // 47 bytes of the hash: below the order of the curve whatever they are.
        let hash = Sha384::digest(label);
        let mut scalar = [0; 48];
        for (byte, from) in scalar.iter_mut().skip(1).zip(hash) {
            *byte = from;
        }
        let secret = p384::SecretKey::from_slice(&scalar).map_err(|_| PkiError::Crypto)?;
        let pkcs8 = secret.to_pkcs8_der().map_err(|_| PkiError::Crypto)?;
        let pair = |algorithm| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_bytes());
            pair.map(Box::new).map_err(|_| PkiError::Crypto)
        };
        Ok(Key::P384 {
            der: pair(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
            fixed: pair(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
        })
    }

    /// A fresh P-256 key.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when AWS-LC refuses.
    pub fn p256() -> Result<Self, PkiError> {
        let fixed = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let (der, fixed) = ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, fixed)?;
        Ok(Key::P256 { der, fixed })
    }

    /// x and y of a P-256 key, as quotes have them.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when the key is another.
    pub fn point(&self) -> Result<[u8; 64], PkiError> {
        let Key::P256 { der, .. } = self else {
            return Err(PkiError::Crypto);
        };
        let point = der.public_key().as_ref().strip_prefix(&[4]);
        let point = point.and_then(|point| point.try_into().ok());
        point.ok_or(PkiError::Crypto)
    }

    /// Signs what a quote holds, or a document of Intel's: r and s of 32 bytes each, big-endian. Only a P-256 key can.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when the key is another, or AWS-LC refuses.
    pub fn sign_quote(&self, message: &[u8]) -> Result<[u8; 64], PkiError> {
        let Key::P256 { fixed, .. } = self else {
            return Err(PkiError::Crypto);
        };
        let signature = fixed.sign(&SystemRandom::new(), message);
        let signature = signature.map_err(|_| PkiError::Crypto)?;
        signature.as_ref().try_into().map_err(|_| PkiError::Crypto)
    }

    /// The public half.
    ///
    /// # Errors
    /// [`PkiError::Der`] when it does not encode.
    pub fn spki(&self) -> Result<SubjectPublicKeyInfoOwned, PkiError> {
        let (oid, parameters, bytes) = match self {
            Key::Rsa(pair) => {
                let null = Any::from_der_of(&Null)?;
                (RSA_ENCRYPTION, null, pair.public_key().as_ref())
            }
            Key::P384 { der, .. } => {
                let curve = Any::from_der_of(&P384)?;
                (EC_PUBLIC_KEY, curve, der.public_key().as_ref())
            }
            Key::P256 { der, .. } => {
                let curve = Any::from_der_of(&P256)?;
                (EC_PUBLIC_KEY, curve, der.public_key().as_ref())
            }
        };
        Ok(SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid,
                parameters: Some(parameters),
            },
            subject_public_key: BitString::from_bytes(bytes)?,
        })
    }

    /// Signs a structure as `parameters` say.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when AWS-LC refuses.
    pub fn sign(&self, parameters: Parameters, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let random = SystemRandom::new();
        match self {
            Key::Rsa(pair) => {
                let encoding = match parameters {
                    Parameters::RsaPkcs1Sha256 => &RSA_PKCS1_SHA256,
                    Parameters::PssSha256 => &RSA_PSS_SHA256,
                    _ => &RSA_PSS_SHA384,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .map_err(|_| PkiError::Crypto)?;
                Ok(signature)
            }
            Key::P384 { der, .. } | Key::P256 { der, .. } => {
                let signature = der.sign(&random, message);
                Ok(signature.map_err(|_| PkiError::Crypto)?.as_ref().to_vec())
            }
        }
    }

    /// Signs a report: r and s of 48 bytes each, big-endian. An RSA key cannot.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when the key is RSA, or AWS-LC refuses.
    pub fn sign_report(&self, message: &[u8]) -> Result<[u8; 96], PkiError> {
        let Key::P384 { fixed, .. } = self else {
            return Err(PkiError::Crypto);
        };
        let signature = fixed.sign(&SystemRandom::new(), message);
        let signature = signature.map_err(|_| PkiError::Crypto)?;
        signature.as_ref().try_into().map_err(|_| PkiError::Crypto)
    }
}

/// One key in both encodings of its signatures.
fn ecdsa(
    der: &'static EcdsaSigningAlgorithm,
    fixed: &'static EcdsaSigningAlgorithm,
) -> Result<(Box<EcdsaKeyPair>, Box<EcdsaKeyPair>), PkiError> {
    let der = EcdsaKeyPair::generate(der).map_err(|_| PkiError::Crypto)?;
    let pkcs8 = der.to_pkcs8v1().map_err(|_| PkiError::Crypto)?;
    let fixed = EcdsaKeyPair::from_pkcs8(fixed, pkcs8.as_ref());
    Ok((
        Box::new(der),
        Box::new(fixed.map_err(|_| PkiError::Crypto)?),
    ))
}

/// Encodes a value as ANY.
trait AnyOf: Sized {
    fn from_der_of(value: &impl x509_cert::der::Encode) -> Result<Self, PkiError>;
}

impl AnyOf for Any {
    fn from_der_of(value: &impl x509_cert::der::Encode) -> Result<Self, PkiError> {
        let der = value.to_der()?;
        Ok(Any::from(AnyRef::try_from(der.as_slice())?))
    }
}
