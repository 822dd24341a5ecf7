//! Appraisal of leaf certificates and their bundles.

use cloister_evidence::bundle::{Bundle, LeafExtension};
use cloister_measure::reference::ReferenceValues;
use cloister_verify::tpm::appraise_leaf;
use cloister_verify::{Clock, Outcome, Policy, Verdict};
use rcgen::KeyPair;

use crate::support::{
    Guest, NOW, TlsKey, VALIDITY, certificate, certificate_with, custom, extension,
};

/// Appraises with the default policy at [`NOW`].
fn appraise(leaf: &[u8], bundle: &[u8], reference: &ReferenceValues) -> Verdict {
    appraise_leaf(leaf, bundle, reference, &Policy::default(), NOW)
}

fn appraise_guest(guest: &Guest) -> Verdict {
    let (leaf, bundle) = guest.leaf(VALIDITY);
    appraise(&leaf, &bundle, &guest.reference())
}

/// The names of the checks that failed; the verdict must be a rejection.
#[track_caller]
fn failures(verdict: &Verdict) -> Vec<&str> {
    assert!(!verdict.accepted, "{verdict}");
    verdict
        .failures()
        .map(|check| check.name.as_str())
        .collect()
}

#[test]
fn genuine_leaf_is_accepted_and_called_not_confidential() {
    let verdict = appraise_guest(&Guest::boot());
    assert!(verdict.accepted, "{verdict}");
    assert!(!verdict.confidential);
    assert!(verdict.to_string().contains("NOT confidential"));
    let skipped = verdict.check("confidential").unwrap();
    assert_eq!(
        (skipped.outcome, skipped.required),
        (Outcome::Skipped, false)
    );
    let others = verdict.checks.iter().filter(|check| check.required);
    assert!(others.clone().count() >= 25, "{verdict}");
    assert!(
        others
            .into_iter()
            .all(|check| check.outcome == Outcome::Pass)
    );
}

#[test]
fn policy_that_demands_confidentiality_rejects() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let policy = Policy {
        require_confidential: true,
        ..Policy::default()
    };
    let verdict = appraise_leaf(&leaf, &bundle, &guest.reference(), &policy, NOW);
    assert!(!verdict.accepted);
    assert!(verdict.check("confidential").unwrap().required);
}

#[test]
fn every_changed_byte_of_a_bundle_is_rejected() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let reference = guest.reference();
    for place in 0..bundle.len() {
        let flip = 1 << (place % 8);
        let mut changed = bundle.clone();
        changed[place] ^= flip;
        let verdict = appraise(&leaf, &changed, &reference);
        assert!(!verdict.accepted, "byte {place} ^ {flip:#x}");
    }
}

#[test]
fn every_changed_byte_of_a_leaf_is_rejected() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let reference = guest.reference();
    for place in 0..leaf.len() {
        let flip = 1 << (place % 8);
        let mut changed = leaf.clone();
        changed[place] ^= flip;
        let verdict = appraise(&changed, &bundle, &reference);
        assert!(!verdict.accepted, "byte {place} ^ {flip:#x}");
    }
}

#[test]
fn truncated_and_lengthened_inputs_are_rejected() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let reference = guest.reference();
    for length in 0..bundle.len() {
        let verdict = appraise(&leaf, &bundle[..length], &reference);
        assert_eq!(failures(&verdict), ["bundle-format"]);
    }
    for length in 0..leaf.len() {
        let verdict = appraise(&leaf[..length], &bundle, &reference);
        assert_eq!(failures(&verdict), ["certificate-format"]);
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    let verdict = appraise(&longer(&leaf), &bundle, &reference);
    assert_eq!(failures(&verdict), ["certificate-format"]);
    let verdict = appraise(&leaf, &longer(&bundle), &reference);
    assert_eq!(failures(&verdict), ["bundle-format"]);
}

