//! The forms of an attestation key.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloister_evidence::tpm::{TpmError, ak_template};
use cloister_test_pki::Key;
use cloister_test_pki::azure::rsa_numbers;
use cloister_verify::signature::{KeyError, PublicKey};
use cloister_verify::tpm::{Ak, AkError};
use x509_cert::der::Encode as _;

use crate::scene::{key, public};

#[test]
fn every_form_gives_the_same_key() {
    let (modulus, exponent) = rsa_numbers(key()).unwrap();
    let wanted = PublicKey::rsa(&modulus, &exponent).unwrap();
    let public = public(key(), 0x0005_0472);
    let length = u16::try_from(public.len()).unwrap().to_be_bytes();
    let sized = [length.as_slice(), &public].concat();
    let der = key().spki().unwrap().to_der().unwrap();
    let base64 = STANDARD.encode(&der);
    let pem = format!("\n-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    let [n, e] = [&modulus, &exponent].map(|number| URL_SAFE_NO_PAD.encode(number));
    let jwk = format!("{{\"kid\":\"HCLAkPub\",\"kty\":\"RSA\",\"n\":\"{n}\",\"e\":\"{e}\"}}");
    for (form, attributes) in [
        (public, Some(0x0005_0472)),
        (sized, Some(0x0005_0472)),
        (der, None),
        (pem.into_bytes(), None),
        (jwk.into_bytes(), None),
    ] {
        let ak = Ak::parse(&form).unwrap();
        assert_eq!((ak.key, ak.attributes), (wanted.clone(), attributes));
    }
    // A P-256 key of a TPM; the template has no point, which only the signature tells.
    let ak = Ak::parse(&ak_template()).unwrap();
    assert!(matches!(ak.key, PublicKey::P256(point) if point[0] == 4));
}

#[test]
fn key_of_the_longest_length_is_read_and_no_longer() {
    let base64 = STANDARD.encode(key().spki().unwrap().to_der().unwrap());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    let limit = 16 << 10;
    for (length, read) in [(limit, true), (limit + 1, false), (limit + 2, false)] {
        let mut padded = pem.clone().into_bytes();
        padded.resize(length, b'\n');
        let refused = (!read).then_some(AkError::TooLarge { found: length });
        assert_eq!(Ak::parse(&padded).err(), refused, "{length}");
    }
}

#[test]
fn parse_refuses_each_mistake_by_name() {
    let refused = |bytes: &[u8]| Ak::parse(bytes).unwrap_err();
    for bytes in [&b""[..], b"key", b"\xff\xff\xff", b"-----BEGIN\xff"] {
        assert_eq!(refused(bytes), AkError::Form, "{bytes:?}");
    }
    let found = (16 << 10) + 1;
    assert_eq!(refused(&vec![0; found]), AkError::TooLarge { found });
    assert_eq!(refused(b"-----BEGIN PUBLIC KEY-----"), AkError::Pem);
    assert_eq!(
        refused(b"-----BEGIN PUBLIC KEY-----\n?\n-----END PUBLIC KEY-----"),
        AkError::Pem
    );
    assert_eq!(refused(&[0x30, 0]), AkError::Der);
    let der = key().spki().unwrap().to_der().unwrap();
    assert_eq!(refused(&[der.as_slice(), &[0]].concat()), AkError::Der);
    let p384 = Key::p384().unwrap().spki().unwrap().to_der().unwrap();
    assert_eq!(refused(&p384), AkError::Curve);
    let jwk = |reason: &str| AkError::Jwk {
        reason: reason.to_owned(),
    };
    let with = |kty: &str, n: &str, e: &str| {
        format!("{{\"kid\":\"k\",\"kty\":\"{kty}\",\"n\":\"{n}\",\"e\":\"{e}\"}}").into_bytes()
    };
    assert_eq!(refused(&with("EC", "", "")), jwk("`kty` is not `RSA`"));
    let base64 = "is not base64url without padding";
    assert_eq!(
        refused(&with("RSA", "=", "")),
        jwk(&format!("`n` {base64}"))
    );
    assert_eq!(
        refused(&with("RSA", "", "+")),
        jwk(&format!("`e` {base64}"))
    );
    let short = AkError::Key(KeyError::Modulus { found: 1 });
    assert_eq!(refused(&with("RSA", "AQ", "AQAB")), short);
    assert!(matches!(refused(b"{}"), AkError::Jwk { .. }));
}

#[test]
fn public_area_of_rsa_refuses_each_mistake_by_name() {
    let genuine = public(key(), 0x0005_0472);
    let value = |field, wanted, found| {
        AkError::Tpm(TpmError::Value {
            what: "TPMT_PUBLIC",
            field,
            wanted,
            found,
        })
    };
    let with = |at: usize, byte: u8| {
        let mut public = genuine.clone();
        public[at] = byte;
        Ak::parse(&public).unwrap_err()
    };
    assert_eq!(with(3, 0x0c), value("nameAlg", 0x0b, 0x0c));
    assert_eq!(
        with(11, 6),
        value("parameters.symmetric.algorithm", 0x10, 6)
    );
    assert_eq!(
        with(13, 0x16),
        value("parameters.scheme.scheme", 0x14, 0x16)
    );
    assert_eq!(
        with(15, 4),
        value("parameters.scheme.details.hashAlg", 0x0b, 4)
    );
    assert_eq!(with(16, 0x0c), value("parameters.keyBits", 2048, 3072));
    assert_eq!(with(21, 2), AkError::Key(KeyError::Exponent));
    for length in 2..genuine.len() {
        let refused = Ak::parse(&genuine[..length]);
        let truncated = matches!(refused, Err(AkError::Tpm(TpmError::Truncated { .. })));
        assert!(truncated, "{length}: {refused:?}");
    }
    let longer = [genuine.as_slice(), &[0]].concat();
    let trailing = Ak::parse(&longer).unwrap_err();
    assert!(matches!(
        trailing,
        AkError::Tpm(TpmError::Trailing { found: 1, .. })
    ));
    let mut short = genuine[..genuine.len() - 1].to_vec();
    short[22..24].copy_from_slice(&[0, 255]);
    assert!(matches!(
        Ak::parse(&short),
        Err(AkError::Tpm(TpmError::Modulus { found: 255, .. }))
    ));
}
