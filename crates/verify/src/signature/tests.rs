//! Both backends over signatures of RustCrypto's signers; deterministic keys, so that a failure repeats.

use p256::ecdsa::signature::{RandomizedSigner, SignatureEncoding, Signer};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, pkcs1v15, pss};
use sha2::{Sha256, Sha384};

use super::{KeyError, MAX_EXPONENT, PublicKey, Scheme, SignatureError, native, pure};

const MESSAGE: &[u8] = b"what was signed";
const SCHEMES: [Scheme; 8] = [
    Scheme::EcdsaSha256,
    Scheme::EcdsaSha256Der,
    Scheme::EcdsaSha384,
    Scheme::EcdsaSha384Der,
    Scheme::RsaPssSha256,
    Scheme::RsaPssSha384,
    Scheme::RsaPkcs1Sha256,
    Scheme::RsaPkcs1Sha384,
];

/// A signature of each scheme with its key.
fn signed() -> Vec<(Scheme, PublicKey, Vec<u8>)> {
    let mut rng = StdRng::seed_from_u64(7);
    let p256_key = p256::ecdsa::SigningKey::from_slice(&[3; 32]).unwrap();
    let p384_key = p384::ecdsa::SigningKey::from_slice(&[5; 48]).unwrap();
    let rsa_key = RsaPrivateKey::new(&mut rng, 2048).unwrap();
    let p256_sig: p256::ecdsa::Signature = p256_key.sign(MESSAGE);
    let p384_sig: p384::ecdsa::Signature = p384_key.sign(MESSAGE);
    let point = p256_key.verifying_key().to_encoded_point(false);
    let p256_public = PublicKey::P256(point.as_bytes().try_into().unwrap());
    let point = p384_key.verifying_key().to_encoded_point(false);
    let p384_public = PublicKey::P384(point.as_bytes().try_into().unwrap());
    let (n, e) = (rsa_key.n().to_bytes_be(), rsa_key.e().to_bytes_be());
    let rsa_public = PublicKey::rsa(&n, &e).unwrap();
    let pss256 = pss::SigningKey::<Sha256>::new(rsa_key.clone());
    let pss384 = pss::SigningKey::<Sha384>::new(rsa_key.clone());
    let pkcs256 = pkcs1v15::SigningKey::<Sha256>::new(rsa_key.clone());
    let pkcs384 = pkcs1v15::SigningKey::<Sha384>::new(rsa_key);
    let signatures = [
        p256_sig.to_bytes().to_vec(),
        p256_sig.to_der().as_bytes().to_vec(),
        p384_sig.to_bytes().to_vec(),
        p384_sig.to_der().as_bytes().to_vec(),
        pss256.sign_with_rng(&mut rng, MESSAGE).to_vec(),
        pss384.sign_with_rng(&mut rng, MESSAGE).to_vec(),
        pkcs256.sign(MESSAGE).to_vec(),
        pkcs384.sign(MESSAGE).to_vec(),
    ];
    let keys = [p256_public, p384_public, rsa_public];
    let key = |at: usize| keys[(at / 2).min(2)].clone();
    (SCHEMES.into_iter().zip(signatures).enumerate())
        .map(|(at, (scheme, signature))| (scheme, key(at), signature))
        .collect()
}

/// What both backends say; they must agree.
fn verify(
    key: &PublicKey,
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let native = native::verify(key, scheme, message, signature);
    let pure = pure::verify(key, scheme, message, signature);
    assert_eq!(native, pure, "{scheme:?}");
    native
}