#[test]
fn leaf_outside_its_validity_is_rejected() {
    let guest = Guest::boot();
    let reference = guest.reference();
    for (validity, accepted) in [
        ((NOW, NOW), true),
        ((NOW - 86_400, NOW), true),
        ((NOW - 500, NOW - 1), false),
        ((NOW + 1, NOW + 500), false),
    ] {
        let (leaf, bundle) = guest.leaf(validity);
        let verdict = appraise(&leaf, &bundle, &reference);
        assert_eq!(verdict.accepted, accepted, "{verdict}");
        if !accepted {
            assert_eq!(failures(&verdict), ["certificate-current"]);
        }
    }
}

#[test]
fn leaf_that_lives_too_long_is_rejected() {
    let guest = Guest::boot();
    let reference = guest.reference();
    let (leaf, bundle) = guest.leaf((NOW, NOW + 86_401));
    let verdict = appraise(&leaf, &bundle, &reference);
    assert_eq!(failures(&verdict), ["certificate-lifetime"]);
    let policy = |max_leaf_validity| Policy {
        max_leaf_validity,
        ..Policy::default()
    };
    let verdict = appraise_leaf(&leaf, &bundle, &reference, &policy(u64::MAX), NOW);
    assert_eq!(failures(&verdict), ["certificate-lifetime"]);
    let (leaf, bundle) = guest.leaf((NOW, NOW + 3601));
    let verdict = appraise_leaf(&leaf, &bundle, &reference, &policy(3600), NOW);
    assert_eq!(failures(&verdict), ["certificate-lifetime"]);
    let (leaf, bundle) = guest.leaf((NOW + 5, NOW));
    let verdict = appraise(&leaf, &bundle, &reference);
    assert_eq!(
        failures(&verdict),
        ["certificate-lifetime", "certificate-current"]
    );
}

#[test]
fn dates_that_the_evidence_does_not_cover_are_rejected() {
    let guest = Guest::boot();
    let bundle = guest.leaf_bundle((NOW - 90_000, NOW - 10_000));
    let leaf = certificate(&guest.key, VALIDITY, &bundle);
    let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
    assert_eq!(failures(&verdict), ["binding"]);
}

#[test]
fn leaf_with_another_key_is_rejected() {
    let guest = Guest::boot();
    let bundle = guest.leaf_bundle(VALIDITY);
    let stranger = TlsKey::new(0x52);
    let leaf = certificate(&stranger, VALIDITY, &bundle);
    let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
    assert_eq!(failures(&verdict), ["binding"]);
}

#[test]
fn leaf_with_a_p384_key_is_rejected() {
    let guest = Guest::boot();
    let bundle = guest.leaf_bundle(VALIDITY);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let leaf = certificate(&key, VALIDITY, &bundle);
    let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
    assert_eq!(failures(&verdict), ["certificate-format"]);
}

#[test]
fn bundle_of_another_leaf_is_rejected() {
    let guest = Guest::boot();
    let (leaf, _) = guest.leaf(VALIDITY);
    let (_, other) = guest.leaf((NOW - 100, NOW + 100));
    let verdict = appraise(&leaf, &other, &guest.reference());
    assert_eq!(failures(&verdict), ["bundle-digest", "binding"]);
}

#[test]
fn session_bundle_is_rejected_for_a_leaf() {
    let guest = Guest::boot();
    let (leaf, _) = guest.leaf(VALIDITY);
    let session = guest.sessions(&[([1; 32], [2; 32])]);
    let verdict = appraise(&leaf, &session[0], &guest.reference());
    assert_eq!(failures(&verdict), ["bundle-format"]);
}

#[test]
fn extension_must_stand_once_and_not_be_critical() {
    let guest = Guest::boot();
    let bundle = guest.leaf_bundle(VALIDITY);
    let value = extension(&bundle).encode();
    let reference = guest.reference();
    for extensions in [
        vec![],
        vec![custom(&value, true)],
        vec![custom(&value, false), custom(&value, false)],
        vec![custom(&value[..value.len() - 1], false)],
    ] {
        let leaf = certificate_with(&guest.key, VALIDITY, extensions);
        let verdict = appraise(&leaf, &bundle.encode(), &reference);
        assert_eq!(failures(&verdict), ["certificate-evidence"]);
    }
}

