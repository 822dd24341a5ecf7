//! `cloister verify snp` as a program: exit codes, shapes of input, and that only AMD's keys count.

#[cfg(test)]
#[path = "files/scratch.rs"]
mod scratch;
#[cfg(test)]
#[path = "files/vectors.rs"]
mod vectors;

#[cfg(test)]
mod verify_snp {
    use std::process::Command;

    use cloister_test_pki::snp::{Amd, Report, Vek};

    use crate::scratch::put;
    use crate::vectors::vectors;

    const MEASUREMENT: &str = "5feee30d6d7e1a29f403d70a4198237ddfb13051a2d6976439487c609388ed7f98189887920ab2fa0096903a0c23fca1";

    /// Runs the verb: exit code, standard output, standard error.
    fn verify(arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_cloister"))
            .args(["verify", "snp"])
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

    /// A report and its certificates by keys that are not AMD's.
    struct MadeUp {
        report: Vec<u8>,
        vcek: Vec<u8>,
        ask: Vec<u8>,
        ark: Vec<u8>,
    }

    fn made_up() -> MadeUp {
        let amd = Amd::new("Genoa").unwrap();
        let tcb = [10, 0, 0, 0, 0, 0, 23, 84];
        let report = Report::new(3, [0x19, 0x11, 1], tcb, [0xc1; 64]);
        let vek = Vek {
            struct_version: 0,
            product_name: "Genoa".to_owned(),
            spls: vec![(1, 10), (2, 0), (3, 23), (8, 84)],
            hwid: Some(vec![0xc1; 64]),
            csp_id: None,
        };
        let vcek = amd.vcek_certificate(&vek);
        MadeUp {
            report: report.sign(&amd.vcek).unwrap(),
            vcek: vcek.sign(&amd.vcek, &amd.ask).unwrap(),
            ask: amd.ask_certificate().sign(&amd.ask, &amd.ark).unwrap(),
            ark: amd.ark_certificate().sign(&amd.ark, &amd.ark).unwrap(),
        }
    }

    /// Evidence by other keys than AMD's is refused, whatever is given as its chain.
    #[test]
    fn made_up_roots_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let made = made_up();
        let report = put(&directory, "report", made.report);
        let vcek = put(&directory, "vcek", made.vcek);
        let (ask, ark) = (
            put(&directory, "ask", made.ask),
            put(&directory, "ark", made.ark),
        );
        let given = [
            "--report",
            &report,
            "--vcek",
            &vcek,
            "--chain",
            &ask,
            "--chain",
            &ark,
            "--signature-only",
            "--at",
            "2026-11-22T00:00:00Z",
        ];
        let (code, stdout, stderr) = verify(&given);
        assert_eq!(code, 1, "{stdout}{stderr}");
        assert!(stdout.contains("FAIL     chain"), "{stdout}");
        let (code, stdout, _) = verify(&given[..2]);
        assert_eq!(
            code, 1,
            "nothing to compare with wins over the missing VCEK: {stdout}"
        );
        let (code, stdout, _) = verify(&["--report", &report, "--signature-only"]);
        assert_eq!(code, 3, "{stdout}");
        assert!(stdout.starts_with("collateral missing"), "{stdout}");
    }

