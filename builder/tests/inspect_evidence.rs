//! `cloister inspect` as a program, on real evidence: kinds, and values that the vectors' own script decoded.

#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod inspect_evidence {
    use std::path::Path;
    use std::process::Command;

    use crate::vectors::vectors;

    fn inspect(file: &Path) -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(["inspect", "--json"])
            .arg(file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {output:?}", file.display());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    const KINDS: [(&str, &str); 13] = [
        ("snp/milan-v3-aci/report.bin", "SEV-SNP attestation report"),
        ("snp/turin-v5-aci/report.bin", "SEV-SNP attestation report"),
        ("azure/hcl-report-snp-v2.bin", "Azure HCL report"),
        ("azure/hcl-report-tdx-nosecureboot.bin", "Azure HCL report"),
        ("azure/tpm-quote-9pcr.msg", "TPM quote (TPMS_ATTEST)"),
        ("tdx/v4-uptodate/quote.bin", "TDX quote"),
        ("tdx/v5-no-tcb-level/quote.bin", "TDX quote"),
        ("tdx/v4-gce-cos/quote.bin", "TDX quote"),
        (
            "cmw/collection-ok.json",
            "conceptual message wrapper (CMW, JSON)",
        ),
        (
            "cmw/collection-cbor-ok.cbor",
            "conceptual message wrapper (CMW, CBOR)",
        ),
        ("cmw/x509-cert+cbor-cmw.der", "X.509 certificate"),
        ("ratls/interop-gramine-cert.pem", "X.509 certificate"),
        ("ratls/interop-rats-tls-cert.pem", "X.509 certificate"),
    ];

    #[test]
    fn real_evidence_is_known() {
        let Some(directory) = vectors() else {
            return;
        };
        let mut checked = 0;
        for (file, kind) in KINDS {
            let found = inspect(&directory.join(file));
            assert_eq!(found["kind"], kind, "{file}");
            assert!(found.get("damage").is_none(), "{file}: {found}");
            checked += 1;
        }
        assert_eq!(checked, 13);
    }

    #[test]
    fn reports_say_what_the_vectors_say() {
        let Some(directory) = vectors() else {
            return;
        };
        let text = std::fs::read(directory.join("expected.json")).unwrap();
        let expected: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let mut checked = 0;
        for wanted in expected["snp"].as_array().unwrap() {
            let file = wanted["report"].as_str().unwrap();
            if !file.ends_with(".bin") {
                continue;
            }
            let found = inspect(&directory.join(file));
            let same = [
                ("version", "version"),
                ("policy", "policy"),
                ("vmpl", "vmpl"),
                ("measurement", "measurement"),
                ("report-data", "report_data"),
                ("host-data", "host_data"),
                ("id-key-digest", "id_key_digest"),
                ("chip-id", "chip_id"),
            ];
            for (ours, theirs) in same {
                assert_eq!(found[ours], wanted[theirs], "{file}: {ours}");
                checked += 1;
            }
        }
        assert!(checked >= 5 * 8, "{checked}");
        let nonce = std::fs::read(directory.join("tdx/v4-gce-cos/nonce.bin")).unwrap();
        let found = inspect(&directory.join("tdx/v4-gce-cos/quote.bin"));
        assert_eq!(found["report-data"], hex::encode(nonce));
    }
}