/// Key usage and basic constraints are known; what is not known must not be critical.
#[test]
fn critical_extensions_are_taken_where_they_are_known() {
    let guest = Guest::boot();
    let bundle = guest.leaf_bundle(VALIDITY);
    let value = extension(&bundle).encode();
    let refused = |oid: &str| Some(format!("extension {oid} is critical and not known"));
    for (oid, critical, wanted) in [
        (&[2, 5, 29, 15][..], true, None),
        (&[2, 5, 29, 15], false, None),
        (&[2, 5, 29, 19], true, None),
        (&[2, 5, 29, 30], true, refused("2.5.29.30")),
        (&[2, 5, 29, 30], false, None),
        (&[1, 3, 6, 1, 4, 1, 1], true, refused("1.3.6.1.4.1.1")),
        (&[1, 3, 6, 1, 4, 1, 1], false, None),
    ] {
        let mut other = rcgen::CustomExtension::from_oid_content(oid, vec![5, 0]);
        other.set_criticality(critical);
        let extensions = vec![custom(&value, false), other];
        let leaf = certificate_with(&guest.key, VALIDITY, extensions);
        let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
        assert_eq!(verdict.accepted, wanted.is_none(), "{oid:?}\n{verdict}");
        if let Some(wanted) = wanted {
            assert_eq!(failures(&verdict), ["certificate-format"]);
            assert_eq!(verdict.check("certificate-format").unwrap().found, wanted);
        }
    }
}

#[test]
fn leaf_that_carries_other_hardware_evidence_is_rejected() {
    let guest = Guest::boot();
    let bundle = guest.leaf_bundle(VALIDITY);
    let other = guest.leaf_bundle((NOW, NOW));
    let value = LeafExtension {
        cpu: other.cpu,
        ..extension(&bundle)
    };
    let extensions = vec![custom(&value.encode(), false)];
    let leaf = certificate_with(&guest.key, VALIDITY, extensions);
    let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
    assert_eq!(failures(&verdict), ["bundle-digest"]);
}

#[test]
fn quote_of_the_wrong_kind_is_rejected() {
    let mut guest = Guest::boot();
    guest.form.magic = 0xff54_4348;
    assert_eq!(failures(&appraise_guest(&guest)), ["cpu-format"]);
    let mut guest = Guest::boot();
    guest.form.kind = 0x801a; // TPM_ST_ATTEST_CREATION
    assert_eq!(failures(&appraise_guest(&guest)), ["cpu-format"]);
}

#[test]
fn quote_by_another_key_is_rejected() {
    let mut guest = Guest::boot();
    guest.form.foreign_signature = true;
    assert_eq!(failures(&appraise_guest(&guest)), ["quote-signature"]);
    let mut guest = Guest::boot();
    guest.form.foreign_signer = true;
    assert_eq!(failures(&appraise_guest(&guest)), ["quote-signer"]);
}

#[test]
fn attestation_key_without_a_demanded_attribute_is_rejected() {
    let genuine = cloister_evidence::tpm::AK_ATTRIBUTES;
    for bit in [1, 4, 5, 16, 17, 18] {
        let mut guest = Guest::boot();
        guest.form.attributes = Some(genuine ^ (1 << bit));
        assert_eq!(
            failures(&appraise_guest(&guest)),
            ["ak-attributes"],
            "bit {bit}"
        );
    }
}