    /// What an extended guest request gives: the table behind the report is read, and adds no trust.
    #[test]
    fn certificates_behind_a_report_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let made = made_up();
        let guid = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd_u128.to_be_bytes();
        let length = u32::try_from(made.vcek.len()).unwrap().to_le_bytes();
        let entry = [&guid[..], &48_u32.to_le_bytes(), &length, &[0; 24]].concat();
        let table = [entry, made.vcek].concat();
        let extended = [&made.report[..], &table].concat();
        for (name, bytes) in [
            ("raw", extended.clone()),
            ("hex", hex::encode(extended).into()),
        ] {
            let file = put(&directory, name, bytes);
            let (code, stdout, _) = verify(&["--report", &file, "--signature-only"]);
            assert_eq!(code, 1, "{stdout}");
            assert!(stdout.contains("FAIL     chain"), "{stdout}");
        }
        // A table that is cut off is none, and then the report is too long.
        let cut = [&made.report[..], &table[..table.len() - 1]].concat();
        let file = put(&directory, "cut", cut);
        let (code, stdout, _) = verify(&["--report", &file, "--signature-only"]);
        assert_eq!(code, 1, "{stdout}");
        assert!(stdout.contains("wanted 1184"), "{stdout}");
    }

    #[test]
    fn mistakes_of_the_user_are_exit_2() {
        let directory = tempfile::tempdir().unwrap();
        let report = put(&directory, "report", b"{\"version\": 3}");
        let policy = put(
            &directory,
            "policy",
            "schema-version = 1\n[snp]\nallow-debug = true\n",
        );
        for (arguments, wanted) in [
            (vec!["--report", "/nonexistent"], "cannot be read"),
            (vec!["--report", &report], "not KBS evidence"),
            (
                vec!["--report", &report, "--policy", &policy],
                "unknown field `allow-debug`",
            ),
            (
                vec!["--report", &report, "--report-data", "00"],
                "wanted 64 bytes in hex",
            ),
            (
                vec!["--report", &report, "--at", "yesterday"],
                "wanted a time",
            ),
            (
                vec!["--report", &report, "--signature-only", "--expect", "x"],
                "cannot be used with",
            ),
            (vec![], "--report"),
        ] {
            let (code, _, stderr) = verify(&arguments);
            assert_eq!(code, 2, "{arguments:?}: {stderr}");
            assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
        }
        let junk = put(&directory, "junk", [7; 1183]);
        let (code, stdout, _) = verify(&["--report", &junk]);
        assert_eq!(code, 1, "{stdout}");
        assert!(
            stdout.contains("SNP report has 1183 bytes, wanted 1184"),
            "{stdout}"
        );
    }

    /// Raw, hex and JSON; PEM and DER; the same report in each shape gives the same verdict.
    #[test]
    fn every_shape_of_input_is_read() {
        let Some(vectors) = vectors() else { return };
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| vectors.join(name).to_str().unwrap().to_owned();
        let report = path("snp/genoa-v3-aci/report.bin");
        let (vcek, chain) = (
            path("snp/genoa-v3-aci/vcek.pem"),
            path("snp/roots/genoa_ask_ark_asvk.pem"),
        );
        let data = "00".repeat(64);
        let rest = [
            "--vcek",
            &vcek,
            "--expect-measurement",
            MEASUREMENT,
            "--report-data",
            &data,
        ];
        let at = ["--at", "2026-11-22T00:00:00Z"];
        let run = |report: &str, more: &[&str]| {
            verify(&[&["--report", report], &rest[..], more].concat())
        };
        let (code, wanted, stderr) = run(&report, &at);
        assert_eq!(code, 0, "{wanted}{stderr}");
        assert!(wanted.starts_with("accepted: `snp`"), "{wanted}");
        let hex = put(
            &directory,
            "hex",
            hex::encode(std::fs::read(&report).unwrap()) + "\n",
        );
        assert_eq!(run(&hex, &at).1, wanted);
        assert_eq!(run(&report, &["--chain", &chain, at[0], at[1]]).1, wanted);
        let (code, stdout, _) = run(&report, &["--at", "2034-01-01T00:00:00Z"]);
        assert_eq!(code, 1);
        assert!(stdout.contains("FAIL     validity"), "{stdout}");
        let (code, stdout, _) = run(&report, &["--at", "2026-11-22T00:00:00Z", "--json"]);
        assert_eq!(code, 0);
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(json["verdict"], "accepted");
        let kbs = path("kbs/snp-bergamo-v3-evidence.json");
        let (code, stdout, _) = verify(&["--report", &kbs, "--signature-only", at[0], at[1]]);
        assert_eq!(code, 0, "{stdout}");
    }
}
