//! `dcap-qvl` on our cryptography by itself, without the checks that elsewhere stand before it.

use cloister_test_pki::tdx::{Intel, Made, Part, Scene};

use super::*;
use crate::collateral::{Der, Signed};

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;

fn evaluated(made: &Made) -> Result<Standing, DcapError> {
    let signed = |(body, signature): &(String, [u8; 64])| Signed {
        body: body.clone(),
        signature: *signature,
        issuer_chain: Some(made.issuer_chain.clone()),
    };
    let collateral = TdxCollateral {
        tcb_info: Some(signed(&made.tcb_info)),
        qe_identity: Some(signed(&made.qe_identity)),
        pck_crl: Some(Der(made.pck_crl.clone())),
        root_crl: Some(Der(made.root_crl.clone())),
    };
    evaluate(&made.quote, &collateral, &made.root, NOW).unwrap()
}

#[test]
fn each_signature_by_a_stranger_is_refused_by_the_crate_too() {
    let intel = Intel::new().unwrap();
    let mut scene = Scene::new();
    let standing = evaluated(&scene.make(&intel).unwrap()).unwrap();
    assert_eq!(standing.status, "UpToDate");
    assert_eq!(standing.advisories, [""; 0]);
    for part in [
        Part::Ca,
        Part::Pck,
        Part::Signer,
        Part::QeReport,
        Part::Quote,
        Part::TcbInfo,
        Part::QeIdentity,
        Part::RootCrl,
        Part::PckCrl,
    ] {
        scene.forged = Some(part);
        let refused = evaluated(&scene.make(&intel).unwrap());
        assert!(refused.is_err(), "{part:?}: {refused:?}");
    }
}

/// FIPS 180-2, appendices B.1 and D.1.
#[test]
fn hashes_are_those_of_the_standard() {
    assert_eq!(
        hex::encode(Ours::sha256(b"abc")),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        hex::encode(Ours::sha384(b"abc")),
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
    );
}
