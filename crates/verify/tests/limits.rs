//! How much of each input is read: exactly the limit is taken, a byte more is refused with its length, before anything of it is looked at.

#[cfg(test)]
mod limits {
    use std::fmt::Debug;
    use std::sync::OnceLock;

    use cloister_test_pki::{Certificate, Crl, Extension, Key, Parameters};
    use cloister_verify::azure::{Evidence, EvidenceError};
    use cloister_verify::cert::pgae::{self, Envelope, PgaeError};
    use cloister_verify::certificate::{LeafError, MAX_LEAF, spki};
    use cloister_verify::cmw::{self, Cmw, CmwError};
    use cloister_verify::collateral::{self, Collateral, CollateralError};
    use cloister_verify::google::{self, Endorsement, EndorsementError};
    use cloister_verify::policy::{self, PolicyError, PolicyFile};
    use cloister_verify::x509::{CrlError, MAX_CERTIFICATES, MAX_DER, X509, X509Error};

    /// 2026-11-22T00:00:00Z.
    const NOW: u64 = 1_795_305_600;

    /// What a reader said.
    #[derive(Debug, PartialEq, Eq)]
    enum Said {
        Taken,
        TooLarge(usize),
        Other(String),
    }

    fn said<T, E: Debug>(read: Result<T, E>, large: impl Fn(&E) -> Option<usize>) -> Said {
        match read {
            Ok(_) => Said::Taken,
            Err(error) => match large(&error) {
                Some(found) => Said::TooLarge(found),
                None => Said::Other(format!("{error:?}")),
            },
        }
    }

    /// [`said`] of an error with the variant `TooLarge`.
    macro_rules! said {
        ($read:expr, $error:ident) => {
            said($read, |error| match error {
                $error::TooLarge { found, .. } => Some(*found),
                _ => None,
            })
        };
    }

    fn key() -> &'static Key {
        static KEY: OnceLock<Key> = OnceLock::new();
        KEY.get_or_init(|| Key::rsa_2048().unwrap())
    }

    /// The bytes that `make` gives of a filling, which is grown until they are so many.
    fn sized(length: usize, make: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
        let mut filling = length - make(0).len() - 16;
        let mut made = make(filling);
        filling += length - made.len();
        made = make(filling);
        assert_eq!(made.len(), length);
        made
    }

    /// An extension that nobody knows.
    fn filled(filling: usize) -> Vec<Extension> {
        vec![Extension {
            oid: "1.3.6.1.4.1.1".to_owned(),
            critical: false,
            value: vec![7; filling],
        }]
    }

    fn certificate_of(filling: usize) -> Vec<u8> {
        let certificate = Certificate {
            version: 2,
            serial: vec![7],
            issuer: "large".to_owned(),
            subject: "large".to_owned(),
            validity: (NOW, NOW + 86_400),
            extensions: filled(filling),
            inner: Parameters::RsaPkcs1Sha256,
            outer: Parameters::RsaPkcs1Sha256,
        };
        certificate.sign(key(), key()).unwrap()
    }

    fn certificate(length: usize) -> Vec<u8> {
        sized(length, certificate_of)
    }

    fn revocation_list(length: usize) -> Vec<u8> {
        sized(length, |filling| {
            let list = Crl {
                issuer: "large".to_owned(),
                this_update: NOW,
                next_update: Some(NOW + 86_400),
                revoked: Vec::new(),
                extensions: filled(filling),
                parameters: Parameters::RsaPkcs1Sha256,
            };
            list.sign(key()).unwrap()
        })
    }

    /// Tag, length and report of an envelope are as long as it needs.
    fn envelope(length: usize) -> Vec<u8> {
        let value = |tag: u8, value: &[u8]| {
            let length = u32::try_from(value.len()).unwrap().to_be_bytes();
            [&[tag][..], &length, value].concat()
        };
        sized(length, |filling| {
            let report = [&[0; 4][..], &[0x5a; 32], &vec![0; filling]].concat();
            [&b"PGAE\x01"[..], &value(1, &[0x5a; 32]), &value(2, &report)].concat()
        })
    }

    /// A protobuf message with a certificate and a digest, and a long signature beside it.
    fn endorsement(length: usize) -> Vec<u8> {
        let field = |number: u8, value: &[u8]| {
            let mut bytes = vec![number << 3 | 2];
            let mut rest = value.len();
            while rest >= 0x80 {
                bytes.push(0x80 | rest.to_le_bytes()[0]);
                rest >>= 7;
            }
            bytes.push(rest.to_le_bytes()[0]);
            [bytes.as_slice(), value].concat()
        };
        let golden = [field(4, &certificate_of(0)), field(5, &[0xd1; 48])].concat();
        let golden = field(1, &golden);
        sized(length, |filling| {
            [golden.clone(), field(2, &vec![7; filling])].concat()
        })
    }

    /// Text with something behind it that means nothing.
    fn padded(text: &str, with: u8, length: usize) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(length, with);
        bytes
    }

    fn pem(length: usize) -> Vec<u8> {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(certificate_of(0));
        let text = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        padded(&text, b' ', length)
    }

    /// Name and limit; an input of any length that is right but for it; the reader.
    type Row = (&'static str, usize, fn(usize) -> Vec<u8>, fn(&[u8]) -> Said);

    const ROWS: &[Row] = &[
        (
            "evidence from Azure",
            1 << 20,
            |length| padded("HCLA", 0, length),
            |input| said!(Evidence::parse(input), EvidenceError),
        ),
        ("GPU envelope", pgae::MAX_BYTES, envelope, |input| {
            said!(Envelope::parse(input), PgaeError)
        }),
        ("leaf", MAX_LEAF, certificate, |input| {
            said!(spki(input), LeafError)
        }),
        (
            "CMW",
            cmw::MAX_BYTES,
            |length| padded("[\"a/b\",\"AQ\"]", b' ', length),
            |input| said!(Cmw::from_json(input), CmwError),
        ),
        (
            "collateral",
            collateral::MAX_BYTES,
            |length| padded("{\"schema-version\":1}", b'\n', length),
            |input| said!(Collateral::read(input), CollateralError),
        ),
        (
            "launch endorsement",
            google::MAX_BYTES,
            endorsement,
            |input| said!(Endorsement::parse(input), EndorsementError),
        ),
        (
            "policy",
            policy::MAX_BYTES,
            |length| padded("schema-version = 1\n", b'#', length),
            |input| {
                let text = std::str::from_utf8(input).unwrap();
                said!(PolicyFile::from_toml(text), PolicyError)
            },
        ),
        ("certificate", MAX_DER, certificate, |input| {
            said!(X509::from_der(input), X509Error)
        }),
        ("revocation list", MAX_DER, revocation_list, |input| {
            said!(cloister_verify::x509::Crl::from_der(input), CrlError)
        }),
        // Base64 takes less than twice as much.
        ("PEM", MAX_CERTIFICATES * 2 * (64 << 10), pem, |input| {
            said!(X509::read_all(input), X509Error)
        }),
    ];

    #[test]
    fn inputs_are_read_up_to_their_limit_and_no_further() {
        for (name, limit, make, read) in ROWS {
            assert_eq!(read(&make(*limit)), Said::Taken, "{name} of {limit} bytes");
            for found in [limit + 1, limit + 2, limit + 1000] {
                let said = read(&make(found));
                assert_eq!(said, Said::TooLarge(found), "{name} of {found} bytes");
            }
        }
        assert_eq!(ROWS.len(), 10);
    }
}
