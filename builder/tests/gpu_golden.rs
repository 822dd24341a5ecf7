//! `cloister gpu golden` and what else takes RIMs, as a program, on the RIMs of the vectors (origin in their README): values, refusals, exit codes.

#[cfg(test)]
#[path = "files/scratch.rs"]
mod scratch;
#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod gpu_golden {
    use std::path::Path;
    use std::process::Command;

    use crate::scratch::put;
    use crate::vectors::vectors;

    const DRIVER: &str = "a-545-complete/Driver_RIM_test_no_gpu.swidtag";
    const VBIOS: &str = "a-545-complete/1010_0200_882_96005E0001_test_no_gpu.swidtag";
    /// In the request of recording a (`expected.json`).
    const NONCE: &str = "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e";
    const IN_TIME: &str = "2024-06-01T00:00:00Z";
    const LATE: &str = "2026-11-22T00:00:00Z";

    fn cloister(arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    }

    fn path(folder: &Path, file: &str) -> String {
        folder.join(file).to_str().unwrap().to_owned()
    }

    #[test]
    fn golden_values_of_rims_are_what_verify_gpu_takes() {
        let Some(folder) = vectors().map(|attestation| attestation.join("../gpu")) else {
            return;
        };
        let (driver, vbios) = (path(&folder, DRIVER), path(&folder, VBIOS));
        let golden = |json: &'static str| {
            cloister(&[
                "gpu", "golden", "--rim", &driver, &vbios, "--at", IN_TIME, json,
            ])
        };
        let (code, text, error) = golden("--quiet");
        assert_eq!((code, error.as_str()), (0, ""));
        let last = text.lines().last().unwrap();
        let wanted = "golden values: driver 545.00 with VBIOS 96.00.5e.00.01, 33 measurements";
        assert_eq!(last, wanted);
        assert!(text.contains("measurements 21 of 64 are active"), "{text}");
        let (code, json, _) = golden("--json");
        assert_eq!(code, 0);
        let directory = tempfile::tempdir().unwrap();
        let file = put(&directory, "golden.json", json);

        let report = path(&folder, "a-545-complete/attestationReport.txt");
        let chain = path(&folder, "a-545-complete/gpuAkCertChain.txt");
        let evidence = [
            "verify", "gpu", "--report", &report, "--chain", &chain, "--nonce", NONCE,
        ];
        let verify = |more: &[&str]| cloister(&[&evidence[..], more].concat());
        let (code, verdict, _) = verify(&["--golden", &file, "--at", IN_TIME]);
        assert_eq!(code, 0, "{verdict}");
        let (code, same, _) = verify(&["--rim", &driver, &vbios, "--at", IN_TIME]);
        let others = same.lines().filter(|line| !line.contains("gpu-rim"));
        assert!(others.eq(verdict.lines()), "{same}\n{verdict}");
        assert_eq!((code, same.matches("gpu-rim").count()), (0, 1));
        // Golden values need no clock of the RIMs, RIMs do.
        let (code, _, _) = verify(&["--golden", &file, "--at", LATE]);
        assert_eq!(code, 0);
    }

    #[test]
    fn rims_that_do_not_hold_are_a_failed_check() {
        let Some(folder) = vectors().map(|attestation| attestation.join("../gpu")) else {
            return;
        };
        let (driver, vbios) = (path(&folder, DRIVER), path(&folder, VBIOS));
        let report = path(&folder, "a-545-complete/attestationReport.txt");
        let chain = path(&folder, "a-545-complete/gpuAkCertChain.txt");
        let evidence = [
            "verify", "gpu", "--report", &report, "--chain", &chain, "--nonce", NONCE,
        ];
        let verify = |more: &[&str]| cloister(&[&evidence[..], more].concat());
        let late = ["--rim", &driver, &vbios, "--at", LATE, "--json"];
        let (code, verdict, _) = verify(&late);
        assert_eq!(code, 1);
        let named = "NVIDIA Reference Value L3 GH100 001` is valid from 2023-05-11T00:00:00Z to 2026-11-11T23:59:59Z";
        let verdict: serde_json::Value = serde_json::from_str(&verdict).unwrap();
        assert_eq!(verdict["verdict"], "rejected");
        let checks = verdict["checks"].as_array().unwrap();
        let failed: Vec<_> = checks
            .iter()
            .filter(|check| check["status"] == "fail")
            .collect();
        let [rim] = failed.as_slice() else {
            panic!("{verdict:#}")
        };
        assert_eq!(rim["name"], "gpu-rim");
        let found = rim["found"].as_str().unwrap();
        assert!(found.contains(named), "{found}");
        // Both are named, and a file that is not there is no verdict.
        assert_eq!(
            found.matches("certificate has expired").count(),
            2,
            "{found}"
        );
        let (code, verdict, error) = verify(&["--rim", "/absent", "--at", LATE, "--json"]);
        assert_eq!((code, verdict.as_str()), (2, ""));
        assert!(error.contains("/absent"), "{error}");
        // One alone gives no golden values.
        let (code, verdict, _) = verify(&["--rim", &driver, "--at", IN_TIME]);
        assert_eq!(code, 1);
        assert!(
            verdict.contains("no VBIOS RIM among the files"),
            "{verdict}"
        );
    }

    /// The indices that the README of the vectors names.
    #[test]
    fn another_edition_of_a_vbios_rim_is_refused_with_every_index() {
        let Some(folder) = vectors().map(|attestation| attestation.join("../gpu")) else {
            return;
        };
        let other = "negative/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml";
        let report = path(&folder, "a-545-complete/attestationReport.txt");
        let chain = path(&folder, "a-545-complete/gpuAkCertChain.txt");
        let (driver, vbios) = (path(&folder, DRIVER), path(&folder, other));
        let (code, verdict, error) = cloister(&[
            "verify", "gpu", "--json", "--report", &report, "--chain", &chain, "--nonce", NONCE,
            "--rim", &driver, "--rim", &vbios, "--at", IN_TIME,
        ]);
        assert_eq!(code, 1, "{error}");
        let verdict: serde_json::Value = serde_json::from_str(&verdict).unwrap();
        let mismatches = verdict["mismatches"].as_array().unwrap();
        let indices: Vec<_> = mismatches
            .iter()
            .map(|found| found["index"].as_u64().unwrap())
            .collect();
        assert_eq!(indices, [1, 2, 3, 9]);
    }

    #[test]
    fn a_rim_that_does_not_hold_is_refused_by_name() {
        let Some(folder) = vectors().map(|attestation| attestation.join("../gpu")) else {
            return;
        };
        let table = [
            (
                "negative/incorrect_signature_driver_rim.xml",
                1,
                "signature value is not one of the leaf certificate's key",
            ),
            (
                "negative/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
                1,
                "digest of the content is",
            ),
            (
                "negative/incorrect_cert_chain_driver_rim.xml",
                1,
                "2 certificates in the signature, wanted 4",
            ),
            (
                "d-ppcie/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml",
                2,
                "of version 96.10.55.00.01 is of `LS10`, wanted `GH100`",
            ),
            ("README.md", 1, "not XML at line 1, column 1"),
        ];
        for (file, wanted, cause) in table {
            let rim = path(&folder, file);
            let (code, text, error) = cloister(&["gpu", "golden", "--rim", &rim, "--at", LATE]);
            assert_eq!((code, text.as_str()), (wanted, ""), "{file}: {error}");
            assert!(
                error.contains(cause) && error.contains("hint: "),
                "{file}: {error}"
            );
        }
        assert_eq!(table.len(), 5);
        // One alone is shown, and is no golden values.
        let driver = path(&folder, DRIVER);
        let alone = ["gpu", "golden", "--rim", &driver, "--at", IN_TIME];
        assert_eq!(cloister(&alone).0, 0);
        let (code, text, error) = cloister(&[&alone[..], &["--json"]].concat());
        assert_eq!((code, text.as_str()), (2, ""));
        assert!(error.contains("no VBIOS RIM among the files"), "{error}");
    }

    #[test]
    fn inspect_shows_only_what_is_signed() {
        let Some(folder) = vectors().map(|attestation| attestation.join("../gpu")) else {
            return;
        };
        let inspect = |file: &str| {
            let (code, text, error) = cloister(&["inspect", "--json", &path(&folder, file)]);
            assert_eq!(code, 0, "{error}");
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let found = inspect(VBIOS);
        assert_eq!(found["kind"], "reference integrity manifest");
        assert_eq!(
            (&found["of"], &found["version"]),
            (&"VBIOS".into(), &"96.00.5E.00.01".into())
        );
        assert_eq!(
            found["certificates"][1]["valid-until"],
            "2026-11-11T23:59:59Z"
        );
        assert_eq!(found["measurements"].as_array().unwrap().len(), 12);
        let refused = inspect("negative/incorrect_signature_driver_rim.xml");
        assert!(
            refused["signature"]
                .as_str()
                .unwrap()
                .starts_with("refused: ")
        );
        assert_eq!(refused.as_object().unwrap().len(), 2);
    }
}
