//! `dcap-qvl` with its own cryptography on the same made-up platform: what it refuses we refuse; what it takes and we do not is counted by
//! place, and each place is explained in `docs/verification.md`.

use std::collections::BTreeSet;

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;

use crate::published::collateral;
use crate::scene::Scene;
use crate::vectors::flat;

/// Whether `dcap-qvl` takes the quote, by its own defaults.
fn peer(quote: &[u8], collateral: &QuoteCollateralV3, root: &[u8], at: u64) -> bool {
    let verifier = QuoteVerifier::<RingConfig>::new_with_config(root.to_vec());
    let report = verifier.verify(quote, collateral, at);
    report.is_ok_and(|report| report.status == "UpToDate")
}

/// Names the part of a quote that `offset` lies in; `body` is the length of header and body.
fn place(quote: &[u8], body: usize, offset: usize) -> &'static str {
    // Length, signature, attestation key.
    let kind = body + 4 + 128;
    // Type and length, enclave's report, its signature, length of 32 bytes and those.
    let chain = kind + 6 + 384 + 64 + 34;
    let begin = b"-----BEGIN";
    let mut certificates = (chain..quote.len()).filter(|at| quote[*at..].starts_with(begin));
    let root = certificates.nth(2).unwrap();
    match offset {
        _ if offset == kind || offset == kind + 1 => "type of the certification data",
        _ if (chain..chain + 6).contains(&offset) => "type and length of the chain",
        // The line break in front belongs to the border.
        _ if offset + 1 >= root => "root in the chain",
        _ if (chain + 6..root).contains(&offset) => "text of the chain",
        _ => "signed",
    }
}

#[test]
fn what_dcap_qvl_refuses_is_refused_and_what_it_takes_beside_is_explained() {
    for (scene, body) in [(Scene::v4(), 48 + 584), (Scene::v5(), 48 + 6 + 648)] {
        let made = scene.make();
        let flat = flat(&collateral(&made));
        let ours = |quote: &[u8]| scene.judge(&made, quote).accepted;
        let peers = |quote: &[u8]| peer(quote, &flat, &made.root, scene.at);
        assert!(peers(&made.quote) && ours(&made.quote));
        let mut taken = BTreeSet::new();
        for at in 0..made.quote.len() {
            let mut forged = made.quote.clone();
            forged[at] ^= 1 << (at % 8);
            assert!(!ours(&forged), "byte {at}");
            if peers(&forged) {
                taken.insert(place(&made.quote, body, at));
            }
        }
        // Whether a length or a line break can be changed depends on the length that the made certificates have.
        taken.retain(|place| !place.contains(" of the chain"));
        let wanted = ["root in the chain", "type of the certification data"];
        assert_eq!(taken, wanted.into());
        let followed = |by: u8| [&made.quote[..], &[by; 3]].concat();
        assert!(ours(&followed(0)) && peers(&followed(0)));
        assert!(!ours(&followed(7)) && peers(&followed(7)));
    }
}
