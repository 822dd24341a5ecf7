//! Real quotes with collateral of others', and against `dcap-qvl` on ring. The verdicts of the vectors' README are in `tests/vectors`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloister_verify::collateral::{Collateral, Signed, TdxCollateral};
use cloister_verify::tdx::{Expected, INTEL, Policy, Quote, appraise};
use cloister_verify::verdict::{Conclusion, Outcome, Verdict};
use dcap_qvl::QuoteCollateralV3;

use crate::folder::{directory, failed};

/// Quote and collateral of a vector.
fn load(directory: &Path, name: &str) -> (Vec<u8>, Option<TdxCollateral>) {
    if name == "azure" {
        return azure(directory);
    }
    let folder = directory.join("tdx").join(name);
    let quote = std::fs::read(folder.join("quote.bin")).unwrap();
    let whole = std::fs::read(folder.join("collateral.json")).ok();
    let collateral = match whole {
        Some(bytes) => Some(Collateral::read(&bytes).unwrap()),
        None if folder.join("tcb_info.json").exists() => {
            Some(Collateral::from_files(&files(&folder)).unwrap())
        }
        None => None,
    };
    (quote, collateral.and_then(|collateral| collateral.tdx))
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = Collateral::FILES.into_iter();
    names
        .filter_map(|name| Some((name.to_owned(), std::fs::read(folder.join(name)).ok()?)))
        .collect()
}

fn azure(directory: &Path) -> (Vec<u8>, Option<TdxCollateral>) {
    let evidence = directory.join("azure/tdx-evidence-1764662251.yaml");
    let evidence = std::fs::read_to_string(evidence).unwrap();
    let quote = evidence
        .lines()
        .skip_while(|row| !row.starts_with("tdx_quote_base64"));
    let quote = quote.into_iter().nth(1).unwrap().trim();
    let collateral = directory.join("azure/tdx-collateral-1771423480.yaml");
    let collateral = Collateral::read(&std::fs::read(collateral).unwrap()).unwrap();
    (URL_SAFE_NO_PAD.decode(quote).unwrap(), collateral.tdx)
}

/// Judges a quote with its own measurements as what is wanted.
fn judge(quote: &[u8], collateral: Option<&TdxCollateral>, policy: &Policy, at: u64) -> Verdict {
    let parsed = Quote::parse(quote);
    let expected = Expected {
        mrtd: parsed.as_ref().ok().map(|quote| quote.body.mr_td),
        report_data: parsed.as_ref().ok().map(|quote| quote.body.report_data),
        ..Expected::default()
    };
    appraise(quote, collateral, &expected, policy, &INTEL, at)
}

/// 2023-07-01T01:00:00Z.
const SPR_TIME: u64 = 1_688_173_200;
/// Where 39 bytes of text begin behind the quote of `v4-spr-e4`.
const SPR_END: usize = 4935;

/// The chain of the documents' signer is not in the files.
#[test]
fn spr_e4_is_authentic_and_waits_for_the_issuer_chain() {
    let Some(directory) = directory() else { return };
    let (quote, collateral) = load(&directory, "v4-spr-e4");
    let only = Expected {
        signature_only: true,
        ..Expected::default()
    };
    let policy = Policy::default();
    let judge = |tdx: &TdxCollateral, at| {
        appraise(&quote[..SPR_END], Some(tdx), &only, &policy, &INTEL, at)
    };
    let passes = |verdict: &Verdict, name: &str| {
        let outcome = verdict.check(name).unwrap().outcome;
        assert_eq!(outcome, Outcome::Pass, "{name}\n{verdict}");
    };
    let mut collateral = collateral.unwrap();
    let verdict = judge(&collateral, SPR_TIME);
    assert_eq!(verdict.conclusion, Conclusion::CollateralMissing);
    let missing = verdict.check("tcb-info").unwrap().missing.as_deref();
    assert_eq!(missing, Some("tcb-info-issuer-chain"));
    let authentic = ["pck-chain", "qe-report", "td-quote-signature"];
    let cleared = ["root-crl", "pck-crl"];
    let names = authentic.into_iter().chain(cleared);
    names.for_each(|name| passes(&verdict, name));
    // Intel signed these documents with the key it has today, whose later certificate other vectors have.
    let (_, later) = load(&directory, "v4-uptodate");
    let chain = later.unwrap().tcb_info.unwrap().issuer_chain;
    for signed in [&mut collateral.tcb_info, &mut collateral.qe_identity] {
        signed.as_mut().unwrap().issuer_chain = chain.clone();
    }
    let verdict = judge(&collateral, SPR_TIME);
    for name in ["tcb-info", "qe-identity"] {
        passes(&verdict, name);
    }
    assert_eq!(failed(&verdict), ["collateral-current"], "{verdict}");
    // 2053: the PCK certificate has expired.
    let verdict = judge(&collateral, 2_636_154_000);
    assert!(failed(&verdict).contains(&"pck-validity"), "{verdict}");
}

