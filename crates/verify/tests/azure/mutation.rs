//! Every single-bit flip of what is signed, or of what binds what is signed, is rejected.
//!
//! Where the processor's part is not touched, its certificate is left out, which saves most of the time: the genuine evidence then waits
//! for collateral, and everything invalid wins over that.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloister_verify::verdict::Conclusion;

use crate::scene::Scene;

/// The machine without the certificate of its chip.
fn waiting() -> Scene {
    let mut scene = Scene::snp();
    scene.vek = None;
    scene
}

fn waits(scene: &Scene, hcl: &[u8], attest: &[u8], signature: &[u8]) -> bool {
    let verdict = scene.judge(&scene.evidence_of(hcl, attest, signature));
    verdict.conclusion == Conclusion::CollateralMissing
}

/// Flips every `step`-th bit of `range` in `bytes` and wants each rejected.
fn flips(
    bytes: &[u8],
    range: core::ops::Range<usize>,
    step: usize,
    accepted: impl Fn(&[u8]) -> bool,
) {
    assert!(accepted(bytes), "untouched bytes");
    let mut checked = 0;
    for bit in (range.start * 8..range.end * 8).step_by(step) {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepted(&changed), "byte {} bit {}", bit / 8, bit % 8);
        checked += 1;
    }
    assert_eq!(checked, (range.len() * 8).div_ceil(step));
}

#[test]
fn appraise_rejects_every_flipped_bit_of_a_quote_and_its_signature() {
    let scene = waiting();
    let (hcl, (attest, signature)) = (scene.hcl(), scene.quote());
    flips(&attest, 0..attest.len(), 1, |attest| {
        waits(&scene, &hcl, attest, &signature)
    });
    flips(&signature, 0..signature.len(), 1, |signature| {
        waits(&scene, &hcl, &attest, signature)
    });
}

/// Header, request data, claims and the zeros behind them; then the report in between.
#[test]
fn appraise_rejects_every_flipped_bit_of_an_hcl_report() {
    let scene = waiting();
    let (hcl, (attest, signature)) = (scene.hcl(), scene.quote());
    let waits = |hcl: &[u8]| waits(&scene, hcl, &attest, &signature);
    flips(&hcl, 0..32, 1, waits);
    flips(&hcl, 1216..hcl.len(), 1, waits);
    // One bit of each byte, walking through the eight: all bits are flipped in the test of the report by itself.
    let scene = Scene::snp();
    let accepted = |hcl: &[u8]| {
        let evidence = scene.evidence_of(hcl, &attest, &signature);
        scene.judge(&evidence).accepted
    };
    let hcl = scene.hcl();
    flips(&hcl, 32..1216, 9, accepted);
}

#[test]
fn appraise_rejects_every_flipped_bit_of_register_values() {
    let scene = waiting();
    let (hcl, (attest, signature)) = (scene.hcl(), scene.quote());
    let values = scene.pcrs.as_flattened().to_vec();
    flips(&values, 0..values.len(), 1, |values| {
        let mut scene = waiting();
        scene.pcrs = values.as_chunks().0.to_vec();
        waits(&scene, &hcl, &attest, &signature)
    });
}

/// A byte more or less is another thing, but for zeros at the end of the NV index.
#[test]
fn appraise_rejects_every_other_length() {
    let scene = waiting();
    let (hcl, (attest, signature)) = (scene.hcl(), scene.quote());
    let judge = |hcl: &[u8], attest: &[u8], signature: &[u8]| waits(&scene, hcl, attest, signature);
    for length in 0..attest.len() {
        assert!(!judge(&hcl, &attest[..length], &signature), "{length}");
    }
    for length in 0..signature.len() {
        assert!(!judge(&hcl, &attest, &signature[..length]), "{length}");
    }
    let end = 1236 + scene.claims.to_string().len();
    for length in (0..end).step_by(7).chain([end - 1]) {
        assert!(!judge(&hcl[..length], &attest, &signature), "{length}");
    }
    assert!(judge(&hcl[..end], &attest, &signature));
    let longer = |bytes: &[u8]| [bytes, &[1]].concat();
    assert!(!judge(&longer(&hcl), &attest, &signature));
    assert!(!judge(&hcl, &longer(&attest), &signature));
    assert!(!judge(&hcl, &attest, &longer(&signature)));
}

/// The TD quote, and REPORTDATA and TDINFO of the TDREPORT that it is of. What else a TDREPORT has, its MAC and the module's part,
/// only its own machine can check: the verdict takes all of that from the quote.
#[test]
fn appraise_rejects_every_flipped_bit_of_a_td_quote_and_its_report() {
    let scene = Scene::tdx();
    let (hcl, (attest, signature)) = (scene.hcl(), scene.quote());
    let quote = scene.td_quote(&hcl);
    let evidence = scene.evidence_of(&hcl, &attest, &signature);
    let genuine: serde_json::Value = serde_json::from_slice(&evidence).unwrap();
    let with = |name: &str, bytes: &[u8]| {
        let mut changed = genuine.clone();
        changed[name] = URL_SAFE_NO_PAD.encode(bytes).into();
        scene.judge(changed.to_string().as_bytes()).accepted
    };
    // One bit of each byte, walking through the eight: all bits are flipped in the test of the quote by itself.
    flips(&quote, 0..quote.len(), 9, |quote| with("td_quote", quote));
    for range in [128..192, 512..912] {
        let range = 32 + range.start..32 + range.end;
        flips(&hcl, range, 3, |hcl| with("hcl_report", hcl));
    }
}
