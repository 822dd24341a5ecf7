//! One table of all files of the shared GPU vectors: the program says of each what their README says. A file that no row
//! claims fails by its name.

#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod gpu_vectors {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::Value;

    use crate::vectors::vectors;

    /// The time of NVIDIA's own verdicts, and one when the issuer of 2023 has expired.
    const IN_TIME: &str = "2024-06-01T00:00:00Z";
    const LATER: &str = "2025-06-01T00:00:00Z";
    const LATE: &str = "2026-11-22T00:00:00Z";
    /// Nonces in the requests (`expected.json`).
    const A: &str = "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e";
    const B: &str = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb";
    const C: &str = "5bb22e377702d4e1e8215a903ba094826b9ac7f731dee1fe8102958bf2840aca";
    const D: &str = "e97b23a1718095a0e9e35edca810768c70a6a5a389b705e753b197912bc11576";

    const DRIVER_A: &str = "a-545-complete/Driver_RIM_test_no_gpu.swidtag";
    const VBIOS_A: &str = "a-545-complete/1010_0200_882_96005E0001_test_no_gpu.swidtag";
    const OTHER_EDITION: &str =
        "negative/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml";
    const DRIVER_550: &str = "rims/NV_GPU_DRIVER_GH100_550.144.03.xml";
    const VBIOS_C: &str = "c-580.159.03/1010_0205_862_9600740020_PROD.swidtag";

    /// What must come out.
    enum Wanted {
        /// A verdict: exit code, checks that fail, indices that do not match.
        Verdict(i32, &'static [&'static str], &'static [u64]),
        /// Another answer: exit code, words in what is said.
        Says(i32, &'static [&'static str]),
    }
    use Wanted::{Says, Verdict};

    /// Words of the command line, where `@` stands for the folder; what must come out; files that are judged by it beside those named.
    type Row = (Vec<String>, Wanted, &'static [&'static str]);

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn report(folder: &str, report: &str, chain: &str, nonce: &str, rest: &str) -> Vec<String> {
        words(&format!(
            "verify gpu --json --report @{folder}/{report} --chain @{folder}/{chain} --nonce {nonce} {rest}"
        ))
    }

    fn json(file: &str, index: usize, nonce: &str) -> Vec<String> {
        words(&format!(
            "verify gpu --json --report @{file} --index {index} --nonce {nonce} --at {LATE}"
        ))
    }

    fn golden(rims: &[&str], at: &str) -> Vec<String> {
        words(&format!("gpu golden --rim @{} --at {at}", rims.join(" @")))
    }

    fn reports() -> Vec<Row> {
        let a = |rims: &str, at: &str| {
            let (text, chain) = ("attestationReport.txt", "gpuAkCertChain.txt");
            report(
                "a-545-complete",
                text,
                chain,
                A,
                &format!("--rim {rims} --at {at}"),
            )
        };
        let both = format!("@{DRIVER_A} @{VBIOS_A}");
        let hopper = ("hopperAttestationReport.txt", "hopperCertChain.txt");
        let of = |folder, nonce, rest: String| report(folder, hopper.0, hopper.1, nonce, &rest);
        vec![
            (
                a(&both, IN_TIME),
                Verdict(0, &[], &[]),
                &["verifier-logs/A_545_complete_2024-06-01.log"],
            ),
            (
                a(&both, LATE),
                Says(1, &["L3 GH100 001", "2026-11-11"]),
                &["verifier-logs/B_545_complete_2026-11-22.log"],
            ),
            (
                a(&format!("@{DRIVER_A} @{OTHER_EDITION}"), IN_TIME),
                Verdict(1, &["gpu-measurements"], &[1, 2, 3, 9]),
                &["verifier-logs/C_545_prodvbios.log"],
            ),
            (
                of("b-550.90.07", B, format!("--at {LATE}")),
                Verdict(3, &[], &[]),
                &["b-550.90.07/hopperAttestationReport-claims.txt"],
            ),
            (
                of("c-580.159.03", C, format!("--at {LATE}")),
                Verdict(3, &[], &[]),
                &[],
            ),
        ]
    }

    fn evidence() -> Vec<Row> {
        let mut rows: Vec<Row> = vec![
            (
                json("d-ppcie/hopper_evidence.json", 0, D),
                Verdict(1, &["gpu-feature-flag", "gpu-protected-pcie"], &[]),
                &[],
            ),
            (
                json("d-ppcie/switch_evidence_ls10.json", 0, B),
                Verdict(1, &["gpu-model", "gpu-driver-version"], &[]),
                &[],
            ),
            // Revocation shows online alone.
            (
                json("e-cert-hold/hopper_evidence_cert_hold.json", 0, B),
                Verdict(3, &[], &[]),
                &[],
            ),
        ];
        for index in 0..4 {
            rows.push((
                json("d-ppcie/multi_gpu_hopper.json", index, D),
                Verdict(1, &["gpu-feature-flag", "gpu-protected-pcie"], &[]),
                &[],
            ));
        }
        // Verdicts of NVIDIA's remote service: no evidence, and never taken for any.
        for file in [
            "hopperClaimsv3_decoded.json",
            "hopperClaimsv3_detached_eat.json",
            "nras_gpu_x5c_chain.json",
        ] {
            rows.push((
                json(&format!("claims/{file}"), 0, A),
                Says(2, &["error: `"]),
                &[],
            ));
        }
        rows
    }

    fn rims() -> Vec<Row> {
        let refused = |file: &str, words| (golden(&[file], LATER), Says(1, words), &[][..]);
        let last =
            |vbios: &str, words| (golden(&[DRIVER_550, vbios], LATER), Says(0, words), &[][..]);
        vec![
            last(
                "rims/1010_0200_882_96005E0003_PROD.swidtag",
                &["550.144.03 with VBIOS 96.00.5e.00.03, 33 measurements"],
            ),
            last(
                "rims/g520_0202_885_9600740018_PROD.swidtag",
                &["550.144.03 with VBIOS 96.00.74.00.18, 33 measurements"],
            ),
            last(
                VBIOS_C,
                &["550.144.03 with VBIOS 96.00.74.00.20, 33 measurements"],
            ),
            refused(
                "negative/incorrect_signature_driver_rim.xml",
                &["signature value is not one of the leaf"],
            ),
            refused(
                "negative/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
                &["digest of the content is"],
            ),
            refused(
                "negative/incorrect_cert_chain_driver_rim.xml",
                &["2 certificates in the signature, wanted 4"],
            ),
            (
                golden(
                    &["d-ppcie/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"],
                    LATE,
                ),
                Says(2, &["is of `LS10`, wanted `GH100`"]),
                &[],
            ),
        ]
    }

    /// Runs `words` in `folder`: exit code, standard output, standard error.
    fn run(words: &[String], folder: &Path) -> (i32, String, String) {
        let words = words.iter().map(|word| match word.strip_prefix('@') {
            Some(file) => folder.join(file).into_os_string(),
            None => word.into(),
        });
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(words)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    }

    fn failed(verdict: &Value) -> Vec<&str> {
        let checks = verdict["checks"].as_array().unwrap().iter();
        let failed = checks.filter(|check| check["status"] == "fail");
        failed
            .map(|check| check["name"].as_str().unwrap())
            .collect()
    }

    fn mismatches(verdict: &Value) -> Vec<u64> {
        let all = verdict["mismatches"].as_array();
        let all = all.map(Vec::as_slice).unwrap_or_default();
        all.iter()
            .map(|one| one["index"].as_u64().unwrap())
            .collect()
    }

    fn check((words, wanted, _): &Row, folder: &Path) {
        let (code, output, error) = run(words, folder);
        let row = words.join(" ");
        match wanted {
            Verdict(wanted, checks, indices) => {
                let verdict: Value = serde_json::from_str(&output)
                    .unwrap_or_else(|_| panic!("{row}: {output}{error}"));
                assert_eq!(code, *wanted, "{row}: {output}");
                assert_eq!(failed(&verdict), *checks, "{row}");
                assert_eq!(mismatches(&verdict), *indices, "{row}");
            }
            Says(wanted, parts) => {
                assert_eq!(code, *wanted, "{row}: {output}{error}");
                let said = output + &error;
                assert!(
                    parts.iter().all(|part| said.contains(part)),
                    "{row}: {said}"
                );
            }
        }
    }

    /// The VBIOS of report c against the first edition of its RIM: all of its values but index 9. The driver's RIM is nowhere,
    /// so another one's values stand in its place, and are not looked at.
    fn first_edition_fails_at_9(folder: &Path) {
        let (code, text, _) = run(&golden_json(), folder);
        assert_eq!(code, 0);
        let text = text.replace("550.144.03", "580.159.03");
        let values: Value = serde_json::from_str(&text).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("golden.json");
        std::fs::write(&file, &text).unwrap();
        let rest = format!("--golden {} --at {LATER}", file.display());
        let (report_file, chain) = ("hopperAttestationReport.txt", "hopperCertChain.txt");
        let words = report("c-580.159.03", report_file, chain, C, &rest);
        let (code, output, _) = run(&words, folder);
        assert_eq!(code, 1);
        let verdict: Value = serde_json::from_str(&output).unwrap();
        let of_vbios = values["pairs"][0]["vbios-values"].as_object().unwrap();
        assert_eq!(of_vbios.len(), 12);
        let wrong = mismatches(&verdict).into_iter();
        let wrong: Vec<u64> = wrong
            .filter(|index| of_vbios.contains_key(&index.to_string()))
            .collect();
        assert_eq!(wrong, [9]);
    }

    fn golden_json() -> Vec<String> {
        let mut words = golden(&[DRIVER_550, VBIOS_C], LATER);
        words.push("--json".to_owned());
        words
    }

    /// What others found in the reports is what `inspect` shows; returns how many values were compared.
    fn others_found_the_same(folder: &Path) -> usize {
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let shown = run(
            &words("inspect @c-580.159.03/hopperAttestationReport.txt"),
            folder,
        )
        .1;
        let mut values = Vec::new();
        for file in ["spdm_parsed_output.json", "spdm_req_parsed_output.json"] {
            let text = read(&format!("c-580.159.03/{file}"));
            hexadecimal(&serde_json::from_str(&text).unwrap(), &mut values);
        }
        for value in &values {
            assert!(shown.contains(value.as_str()), "{value}");
        }
        let expected = read("expected.json");
        assert!([A, B, C, D].iter().all(|nonce| expected.contains(nonce)));
        values.len() + 4
    }

    /// The values of `json` that are a nonce, a digest or a signature.
    fn hexadecimal(json: &Value, values: &mut Vec<String>) {
        match json {
            Value::Object(object) => object.values().for_each(|value| hexadecimal(value, values)),
            Value::Array(array) => array.iter().for_each(|value| hexadecimal(value, values)),
            Value::String(text) => {
                let digits = text.strip_prefix("0x").filter(|digits| digits.len() >= 64);
                values.extend(digits.map(str::to_owned));
            }
            _ => {}
        }
    }

    /// The roots end the chains of genuine files, and the wrong one ends none.
    fn roots_are_where_they_belong(folder: &Path) {
        let plain = |file: &str| -> String {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            text.lines()
                .filter(|line| !line.starts_with("-----"))
                .map(str::trim)
                .collect()
        };
        let without_spaces = |file: &str| -> String {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            text.split_whitespace().collect()
        };
        let chain = plain("a-545-complete/gpuAkCertChain.txt");
        assert!(chain.ends_with(&plain("roots/verifier_device_root.pem")));
        for rim in [DRIVER_A, VBIOS_A, DRIVER_550, VBIOS_C] {
            let rim = without_spaces(rim);
            assert!(rim.contains(&plain("roots/verifier_RIM_root.pem")));
            assert!(!rim.contains(&plain("negative/incorrect_rim_root.crt")));
        }
    }

    /// Files below `folder`, by their paths from it.
    #[expect(clippy::disallowed_methods, reason = "sorted by the set")]
    fn files(folder: &Path, below: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(folder.join(below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            if folder.join(&path).is_dir() {
                found.append(&mut files(folder, &path));
            } else {
                found.insert(path);
            }
        }
        found
    }

    #[test]
    fn every_file_gets_what_the_readme_says() {
        let Some(folder) = vectors().map(|attestation| attestation.join("../gpu")) else {
            return;
        };
        let rows: Vec<Row> = reports()
            .into_iter()
            .chain(evidence())
            .chain(rims())
            .collect();
        rows.iter().for_each(|row| check(row, &folder));
        first_edition_fails_at_9(&folder);
        let values = others_found_the_same(&folder);
        roots_are_where_they_belong(&folder);
        let named = rows.iter().flat_map(|(words, _, _)| words);
        let named = named.filter_map(|word| word.strip_prefix('@'));
        let beside = rows.iter().flat_map(|(_, _, files)| files.iter().copied());
        let others = [
            "README.md",
            "c-580.159.03/spdm_parsed_output.json",
            "c-580.159.03/spdm_req_parsed_output.json",
            "expected.json",
            "negative/incorrect_rim_root.crt",
            "roots/verifier_RIM_root.pem",
            "roots/verifier_device_root.pem",
        ];
        let claimed: BTreeSet<_> = named
            .chain(beside)
            .chain(others)
            .map(PathBuf::from)
            .collect();
        assert_eq!(claimed, files(&folder, Path::new("")));
        println!(
            "{} files: {} rows, {values} values",
            claimed.len(),
            rows.len()
        );
        assert_eq!((claimed.len(), rows.len(), values), (35, 22, 72));
    }
}
