//! The bundle: one form of our own, read strictly, and the forms of others.

#[cfg(test)]
mod collateral {
    use std::collections::BTreeMap;

    use cloister_verify::collateral::{
        Collateral, CollateralError, Der, MAX_BODY, MAX_BYTES, Signed, SnpCollateral, TdxCollateral,
    };

    fn signed(body: &str) -> Signed {
        Signed {
            body: body.to_owned(),
            signature: [0xa5; 64],
            issuer_chain: Some("chain".to_owned()),
        }
    }

    fn whole() -> Collateral {
        Collateral {
            snp: Some(SnpCollateral {
                vek: Some(Der(vec![0x30, 1])),
                chain: vec![Der(vec![0x30, 2]), Der(vec![0x30, 3])],
                crls: vec![Der(vec![0x30, 4])],
            }),
            tdx: Some(TdxCollateral {
                tcb_info: Some(signed("{\"a\":1}")),
                qe_identity: Some(signed("{\"b\":2}")),
                pck_crl: Some(Der(vec![0x30, 5])),
                root_crl: Some(Der(vec![0x30, 6])),
            }),
        }
    }

    fn parse_error(text: &str) -> String {
        match Collateral::read(text.as_bytes()) {
            Err(CollateralError::Json { reason }) => reason,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn bundle_is_read_as_it_was_written() {
        let parts = [
            whole(),
            Collateral::default(),
            Collateral {
                snp: None,
                ..whole()
            },
            Collateral {
                tdx: None,
                ..whole()
            },
        ];
        for bundle in parts {
            let text = bundle.to_json().unwrap();
            assert_eq!(Collateral::read(text.as_bytes()), Ok(bundle));
        }
    }

    #[test]
    fn duplicate_and_unknown_members_are_refused_at_every_level() {
        let text = whole().to_json().unwrap();
        let members = [
            "\"schema-version\": 1",
            "\"snp\": {",
            "\"vek\": \"MAE=\"",
            "\"tcb-info\": {",
            "\"issuer-chain\": \"chain\"",
            "\"pck-crl\": \"MAU=\"",
        ];
        for member in members {
            assert!(text.contains(member), "{member}");
            let (name, value) = member.split_once(": ").unwrap();
            let value = match value {
                "{" => "null",
                value => value,
            };
            let twice = text.replacen(member, &format!("{name}: {value}, {member}"), 1);
            let reason = parse_error(&twice);
            assert!(reason.contains("duplicate field"), "{member}: {reason}");
            let unknown = text.replacen(member, &format!("\"other\": 1, {member}"), 1);
            let reason = parse_error(&unknown);
            assert!(
                reason.contains("unknown field `other`"),
                "{member}: {reason}"
            );
        }
    }

    #[test]
    fn other_versions_and_wrong_encodings_are_refused() {
        let text = whole().to_json().unwrap();
        let later = text.replacen("\"schema-version\": 1", "\"schema-version\": 2", 1);
        let found = CollateralError::SchemaVersion { found: 2 };
        assert_eq!(Collateral::read(later.as_bytes()), Err(found));
        let reason = parse_error(&text.replace("MAU=", "MAU"));
        assert!(reason.contains("DER in base64"), "{reason}");
        let reason = parse_error(&text.replacen("a5a5", "a5", 1));
        assert!(reason.contains("64 bytes in hex"), "{reason}");
        let what = "collateral";
        let text = CollateralError::NotText { what };
        assert_eq!(Collateral::read(&[0xff]), Err(text));
    }

    #[test]
    fn sizes_are_bounded() {
        let long = vec![b' '; MAX_BYTES + 1];
        let error = Collateral::read(&long).unwrap_err();
        assert!(matches!(
            error,
            CollateralError::TooLarge {
                what: "collateral",
                limit: MAX_BYTES,
                ..
            }
        ));
        let mut bundle = whole();
        let tdx = bundle.tdx.as_mut().unwrap();
        tdx.tcb_info = Some(signed(&"x".repeat(MAX_BODY + 1)));
        let error = bundle.to_json().unwrap_err();
        assert!(matches!(
            error,
            CollateralError::TooLarge {
                what: "body",
                limit: MAX_BODY,
                ..
            }
        ));
        for (found, taken) in [(16, true), (17, false), (18, false)] {
            let mut bundles = [("chain", whole()), ("crls", whole())];
            let list = vec![Der(vec![0]); found];
            bundles[0].1.snp.as_mut().unwrap().chain = list.clone();
            bundles[1].1.snp.as_mut().unwrap().crls = list;
            for (what, bundle) in bundles {
                let refused = CollateralError::TooMany { what, found };
                let wanted = if taken { Ok(()) } else { Err(refused) };
                assert_eq!(bundle.to_json().map(drop), wanted, "{found} {what}");
            }
        }
        let mut bundle = whole();
        bundle.tdx.as_mut().unwrap().root_crl = Some(Der(vec![0; 65_537]));
        let error = bundle.to_json().unwrap_err();
        assert!(matches!(
            error,
            CollateralError::TooLarge {
                what: "revocation list",
                ..
            }
        ));
    }

    #[test]
    fn responses_are_kept_byte_for_byte() {
        let signature = "a5".repeat(64);
        let response = format!("{{\"tcbInfo\":{{\"x\": 1 }},\"signature\":\"{signature}\"}}\n");
        let kept = Signed::tcb_info(response.as_bytes()).unwrap();
        assert_eq!(kept.body, "{\"x\": 1 }");
        assert_eq!((kept.signature, kept.issuer_chain), ([0xa5; 64], None));
        let none = CollateralError::Response {
            what: "QE identity",
            member: "enclaveIdentity",
        };
        assert_eq!(Signed::qe_identity(response.as_bytes()), Err(none));
        let short = response.replacen("a5", "", 1);
        assert!(Signed::tcb_info(short.as_bytes()).is_err());
    }

    #[test]
    fn forms_of_others_give_the_same_parts() {
        let signature = "a5".repeat(64);
        let json = format!(
            "{{\"pck_crl_issuer_chain\":\"\",\"root_ca_crl\":\"3006\",\"pck_crl\":\"3005\",\"tcb_info_issuer_chain\":\"chain\",\
             \"tcb_info\":\"{{\\\"a\\\":1}}\",\"tcb_info_signature\":\"{signature}\",\"qe_identity_issuer_chain\":\"chain\",\
             \"qe_identity\":\"{{\\\"b\\\":2}}\",\"qe_identity_signature\":\"{signature}\"}}"
        );
        let wanted = whole().tdx;
        assert_eq!(Collateral::read(json.as_bytes()).unwrap().tdx, wanted);
        let yaml = format!(
            "root_ca_crl: |-\n  3006\n\npck_crl: 3005\ntcb_info_issuer_chain: |-\n  chain\ntcb_info: |-\n  {{\"a\":1}}\n\
             tcb_info_signature: |-\n  {signature}\nqe_identity_issuer_chain: chain\nqe_identity: |-\n  {{\"b\":2}}\n\
             qe_identity_signature: |-\n  {signature}\n"
        );
        assert_eq!(Collateral::read(yaml.as_bytes()).unwrap().tdx, wanted);
        let response = |member: &str, body: &str| {
            format!("{{\"{member}\":{body},\"signature\":\"{signature}\"}}").into_bytes()
        };
        let files = BTreeMap::from([
            ("tcb_info.json".to_owned(), response("tcbInfo", "{\"a\":1}")),
            ("tcb_info_issuer_chain.pem".to_owned(), b"chain".to_vec()),
            (
                "qe_identity.json".to_owned(),
                response("enclaveIdentity", "{\"b\":2}"),
            ),
            ("qe_identity_issuer_chain.pem".to_owned(), b"chain".to_vec()),
            ("pck_crl.der".to_owned(), vec![0x30, 5]),
            ("root_crl.der".to_owned(), vec![0x30, 6]),
            ("README".to_owned(), vec![0]),
        ]);
        assert_eq!(Collateral::from_files(&files).unwrap().tdx, wanted);
        assert_eq!(Collateral::FILES.len(), files.len() - 1);
    }

    #[test]
    fn forms_of_others_are_read_strictly_too() {
        for (json, wanted) in [
            ("{\"pck_crl\":\"30\",\"pck_crl\":\"30\"}", "duplicate field"),
            ("{\"pck_crl\":\"30\",\"other\":\"\"}", "unknown field"),
        ] {
            let reason = parse_error(json);
            assert!(reason.contains(wanted), "{json}: {reason}");
        }
        let hex = CollateralError::Hex {
            what: "pck_crl",
            wanted: "DER in hex",
        };
        assert_eq!(Collateral::read(b"{\"pck_crl\":\"3\"}"), Err(hex));
        let cases = [
            ("pck_crl: 30\npck_crl: 30\n", 2, "the second of its name"),
            ("  30\n", 1, "indented, but in no block"),
            ("pck_crl: 30\n  30\n", 2, "indented, but in no block"),
            ("pck_crl\n", 1, "neither `name: value` nor indented"),
        ];
        for (yaml, line, reason) in cases {
            let error = CollateralError::Yaml { line, reason };
            assert_eq!(Collateral::read(yaml.as_bytes()), Err(error), "{yaml}");
        }
    }

    #[test]
    fn absent_names_the_first_part_that_is_missing() {
        type Change = fn(&mut TdxCollateral);
        let changes: [(&str, Change); 6] = [
            ("tcb-info", |tdx| tdx.tcb_info = None),
            ("qe-identity", |tdx| tdx.qe_identity = None),
            ("pck-crl", |tdx| tdx.pck_crl = None),
            ("root-crl", |tdx| tdx.root_crl = None),
            ("tcb-info-issuer-chain", |tdx| {
                tdx.tcb_info.as_mut().unwrap().issuer_chain = None
            }),
            ("qe-identity-issuer-chain", |tdx| {
                tdx.qe_identity.as_mut().unwrap().issuer_chain = None
            }),
        ];
        for (name, change) in changes {
            let mut tdx = whole().tdx.unwrap();
            assert_eq!(tdx.absent(), None);
            change(&mut tdx);
            assert_eq!(tdx.absent(), Some(name));
        }
    }
}
