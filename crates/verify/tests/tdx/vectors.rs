//! Real quotes at real times. The wanted verdicts are those of the vectors' README, cross-checked there with `dcap-qvl` on ring.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloister_verify::collateral::{Collateral, Signed, TdxCollateral};
use cloister_verify::tdx::{Expected, INTEL, Policy, Quote, QuoteError, appraise};
use cloister_verify::verdict::{Conclusion, Outcome, Verdict};
use cloister_verify::x509::X509;
use dcap_qvl::QuoteCollateralV3;

/// The directory `attestation` of the vectors; without them the test is skipped, and fails under `CI`.
pub(crate) fn directory() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut candidates = vec![
        workspace.join("../shared/vectors"),
        workspace.join("../../shared/vectors"),
    ];
    candidates.extend(environment("CLOISTER_VECTORS").map(PathBuf::from));
    let found = candidates
        .iter()
        .rev()
        .map(|path| path.join("attestation"))
        .find(|path| path.is_dir());
    if found.is_none() {
        assert!(environment("CI").is_none(), "no vectors, and CI is set");
        println!("skipped: no attestation vectors; set CLOISTER_VECTORS");
    }
    found
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their vectors by the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

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

/// The names of the failed checks.
pub(crate) fn failed(verdict: &Verdict) -> Vec<&str> {
    let failures = verdict.failures();
    failures.map(|check| check.name.as_str()).collect()
}

/// Judges as the README does: quote and collateral, with `files` of the case.
#[test]
fn appraise_gives_the_verdicts_of_the_readme() {
    let Some(directory) = directory() else { return };
    let expired = ["pck-crl", "collateral-current"].as_slice();
    let long_expired = ["root-crl", "pck-crl", "collateral-current"].as_slice();
    let cases: [(&str, u64, &[&str]); 7] = [
        ("v4-uptodate", 1_750_809_600, &[]),
        ("v4-uptodate", 1_760_000_000, expired),
        ("v4-uptodate", 1_795_333_856, long_expired),
        ("v5-no-tcb-level", 1_771_500_000, &["tcb-level"]),
        ("v5-no-tcb-level", 1_795_333_856, long_expired),
        ("azure", 1_771_423_480, &[]),
        ("azure", 1_795_333_856, long_expired),
    ];
    let mut checked = 0;
    for (name, at, wanted) in cases {
        let (quote, collateral) = load(&directory, name);
        let verdict = judge(&quote, collateral.as_ref(), &Policy::default(), at);
        assert_eq!(failed(&verdict), wanted, "{name} at {at}\n{verdict}");
        assert_eq!(verdict.accepted, wanted.is_empty(), "{name} at {at}");
        checked += 1;
    }
    assert_eq!(checked, 7);
}

/// 2023-07-01T01:00:00Z.
const SPR_TIME: u64 = 1_688_173_200;
/// Where 39 bytes of text begin behind the quote of `v4-spr-e4`.
const SPR_END: usize = 4935;

/// Bytes behind a quote that are not zero are refused; and the TD was started without SEPT_VE_DISABLE.
#[test]
fn spr_e4_is_refused_for_its_trailing_bytes_and_then_for_its_attributes() {
    let Some(directory) = directory() else { return };
    let (quote, collateral) = load(&directory, "v4-spr-e4");
    let judge = |quote| judge(quote, collateral.as_ref(), &Policy::default(), SPR_TIME);
    assert_eq!(failed(&judge(&quote)), ["quote-format"]);
    let trailing = QuoteError::Trailing { offset: SPR_END };
    assert_eq!(Quote::parse(&quote), Err(trailing));
    let verdict = judge(&quote[..SPR_END]);
    assert_eq!(failed(&verdict), ["sept-ve-disable"], "{verdict}");
}

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
    let authentic = ["pck-chain", "qe-report", "quote-signature"];
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

#[test]
fn gce_quote_is_authentic_and_waits_for_collateral() {
    let Some(directory) = directory() else { return };
    let (quote, collateral) = load(&directory, "v4-gce-cos");
    assert_eq!((quote.len(), &collateral), (8000, &None));
    let nonce = std::fs::read(directory.join("tdx/v4-gce-cos/nonce.bin")).unwrap();
    let parsed = Quote::parse(&quote).unwrap();
    assert_eq!(parsed.length, 4935);
    assert_eq!(parsed.body.report_data.as_slice(), nonce);
    let verdict = judge(&quote, None, &Policy::default(), 1_750_809_600);
    assert_eq!(
        verdict.conclusion,
        Conclusion::CollateralMissing,
        "{verdict}"
    );
}

/// Header, body and measurements against the values of the independent script.
#[test]
fn parse_reads_the_fields_of_expected_json() {
    let Some(directory) = directory() else { return };
    let expected = std::fs::read(directory.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let mut checked = 0;
    for row in expected["tdx"].as_array().unwrap() {
        let name = row["quote"].as_str().unwrap();
        let mut bytes = std::fs::read(directory.join(name)).unwrap();
        if name.contains("spr-e4") {
            bytes.truncate(4935);
        }
        let quote = Quote::parse(&bytes).unwrap();
        let body = &quote.body;
        assert_eq!(u64::from(quote.version), row["version"].as_u64().unwrap());
        assert_eq!(body.v1_5.is_some(), row["body_type"].as_u64() == Some(3));
        let fields = [
            ("tee_tcb_svn", body.tee_tcb_svn.as_slice()),
            ("mrseam", &body.mr_seam),
            ("td_attributes", &body.td_attributes.to_le_bytes()),
            ("xfam", &body.xfam.to_le_bytes()),
            ("mrtd", &body.mr_td),
            ("mrconfigid", &body.mr_config_id),
            ("report_data", &body.report_data),
        ];
        for (field, found) in fields {
            assert_eq!(
                row[field].as_str().unwrap(),
                hex::encode(found),
                "{name} {field}"
            );
            checked += 1;
        }
        for (wanted, found) in row["rtmrs"].as_array().unwrap().iter().zip(&body.rtmr) {
            assert_eq!(wanted.as_str().unwrap(), hex::encode(found), "{name}");
            checked += 1;
        }
    }
    assert_eq!(checked, 44);
}

/// A TD report is what a quote is made from, and no quote.
#[test]
fn parse_refuses_a_td_report() {
    let Some(directory) = directory() else { return };
    let report = std::fs::read(directory.join("tdx/tdreport.bin")).unwrap();
    assert_eq!(
        Quote::parse(&report),
        Err(QuoteError::Version { found: 0xd70f })
    );
}

#[test]
fn pinned_root_is_intels() {
    let Some(directory) = directory() else { return };
    let root = std::fs::read(directory.join("tdx/intel_root_ca.der")).unwrap();
    assert_eq!(INTEL.root, root);
    for name in ["v4-uptodate", "v5-no-tcb-level", "v4-gce-cos", "azure"] {
        let (quote, _) = load(&directory, name);
        let chain = Quote::parse(&quote).unwrap().endorsement.pck_chain;
        let chain = X509::read_all(chain).unwrap();
        assert_eq!(chain[2].der(), INTEL.root, "{name}");
    }
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
