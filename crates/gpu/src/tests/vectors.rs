//! Every recording against what others say about it, and the negatives that the vectors' README derives.

use serde_json::{Value, json};

use super::{Recording, evidence, json, recording_a, recording_b, recording_c};
use crate::chain::{Chain, ChainError, LinkError, Model, RootKey};
use crate::report::{Feature, Report, ReportError, Status};
use crate::signature::{Encoding, pure, verify};
use crate::{Cause, Expected, Step, appraise};

/// 2026-11-22.
const AT: u64 = 1_795_305_600;

fn status(byte: &Value) -> Option<Status> {
    byte.as_str().map(|byte| match byte {
        "aa" => Status::Enabled,
        "55" => Status::Disabled,
        other => panic!("status {other}"),
    })
}

/// Compares one recording with its entry in `expected.json`; gives the number of values compared.
fn compare(recording: &Recording, wanted: &Value) -> usize {
    let name = &recording.name;
    let mut compared = 0;
    let mut same = |what: &str, found: Value| {
        assert_eq!(found, wanted[what], "{name}: {what}");
        compared += 1;
    };
    let report = Report::parse(&recording.report).unwrap();
    let chain = Chain::parse(&recording.chain).unwrap();
    let opaque = &report.opaque;
    let digest = |digest: Option<[u8; 48]>| digest.map(hex::encode);
    same("bytes", json!(recording.report.len()));
    same("response_nonce", json!(hex::encode(report.responder_nonce)));
    same("driver_version", json!(opaque.driver));
    same("vbios_version", json!(opaque.vbios));
    same("project", json!(opaque.project));
    same("project_sku", json!(opaque.project_sku));
    same("chip_sku", json!(opaque.chip_sku));
    same("fwid_report", json!(digest(opaque.fwid)));
    same("leaf_fwid", json!(digest(chain.fwid().ok())));
    same("driver_rim_id", json!(report.driver_rim()));
    same("vbios_rim_id", json!(report.vbios_rim()));
    let order: Vec<u16> = report.fields.iter().map(|field| field.kind).collect();
    same("opaque_order", json!(order));
    let version = opaque
        .version
        .map(|version| hex::encode(version.to_le_bytes()));
    same("opaque_data_version", json!(version));
    let zeros = report.measurements.iter().zip(1..);
    let zeros: Vec<u8> = zeros
        .filter(|(value, _)| **value == [0; 48])
        .map(|(_, index)| index)
        .collect();
    same("all_zero_measurement_indices", json!(zeros));
    let signed = report.signed_by(chain.leaf_key(), verify);
    same("signature_p384_sha384_ok", json!(signed));
    compared + modes(name, &report, wanted) + certificates(name, &chain, wanted)
}

/// Compares request, number of blocks, and the fields that say how the GPU is used.
fn modes(name: &str, report: &Report<'_>, wanted: &Value) -> usize {
    let opaque = &report.opaque;
    assert_eq!(
        json!(hex::encode(report.nonce)),
        wanted["request"]["nonce"],
        "{name}"
    );
    assert_eq!(
        json!(report.measurements.len()),
        wanted["response"]["blocks"],
        "{name}"
    );
    assert_eq!(opaque.nvdec0, status(&wanted["nvdec0_status"]), "{name}");
    assert_eq!(
        opaque.protected_pcie,
        status(&wanted["protected_pcie_status"]),
        "{name}"
    );
    let feature = wanted["feature_flag"].as_str().map(|flag| match flag {
        "0000" => Feature::SinglePassthrough,
        "0200" => Feature::ProtectedPcie,
        other => panic!("feature {other}"),
    });
    assert_eq!(opaque.feature, feature, "{name}");
    5
}

/// Compares what the certificates say.
fn certificates(name: &str, chain: &Chain, wanted: &Value) -> usize {
    let names: Vec<String> = chain
        .names()
        .iter()
        .map(|name| format!("CN={name}"))
        .collect();
    assert_eq!(json!(names), wanted["chain"]["order"], "{name}");
    assert_eq!(chain.verify(&[RootKey::nvidia()], verify), Ok(()), "{name}");
    assert_eq!(chain.valid_at(AT), Ok(()), "{name}");
    assert_eq!(chain.model(), Model::Gh100, "{name}");
    4
}

