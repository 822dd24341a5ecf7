//! The same guest over live connections: both layers, by the library with the roots of the tests, and by the program, whose
//! roots nobody can change.

use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::{MICROSOFT, Roots};
use cloister_verify::collateral::{Collateral, Der, SnpCollateral};
use cloister_verify::layers::{self, Expected};
use cloister_verify::policy::PolicyFile;
use cloister_verify::{Conclusion, Policy, Trust, Verdict};

use super::machine::machine;
use super::{NONCE, failed, validity};
use crate::guest;
use crate::images;
use crate::peer::Connection;
use crate::program::{Said, command, said, scratch};

impl Connection {
    /// Both layers.
    fn judge(
        &self,
        reference: &ReferenceValues,
        roots: &Roots<'_>,
        vcek: Option<&[u8]>,
    ) -> [Verdict; 2] {
        let mut platform = PolicyFile::default();
        platform.azure.secure_boot = false;
        let collateral = collateral(vcek);
        let expected = Expected {
            reference,
            policy: &Policy::default(),
            platform: &platform,
            roots,
            collateral: Some(&collateral),
            gpu_roots: &[],
        };
        let (leaf, now) = (&self.leaf, validity(&self.leaf).2);
        let (exporter, session) = (&self.exporter, &self.session_bundle);
        [
            layers::appraise_leaf(leaf, &self.leaf_bundle, &expected, now),
            layers::appraise_session(leaf, &NONCE, exporter, session, &expected, now),
        ]
    }
}

fn collateral(vcek: Option<&[u8]>) -> SnpCollateral {
    SnpCollateral {
        vek: vcek.map(|vcek| Der(vcek.to_vec())),
        ..SnpCollateral::default()
    }
}

#[test]
fn a_live_guest_is_accepted_in_both_layers_by_the_keys_behind_its_report() {
    let machine = machine();
    let port = machine.guest.port;
    let (first, second) = (Connection::to(port, &NONCE), Connection::to(port, &NONCE));
    let reference = images::probe().reference_on("azure-snp");
    let (roots, vcek) = (machine.processor.roots(), Some(&*machine.processor.vcek));
    for verdict in first.judge(&reference, &roots, vcek) {
        assert!(verdict.accepted && verdict.confidential, "{verdict}");
        assert_eq!(verdict.trust, Trust::Paravisor);
        println!("{verdict}");
    }
    let relayed = Connection {
        session_bundle: second.session_bundle,
        ..first
    };
    let [leaf, session] = relayed.judge(&reference, &roots, vcek);
    assert!(leaf.accepted, "{leaf}");
    assert_eq!(failed(&session), ["binding"]);
    for verdict in relayed.judge(&reference, &MICROSOFT, vcek) {
        assert!(failed(&verdict).contains(&"chain"), "{verdict}");
    }
    let [leaf, _] = relayed.judge(&reference, &roots, None);
    assert_eq!(leaf.conclusion, Conclusion::CollateralMissing, "{leaf}");
}

#[test]
fn evidence_and_reference_values_of_different_platforms_do_not_fit() {
    let machine = machine();
    let (azure, bare) = (
        images::probe().reference_on("azure-snp"),
        images::probe().reference(),
    );
    let (roots, vcek) = (machine.processor.roots(), Some(&*machine.processor.vcek));
    let of_azure = Connection::to(machine.guest.port, &NONCE);
    for verdict in of_azure.judge(&bare, &roots, vcek) {
        assert_eq!(failed(&verdict), ["cpu-format"], "{verdict}");
    }
    let of_qemu = Connection::to(guest::probe().port, &NONCE);
    for verdict in of_qemu.judge(&azure, &roots, vcek) {
        assert_eq!(failed(&verdict), ["evidence-format"], "{verdict}");
    }
    for verdict in of_qemu.judge(&bare, &roots, None) {
        assert!(verdict.accepted && !verdict.confidential, "{verdict}");
    }
}

/// Runs `cloister verify` or `connect` about the guest, with a policy and, where wanted, its VCEK.
fn ask(verb: &[&str], with_vcek: bool) -> Said {
    let machine = machine();
    let folder = scratch().join("azure");
    let (policy, bundle) = (folder.join("policy.toml"), folder.join("collateral.json"));
    let text = "schema-version = 1\n[azure]\nsecure-boot = false\n";
    std::fs::write(&policy, text).expect("policy");
    let collateral = Collateral {
        snp: Some(collateral(Some(&machine.processor.vcek))),
        tdx: None,
    };
    std::fs::write(&bundle, collateral.to_json().expect("JSON")).expect("collateral");
    let mut command = command(verb);
    command.arg(machine.guest.url());
    command
        .arg("--expect")
        .arg(images::probe().expected_on("azure-snp"));
    command.arg("--policy").arg(policy);
    if with_vcek {
        command.arg("--collateral").arg(bundle);
    }
    said(command.output().expect("cloister starts"))
}

#[test]
fn the_program_rejects_the_guest_of_a_made_up_amd_and_names_the_chain() {
    let said = ask(&["verify", "--json"], true);
    assert_eq!(said.code, 1, "{said:#?}");
    let verdict: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(verdict["verdict"], "rejected");
    for layer in ["leaf", "session"] {
        let checks = verdict[layer]["checks"].as_array().expect("checks");
        let failed = checks.iter().filter(|check| check["status"] == "fail");
        let failed: Vec<_> = failed.map(|check| &check["name"]).collect();
        assert_eq!(failed, ["chain"], "{layer}: {verdict:#}");
    }
    let said = ask(&["connect", "--ask", "never sent"], true);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stderr.contains("leaf: chain: "), "{said:#?}");
    assert!(said.stderr.contains("session: chain: "), "{said:#?}");
}

#[test]
fn the_program_tells_missing_collateral_from_bad_evidence() {
    let said = ask(&["verify", "--json"], false);
    assert_eq!(said.code, 3, "{said:#?}");
    let verdict: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(verdict["verdict"], "collateral-missing");
    assert_eq!(verdict["accepted"], false);
    let said = ask(&["connect", "--ask", "never sent"], false);
    assert_eq!(said.code, 3, "{said:#?}");
    assert!(said.stderr.contains("--collateral"), "{said:#?}");
}

#[test]
fn collateral_for_a_platform_without_any_is_a_mistake() {
    let expected = images::probe().expected();
    let mut command = command(["verify", "https://127.0.0.1:1", "--collateral", "none"]);
    let said = said(
        command
            .arg("--expect")
            .arg(expected)
            .output()
            .expect("cloister starts"),
    );
    assert_eq!(said.code, 2, "{said:#?}");
    assert!(said.stderr.contains("`qemu-vtpm`"), "{said:#?}");
    assert!(
        said.stderr.contains("`--collateral` means nothing"),
        "{said:#?}"
    );
}
