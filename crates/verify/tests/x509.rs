//! Certificates and revocation lists that tests make up, with each mistake by name.

#[cfg(test)]
mod x509 {
    use std::sync::OnceLock;

    use cloister_test_pki::snp::{Amd, NOT_AFTER, NOT_BEFORE};
    use cloister_test_pki::{Certificate, Extension, Key, Parameters};
    use cloister_verify::signature::SignatureError;
    use cloister_verify::x509::{
        Crl, CrlError, LinkError, MAX_CERTIFICATES, MAX_DER, ValidityError, X509, X509Error,
    };

    fn amd() -> &'static Amd {
        static AMD: OnceLock<Amd> = OnceLock::new();
        AMD.get_or_init(|| Amd::new("Genoa").unwrap())
    }

    fn name(common_name: &str) -> String {
        format!("CN={common_name},O=Cloister Tests")
    }

    /// The ASK with one thing changed.
    fn ask(edit: impl FnOnce(&mut Certificate)) -> Vec<u8> {
        let mut ask = amd().ask_certificate();
        edit(&mut ask);
        ask.sign(&amd().ask, &amd().ark).unwrap()
    }

    fn ark() -> X509 {
        let ark = amd().ark_certificate().sign(&amd().ark, &amd().ark);
        X509::from_der(&ark.unwrap()).unwrap()
    }

    fn pem(label: &str, der: &[u8]) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<&str> = (0..text.len())
            .step_by(64)
            .map(|at| &text[at..text.len().min(at + 64)])
            .collect();
        let body = lines.join("\n");
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn from_der_rejects_each_mistake_by_name() {
        let both = |parameters| ask(|ask| (ask.inner, ask.outer) = (parameters, parameters));
        let refused = |der: &[u8]| X509::from_der(der).unwrap_err();
        let algorithm = |oid: &str| X509Error::Algorithm {
            oid: oid.to_owned(),
        };
        let pss = "1.2.840.113549.1.1.10";
        assert_eq!(refused(&both(Parameters::PssSalt32)), algorithm(pss));
        assert_eq!(refused(&both(Parameters::PssBare)), algorithm(pss));
        let ecdsa = "1.2.840.10045.4.3.3";
        assert_eq!(
            refused(&both(Parameters::EcdsaSha384Null)),
            algorithm(ecdsa)
        );
        let differs = refused(&ask(|ask| ask.outer = Parameters::PssWithoutTrailer));
        let (outer, inner) = (pss.to_owned(), pss.to_owned());
        assert_eq!(differs, X509Error::AlgorithmDiffers { outer, inner });
        assert_eq!(refused(&ask(|ask| ask.version = 0)), X509Error::Version);
        let critical = |ask: &mut Certificate| {
            ask.extensions
                .push(Extension::critical("2.5.29.30", vec![0x30, 0]));
        };
        let oid = "2.5.29.30".to_owned();
        assert_eq!(refused(&ask(critical)), X509Error::Critical { oid });
        let oid = "2.5.29.19".to_owned();
        let twice = |ask: &mut Certificate| ask.extensions.push(ask.extensions[0].clone());
        assert_eq!(refused(&ask(twice)), X509Error::Twice { oid });
        let long = vec![0x30; MAX_DER + 1];
        assert_eq!(refused(&long), X509Error::TooLarge { found: MAX_DER + 1 });
        let trailing = [ask(|_| ()), vec![0]].concat();
        assert!(matches!(refused(&trailing), X509Error::Der { .. }));
        assert!(matches!(refused(b""), X509Error::Der { .. }));
    }

    #[test]
    fn read_all_takes_der_and_pem_with_text_around() {
        let (one, two) = (ask(|_| ()), ark().der().to_vec());
        let ders = |input: &[u8]| {
            let read = X509::read_all(input);
            read.map(|all| {
                all.iter()
                    .map(|read| read.der().to_vec())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(ders(&one), Ok(vec![one.clone()]));
        let (first, second) = (pem("CERTIFICATE", &one), pem("CERTIFICATE", &two));
        let text = format!(
            "subject: ASK\r\n{}\nsubject: ARK\n{second}end",
            first.replace('\n', "\r\n")
        );
        assert_eq!(ders(text.as_bytes()), Ok(vec![one, two]));
        assert_eq!(ders(b""), Err(X509Error::None));
        assert_eq!(ders(b"hello"), Err(X509Error::None));
        assert_eq!(ders(&[0xff; 9]), Err(X509Error::None));
        assert_eq!(
            ders(pem("PRIVATE KEY", b"0").as_bytes()),
            Err(X509Error::None)
        );
        let open = first.clone() + second.split("-----END").next().unwrap();
        assert_eq!(ders(open.as_bytes()), Err(X509Error::Pem { number: 2 }));
        let junk = first.replace('M', "*");
        assert_eq!(ders(junk.as_bytes()), Err(X509Error::Pem { number: 1 }));
        let many = first.repeat(MAX_CERTIFICATES);
        assert_eq!(ders(many.as_bytes()).unwrap().len(), MAX_CERTIFICATES);
        assert_eq!(ders((many + &first).as_bytes()), Err(X509Error::TooMany));
    }

    #[test]
    fn issued_by_says_what_is_wrong() {
        let ark = ark();
        let link = |der: &[u8], issuer: &X509, below| {
            X509::from_der(der).unwrap().issued_by(issuer, below)
        };
        assert_eq!(link(&ask(|_| ()), &ark, 1), Ok(()));
        let wrong = link(&ask(|ask| ask.issuer = "ARK-Milan".to_owned()), &ark, 1);
        let (wanted, found) = (name("ARK-Genoa"), name("ARK-Milan"));
        assert_eq!(wrong, Err(LinkError::Issuer { wanted, found }));
        let stranger = Key::rsa_2048().unwrap();
        let forged = amd().ask_certificate().sign(&amd().ask, &stranger).unwrap();
        let error = SignatureError::Invalid;
        let issuer = name("ARK-Genoa");
        assert_eq!(
            link(&forged, &ark, 1),
            Err(LinkError::Signature { issuer, error })
        );
        // An authority with path length 0 issues leaves, not authorities.
        let authority = X509::from_der(&ask(|_| ())).unwrap();
        let leaf = Certificate {
            issuer: "SEV-Genoa".to_owned(),
            ..amd().ask_certificate()
        };
        let leaf = leaf.sign(&amd().vcek, &amd().ask).unwrap();
        assert_eq!(link(&leaf, &authority, 0), Ok(()));
        let issuer = name("SEV-Genoa");
        let length = LinkError::PathLength {
            issuer: issuer.clone(),
            limit: 0,
            found: 1,
        };
        assert_eq!(link(&leaf, &authority, 1), Err(length));
        let without = X509::from_der(&ask(|ask| drop(ask.extensions.remove(0)))).unwrap();
        let not = LinkError::NotAuthority {
            issuer: issuer.clone(),
        };
        assert_eq!(link(&leaf, &without, 0), Err(not));
        let without = X509::from_der(&ask(|ask| drop(ask.extensions.remove(1)))).unwrap();
        assert_eq!(
            link(&leaf, &without, 0),
            Err(LinkError::KeyUsage { issuer })
        );
    }

    /// Microsoft signs with PKCS #1 v1.5, Intel and others with ECDSA.
    #[test]
    fn issued_by_takes_each_algorithm() {
        let (rsa, p384) = (Key::rsa_2048().unwrap(), Key::p384().unwrap());
        let mut checked = 0;
        for (key, parameters) in [
            (&rsa, Parameters::RsaPkcs1Sha256),
            (&rsa, Parameters::Pss),
            (&rsa, Parameters::PssWithoutTrailer),
            (&p384, Parameters::EcdsaSha384),
        ] {
            let root = Certificate {
                inner: parameters,
                outer: parameters,
                ..amd().ark_certificate()
            };
            let root = X509::from_der(&root.sign(key, key).unwrap()).unwrap();
            assert_eq!(root.issued_by(&root, 1), Ok(()), "{parameters:?}");
            checked += 1;
        }
        assert_eq!(checked, 4);
    }

    #[test]
    fn valid_at_includes_both_ends() {
        let ark = ark();
        for (at, valid) in [
            (NOT_BEFORE - 1, false),
            (NOT_BEFORE, true),
            (NOT_AFTER, true),
            (NOT_AFTER + 1, false),
        ] {
            let wanted = match valid {
                true => Ok(()),
                false => Err(ValidityError {
                    subject: name("ARK-Genoa"),
                    not_before: NOT_BEFORE,
                    not_after: NOT_AFTER,
                    at,
                }),
            };
            assert_eq!(ark.valid_at(at), wanted);
        }
    }

    #[test]
    fn crl_says_what_is_wrong() {
        let ark = ark();
        let crl = |edit: fn(&mut cloister_test_pki::Crl)| {
            let mut crl = amd().crl();
            edit(&mut crl);
            crl.sign(&amd().ark).unwrap()
        };
        let read = |der: &[u8]| Crl::from_der(der);
        let good = read(&crl(|crl| crl.revoked = vec![vec![2], vec![0x11, 0x22]])).unwrap();
        assert_eq!(good.issued_by(&ark), Ok(()));
        assert!(good.revokes(&X509::from_der(&ask(|_| ())).unwrap()));
        assert!(!good.revokes(&ark));
        assert_eq!(good.valid_at(NOT_BEFORE), Ok(()));
        assert!(good.valid_at(NOT_AFTER + 1).is_err());
        assert!(good.valid_at(NOT_BEFORE - 1).is_err());
        let text = pem("X509 CRL", &crl(|_| ()));
        assert_eq!(Crl::read_all(text.as_bytes()).unwrap().len(), 1);
        let endless = crl(|crl| crl.next_update = None);
        assert_eq!(read(&endless), Err(CrlError::NoNextUpdate));
        let critical =
            crl(|crl| crl.extensions = vec![Extension::critical("2.5.29.28", vec![0x30, 0])]);
        let oid = "2.5.29.28".to_owned();
        assert_eq!(read(&critical), Err(CrlError::Critical { oid }));
        let long = CrlError::TooLarge { found: MAX_DER + 1 };
        assert_eq!(read(&vec![0x30; MAX_DER + 1]), Err(long));
        let other = read(&crl(|crl| crl.issuer = "ARK-Milan".to_owned())).unwrap();
        let (wanted, found) = (name("ARK-Genoa"), name("ARK-Milan"));
        assert_eq!(
            other.issued_by(&ark),
            Err(CrlError::Issuer { wanted, found })
        );
        // The ASK may sign certificates only.
        let by_ask = read(&crl(|crl| crl.issuer = "SEV-Genoa".to_owned())).unwrap();
        let issuer = name("SEV-Genoa");
        let authority = X509::from_der(&ask(|_| ())).unwrap();
        assert_eq!(
            by_ask.issued_by(&authority),
            Err(CrlError::KeyUsage { issuer })
        );
        let forged = amd().crl().sign(&amd().ask).unwrap();
        let invalid = CrlError::Signature(SignatureError::Invalid);
        assert_eq!(read(&forged).unwrap().issued_by(&ark), Err(invalid));
    }
}
