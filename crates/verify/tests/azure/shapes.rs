//! The shapes of evidence: what is read from each, and what each refuses.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use cloister_evidence::azure::AzureEvidence;
use cloister_evidence::tpm::PcrBank;
use cloister_test_pki::azure::{pcr_list, tpmt_signature};
use cloister_verify::azure::{Beside, Evidence, EvidenceError};
use serde_json::{Value, json};

use crate::scene::{Scene, failed};

fn value(evidence: &[u8]) -> Value {
    serde_json::from_slice(evidence).unwrap()
}

fn parse(evidence: &Value) -> Result<Evidence, EvidenceError> {
    Evidence::parse(evidence.to_string().as_bytes())
}

#[test]
fn every_shape_gives_the_same_evidence() {
    let scene = Scene::snp();
    let (hcl, (attest, signature)) = (scene.hcl(), scene.quote());
    let one = value(&scene.evidence_of(&hcl, &attest, &signature));
    let parsed = parse(&one).unwrap();
    assert_eq!(parsed.hcl_report, hcl);
    let quote = parsed.quote.as_ref().unwrap();
    assert_eq!((&quote.attest, &quote.signature), (&attest, &signature));
    assert_eq!(quote.pcrs.as_ref().unwrap().0.len(), 24);
    assert!(parsed.vek.is_some() && !parsed.user_data);
    // Padded, and in upper case.
    let mut other = one.clone();
    other["hcl_report"] = URL_SAFE.encode(&hcl).into();
    other["tpm_quote"]["message"] = hex::encode_upper(&attest).into();
    assert_eq!(parse(&other).as_ref(), Ok(&parsed));
    let envelope = json!({"platform": "az-snp", "evidence": one});
    assert_eq!(parse(&envelope).as_ref(), Ok(&parsed));
    let mut two = one.clone();
    two["version"] = 2.into();
    let wanted = Evidence {
        user_data: true,
        ..parsed.clone()
    };
    assert_eq!(parse(&two).as_ref(), Ok(&wanted));
    let vek = parsed.vek.clone().unwrap();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(vek)
    );
    let zero = json!({
        "quote": {"message": attest, "pcrs": scene.pcrs, "signature": signature},
        "report": hcl,
        "vcek": pem,
    });
    let wanted = Evidence {
        vek: Some(pem.into_bytes()),
        ..parsed
    };
    assert_eq!(parse(&zero).as_ref(), Ok(&wanted));
    for evidence in [zero, envelope, one, other] {
        let verdict = scene.judge(evidence.to_string().as_bytes());
        assert!(verdict.accepted, "{verdict}");
    }
}

/// An envelope names the hardware of the evidence in it, and no other.
#[test]
fn envelopes_of_either_hardware_are_read() {
    for (scene, platform, other) in [
        (Scene::snp(), "az-snp", "az-tdx"),
        (Scene::tdx(), "az-tdx", "az-snp"),
    ] {
        let plain = value(&scene.evidence());
        let envelope = |platform: &str| json!({"platform": platform, "evidence": plain});
        assert_eq!(parse(&envelope(platform)), parse(&plain), "{platform}");
        let verdict = scene.judge(envelope(platform).to_string().as_bytes());
        assert!(verdict.accepted, "{verdict}");
        let found = other.to_owned();
        let refused = Err(EvidenceError::Platform { found });
        assert_eq!(parse(&envelope(other)), refused, "{platform} as {other}");
    }
}

/// Cloister's own section, whose signature is a `TPMT_SIGNATURE`; the VCEK comes beside it.
#[test]
fn section_of_cloister_is_accepted() {
    let mut scene = Scene::snp();
    scene.pcrs.truncate(16);
    scene.requote();
    scene.attest.banks = vec![(0x000b, vec![0xff, 0xff, 0])];
    let (attest, signature) = scene.quote();
    let section = AzureEvidence {
        attest,
        signature: tpmt_signature(&signature),
        hcl_report: scene.hcl(),
        pcrs: PcrBank(scene.pcrs.clone().try_into().unwrap()),
    };
    let vek = scene.vcek();
    let beside = Beside {
        vek: vek.as_deref(),
        ..Beside::default()
    };
    let encoded = section.encode();
    let verdict = scene.judge_beside(&encoded, &beside, &[]);
    assert!(verdict.accepted, "{verdict}");
    let longer = [encoded.as_slice(), &[0]].concat();
    let verdict = scene.judge_beside(&longer, &beside, &[]);
    assert_eq!(failed(&verdict), ["evidence-format"]);
}

#[test]
fn hcl_report_is_accepted_with_quote_files() {
    let scene = Scene::snp();
    let list = pcr_list(&scene.pcrs);
    let verdict = scene.judge_files(Some(&list));
    assert!(verdict.accepted, "{verdict}");
    let verdict = scene.judge_files(None);
    assert_eq!(failed(&verdict), ["pcr-digest"], "{verdict}");
    let verdict = scene.judge_files(Some(&list[1..]));
    assert_eq!(failed(&verdict), ["evidence-format"], "{verdict}");
}

