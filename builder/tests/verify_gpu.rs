//! `cloister verify gpu` as a program, on recorded evidence (origin in the README of the vectors): every encoding, exit codes.

#[cfg(test)]
#[path = "files/scratch.rs"]
mod scratch;
#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod verify_gpu {
    use std::path::PathBuf;
    use std::process::Command;

    use crate::scratch::put;
    use crate::vectors::vectors;

    const AT: [&str; 2] = ["--at", "2026-11-22T00:00:00Z"];
    /// In the request of recording b (`expected.json`).
    const NONCE: &str = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb";

    fn folder() -> Option<PathBuf> {
        vectors().map(|attestation| attestation.join("../gpu"))
    }

    /// Runs the verb: exit code, statuses by check, standard error.
    fn verify(arguments: &[&str]) -> (i32, serde_json::Value, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(["verify", "gpu", "--json"])
            .args(AT)
            .args(arguments)
            .output()
            .unwrap();
        let verdict = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), verdict, error)
    }

    fn status<'v>(verdict: &'v serde_json::Value, name: &str) -> &'v str {
        let checks = verdict["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        check["status"].as_str().unwrap()
    }

    #[test]
    fn every_encoding_is_read_and_golden_values_are_missing() {
        let Some(folder) = folder() else {
            return;
        };
        let b = folder.join("b-550.90.07");
        let path = |name: &str| b.join(name).to_str().unwrap().to_owned();
        let (hex_file, chain) = (
            path("hopperAttestationReport.txt"),
            path("hopperCertChain.txt"),
        );
        let directory = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(&hex_file).unwrap();
        let raw = hex::decode(text.split_whitespace().collect::<String>()).unwrap();
        let decorated: String = raw.iter().map(|byte| format!("\\x{byte:02x} ")).collect();
        let raw = put(&directory, "raw", &raw);
        let decorated = put(&directory, "decorated", decorated);
        for report in [&hex_file, &raw, &decorated] {
            let (code, verdict, error) =
                verify(&["--report", report, "--chain", &chain, "--nonce", NONCE]);
            assert_eq!(code, 3, "{error}");
            assert_eq!(verdict["verdict"], "collateral-missing");
            for name in [
                "gpu-report-format",
                "gpu-chain",
                "gpu-signature",
                "gpu-fwid",
            ] {
                assert_eq!(status(&verdict, name), "pass", "{name}");
            }
            assert!(verdict.get("mismatches").is_none());
        }
        // Another nonce is invalid, which wins over missing.
        let other = "00".repeat(32);
        let (code, verdict, _) = verify(&["--report", &raw, "--chain", &chain, "--nonce", &other]);
        assert_eq!((code, status(&verdict, "gpu-nonce")), (1, "fail"));
    }

    #[test]
    fn one_gpu_of_json_evidence_is_chosen() {
        let Some(folder) = folder() else {
            return;
        };
        let file = folder.join("d-ppcie/multi_gpu_hopper.json");
        let file = file.to_str().unwrap();
        let entries: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let nonce = entries[3]["nonce"].as_str().unwrap();
        let (code, verdict, error) = verify(&["--report", file, "--index", "3", "--nonce", nonce]);
        assert_eq!(code, 1, "{error}");
        for (name, wanted) in [
            ("gpu-signature", "pass"),
            ("gpu-nonce", "pass"),
            ("gpu-feature-flag", "fail"),
            ("gpu-protected-pcie", "fail"),
        ] {
            assert_eq!(status(&verdict, name), wanted, "{name}");
        }
        let (code, _, error) = verify(&["--report", file, "--index", "4", "--nonce", nonce]);
        assert_eq!(code, 2);
        assert!(error.contains("has 4 GPUs, and no index 4"), "{error}");
    }

    #[test]
    fn a_report_without_its_chain_is_no_evidence() {
        let directory = tempfile::tempdir().unwrap();
        let report = put(&directory, "report", [0x11, 0xe0]);
        let (code, _, error) = verify(&["--report", &report, "--nonce", NONCE]);
        assert_eq!(code, 2);
        assert!(error.contains("hint: give its certificates"), "{error}");
        let golden = put(&directory, "golden", "{}");
        let (code, _, error) = verify(&[
            "--report", &report, "--chain", &report, "--nonce", NONCE, "--golden", &golden,
        ]);
        assert_eq!(code, 2);
        assert!(error.contains("golden values"), "{error}");
        let (code, verdict, _) =
            verify(&["--report", &report, "--chain", &report, "--nonce", NONCE]);
        assert_eq!(code, 1);
        assert_eq!(status(&verdict, "gpu-report-format"), "fail");
        assert_eq!(status(&verdict, "gpu-measurements"), "skipped");
    }
}
