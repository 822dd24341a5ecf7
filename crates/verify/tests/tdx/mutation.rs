//! No bit of a quote or of its collateral can be changed.

use cloister_verify::tdx::Quote;
use cloister_verify::verdict::Conclusion;

use crate::scene::Scene;

/// Every bit of header, body and signature data; of the certificates' PEM each bit of every seventh byte. Version 5 differs in
/// header and body alone.
#[test]
fn every_flipped_bit_of_a_quote_is_rejected() {
    let mut flips = 0;
    for (scene, signed) in [(Scene::v4(), false), (Scene::v5(), true)] {
        let made = scene.make();
        assert!(scene.judge(&made, &made.quote).accepted);
        let quote = Quote::parse(&made.quote).unwrap();
        let pem = quote.length - quote.endorsement.pck_chain.len();
        let certificates = (pem..quote.length).step_by(7);
        let bytes: Vec<usize> = match signed {
            true => (0..quote.signed.len()).collect(),
            false => (0..pem).chain(certificates).collect(),
        };
        for (at, bit) in bytes
            .into_iter()
            .flat_map(|at| (0..8).map(move |bit| (at, bit)))
        {
            let mut forged = made.quote.clone();
            forged[at] ^= 1 << bit;
            let verdict = scene.judge(&made, &forged);
            let conclusion = verdict.conclusion;
            assert_eq!(
                conclusion,
                Conclusion::Rejected,
                "byte {at} bit {bit}\n{verdict}"
            );
            flips += 1;
        }
    }
    assert!(flips > 15_000, "{flips}");
}

/// Each bit of what Intel signs, and of each signature.
#[test]
fn every_flipped_bit_of_the_collateral_is_rejected() {
    let scene = Scene::v4();
    let made = scene.make();
    let mut flips = 0;
    let mut judge = |name: &str, at: usize, made: &cloister_test_pki::tdx::Made| {
        let verdict = scene.judge(made, &made.quote);
        assert_eq!(
            verdict.conclusion,
            Conclusion::Rejected,
            "{name} {at}\n{verdict}"
        );
        flips += 1;
    };
    for at in 0..made.tcb_info.0.len() {
        let mut forged = made.clone();
        let mut bytes = forged.tcb_info.0.into_bytes();
        bytes[at] ^= 1;
        forged.tcb_info.0 = String::from_utf8(bytes).unwrap();
        judge("tcb info", at, &forged);
    }
    for bit in 0..512 {
        let mut forged = made.clone();
        forged.tcb_info.1[bit / 8] ^= 1 << (bit % 8);
        judge("signature of the tcb info", bit, &forged);
        let mut forged = made.clone();
        forged.qe_identity.1[bit / 8] ^= 1 << (bit % 8);
        judge("signature of the identity", bit, &forged);
    }
    for bit in 0..8 * made.root_crl.len() {
        let mut forged = made.clone();
        forged.root_crl[bit / 8] ^= 1 << (bit % 8);
        judge("root's list", bit, &forged);
    }
    for bit in 0..8 * made.pck_crl.len() {
        let mut forged = made.clone();
        forged.pck_crl[bit / 8] ^= 1 << (bit % 8);
        judge("ca's list", bit, &forged);
    }
    assert!(flips > 5_000, "{flips}");
}
