//! Every single-bit flip of what is signed is rejected.

use cloister_verify::snp::Product;

use crate::scene::{Scene, world};

/// Flips every `step`-th bit of `bytes` and wants each rejected.
fn flips(bytes: &[u8], step: usize, accepted: impl Fn(&[u8]) -> bool) {
    assert!(accepted(bytes), "untouched bytes");
    let mut checked = 0;
    for bit in (0..bytes.len() * 8).step_by(step) {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepted(&changed), "byte {} bit {}", bit / 8, bit % 8);
        checked += 1;
    }
    assert_eq!(checked, (bytes.len() * 8).div_ceil(step));
}

#[test]
fn appraise_rejects_every_flipped_bit_of_a_report() {
    let mut scene = Scene::genoa();
    // Nothing that the report says about the guest is looked at, so that only its format and signature can tell.
    scene.signature_only = true;
    let vek = scene.signed_vek();
    flips(&scene.signed_report(), 1, |report| {
        scene.judge(report, &vek).accepted
    });
}

#[test]
fn appraise_rejects_every_flipped_bit_of_a_vcek() {
    let scene = Scene::turin();
    let report = scene.signed_report();
    flips(&scene.signed_vek(), 1, |vek| {
        scene.judge(&report, vek).accepted
    });
}

/// One bit of each byte, walking through the eight.
#[test]
fn appraise_rejects_flipped_bits_of_a_given_chain_and_crl() {
    let mut scene = Scene::genoa();
    let (report, vek) = (scene.signed_report(), scene.signed_vek());
    let world = world(Product::Genoa);
    for certificate in [&world.ark, &world.ask, &world.asvk] {
        flips(certificate, 9, |changed| {
            let mut scene = Scene::genoa();
            scene.chain = vec![changed.to_vec()];
            scene.judge(&report, &vek).accepted
        });
    }
    scene.policy.require_crl = true;
    let crl = world.amd.crl().sign(&world.amd.ark).unwrap();
    flips(&crl, 9, |changed| {
        scene.judge_with(&report, &vek, &[changed]).accepted
    });
}

/// A byte more or less is another thing.
#[test]
fn appraise_rejects_every_other_length() {
    let scene = Scene::genoa();
    let (report, vek) = (scene.signed_report(), scene.signed_vek());
    for length in 0..report.len() {
        assert!(!scene.judge(&report[..length], &vek).accepted, "{length}");
    }
    for length in 0..vek.len() {
        assert!(!scene.judge(&report, &vek[..length]).accepted, "{length}");
    }
    assert!(!scene.judge(&[&report[..], &[0]].concat(), &vek).accepted);
    assert!(!scene.judge(&report, &[&vek[..], &[0]].concat()).accepted);
}
