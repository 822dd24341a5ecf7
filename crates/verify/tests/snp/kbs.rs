//! The evidence of CoCo's key broker, made from a report of the tests' own: what comes out of it, and what is refused.

use cloister_verify::snp::{KbsError, KbsEvidence};
use serde_json::{Value, json};

use crate::scene::{Scene, world};

/// Longest evidence that is read, in bytes.
const LIMIT: usize = 1 << 20;

/// What the `sev` crate makes of a report, offsets by AMD 56860.
fn report(bytes: &[u8]) -> Value {
    let numbers = |start: usize, length: usize| bytes[start..start + length].to_vec();
    let u32 = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64 = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let version =
        |at: usize| json!({"build": bytes[at], "minor": bytes[at + 1], "major": bytes[at + 2]});
    let turin = bytes[0x188] == 0x1a;
    let tcb = |at: usize| {
        let raw = &bytes[at..at + 8];
        match turin {
            true => json!({
                "fmc": raw[0], "bootloader": raw[1], "tee": raw[2], "snp": raw[3], "microcode": raw[7],
            }),
            false => json!({
                "fmc": null, "bootloader": raw[0], "tee": raw[1], "snp": raw[6], "microcode": raw[7],
            }),
        }
    };
    let mut fields = json!({
        "version": u32(0), "guest_svn": u32(4), "policy": u64(8),
        "family_id": numbers(0x10, 16), "image_id": numbers(0x20, 16),
        "vmpl": u32(0x30), "sig_algo": u32(0x34), "current_tcb": tcb(0x38),
        "plat_info": u64(0x40), "key_info": u32(0x48), "report_data": numbers(0x50, 64),
        "measurement": numbers(0x90, 48), "host_data": numbers(0xc0, 32),
        "id_key_digest": numbers(0xe0, 48), "author_key_digest": numbers(0x110, 48),
        "report_id": numbers(0x140, 32), "report_id_ma": numbers(0x160, 32),
        "reported_tcb": tcb(0x180), "chip_id": numbers(0x1a0, 64), "committed_tcb": tcb(0x1e0),
        "current": version(0x1e8), "committed": version(0x1ec), "launch_tcb": tcb(0x1f0),
        "signature": {"r": numbers(0x2a0, 72), "s": numbers(0x2e8, 72)},
    });
    if u32(0) > 2 {
        fields["cpuid_fam_id"] = bytes[0x188].into();
        fields["cpuid_mod_id"] = bytes[0x189].into();
        fields["cpuid_step"] = bytes[0x18a].into();
    }
    if u32(0) > 4 {
        fields["launch_mit_vector"] = u64(0x1f8).into();
        fields["current_mit_vector"] = u64(0x200).into();
    }
    fields
}

fn read(evidence: &Value) -> Result<KbsEvidence, KbsError> {
    KbsEvidence::from_json(evidence.to_string().as_bytes())
}

/// A Genoa of version 2 or 3 and a Turin of version 5, with another value in each field.
fn scenes() -> [Scene; 3] {
    let mut second = Scene::genoa();
    second.report.set(0, &[2]);
    second.report.set(0x188, &[0; 3]);
    second.policy.report_versions = vec![2];
    let mut fifth = Scene::turin();
    fifth.report.set(0x1f8, &[3]);
    fifth.report.set(0x200, &[7]);
    let mut scenes = [second, Scene::genoa(), fifth];
    for scene in &mut scenes {
        scene.report.set(4, &[9]);
        scene.report.set(0x10, &[1; 16]);
        scene.report.set(0x20, &[2; 16]);
        scene.report.set(0xc0, &[4; 32]);
        scene.report.set(0x140, &[5; 32]);
        scene.report.set(0x1e8, &[40, 55, 1, 0, 39, 54, 2, 0]);
    }
    scenes
}