/// The genuine JSON with an edit, which must be refused.
fn refused(edit: fn(&mut Value)) -> EvidenceError {
    let mut evidence = value(&Scene::snp().evidence());
    edit(&mut evidence);
    parse(&evidence).unwrap_err()
}

#[test]
fn members_are_refused_by_name() {
    let with = refused;
    let member = |member, wanted| EvidenceError::Member { member, wanted };
    let platform = |found: &str| EvidenceError::Platform {
        found: found.to_owned(),
    };
    assert_eq!(
        with(|e| e["version"] = 0.into()),
        EvidenceError::Version { found: 0 }
    );
    assert_eq!(
        with(|e| e["hcl_report"] = "+/".into()),
        member("hcl_report", "base64url")
    );
    assert_eq!(
        with(|e| e["vcek"] = "=".into()),
        member("vcek", "base64url")
    );
    let quote = "tpm_quote.message";
    assert_eq!(
        with(|e| e["tpm_quote"]["message"] = "0".into()),
        member(quote, "hex")
    );
    let values = "at most 24 PCR values of 32 bytes";
    let short = with(|e| e["tpm_quote"]["pcrs"] = json!(["00"]));
    assert_eq!(short, member("tpm_quote.pcrs", values));
    let many = with(|e| e["tpm_quote"]["pcrs"] = json!(vec!["00".repeat(32); 25]));
    assert_eq!(many, member("tpm_quote.pcrs", values));
    assert_eq!(with(|e| e["td_quote"] = "AA".into()), EvidenceError::Both);
    let other = with(|e| *e = json!({"platform": "az-tdx", "evidence": e.clone()}));
    assert_eq!(other, platform("az-tdx"));
    let other = with(|e| *e = json!({"platform": "snp", "evidence": e.clone()}));
    assert_eq!(other, platform("snp"));
}

#[test]
fn other_members_and_other_bytes_are_refused() {
    let scene = Scene::snp();
    for edit in [
        (|e| e["more"] = 1.into()) as fn(&mut Value),
        |e| e["tpm_quote"]["more"] = 1.into(),
        |e| drop(e.as_object_mut().unwrap().remove("hcl_report")),
        |e| *e = json!({"platform": "az-snp", "evidence": e.clone(), "more": 1}),
        |e| *e = json!({"report": [256]}),
    ] {
        assert!(matches!(refused(edit), EvidenceError::Json { .. }));
    }
    let text = String::from_utf8(scene.evidence()).unwrap();
    let twice = text.replacen('{', "{\"version\":1,", 1);
    let refused = Evidence::parse(twice.as_bytes());
    assert!(matches!(refused, Err(EvidenceError::Json { .. })));
    for bytes in [&b""[..], b"HCL", b"[]", b"\xff", b"0", b"-----BEGIN"] {
        assert_eq!(
            Evidence::parse(bytes),
            Err(EvidenceError::Shape),
            "{bytes:?}"
        );
    }
    let found = (1 << 20) + 1;
    let large = Evidence::parse(&vec![b' '; found]);
    assert_eq!(large, Err(EvidenceError::TooLarge { found }));
}

#[test]
fn yaml_refuses_each_mistake_by_name() {
    let scene = Scene::snp();
    let genuine = String::from_utf8(scene.yaml(&[0x30, 0])).unwrap();
    assert!(Evidence::parse(genuine.as_bytes()).is_ok());
    let with = |from: &str, to: &str| {
        assert_eq!(genuine.matches(from).count(), 1, "{from}");
        Evidence::parse(genuine.replace(from, to).as_bytes()).unwrap_err()
    };
    let unknown = |path: &str| EvidenceError::Unknown {
        path: path.to_owned(),
    };
    let missing = |path| EvidenceError::Missing { path };
    let log = "tpm_attestation.event_log";
    assert_eq!(with("event_log: []", "event_log: [1]"), unknown(log));
    assert_eq!(with("  event_log: []\n", ""), missing(log));
    let info = "tpm_attestation.instance_info";
    assert_eq!(
        with("instance_info: null", "instance_info: []"),
        unknown(info)
    );
    assert_eq!(
        with(
            "  instance_info: null",
            "  instance_info: null\n  more: null"
        ),
        unknown("tpm_attestation.more")
    );
    assert_eq!(
        with("tdx_quote_base64: |-\n  BAAC", "tdx_quote_base64: null"),
        unknown("text")
    );
    let member = EvidenceError::Member {
        member: "tdx_quote_base64",
        wanted: "base64url",
    };
    assert_eq!(with("  BAAC", "  BA+C"), member);
    assert!(matches!(
        with("  quote:", "  quote"),
        EvidenceError::Yaml(_)
    ));
    let padded = URL_SAFE_NO_PAD.encode([4, 0, 2]);
    assert_eq!(padded, "BAAC");
}