/// `dcap-qvl` with ring and its own root on the same inputs: never stricter than we are, and of one mind on the rest.
#[test]
fn dcap_qvl_on_ring_agrees() {
    let Some(directory) = directory() else { return };
    let mut checked = 0;
    for name in ["v4-uptodate", "v5-no-tcb-level", "azure"] {
        let (quote, collateral) = load(&directory, name);
        let collateral = collateral.unwrap();
        let flat = flat(&collateral);
        for at in [
            1_750_809_600,
            1_760_000_000,
            1_771_423_480,
            1_771_500_000,
            1_795_333_856,
        ] {
            let oracle = dcap_qvl::verify::ring::verify(&quote, &flat, at);
            let ours = judge(&quote, Some(&collateral), &Policy::default(), at);
            let oracle = oracle.map(|report| report.status);
            assert_eq!(
                ours.accepted,
                oracle.as_deref().ok() == Some("UpToDate"),
                "{name} at {at}: {oracle:?}\n{ours}"
            );
            checked += 1;
        }
        for at in (0..Quote::parse(&quote).unwrap().length).step_by(97) {
            let mut forged = quote.clone();
            forged[at] ^= 0x10;
            let oracle = dcap_qvl::verify::ring::verify(&forged, &flat, 1_771_423_480);
            let ours = judge(
                &forged,
                Some(&collateral),
                &Policy::default(),
                1_771_423_480,
            );
            assert!(oracle.is_ok() || !ours.accepted, "{name} byte {at}");
            checked += 1;
        }
    }
    assert_eq!(checked, 169);
}

pub(crate) fn flat(collateral: &TdxCollateral) -> QuoteCollateralV3 {
    let signed = |signed: &Option<Signed>| signed.clone().unwrap();
    let (tcb_info, qe_identity) = (
        signed(&collateral.tcb_info),
        signed(&collateral.qe_identity),
    );
    QuoteCollateralV3 {
        pck_crl_issuer_chain: String::new(),
        root_ca_crl: collateral.root_crl.clone().unwrap().0,
        pck_crl: collateral.pck_crl.clone().unwrap().0,
        tcb_info_issuer_chain: tcb_info.issuer_chain.unwrap(),
        tcb_info: tcb_info.body,
        tcb_info_signature: tcb_info.signature.to_vec(),
        qe_identity_issuer_chain: qe_identity.issuer_chain.unwrap(),
        qe_identity: qe_identity.body,
        qe_identity_signature: qe_identity.signature.to_vec(),
        pck_certificate_chain: None,
    }
}

/// What others write and our own form hold the same.
#[test]
fn bundle_survives_its_own_form() {
    let Some(directory) = directory() else { return };
    for name in ["v4-uptodate", "v5-no-tcb-level", "azure", "v4-spr-e4"] {
        let (_, tdx) = load(&directory, name);
        let bundle = Collateral { snp: None, tdx };
        let json = bundle.to_json().unwrap();
        assert_eq!(
            Collateral::read(json.as_bytes()).as_ref(),
            Ok(&bundle),
            "{name}"
        );
    }
}
