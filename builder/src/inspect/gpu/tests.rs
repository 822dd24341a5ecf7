//! A made-up GPU, and what is wrong with reports, chains and JSON that are damaged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloister_test_pki::gpu::{FIRMWARE, Gpu, Report as Made};
use serde_json::{Value, json};

use super::super::whole;

fn made() -> (Vec<u8>, String) {
    let gpu = Gpu::new("inspect").unwrap();
    let mut made = Made::new([0x6e; 32], "580.159.03", [0x96, 0, 0x9f, 0, 1]);
    made.measurements.insert(9, [0x99; 48]);
    made.further = vec![(200, vec![7]), (22, vec![1; 16])];
    (gpu.report(&made).unwrap(), gpu.chain_pem().unwrap())
}

#[track_caller]
fn inspected(bytes: &[u8], kind: &str) -> Value {
    let report = whole(bytes).unwrap();
    assert_eq!(report.kind, kind);
    report.to_json()
}

#[test]
fn a_report_says_every_field() {
    let (report, _) = made();
    let found = inspected(&report, "NVIDIA attestation report (SPDM 1.1)");
    let wanted = [
        ("size", json!(report.len())),
        ("nonce", json!("6e".repeat(32))),
        ("responder-nonce", json!("5e".repeat(32))),
        ("driver-version", json!("580.159.03")),
        ("vbios-version", json!("96.00.9f.00.01")),
        ("project", json!("1010")),
        ("nvdec0-status", json!("enabled (0xaa)")),
        ("protected-pcie-status", json!("disabled (0x55)")),
        ("feature-flag", json!("single GPU passthrough (SPT)")),
        ("fwid", json!(hex::encode(FIRMWARE))),
        ("switches", json!(["01".repeat(8), "01".repeat(8)])),
        (
            "signature",
            json!(hex::encode(&report[report.len() - 96..])),
        ),
    ];
    for (name, wanted) in &wanted {
        assert_eq!(&found[name], wanted, "{name}");
    }
    assert_eq!(
        found["measurements"][9],
        json!({"index": 9, "digest": "99".repeat(48)})
    );
    assert_eq!(found["measurements"].as_array().unwrap().len(), 64);
    let fields = found["opaque-fields"].as_array().unwrap();
    let unknown = &fields[fields.len() - 2];
    assert_eq!(
        (&unknown["number"], &unknown["name"]),
        (&json!(200), &json!("not known"))
    );
    assert_eq!(unknown["value"], "07");
    // MSRSCNT has 256 bytes: a digest is shown.
    assert_eq!(
        (&fields[5]["name"], &fields[5]["size"]),
        (&json!("MSRSCNT"), &json!(256))
    );
    assert_eq!(fields[5].get("value"), None);
    let text = whole(hex::encode(&report).as_bytes()).unwrap().to_text();
    assert!(
        text.contains("\n  driver-version         580.159.03\n"),
        "{text}"
    );
}

#[test]
fn a_damaged_report_says_where() {
    let (mut report, _) = made();
    report.push(0);
    let kind = "NVIDIA attestation report (SPDM 1.1)";
    let damage = format!(
        "1 bytes behind the signature, which ends at offset {}",
        report.len() - 1
    );
    assert_eq!(inspected(&report, kind)["damage"], damage);
    let found = inspected(b"11e001ff", kind);
    assert_eq!(
        found["damage"],
        "requester nonce at offset 4 needs 32 bytes, 0 are left"
    );
    assert_eq!(whole(b"11e001fe"), None);
}

#[test]
fn a_chain_says_its_certificates() {
    let (_, chain) = made();
    let kind = "certificate chain of an NVIDIA device";
    let found = inspected(chain.as_bytes(), kind);
    assert_eq!(
        (&found["model"], &found["fwid"]),
        (&json!("GH100"), &json!(hex::encode(FIRMWARE)))
    );
    let gpu = Gpu::new("inspect").unwrap();
    assert_eq!(found["device"], hex::encode(&gpu.certificates[1].serial));
    let certificate = json!({
        "place": "root",
        "subject": "CN=NVIDIA Device Identity CA,O=Cloister Tests",
        "issuer": "CN=NVIDIA Device Identity CA,O=Cloister Tests",
        "serial": hex::encode(&gpu.certificates[4].serial),
        "not-before": "2020-10-17T00:00:00Z",
        "not-after": "2049-12-31T00:00:00Z",
    });
    assert_eq!(found["certificates"][4], certificate);
    // As NVML has it in a buffer, and in DER: five certificates again.
    let buffer = format!("\n{chain}\n{}", "\0".repeat(9));
    assert_eq!(inspected(buffer.as_bytes(), kind), found);
    let der = gpu.chain().unwrap().concat();
    assert_eq!(inspected(&der, kind), found);
    // Without a root, and of another device, it is certificates like others.
    let cut = &chain[..chain.rfind("-----BEGIN").unwrap()];
    assert_eq!(whole(cut.as_bytes()).unwrap().kind, "X.509 certificate");
    let mut gpu = gpu;
    gpu.certificates[1].subject = "other".to_owned();
    let other = gpu.chain_pem().unwrap();
    assert_eq!(whole(other.as_bytes()).unwrap().kind, "X.509 certificate");
    gpu.certificates[1].subject = "GB100 A01 GSP BROM".to_owned();
    gpu.certificates[0].extensions.clear();
    let found = inspected(gpu.chain_pem().unwrap().as_bytes(), kind);
    assert_eq!(found["model"], "a Blackwell GPU");
    assert_eq!(
        found["fwid"],
        "leaf certificate has no extension 2.23.133.5.4.1"
    );
}

#[test]
fn evidence_in_json_says_what_is_damaged() {
    let (report, chain) = made();
    let entry = |evidence: &str, certificate: &str| json!({"evidence": evidence, "certificate": certificate, "nonce": 1, "more": 1});
    let (report, chain) = (STANDARD.encode(report), STANDARD.encode(chain));
    let entries = json!([
        entry(&report, &chain),
        entry("!", &chain),
        entry(&report, "AAAA")
    ]);
    let kind = "NVIDIA attestation evidence (JSON)";
    let found = inspected(entries.to_string().as_bytes(), kind);
    assert_eq!(found["device-count"], 3);
    let devices = &found["devices"];
    assert_eq!(devices[0]["report"]["driver-version"], "580.159.03");
    assert_eq!(devices[0]["chain"]["model"], "GH100");
    assert_eq!(devices[0].get("nonce"), None);
    assert_eq!(
        devices[1]["report"]["damage"],
        "Invalid symbol 33, offset 0."
    );
    assert_eq!(devices[1]["chain"], devices[0]["chain"]);
    assert_eq!(
        devices[2]["chain"]["damage"],
        "bytes at offset 0 belong to no certificate"
    );
    assert_eq!(whole(b"[]"), None);
    assert_eq!(whole(br#"[{"evidence":"AA=="}]"#), None);
}
