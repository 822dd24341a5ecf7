//! `cloister verify azure` and `cloister verify tpm` as programs: exit codes, and what each flag does.

#[cfg(test)]
#[path = "files/scratch.rs"]
mod scratch;
#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod verify_azure {
    use std::process::Command;

    use cloister_measure::azure::{HclReport, TeeReport};
    use cloister_verify::azure::Evidence;
    use serde_json::{Value, json};

    use crate::scratch::put;
    use crate::vectors::vectors;

    /// 2026-11-22.
    const AT: &str = "2026-11-22T00:00:00Z";

    /// Runs a kind of `verify` with `--json`: exit code, verdict, standard error.
    fn verify(kind: &str, arguments: &[&str]) -> (i32, Value, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(["--json", "verify", kind])
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            serde_json::from_slice(&output.stdout).unwrap_or_default(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    fn failed(verdict: &Value) -> Vec<&str> {
        let checks = verdict["checks"].as_array().unwrap().iter();
        let failed = checks.filter(|check| check["status"] == "fail");
        failed
            .map(|check| check["name"].as_str().unwrap())
            .collect()
    }

    /// Reference values with these registers.
    fn reference(platform: &str, pcrs: &[String]) -> String {
        let register = |(index, value): (usize, &String)| {
            let name = format!("pcr{index}");
            (name, json!({"class": "image", "values": [value]}))
        };
        let registers: serde_json::Map<String, Value> =
            pcrs.iter().enumerate().map(register).collect();
        json!({
            "bank": "sha256",
            "confidential": platform != "qemu-vtpm",
            "inputs": {},
            "launch-digests": [],
            "launch-policy": null,
            "platform": platform,
            "recipe": "demo",
            "registers": registers,
            "schema-version": 1,
            "unpredicted": {},
        })
        .to_string()
    }

    #[test]
    fn azure_gives_each_exit_code() {
        let Some(vectors) = vectors() else { return };
        let directory = tempfile::tempdir().unwrap();
        let evidence = vectors.join("azure/snp-evidence-v1.json");
        let mut json: Value = serde_json::from_slice(&std::fs::read(&evidence).unwrap()).unwrap();
        let evidence = evidence.to_str().unwrap();
        let pcrs: Vec<String> = serde_json::from_value(json["tpm_quote"]["pcrs"].clone()).unwrap();
        let expect = put(&directory, "expect", reference("azure-snp", &pcrs));
        let policy = "schema-version = 1\n[snp]\nproducts = [\"milan\"]\n";
        let policy = put(&directory, "policy", policy);
        let common = ["--expect", &expect, "--policy", &policy, "--at", AT];
        let run = |own: &[&str]| verify("azure", &[own, &common].concat());

        let nonce = ["--evidence", evidence, "--nonce", "ascii:challenge"];
        let (code, verdict, errors) = run(&nonce);
        assert_eq!(
            (code, &verdict["verdict"]),
            (0, &json!("accepted")),
            "{errors}"
        );
        assert_eq!(verdict["trust"], json!(["paravisor"]));
        assert_eq!(verdict["confidential"], json!(true));
        let hex = ["--evidence", evidence, "--nonce", "6368616C6C656E6765"];
        assert_eq!(run(&hex).0, 0);
        let (code, verdict, _) = run(&["--evidence", evidence]);
        assert_eq!((code, failed(&verdict)), (1, vec!["nonce"]));
        let (code, verdict, _) = verify("azure", &[&nonce[..], &["--at", AT]].concat());
        assert_eq!(
            (code, failed(&verdict)),
            (1, vec!["reference", "product-allowed"])
        );

        // Without the certificate of the chip, and with it beside.
        let vcek = json.as_object_mut().unwrap().remove("vcek").unwrap();
        let bare = put(&directory, "bare", json.to_string());
        let bare = ["--evidence", &bare, "--nonce", "ascii:challenge"];
        let (code, verdict, _) = run(&bare);
        assert_eq!(
            (code, &verdict["verdict"]),
            (3, &json!("collateral-missing"))
        );
        use base64::Engine as _;
        let engine = base64::engine::general_purpose::URL_SAFE;
        let vcek = engine.decode(vcek.as_str().unwrap()).unwrap();
        let vcek = put(&directory, "vcek", vcek);
        assert_eq!(run(&[&bare[..], &["--vcek", &vcek]].concat()).0, 0);
        let chain = vectors.join("snp/roots/milan_ask_ark_asvk.pem");
        let chain = ["--vcek", &vcek, "--collateral", chain.to_str().unwrap()];
        assert_eq!(run(&[&bare[..], &chain].concat()).0, 0);
        let other = vectors.join("snp/roots/genoa_ask_ark_asvk.pem");
        let other = ["--vcek", &vcek, "--collateral", other.to_str().unwrap()];
        let (code, verdict, _) = run(&[&bare[..], &other].concat());
        assert_eq!((code, failed(&verdict)), (1, vec!["chain"]));

        let (code, _, errors) = run(&["--evidence", evidence, "--nonce", "challenge"]);
        assert_eq!(code, 2, "{errors}");
        let (code, verdict, _) = run(&["--evidence", &expect]);
        assert_eq!((code, failed(&verdict)), (1, vec!["evidence-format"]));
    }

    /// Real evidence of a VM on TDX, without collateral and with it.
    #[test]
    fn azure_judges_the_td_quote_with_collateral() {
        let Some(vectors) = vectors() else { return };
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| vectors.join("azure").join(name).display().to_string();
        let evidence = path("tdx-evidence-1764662251.yaml");
        let parsed = Evidence::parse(&std::fs::read(&evidence).unwrap()).unwrap();
        let pcrs = parsed.quote.unwrap().pcrs.unwrap();
        let pcrs: Vec<String> = pcrs.0.values().map(hex::encode).collect();
        let expect = put(&directory, "expect", reference("azure-tdx", &pcrs));
        let hcl = HclReport::parse(&parsed.hcl_report).unwrap();
        let TeeReport::Tdx(facts) = &hcl.report else {
            panic!("no TDREPORT");
        };
        let policy = format!(
            "schema-version = 1\n[azure]\nsecure-boot = false\nparavisor-mrtds = [\"{}\"]\n",
            facts.mrtd
        );
        let policy = put(&directory, "policy", policy);
        let nonce = "00".repeat(32);
        let common = ["--evidence", &evidence, "--nonce", &nonce];
        let at = ["--policy", &policy, "--expect", &expect];
        let run = |own: &[&str]| verify("azure", &[&common, &at, own].concat());
        let (code, verdict, errors) = run(&["--at", "2026-02-18T14:04:40Z"]);
        let found = (code, &verdict["verdict"]);
        assert_eq!(found, (3, &json!("collateral-missing")), "{errors}");
        let collateral = path("tdx-collateral-1771423480.yaml");
        let with = ["--at", "2026-02-18T14:04:40Z", "--collateral", &collateral];
        let (code, verdict, errors) = run(&with);
        let found = (code, &verdict["verdict"]);
        assert_eq!(found, (0, &json!("accepted")), "{errors}\n{verdict}");
        assert_eq!(verdict["trust"], json!(["paravisor"]));
        let late = ["--at", AT, "--collateral", &collateral];
        let expired = vec!["root-crl", "pck-crl", "collateral-current"];
        let (code, verdict, _) = run(&late);
        assert_eq!((code, failed(&verdict)), (1, expired));
        // A bundle that is none is an error, and not a certificate that nobody knows.
        let broken = put(&directory, "broken", "{");
        let (code, _, errors) = run(&["--at", AT, "--collateral", &broken]);
        assert_eq!(code, 2);
        assert!(errors.contains("cannot be used"), "{errors}");
    }

    #[test]
    fn azure_takes_a_report_and_quote_files() {
        let Some(vectors) = vectors() else { return };
        let azure = vectors.join("azure");
        let path = |name: &str| azure.join(name).to_str().unwrap().to_owned();
        let (hcl, vcek) = (
            path("hcl-report-snp-v2.bin"),
            path("hcl-report-snp-v2-vcek.pem"),
        );
        let (quote, signature) = (path("tpm-quote-9pcr.msg"), path("tpm-quote-9pcr.sig"));
        let (code, verdict, _) = verify(
            "azure",
            &[
                "--evidence",
                &hcl,
                "--vcek",
                &vcek,
                "--quote",
                &quote,
                "--signature",
                &signature,
                "--nonce",
                "ascii:challenge",
                "--at",
                AT,
            ],
        );
        assert_eq!(code, 1);
        let failed = failed(&verdict);
        for name in ["quote-signature", "pcr-selection", "pcr-digest"] {
            assert!(failed.contains(&name), "{name}: {failed:?}");
        }
        assert!(!failed.contains(&"nonce") && !failed.contains(&"claims-hash"));
        let (code, _, errors) = verify("azure", &["--evidence", &hcl, "--quote", &quote]);
        assert_eq!(code, 2);
        assert!(errors.contains("--signature"), "{errors}");
    }

    #[test]
    fn tpm_gives_each_exit_code() {
        let Some(vectors) = vectors() else { return };
        let directory = tempfile::tempdir().unwrap();
        let folder = vectors.join("azure/trusted-launch-vtpm");
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (quote, signature) = (path("quote.msg"), path("quote.sig"));
        let (ak, pcrs) = (path("ak.pub"), path("pcrs.bin"));
        let nonce = std::fs::read_to_string(path("nonce.hex")).unwrap();
        let nonce = nonce.trim();
        let files = [
            "--quote",
            &quote,
            "--signature",
            &signature,
            "--ak",
            &ak,
            "--pcrs",
            &pcrs,
            "--at",
            AT,
        ];
        let run = |own: &[&str]| verify("tpm", &[&files, own].concat());
        // Values in the file, by place: 32 bytes each behind their length.
        let list = std::fs::read(&pcrs).unwrap();
        let values: Vec<String> = (0..8)
            .map(|at| 142 + 66 * at)
            .map(|at| hex::encode(&list[at..at + 32]))
            .collect();
        let expect = put(&directory, "expect", reference("qemu-vtpm", &values));
        let policy = "schema-version = 1\n[tpm]\npcrs = [0, 1, 2, 3, 4, 5, 6, 7]\n";
        let policy = put(&directory, "policy", policy);

        let (code, verdict, _) = run(&["--nonce", nonce, "--expect", &expect, "--policy", &policy]);
        assert_eq!((code, failed(&verdict)), (0, vec![]));
        assert_eq!(verdict["trust"], json!(["host"]));
        assert_eq!(verdict["confidential"], json!(false));
        let (code, verdict, _) = run(&["--nonce", nonce, "--expect", &expect]);
        assert_eq!((code, failed(&verdict)), (1, vec!["pcr-selection"]));
        let (code, verdict, _) = run(&["--nonce", nonce, "--policy", &policy]);
        assert_eq!((code, failed(&verdict)), (1, vec!["reference"]));
        let (code, verdict, _) = run(&["--nonce", "00", "--expect", &expect, "--policy", &policy]);
        assert_eq!((code, failed(&verdict)), (1, vec!["nonce"]));
        let (code, _, errors) = run(&[]);
        assert_eq!(code, 2);
        assert!(errors.contains("--nonce"), "{errors}");
    }
}