#[test]
fn every_recording_parses_and_verifies_as_others_found() {
    let Some(directory) = super::directory() else {
        return;
    };
    let expected = json(&directory.join("expected.json"));
    let mut compared = 0;
    for recording in [recording_a, recording_b, recording_c].map(|read| read(&directory)) {
        compared += compare(&recording, &expected[&recording.name]);
    }
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
        let recordings = evidence(&directory, file);
        let wanted = expected[key].as_array().unwrap();
        assert_eq!(recordings.len(), wanted.len());
        for (recording, wanted) in recordings.iter().zip(wanted) {
            compared += compare(recording, wanted);
        }
    }
    let keys: Vec<&String> = expected.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 6, "{keys:?}");
    assert_eq!(compared, 9 * 24);
}

#[test]
fn a_report_parses_to_nvidias_own_expected_output() {
    let Some(directory) = super::directory() else {
        return;
    };
    let recording = recording_c(&directory);
    let report = Report::parse(&recording.report).unwrap();
    let wanted = json(&directory.join("c-580.159.03/spdm_parsed_output.json"));
    let hex = |bytes: &[u8]| json!(format!("0x{}", hex::encode(bytes)));
    assert_eq!(wanted["Nonce"], hex(&report.responder_nonce));
    assert_eq!(wanted["Signature"], hex(&report.signature));
    assert_eq!(wanted["NumberOfBlocks"], json!(report.measurements.len()));
    let blocks = &wanted["MeasurementRecord"]["MeasurementBlocks"];
    for (index, measurement) in (1..).zip(&report.measurements) {
        let block = &blocks[format!("{index}")];
        assert_eq!(
            block["DMTFSpecMeasurementValue"],
            hex(measurement),
            "{index}"
        );
    }
    let fields = wanted["OpaqueData"]["OpaqueDataField"].as_object().unwrap();
    let mut compared = 0;
    for field in &report.fields {
        let name = format!("OPAQUE_FIELD_ID_{}", field.name().unwrap());
        // NVIDIA's file predates these two.
        if [
            "OPAQUE_FIELD_ID_OPAQUE_DATA_VERSION",
            "OPAQUE_FIELD_ID_FEATURE_FLAG",
        ]
        .contains(&name.as_str())
        {
            assert!(!fields.contains_key(&name));
            continue;
        }
        let found = match field.kind {
            12 => json!(report.opaque.counts),
            _ => hex(field.value),
        };
        assert_eq!(fields[&name], found, "{name}");
        compared += 1;
    }
    assert_eq!((compared, fields.len()), (14, 14));
    let request = json(&directory.join("c-580.159.03/spdm_req_parsed_output.json"));
    assert_eq!(request["Nonce"], hex(&report.nonce));
}

#[test]
fn the_pinned_root_is_that_of_nvidias_verifier() {
    let Some(directory) = super::directory() else {
        return;
    };
    let pem = std::fs::read(directory.join("roots/verifier_device_root.pem")).unwrap();
    // A chain of nothing but the root: each link is right, so that only the leaf's place is wrong.
    let chain = Chain::parse(&pem.repeat(5)).unwrap();
    assert_eq!(*chain.leaf_key(), RootKey::nvidia().0);
    assert_eq!(chain.model(), Model::Unknown);
    assert_eq!(
        chain.verify(&[RootKey::nvidia()], verify),
        Err(LinkError::LeafIsAuthority)
    );
}

#[test]
fn a_switch_is_parsed_and_refused_by_name() {
    let Some(directory) = super::directory() else {
        return;
    };
    let recordings = evidence(&directory, "d-ppcie/switch_evidence_ls10.json");
    let [switch] = recordings.as_slice() else {
        panic!("one switch");
    };
    let report = Report::parse(&switch.report).unwrap();
    assert_eq!(report.measurements.len(), 31);
    assert_eq!(report.opaque.vbios.as_deref(), Some("96.10.55.00.01"));
    assert_eq!(report.opaque.driver, None);
    let unknown: Vec<u16> = report.unknown().map(|field| field.kind).collect();
    assert_eq!(unknown, [26, 23, 24, 25]);
    let chain = Chain::parse(&switch.chain).unwrap();
    assert_eq!(chain.verify(&[RootKey::nvidia()], verify), Ok(()));
    assert!(report.signed_by(chain.leaf_key(), verify));
    let refusal = offline(switch, report.nonce).into_result().unwrap_err();
    assert_eq!(refusal.step, Step::Model);
    assert_eq!(*refusal.cause, Cause::Model { found: Model::Ls10 });
    assert_eq!(
        refusal.to_string(),
        "gpu-model: wanted GH100 with 64 measurement blocks, found an LS10 NVSwitch"
    );
}