#[test]
fn verify_accepts_each_scheme_with_its_own_key_only() {
    let signed = signed();
    let mut checked = 0;
    for (scheme, _, signature) in &signed {
        for (other, key, _) in &signed {
            for claimed in SCHEMES {
                let found = verify(key, claimed, MESSAGE, signature);
                let own = scheme == &claimed && own_key(*scheme, *other);
                let wanted = if own {
                    Ok(())
                } else if own_key(claimed, *other) {
                    Err(SignatureError::Invalid)
                } else {
                    Err(SignatureError::Scheme)
                };
                assert_eq!(found, wanted, "{scheme:?} as {claimed:?}");
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 8 * 8 * 8);
}

/// Whether keys of two schemes are the same.
fn own_key(a: Scheme, b: Scheme) -> bool {
    let key = |scheme| {
        SCHEMES
            .iter()
            .position(|s| *s == scheme)
            .map(|at| (at / 2).min(2))
    };
    key(a) == key(b)
}

#[test]
fn verify_rejects_every_changed_byte() {
    for (scheme, key, signature) in signed() {
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            let found = verify(&key, scheme, MESSAGE, &changed);
            assert_eq!(found, Err(SignatureError::Invalid), "{scheme:?} byte {at}");
        }
        for message in [&MESSAGE[1..], b"", b"what was signeD"] {
            let found = verify(&key, scheme, message, &signature);
            assert_eq!(found, Err(SignatureError::Invalid), "{scheme:?}");
        }
        for cut in [0, 1, signature.len() - 1] {
            let found = verify(&key, scheme, MESSAGE, &signature[..cut]);
            assert_eq!(
                found,
                Err(SignatureError::Invalid),
                "{scheme:?} cut at {cut}"
            );
        }
    }
}

/// AMD signs with a salt as long as the digest; another length is another scheme.
#[test]
fn verify_rejects_a_salt_of_another_length() {
    let mut rng = StdRng::seed_from_u64(7);
    let key = RsaPrivateKey::new(&mut rng, 2048).unwrap();
    let public = PublicKey::rsa(&key.n().to_bytes_be(), &key.e().to_bytes_be()).unwrap();
    for salt in [0, 20, 32, 64] {
        let signer = pss::SigningKey::<Sha384>::new_with_salt_len(key.clone(), salt);
        let signature = signer.sign_with_rng(&mut rng, MESSAGE).to_vec();
        let found = verify(&public, Scheme::RsaPssSha384, MESSAGE, &signature);
        assert_eq!(found, Err(SignatureError::Invalid), "salt of {salt} bytes");
    }
}

#[test]
fn rsa_refuses_numbers_that_are_no_key() {
    let modulus = [0xff; 256];
    assert!(PublicKey::rsa(&modulus, &[1, 0, 1]).is_ok());
    // The longest exponent that is taken; zeros in front do not count.
    assert!(PublicKey::rsa(&modulus, &[1; MAX_EXPONENT]).is_ok());
    assert!(PublicKey::rsa(&modulus, &[&[0][..], &[1; MAX_EXPONENT]].concat()).is_ok());
    let short = KeyError::Modulus { found: 255 };
    assert_eq!(PublicKey::rsa(&modulus[1..], &[1, 0, 1]), Err(short));
    let long = KeyError::Modulus { found: 1025 };
    assert_eq!(PublicKey::rsa(&[1; 1025], &[1, 0, 1]), Err(long));
    for exponent in [&[][..], &[0], &[2], &[1; 9]] {
        assert_eq!(PublicKey::rsa(&modulus, exponent), Err(KeyError::Exponent));
    }
}

#[test]
fn p384_with_sha256_verifies_with_that_scheme_only() {
    use p384::ecdsa::signature::hazmat::PrehashSigner as _;
    use sha2::{Digest as _, Sha256};
    let signer = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
    let point = signer.verifying_key().to_encoded_point(false);
    let key = PublicKey::P384(point.as_bytes().try_into().unwrap());
    let digest = Sha256::digest(MESSAGE);
    let signature: p384::ecdsa::Signature = signer.sign_prehash(&digest).unwrap();
    let signature = signature.to_der().as_bytes().to_vec();
    let scheme = Scheme::EcdsaP384Sha256Der;
    assert_eq!(verify(&key, scheme, MESSAGE, &signature), Ok(()));
    let others = [
        (Scheme::EcdsaSha384Der, SignatureError::Invalid),
        (Scheme::EcdsaSha256Der, SignatureError::Scheme),
    ];
    for (other, wanted) in others {
        assert_eq!(verify(&key, other, MESSAGE, &signature), Err(wanted));
    }
    for at in 0..signature.len() {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        let refused = verify(&key, scheme, MESSAGE, &changed);
        assert_eq!(refused, Err(SignatureError::Invalid), "byte {at}");
    }
}