#[test]
fn quote_over_another_selection_is_rejected() {
    for banks in [
        vec![],
        vec![(0x0004, vec![0xff, 0xff, 0])],
        vec![(0x000c, vec![0xff, 0xff, 0])],
        vec![(0x000b, vec![0xff, 0xff])],
        vec![(0x000b, vec![0xff, 0x7f, 0x00])],
        vec![(0x000b, vec![0xff, 0xff, 0x01])],
        vec![(0x000b, vec![0xff, 0xff, 0]), (0x000b, vec![0, 0, 1])],
        vec![(0x000b, vec![0xff, 0xff, 0]), (0x000c, vec![0, 0, 0])],
    ] {
        let mut guest = Guest::boot();
        guest.form.banks = banks;
        assert_eq!(failures(&appraise_guest(&guest)), ["pcr-selection"]);
    }
}

#[test]
fn pcr_values_that_were_not_quoted_are_rejected() {
    let guest = Guest::boot();
    let mut bundle = guest.leaf_bundle(VALIDITY);
    let mut cpu = cloister_evidence::tpm::TpmEvidence::decode(&bundle.cpu.value).unwrap();
    cpu.pcrs.0[8] = [1; 32];
    bundle.cpu.value = cpu.encode();
    let leaf = certificate(&guest.key, VALIDITY, &bundle);
    let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
    assert_eq!(failures(&verdict), ["pcr-digest", "firmware-log"]);
}

#[test]
fn every_register_that_differs_is_named_with_its_meaning() {
    let reference = Guest::boot().reference();
    let mut guest = Guest::boot();
    guest.pcrs.0[11] = [1; 32];
    guest.pcrs.0[12] = [2; 32];
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let verdict = appraise(&leaf, &bundle, &reference);
    assert_eq!(failures(&verdict), ["pcr11", "pcr12"]);
    let text = verdict.to_string();
    assert!(text.contains("command line"), "{text}");
    assert!(text.contains(&"01".repeat(32)), "{text}");
}

#[test]
fn register_with_a_set_of_values_accepts_each() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let mut reference = guest.reference();
    let other = Guest::boot().reference().registers["pcr12"].values[0];
    reference
        .registers
        .get_mut("pcr11")
        .unwrap()
        .values
        .push(other);
    assert!(appraise(&leaf, &bundle, &reference).accepted);
}

#[test]
fn reference_that_does_not_pin_the_image_is_rejected() {
    use cloister_measure::digest::Bank;
    use cloister_measure::reference::Class;
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let changes: [fn(&mut ReferenceValues); 8] = [
        |r| r.registers.clear(),
        |r| drop(r.registers.remove("pcr11")),
        |r| drop(r.registers.remove("pcr12")),
        |r| r.registers.get_mut("pcr4").unwrap().values.clear(),
        |r| r.registers.get_mut("pcr4").unwrap().class = Class::Observed,
        |r| r.platform = "azure-snp".to_owned(),
        |r| r.bank = Bank::Sha384,
        |r| r.confidential = true,
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut reference = guest.reference();
        change(&mut reference);
        let verdict = appraise(&leaf, &bundle, &reference);
        assert!(
            failures(&verdict).contains(&"reference"),
            "change {n}: {verdict}"
        );
    }
}

#[test]
fn reference_register_outside_the_quote_is_rejected() {
    let guest = Guest::boot();
    let (leaf, bundle) = guest.leaf(VALIDITY);
    let mut reference = guest.reference();
    let register = reference.registers["pcr12"].clone();
    reference.registers.insert("pcr23".to_owned(), register);
    let verdict = appraise(&leaf, &bundle, &reference);
    assert_eq!(failures(&verdict), ["pcr23"]);
}

