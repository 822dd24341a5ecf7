//! `cloister inspect` as a program, on what real GPUs said: every encoding, and values that the vectors' own script decoded.

#[cfg(test)]
#[path = "files/scratch.rs"]
mod scratch;
#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod inspect_gpu {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use serde_json::{Value, json};

    use crate::scratch::put;
    use crate::vectors::vectors;

    const REPORT: &str = "NVIDIA attestation report (SPDM 1.1)";
    const CHAIN: &str = "certificate chain of an NVIDIA device";
    const EVIDENCE: &str = "NVIDIA attestation evidence (JSON)";

    fn folder() -> Option<PathBuf> {
        vectors().map(|attestation| attestation.join("../gpu"))
    }

    fn inspect(file: &Path, kind: &str) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(["inspect", "--json"])
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {output:?}", file.display());
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["kind"], kind, "{}", file.display());
        found
    }

    fn expected(folder: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap()
    }

    /// Ours, theirs.
    const SAME: [(&str, &str); 14] = [
        ("size", "/bytes"),
        ("sha256", "/sha256"),
        ("nonce", "/request/nonce"),
        ("responder-nonce", "/response_nonce"),
        ("driver-version", "/driver_version"),
        ("vbios-version", "/vbios_version"),
        ("driver-rim", "/driver_rim_id"),
        ("vbios-rim", "/vbios_rim_id"),
        ("project", "/project"),
        ("project-sku", "/project_sku"),
        ("chip-sku", "/chip_sku"),
        ("fwid", "/fwid_report"),
        ("damage", "/none"),
        ("switches", "/none"),
    ];

    /// Compares a report with its entry; gives the number of values compared.
    fn report(name: &str, found: &Value, wanted: &Value) -> usize {
        let mut compared = 0;
        let absent = Value::Null;
        for (ours, theirs) in SAME {
            if ours == "switches" && name.starts_with("d-") {
                // Behind protected PCIe, which the README of the vectors counts: 18.
                assert_eq!(found[ours].as_array().unwrap().len(), 18, "{name}");
            } else {
                let theirs = wanted.pointer(theirs).unwrap_or(&absent);
                assert_eq!(&found[ours], theirs, "{name}: {ours}");
            }
            compared += 1;
        }
        let order: Vec<&Value> = list(&found["opaque-fields"], "number");
        assert_eq!(json!(order), wanted["opaque_order"], "{name}");
        let digests: Vec<&Value> = list(&found["measurements"], "digest");
        assert_eq!(json!(digests.len()), wanted["response"]["blocks"], "{name}");
        let zeros = digests.iter().zip(1..);
        let zeros = zeros.filter(|(digest, _)| ***digest == "00".repeat(48));
        let zeros: Vec<u8> = zeros.map(|(_, block)| block).collect();
        assert_eq!(json!(zeros), wanted["all_zero_measurement_indices"]);
        for (ours, theirs) in [
            ("nvdec0-status", "nvdec0_status"),
            ("protected-pcie-status", "protected_pcie_status"),
        ] {
            let byte = found[ours].as_str().map(|text| &text[text.len() - 3..]);
            let theirs = wanted[theirs].as_str().map(|byte| format!("{byte})"));
            assert_eq!(byte, theirs.as_deref(), "{name}: {ours}");
        }
        compared + 5
    }

    /// The same of a chain.
    fn chain(name: &str, found: &Value, wanted: &Value) -> usize {
        assert_eq!(found["model"], "GH100", "{name}");
        assert_eq!(found["fwid"], wanted["leaf_fwid"], "{name}");
        let subjects: Vec<&Value> = list(&found["certificates"], "subject");
        let names = wanted["chain"]["order"].as_array().unwrap();
        assert_eq!(subjects.len(), names.len(), "{name}");
        for (subject, common_name) in subjects.iter().zip(names) {
            let subject = subject.as_str().unwrap();
            let mut parts = subject.split(',');
            assert!(parts.any(|part| part == common_name), "{name}: {subject}");
        }
        // `9999-12-31 23:59:59` in the vectors.
        let until = found["certificates"][0]["not-after"].as_str().unwrap();
        let wanted = wanted["chain"]["leaf_not_after"].as_str().unwrap();
        assert_eq!(until.replace('T', " ").trim_end_matches('Z'), wanted);
        4 + subjects.len()
    }

    fn list<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
        let entries = value.as_array().unwrap();
        entries.iter().map(|entry| &entry[name]).collect()
    }

    #[test]
    fn reports_and_chains_say_what_the_vectors_say() {
        let Some(folder) = folder() else { return };
        let expected = expected(&folder);
        let directory = tempfile::tempdir().unwrap();
        let mut compared = 0;
        for (name, report_file, chain_file) in [
            (
                "a-545-complete",
                "attestationReport.txt",
                "gpuAkCertChain.txt",
            ),
            (
                "b-550.90.07",
                "hopperAttestationReport.txt",
                "hopperCertChain.txt",
            ),
            (
                "c-580.159.03",
                "hopperAttestationReport.txt",
                "hopperCertChain.txt",
            ),
        ] {
            let wanted = &expected[name];
            let in_hex = folder.join(name).join(report_file);
            let found = inspect(&in_hex, REPORT);
            compared += report(name, &found, wanted);
            let text = std::fs::read_to_string(in_hex).unwrap();
            let raw = hex::decode(text.split_whitespace().collect::<String>()).unwrap();
            let decorated: String = raw.iter().map(|byte| format!("\\x{byte:02x} ")).collect();
            let decorated = put(&directory, "decorated", decorated);
            let raw = put(&directory, "raw", &raw);
            for other in [raw, decorated] {
                assert_eq!(inspect(other.as_ref(), REPORT), found, "{other}");
            }
            let found = inspect(&folder.join(name).join(chain_file), CHAIN);
            compared += chain(name, &found, wanted);
        }
        assert_eq!(compared, 3 * (14 + 5 + 9));
    }

    #[test]
    fn evidence_in_json_says_every_device() {
        let Some(folder) = folder() else { return };
        let expected = expected(&folder);
        let mut compared = 0;
        for (file, key) in [
            (
                "d-ppcie/hopper_evidence.json",
                "d-ppcie/hopper_evidence.json",
            ),
            (
                "d-ppcie/multi_gpu_hopper.json",
                "d-ppcie/multi_gpu_hopper.json",
            ),
            ("e-cert-hold/hopper_evidence_cert_hold.json", "e-cert-hold"),
        ] {
            let found = inspect(&folder.join(file), EVIDENCE);
            let wanted = expected[key].as_array().unwrap();
            assert_eq!(found["device-count"], wanted.len());
            let devices = found["devices"].as_array().unwrap();
            for (device, wanted) in devices.iter().zip(wanted) {
                assert_eq!(
                    (&device["arch"], &device["nonce"]),
                    (&json!("HOPPER"), &wanted["request"]["nonce"])
                );
                compared += report(key, &device["report"], wanted);
                compared += chain(key, &device["chain"], wanted);
            }
        }
        assert_eq!(compared, 6 * (14 + 5 + 9));
        let switch = folder.join("d-ppcie/switch_evidence_ls10.json");
        let found = &inspect(&switch, EVIDENCE)["devices"][0];
        assert_eq!(found["chain"]["model"], "an LS10 NVSwitch");
        assert_eq!(found["report"]["size"], 2168);
        assert_eq!(found["report"]["vbios-version"], "96.10.55.00.01");
    }
}