#[test]
fn evidence_gives_the_report_and_what_came_with_it() {
    for scene in scenes() {
        let (bytes, vek) = (scene.signed_report(), scene.signed_vek());
        let world = world(scene.product);
        let entry = |kind: &str, data: &[u8]| json!({"cert_type": kind, "data": data});
        let chain = [
            entry("ARK", &world.ark),
            entry("CRL", &[1, 2]),
            entry("VCEK", &vek),
            entry("ASK", &world.ask),
            entry("CRL", &[3]),
        ];
        let evidence = json!({"attestation_report": report(&bytes), "cert_chain": chain});
        let evidence = read(&evidence).unwrap();
        let wanted = KbsEvidence {
            report: bytes,
            vek: Some(vek),
            chain: vec![world.ark.clone(), world.ask.clone()],
            crls: vec![vec![1, 2], vec![3]],
        };
        assert_eq!(evidence, wanted, "{}", scene.product);
        let verdict = scene.judge(&evidence.report, evidence.vek.as_deref().unwrap());
        assert!(verdict.accepted, "{verdict}");
    }
}

#[test]
fn certificates_are_of_known_kinds_and_one_signs() {
    let fields = report(&Scene::genoa().signed_report());
    let with = |kinds: &[&str]| {
        let entries = kinds.iter();
        let entries = entries.map(|kind| json!({"cert_type": kind, "data": [1]}));
        let chain: Vec<Value> = entries.collect();
        read(&json!({"attestation_report": fields, "cert_chain": chain}))
    };
    let cases: [(&[&str], Option<&str>); 8] = [
        (&[], None),
        (&["VLEK", "ASK", "ASK"], None),
        (&["VCEK", "VCEK"], Some("VCEK")),
        (&["VLEK", "VCEK"], Some("VCEK")),
        (&["VCEK", "VLEK"], Some("VLEK")),
        (&["ARK", "ASK", "ASVK"], Some("ASVK")),
        (&["OTHER"], Some("OTHER")),
        (&["crl"], Some("crl")),
    ];
    for (kinds, refused) in cases {
        let kind = refused.map(str::to_owned);
        let refused = kind.map(|kind| KbsError::Kind { kind });
        assert_eq!(with(kinds).err(), refused, "{kinds:?}");
    }
    let bare = read(&json!({"attestation_report": fields})).unwrap();
    assert_eq!((bare.vek, bare.chain.len(), bare.crls.len()), (None, 0, 0));
}

/// Version, members of CPUID and of mitigations that are given, and whether they fit.
const VERSIONS: [(u32, usize, usize, bool); 16] = [
    (1, 0, 0, false),
    (1, 3, 0, false),
    (2, 0, 0, true),
    (2, 3, 0, false),
    (2, 0, 2, false),
    (3, 3, 0, true),
    (3, 0, 0, false),
    (3, 1, 0, false),
    (3, 2, 0, false),
    (3, 3, 2, false),
    (4, 3, 0, true),
    (4, 3, 2, false),
    (5, 3, 2, true),
    (5, 3, 0, false),
    (5, 3, 1, false),
    (5, 0, 2, false),
];

#[test]
fn optional_fields_fit_the_version() {
    let cpuid = ["cpuid_fam_id", "cpuid_mod_id", "cpuid_step"];
    let mitigations = ["launch_mit_vector", "current_mit_vector"];
    for case in VERSIONS {
        let (version, processor, vectors, fits) = case;
        let mut fields = report(&Scene::genoa().signed_report());
        fields["version"] = version.into();
        for name in cpuid {
            fields.as_object_mut().unwrap().remove(name);
        }
        let given = cpuid[..processor].iter().chain(&mitigations[..vectors]);
        for name in given {
            fields[*name] = 25.into();
        }
        let refused = (!fits).then_some(KbsError::Fields { version });
        let found = read(&json!({"attestation_report": fields}));
        assert_eq!(found.err(), refused, "{case:?}");
    }
}

#[test]
fn evidence_of_the_longest_length_is_read_and_no_longer() {
    let fields = report(&Scene::genoa().signed_report());
    let evidence = json!({"attestation_report": fields}).to_string();
    for (length, read) in [(LIMIT, true), (LIMIT + 1, false), (LIMIT + 2, false)] {
        let mut padded = evidence.clone().into_bytes();
        padded.resize(length, b' ');
        let found = KbsEvidence::from_json(&padded);
        let refused = (!read).then_some(KbsError::TooLarge { found: length });
        assert_eq!(found.err(), refused, "{length}");
    }
}