/// Appraises without golden values.
fn offline(recording: &Recording, nonce: [u8; 32]) -> crate::Appraisal {
    let roots = [RootKey::nvidia()];
    let expected = Expected {
        nonce: &nonce,
        driver: None,
        vbios: None,
        golden: None,
        roots: &roots,
        at: AT,
    };
    appraise(&recording.report, &recording.chain, &expected, verify)
}

/// Steps that refuse, with golden values missing.
fn refused(appraisal: &crate::Appraisal) -> Vec<Step> {
    let refused = appraisal.findings().iter().filter(|finding| {
        matches!(&finding.outcome, crate::Outcome::Refused(cause) if !matches!(cause, Cause::NoGoldenValues { .. }))
    });
    refused.map(|finding| finding.step).collect()
}

#[test]
fn protected_pcie_is_refused_and_the_held_certificate_passes_offline() {
    let Some(directory) = super::directory() else {
        return;
    };
    let gpus = evidence(&directory, "d-ppcie/multi_gpu_hopper.json");
    let mut keys = std::collections::BTreeSet::new();
    let mut devices = std::collections::BTreeSet::new();
    for gpu in &gpus {
        let nonce = Report::parse(&gpu.report).unwrap().nonce;
        let chain = Chain::parse(&gpu.chain).unwrap();
        keys.insert(*chain.leaf_key());
        devices.insert(chain.device().to_vec());
        let wanted = [Step::FeatureFlag, Step::ProtectedPcie];
        assert_eq!(refused(&offline(gpu, nonce)), wanted, "{}", gpu.name);
    }
    assert_eq!((keys.len(), devices.len()), (4, 4));
    let held = evidence(&directory, "e-cert-hold/hopper_evidence_cert_hold.json");
    let nonce = Report::parse(&held[0].report).unwrap().nonce;
    assert_eq!(refused(&offline(&held[0], nonce)), []);
}

#[test]
fn the_simple_negatives_are_refused_each_for_its_own_cause() {
    let Some(directory) = super::directory() else {
        return;
    };
    let (a, b) = (recording_a(&directory), recording_b(&directory));
    let nonce = Report::parse(&b.report).unwrap().nonce;
    assert_eq!(refused(&offline(&b, nonce)), []);
    let other_chain = Recording {
        chain: a.chain,
        ..b.clone()
    };
    assert_eq!(
        refused(&offline(&other_chain, nonce)),
        [Step::Fwid, Step::Signature]
    );
    let mut other = nonce;
    other[31] ^= 1;
    assert_eq!(refused(&offline(&b, other)), [Step::Nonce]);
    let text = String::from_utf8(b.chain.clone()).unwrap();
    let cut = text.rfind("-----BEGIN").unwrap();
    assert_eq!(
        Chain::parse(&b.chain[..cut]),
        Err(ChainError::Count { found: 4 })
    );
    let longer = [b.report.as_slice(), &[0]].concat();
    assert_eq!(
        Report::parse(&longer),
        Err(ReportError::Trailing {
            offset: 4117,
            found: 1
        })
    );
}

#[test]
fn every_byte_of_a_report_flipped_is_refused() {
    let Some(directory) = super::directory() else {
        return;
    };
    let b = recording_b(&directory);
    let nonce = Report::parse(&b.report).unwrap().nonce;
    let chain = Chain::parse(&b.chain).unwrap();
    let mut report = b.report.clone();
    let mut counts = (0, 0, 0);
    for at in 0..report.len() {
        report[at] ^= 1;
        match Report::parse(&report) {
            Err(_) => counts.0 += 1,
            Ok(parsed) if parsed.nonce != nonce => counts.1 += 1,
            Ok(parsed) => {
                assert!(!parsed.signed_by(chain.leaf_key(), verify), "byte {at}");
                counts.2 += 1;
            }
        }
        report[at] ^= 1;
    }
    println!(
        "flipped: {} by structure, {} by nonce, {} by signature",
        counts.0, counts.1, counts.2
    );
    assert_eq!(counts.0 + counts.1 + counts.2, 4117);
    assert_eq!(counts.1, 32);
}

#[test]
fn ring_and_p384_agree_about_every_recording() {
    let Some(directory) = super::directory() else {
        return;
    };
    for recording in [recording_a, recording_b, recording_c].map(|read| read(&directory)) {
        let report = Report::parse(&recording.report).unwrap();
        let key = Chain::parse(&recording.chain).unwrap();
        let signed = &recording.report[..recording.report.len() - 96];
        let key = key.leaf_key();
        assert!(pure::verify(
            key,
            Encoding::Fixed,
            signed,
            &report.signature
        ));
        assert!(!pure::verify(
            key,
            Encoding::Fixed,
            &signed[1..],
            &report.signature
        ));
    }
}
