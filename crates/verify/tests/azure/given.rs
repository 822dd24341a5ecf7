//! What AMD publishes reaches the checks of leaf and session: certificates and revocation lists that come along with the bundle.

use cloister_verify::collateral::Der;
use cloister_verify::verdict::{Conclusion, Outcome};

use crate::live::Live;
use crate::scene::{failed, world};

fn ark(signer: &cloister_test_pki::Key) -> Der {
    let ark = world().amd.ark_certificate();
    Der(ark.sign(signer, signer).unwrap())
}

/// A list by the ARK that names these serial numbers.
fn list(revoked: &[u8]) -> Der {
    let amd = &world().amd;
    let mut crl = amd.crl();
    crl.revoked = revoked.iter().map(|serial| vec![*serial]).collect();
    Der(crl.sign(&amd.ark).unwrap())
}

/// The serial number of the made-up ASK.
fn ask_serial() -> u8 {
    world().amd.ask_certificate().serial[0]
}

#[test]
fn given_certificates_and_lists_are_held_against_the_chip_in_both_layers() {
    type Give = fn(&mut Live);
    let cases: [(&str, Give, &[&str], Outcome); 7] = [
        ("nothing", |_| {}, &[], Outcome::Skipped),
        (
            "ASK and ARK",
            |live| {
                let [ark, ask, _] = &world().amd_root;
                live.collateral.chain = vec![Der(ask.clone()), Der(ark.clone())];
            },
            &[],
            Outcome::Skipped,
        ),
        (
            "a root of the ARK's name by somebody else",
            |live| live.collateral.chain = vec![ark(&world().stranger)],
            &["chain"],
            Outcome::Skipped,
        ),
        (
            "a chain that is none",
            |live| live.collateral.chain = vec![Der(b"none".to_vec())],
            &["chain"],
            Outcome::Skipped,
        ),
        (
            "a list of nothing",
            |live| live.collateral.crls = vec![list(&[])],
            &[],
            Outcome::Pass,
        ),
        (
            "a list of the ASK",
            |live| live.collateral.crls = vec![list(&[]), list(&[ask_serial()])],
            &["revocation"],
            Outcome::Fail,
        ),
        (
            "a list by somebody else",
            |live| {
                let crl = world().amd.crl().sign(&world().stranger).unwrap();
                live.collateral.crls = vec![Der(crl)];
            },
            &["revocation"],
            Outcome::Fail,
        ),
    ];
    for (name, give, wanted, revocation) in cases {
        let mut live = Live::new();
        give(&mut live);
        for verdict in live.verdicts() {
            assert_eq!(failed(&verdict), wanted, "{name}\n{verdict}");
            assert_eq!(verdict.accepted, wanted.is_empty(), "{name}\n{verdict}");
            let check = verdict.check("revocation").unwrap();
            // Without a chain that holds there is nothing to look up.
            assert_eq!(check.outcome, revocation, "{name}\n{verdict}");
        }
    }
}

#[test]
fn a_list_that_the_policy_demands_is_missing_until_it_is_given() {
    let mut live = Live::new();
    live.scene.policy.snp.require_crl = true;
    for verdict in live.verdicts() {
        assert_eq!(verdict.conclusion, Conclusion::CollateralMissing);
        let missing = verdict.check("revocation").unwrap().missing.as_deref();
        assert_eq!(missing, Some("crl"), "{verdict}");
    }
    live.collateral.crls = vec![list(&[])];
    for verdict in live.verdicts() {
        assert!(verdict.accepted, "{verdict}");
    }
}
