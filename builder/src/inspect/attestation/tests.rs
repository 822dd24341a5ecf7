use cloister_test_pki::snp::Report as MadeReport;

use super::super::whole;

/// Kind and fields by name of what is found in `bytes`.
#[track_caller]
fn inspected(bytes: &[u8], kind: &str) -> serde_json::Value {
    let report = whole(bytes).unwrap();
    assert_eq!(report.kind, kind);
    report.to_json()
}

#[test]
fn snp_report_says_every_field() {
    let tcb = [10, 0, 0, 0, 0, 0, 23, 84];
    let mut made = MadeReport::new(3, [0x19, 0x11, 1], tcb, [0xc1; 64]);
    made.set(0x0a, &[0x0b]);
    let report = made.sign(&cloister_test_pki::Key::p384().unwrap()).unwrap();
    let report = whole(&report).unwrap();
    assert_eq!(report.kind, "SEV-SNP attestation report");
    insta::assert_snapshot!(report.to_text());
}

#[test]
fn quotes_of_tdx_and_sgx_say_their_measurements() {
    let mut quote = vec![0; 700];
    (quote[0], quote[4]) = (4, 0x81);
    quote[12..28].copy_from_slice(&super::INTEL_QE);
    quote[48 + 136..48 + 184].fill(0xaa);
    quote[48 + 376..48 + 424].fill(0xb1);
    quote[568..632].fill(0xdd);
    let found = inspected(&quote, "TDX quote");
    assert_eq!(found["mrtd"], "aa".repeat(48));
    assert_eq!(found["rtmr1"], "b1".repeat(48));
    assert_eq!(found["report-data"], "dd".repeat(64));
    let mut sgx = vec![0; 432];
    sgx[0] = 3;
    sgx[12..28].copy_from_slice(&super::INTEL_QE);
    sgx[48 + 64..48 + 96].fill(0xee);
    assert_eq!(inspected(&sgx, "SGX quote")["mrenclave"], "ee".repeat(32));
    sgx[12] = 0;
    assert_eq!(whole(&sgx), None);
}

#[test]
fn wrappers_say_their_records() {
    let json = br#"{"__cmwc_t":"1.2.3","a":["a/b","AQ",4]}"#;
    let found = inspected(json, "conceptual message wrapper (CMW, JSON)");
    assert_eq!(found["collection-type"], "1.2.3");
    assert_eq!(found["records"][0]["label"], "a");
    assert_eq!(found["records"][0]["indicator"][0], "evidence");
    let cbor = [0xda, 0x63, 0x74, 0x01, 0x02, 0x41, 9];
    let found = inspected(&cbor, "conceptual message wrapper (CMW, CBOR)");
    assert_eq!(found["records"][0]["type"], "content format 1");
    assert_eq!(found["records"][0]["tag"], true);
}

/// The made-up report of the fuzz targets; its first byte is for them.
#[test]
fn hcl_report_says_the_paravisor_and_the_claims() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fuzz/seeds/hcl_report/snp"
    );
    let seed = std::fs::read(path).unwrap();
    let start = seed.windows(4).position(|four| four == b"HCLA").unwrap();
    insta::assert_snapshot!(whole(&seed[start..]).unwrap().to_text());
}

#[test]
fn hcl_report_that_is_damaged_says_so() {
    let found = inspected(b"HCLA\x02\0\0\0", "Azure HCL report");
    let damage = found["damage"].as_str().unwrap();
    assert!(damage.contains("cut off"), "{damage}");
}

/// TPMS_ATTEST by hand: TPM 2.0 Library, Part 2, 10.12.
#[test]
fn tpm_quote_says_what_is_selected() {
    let mut quote = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18];
    quote.extend([0, 2, 0xaa, 0xbb]);
    quote.extend([0, 1, 0xcc]);
    quote.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 8, 1]);
    quote.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    quote.extend([0, 0, 0, 1, 0, 0x0b, 3, 0x11, 0x08, 0]);
    quote.extend([0, 32]);
    quote.extend([0xdd; 32]);
    let found = inspected(&quote, "TPM quote (TPMS_ATTEST)");
    assert_eq!(found["extra-data"], "cc");
    assert_eq!(found["reset-count"], 7);
    assert_eq!(found["pcr-selections"][0]["pcrs"], "0 4 11");
    assert_eq!(found["pcr-digest"], "dd".repeat(32));
}

#[test]
fn extensions_of_others_are_read_or_named_damaged() {
    let shown =
        |oid: &str, value: &[u8]| super::extension(oid, value).map(|fields| format!("{fields:?}"));
    assert_eq!(shown("2.5.29.14", &[4, 0]), None);
    let cases = [
        ("1.3.6.1.5.5.7.1.35", "neither one DER"),
        ("2.23.133.5.4.9", "wanted a tag at byte 0"),
        ("1.3.6.1.4.1.65230.4.1", "SNP report has 1 bytes"),
        ("1.2.840.113741.1.5.5.1.6", "quote has 1 bytes"),
        ("1.3.6.1.4.1.65230.5.1", "does not begin with PGAE"),
    ];
    for (oid, wanted) in cases {
        let found = shown(oid, b"x").unwrap();
        assert!(found.contains(wanted), "{oid}: {found}");
    }
    let found = shown("1.3.6.1.4.1.65230.2.8", b"dev").unwrap();
    assert!(found.contains("dev"), "{found}");
}
