//! Quotes of a real software TPM, made with `swtpm` and `tpm2-tools`.

use cloister_evidence::batch::Batch;
use cloister_evidence::binding::{Mode, ReportData};
use cloister_evidence::bundle::{Bundle, CpuKind, CpuSection};
use cloister_evidence::tpm::{
    AK_ATTRIBUTES, AttestationKey, PcrBank, Quote, TpmEvidence, ak_template,
};
use cloister_verify::Policy;
use cloister_verify::tpm::{appraise_leaf, appraise_session};

use crate::support::{Guest, NOW, VALIDITY, certificate, extends};
use crate::tpm::SoftwareTpm;

const ALL: &str = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15";

/// Starts one with an attestation key and replays the boot of `guest`; `None` when the programs are not installed.
fn boot(guest: &Guest) -> Option<SoftwareTpm> {
    let tpm = SoftwareTpm::start()?;
    for (pcr, digest) in extends(&guest.log) {
        tpm.run(&format!(
            "tpm2_pcrextend {pcr}:sha256={}",
            hex::encode(digest)
        ));
    }
    tpm.create_ak("ecc256:ecdsa-sha256:null");
    Some(tpm)
}

/// Quotes `selection`; the PCR values are those of 0 to 15 all the same.
fn quoted(tpm: &SoftwareTpm, report_data: &ReportData, selection: &str) -> TpmEvidence {
    tpm.quote("ak.ctx", selection, &report_data.qualifying_data());
    tpm.run(&format!("tpm2_pcrread {ALL} -o pcrs"));
    let mut pcrs = PcrBank([[0; 32]; 16]);
    pcrs.0.as_flattened_mut().copy_from_slice(&tpm.read("pcrs"));
    TpmEvidence {
        attest: tpm.read("attest"),
        signature: tpm.read("signature"),
        ak_public: tpm.read("ak.pub")[2..].to_vec(), // TPM2B_PUBLIC without its length
        pcrs,
    }
}

/// The bundle of `guest` with hardware evidence of the TPM.
fn bundle(guest: &Guest, report_data: ReportData, evidence: &TpmEvidence) -> Bundle {
    let cpu = CpuSection {
        kind: CpuKind::TpmQuote,
        value: evidence.encode(),
    };
    Bundle {
        cpu,
        ..guest.bundle(report_data)
    }
}

#[test]
fn template_gives_the_key_that_the_tools_make() {
    let guest = Guest::boot();
    let Some(tpm) = boot(&guest) else {
        return;
    };
    let made = tpm.read("ak.pub");
    let template = ak_template();
    let fixed = template.len() - 4;
    assert_eq!(made[2..2 + fixed], template[..fixed]);
    let key = AttestationKey::parse(&made[2..]).unwrap();
    assert_eq!(key.attributes, AK_ATTRIBUTES);
}

#[test]
fn quote_of_a_software_tpm_is_accepted_for_leaf_and_session() {
    let guest = Guest::boot();
    let Some(tpm) = boot(&guest) else {
        return;
    };
    let (reference, policy) = (guest.reference(), Policy::default());
    let (not_before, not_after) = VALIDITY;
    let mode = Mode::Leaf {
        not_before,
        not_after,
    };
    let report_data = guest.binding(&mode).report_data();
    let evidence = quoted(&tpm, &report_data, ALL);
    assert_eq!(evidence.pcrs, guest.pcrs);
    let quote = Quote::parse(&evidence.attest).unwrap();
    assert_eq!(quote.pcr_digest, guest.pcrs.digest());
    let bundle_of_leaf = bundle(&guest, report_data, &evidence);
    let leaf = certificate(&guest.key, VALIDITY, &bundle_of_leaf);
    let encoded = bundle_of_leaf.encode();
    let verdict = appraise_leaf(&leaf, &encoded, &reference, &policy, NOW);
    assert!(verdict.accepted, "{verdict}");

    let (nonce, exporter) = ([7; 32], [8; 32]);
    let binding = guest.binding(&Mode::Session { nonce, exporter });
    let batch = Batch::new(&[binding]).unwrap();
    let evidence = quoted(&tpm, &batch.report_data(), ALL);
    let session = Bundle {
        batch: batch.proof(0).ok(),
        ..bundle(&guest, batch.report_data(), &evidence)
    };
    let spki = guest.spki();
    let encoded = session.encode();
    let verdict = appraise_session(&spki, &nonce, &exporter, &encoded, &reference, &policy);
    assert!(verdict.accepted, "{verdict}");
    let verdict = appraise_session(&spki, &nonce, &[9; 32], &encoded, &reference, &policy);
    assert!(!verdict.accepted);
    assert_eq!(verdict.failures().count(), 1);
}

#[test]
fn quote_over_fewer_or_resettable_registers_is_rejected() {
    let guest = Guest::boot();
    let Some(tpm) = boot(&guest) else {
        return;
    };
    let (not_before, not_after) = VALIDITY;
    let mode = Mode::Leaf {
        not_before,
        not_after,
    };
    let report_data = guest.binding(&mode).report_data();
    for selection in [
        "sha256:4,9,11,12,13,15",
        &format!("{ALL},16"),
        &format!("{ALL}+sha1:0"),
    ] {
        let evidence = quoted(&tpm, &report_data, selection);
        let bundle = bundle(&guest, report_data, &evidence);
        let leaf = certificate(&guest.key, VALIDITY, &bundle);
        let (reference, policy) = (guest.reference(), Policy::default());
        let verdict = appraise_leaf(&leaf, &bundle.encode(), &reference, &policy, NOW);
        let failed: Vec<_> = verdict.failures().map(|check| &check.name).collect();
        assert_eq!(
            failed,
            ["pcr-selection", "pcr-digest"],
            "{selection}: {verdict}"
        );
    }
}