#[test]
fn logs_that_do_not_replay_are_rejected() {
    use cloister_evidence::log::{Event, EventLog, boot_events};
    let genuine = Guest::boot();
    let reference = genuine.reference();
    let with = |events: Vec<Event>, firmware: &[u8]| {
        let mut guest = Guest::boot();
        guest.log = EventLog::new(events, firmware.to_vec()).unwrap();
        let (leaf, bundle) = guest.leaf(VALIDITY);
        let verdict = appraise(&leaf, &bundle, &reference);
        failures(&verdict).join(" ")
    };
    let firmware = genuine.log.firmware();
    let events = || genuine.log.events().to_vec();
    let other = boot_events(b"cloister-guest 2\n", "none", "root").unwrap();
    assert_eq!(with(other, firmware), "cloister-log");
    assert_eq!(with(vec![], firmware), "cloister-log devices");
    let open = events()[..4].to_vec();
    assert_eq!(with(open, firmware), "cloister-log");
    let doubled = [events(), events()].concat();
    assert_eq!(with(doubled, firmware), "cloister-log devices");
    assert_eq!(with(events(), b""), "firmware-log");
    assert_eq!(
        with(events(), &firmware[..firmware.len() - 1]),
        "firmware-log"
    );
    let gpu = boot_events(b"cloister-guest 1\n", "some", "root").unwrap();
    assert_eq!(with(gpu, firmware), "cloister-log devices");
}

#[test]
fn unknown_sections_are_rejected() {
    let mut guest = Guest::boot();
    guest.devices = b"\xa1\x01\x64some".to_vec();
    assert_eq!(failures(&appraise_guest(&guest)), ["devices"]);
    let mut bundle = Guest::boot().leaf_bundle(VALIDITY);
    bundle.log = vec![0xa0];
    let leaf = certificate(&guest.key, VALIDITY, &bundle);
    let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
    assert_eq!(failures(&verdict), ["binding", "cloister-log"]);
}

#[test]
fn snp_report_is_rejected_where_a_quote_is_wanted() {
    let guest = Guest::boot();
    let bundle = Bundle {
        cpu: cloister_evidence::bundle::CpuSection {
            kind: cloister_evidence::bundle::CpuKind::SnpReport,
            value: vec![0xa0],
        },
        ..guest.leaf_bundle(VALIDITY)
    };
    let leaf = certificate(&guest.key, VALIDITY, &bundle);
    let verdict = appraise(&leaf, &bundle.encode(), &guest.reference());
    assert_eq!(failures(&verdict), ["cpu-format"]);
    assert!(
        verdict
            .check("cpu-format")
            .unwrap()
            .found
            .contains("wanted of this platform is a TPM quote")
    );
}

#[test]
fn verdict_is_json_with_every_check() {
    let verdict = appraise_guest(&Guest::boot());
    let json: serde_json::Value = serde_json::from_str(&verdict.to_json()).unwrap();
    assert_eq!(json["accepted"], true);
    assert_eq!(json["confidential"], false);
    assert_eq!(json["mode"], "leaf");
    assert_eq!(
        json["checks"].as_array().unwrap().len(),
        verdict.checks.len()
    );
    assert_eq!(json["checks"][0]["status"], "pass");
    // Whose clock it was is for the caller to say.
    assert_eq!(json["clock"], serde_json::Value::Null);
    let verdict = verdict.by(Clock::Machine);
    let json: serde_json::Value = serde_json::from_str(&verdict.to_json()).unwrap();
    assert_eq!(json["clock"], "machine");
    let at = verdict.evaluated_at.as_ref().unwrap();
    let line = format!("\n  judged at {at}, by this machine's clock\n");
    assert!(verdict.to_string().contains(&line), "{verdict}");
}

#[test]
fn extension_value_is_an_octet_string_to_another_reader() {
    use cloister_evidence::bundle::{CpuKind, CpuSection};
    use x509_cert::der::Decode;
    use x509_cert::der::asn1::OctetString;
    for length in [0, 20, 150, 1000, 65_536] {
        let cpu = CpuSection {
            kind: CpuKind::TpmQuote,
            value: vec![0; length],
        };
        let extension = LeafExtension {
            cpu,
            bundle_sha256: [0; 32],
        };
        let value = extension.encode();
        let contents = OctetString::from_der(&value).unwrap();
        assert_eq!(contents.as_bytes()[0], 0xa2, "a CBOR map of two");
    }
}
