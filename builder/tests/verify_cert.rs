//! `cloister verify cert` as a program: forms are told apart, exit codes, options that mean nothing are refused.

#[cfg(test)]
#[path = "files/scratch.rs"]
mod scratch;
#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod verify_cert {
    use std::process::Command;

    use cloister_test_pki::{Certificate, Extension, Key, Parameters};

    use crate::scratch::put;
    use crate::vectors::vectors;

    /// Runs the verb: exit code, standard output, standard error.
    fn verify(arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(["verify", "cert"])
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// A certificate with one extension, signed by its own key.
    fn certificate(oid: &str, value: &[u8]) -> Vec<u8> {
        let key = Key::p384().unwrap();
        let certificate = Certificate {
            version: 2,
            serial: vec![7],
            issuer: "leaf".to_owned(),
            subject: "leaf".to_owned(),
            validity: (1_750_000_000, 1_795_392_000),
            extensions: vec![Extension {
                oid: oid.to_owned(),
                critical: false,
                value: value.to_vec(),
            }],
            inner: Parameters::EcdsaSha384,
            outer: Parameters::EcdsaSha384,
        };
        certificate.sign(&key, &key).unwrap()
    }

    /// Whose word the time of the appraisal is stands in the verdict, as JSON and as text.
    #[test]
    fn the_verdict_says_whose_clock_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let file = put(&directory, "leaf", certificate("2.23.133.5.4.9", &[4, 0]));
        let (_, output, errors) = verify(&[&file, "--json"]);
        let verdict: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(verdict["clock"], "machine");
        assert!(verdict["evaluated-at"].is_string(), "{output}");
        assert_eq!(errors, "");
        let (_, output, _) = verify(&[&file]);
        assert!(output.contains(", by this machine's clock\n"), "{output}");
        let (_, output, _) = verify(&[&file, "--at", "2026-11-22T01:00:00Z"]);
        let line = "\n  judged at 2026-11-22T01:00:00Z, as asked for\n";
        assert!(output.contains(line), "{output}");
        // A wrapper by itself has no dates.
        let wrapper = put(&directory, "cmw", br#"["a/b","AQ",4]"#);
        let (_, output, _) = verify(&[&wrapper, "--json"]);
        let verdict: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert!(verdict["clock"].is_null() && verdict["evaluated-at"].is_null());
    }

    #[test]
    fn each_form_is_told_by_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let at = ["--at", "2026-11-22T01:00:00Z", "--json"];
        let cases = [
            ("1.3.6.1.5.5.7.1.35", "cmw"),
            ("2.23.133.5.4.9", "ccc-ra-tls"),
            ("1.3.6.1.4.1.65230.4.1", "privasys"),
            ("1.2.840.113741.1.5.5.1.6", "privasys"),
        ];
        for (oid, platform) in cases {
            let file = put(&directory, "leaf", certificate(oid, &[4, 0]));
            let (code, output, error) = verify(&[&[file.as_str()], at.as_slice()].concat());
            assert_eq!(code, 1, "{output}{error}");
            let verdict: serde_json::Value = serde_json::from_str(&output).unwrap();
            assert_eq!(verdict["platform"], platform);
            assert_eq!(verdict["verdict"], "rejected");
            assert_eq!(verdict["evaluated-at"], "2026-11-22T01:00:00Z");
            assert_eq!(verdict["clock"], "given");
        }
        for wrapper in [&br#"["a/b","AQ",4]"#[..], &[0x82, 0x18, 60, 0x41, 1]] {
            let (code, output, error) = verify(&[&put(&directory, "cmw", wrapper)]);
            assert_eq!(code, 1, "{output}{error}");
            assert!(output.contains("pass     cmw-format"), "{output}");
        }
    }

    /// A genuine quote (origin in the README of the vectors), put by the test into a certificate that it does not commit to.
    #[test]
    fn a_td_quote_inside_is_held_against_collateral_and_image() {
        let Some(vectors) = vectors() else {
            return;
        };
        let folder = vectors.join("tdx/v4-uptodate");
        let quote = std::fs::read(folder.join("quote.bin")).unwrap();
        let bytes = |value: &[u8]| {
            let length = u16::try_from(value.len()).unwrap().to_be_bytes();
            [&[0x59][..], &length, value].concat()
        };
        let value = [
            &[0xd9, 0xea, 0x60, 0x82][..],
            &bytes(&quote),
            &bytes(&[0xa0]),
        ]
        .concat();
        let directory = tempfile::tempdir().unwrap();
        let file = put(&directory, "leaf", certificate("2.23.133.5.4.9", &value));
        let collateral = folder.join("collateral.json");
        let collateral = collateral.to_str().unwrap();
        let mrtd = hex::encode(&quote[48 + 136..48 + 136 + 48]);
        let common = [&file, "--at", "2025-06-25T00:00:00Z", "--json"];
        let given = ["--collateral", collateral, "--expect-mrtd", &mrtd];
        let status = |arguments: &[&str], name: &str| {
            let (code, output, error) = verify(arguments);
            assert_eq!(code, 1, "{output}{error}");
            let verdict: serde_json::Value = serde_json::from_str(&output).unwrap();
            let checks = verdict["checks"].as_array().unwrap();
            let check = checks.iter().find(|check| check["name"] == name).unwrap();
            check["status"].as_str().unwrap().to_owned()
        };
        let all = [common.as_slice(), &given].concat();
        for name in ["td-quote-signature", "tcb-level", "tcb-status", "mrtd"] {
            assert_eq!(status(&all, name), "pass", "{name}");
        }
        assert_eq!(status(&all, "quote-claims-binding"), "fail");
        assert_eq!(status(&common, "tcb-level"), "skipped");
        assert_eq!(status(&common, "mrtd"), "fail");
    }

    #[test]
    fn what_is_not_known_is_no_verdict() {
        let directory = tempfile::tempdir().unwrap();
        let plain = put(&directory, "plain", certificate("2.5.29.14", &[4, 1, 1]));
        let (code, output, error) = verify(&[&plain]);
        assert_eq!((code, output.as_str()), (2, ""));
        assert!(
            error.contains("without evidence of a known form"),
            "{error}"
        );
        assert!(error.contains("hint: known are"), "{error}");
        let (code, _, error) = verify(&[&put(&directory, "text", "hello")]);
        assert_eq!(code, 2);
        assert!(error.contains("no certificate in the input"), "{error}");
    }

    #[test]
    fn options_without_meaning_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let ccc = put(&directory, "ccc", certificate("2.23.133.5.4.9", &[4, 0]));
        let measurement = "3e".repeat(48);
        let (code, _, error) = verify(&[&ccc, "--expect-measurement", &measurement]);
        assert_eq!(code, 2);
        let wanted = "is a CCC certificate, for which `--expect-measurement` means nothing";
        assert!(error.contains(wanted), "{error}");
        assert!(
            error.contains("it takes --issuer, --nonce, --collateral"),
            "{error}"
        );
        let cmw = put(&directory, "cmw", br#"["a/b","AQ",4]"#);
        let (code, _, error) = verify(&[&cmw, "--expect-mrtd", &measurement]);
        assert_eq!(code, 2);
        assert!(error.contains("`--expect-mrtd` means nothing"), "{error}");
        let privasys = put(
            &directory,
            "p",
            certificate("1.3.6.1.4.1.65230.4.1", &[4, 0]),
        );
        let (code, _, error) = verify(&[&privasys, "--nonce", "00"]);
        assert_eq!(code, 2);
        assert!(error.contains("`--nonce` means nothing"), "{error}");
        let (code, _, error) = verify(&[&ccc, "--nonce", "0"]);
        assert_eq!(code, 2);
        assert!(error.contains("wanted bytes in hex"), "{error}");
    }
}
