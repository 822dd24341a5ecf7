//! ECDSA P-384 with SHA-384, the one algorithm of the whole chain and of the report.
//!
//! Who appraises brings the arithmetic ([`Verify`]): PID 1 takes [`verify`], natively `ring`, which it links for TLS already;
//! `crates/verify` has a faster one. WebAssembly gets `p384`, which is also the oracle of the tests.
//! Spec: FIPS 186-5; points as SEC 1 without compression.

/// An uncompressed point of P-384: 4, x, y.
pub type Point = [u8; 97];

/// Whether the holder of a key signed: key, encoding of the signature, message, signature.
pub type Verify = fn(&Point, Encoding, &[u8], &[u8]) -> bool;

/// How r and s are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 48 bytes each, big-endian.
    Fixed,
    /// DER sequence.
    Der,
}

/// Whether the holder of `key` signed `message`.
#[cfg(not(target_arch = "wasm32"))]
pub fn verify(key: &Point, encoding: Encoding, message: &[u8], signature: &[u8]) -> bool {
    use ring::signature::{ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
    let algorithm: &'static dyn ring::signature::VerificationAlgorithm = match encoding {
        Encoding::Fixed => &ECDSA_P384_SHA384_FIXED,
        Encoding::Der => &ECDSA_P384_SHA384_ASN1,
    };
    UnparsedPublicKey::new(algorithm, key)
        .verify(message, signature)
        .is_ok()
}

/// The RustCrypto crate.
#[cfg(any(test, target_arch = "wasm32"))]
pub(crate) mod pure {
    use p384::ecdsa::signature::Verifier as _;
    use p384::ecdsa::{Signature, VerifyingKey};

    use super::{Encoding, Point};

    /// Whether the holder of `key` signed `message`.
    pub(crate) fn verify(
        key: &Point,
        encoding: Encoding,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let signature = match encoding {
            Encoding::Fixed => Signature::from_slice(signature),
            Encoding::Der => Signature::from_der(signature),
        };
        match (VerifyingKey::from_sec1_bytes(key), signature) {
            (Ok(key), Ok(signature)) => key.verify(message, &signature).is_ok(),
            _ => false,
        }
    }
}

/// Whether the holder of `key` signed `message`.
#[cfg(target_arch = "wasm32")]
pub fn verify(key: &Point, encoding: Encoding, message: &[u8], signature: &[u8]) -> bool {
    pure::verify(key, encoding, message, signature)
}
