//! `tdx/`, and the TD quote in evidence from Azure.

use cloister_verify::Verdict;
use cloister_verify::azure::Evidence;
use cloister_verify::collateral::{Collateral, TdxCollateral};
use cloister_verify::tdx::{Expected, INTEL, Policy, Quote, QuoteError, appraise};
use cloister_verify::x509::X509;
use serde_json::Value;

use crate::account::{Account, Stated};

/// 2023-07-01T01:00:00Z.
const SPR_TIME: u64 = 1_688_173_200;
/// 2053: every PCK certificate has expired.
const LATE: u64 = 2_636_154_000;
/// Where 39 bytes of text begin behind the quote of `v4-spr-e4`.
const SPR_END: usize = 4935;

const EXPIRED: &[&str] = &["pck-crl", "collateral-current"];
const LONG_EXPIRED: &[&str] = &["root-crl", "pck-crl", "collateral-current"];

/// Quote, collateral, and what is stated at which time.
type Case = (
    &'static str,
    &'static str,
    &'static [(u64, Stated<'static>)],
);

const CASES: [Case; 3] = [
    (
        "tdx/v4-uptodate/quote.bin",
        "tdx/v4-uptodate/collateral.json",
        &[
            (1_750_809_600, Stated::Accepted),
            (1_760_000_000, Stated::Expired(EXPIRED)),
            (1_795_333_856, Stated::Expired(LONG_EXPIRED)),
        ],
    ),
    (
        "tdx/v5-no-tcb-level/quote.bin",
        "tdx/v5-no-tcb-level/collateral.json",
        &[
            (1_771_500_000, Stated::Rejected(&["tcb-level"])),
            (1_795_333_856, Stated::Expired(LONG_EXPIRED)),
        ],
    ),
    (
        "azure/tdx-evidence-1764662251.yaml",
        "azure/tdx-collateral-1771423480.yaml",
        &[
            (1_771_423_480, Stated::Accepted),
            (1_795_333_856, Stated::Expired(LONG_EXPIRED)),
        ],
    ),
];

/// Judges a quote with its own measurements as what is wanted.
fn appraised(quote: &[u8], collateral: Option<&TdxCollateral>, at: u64) -> Verdict {
    let parsed = Quote::parse(quote);
    let expected = Expected {
        mrtd: parsed.as_ref().ok().map(|quote| quote.body.mr_td),
        report_data: parsed.as_ref().ok().map(|quote| quote.body.report_data),
        ..Expected::default()
    };
    let policy = Policy::default();
    appraise(quote, collateral, &expected, &policy, &INTEL, at)
}

pub(crate) fn judge(account: &mut Account) {
    let root = account.read("tdx/intel_root_ca.der");
    assert_eq!(INTEL.root, root);
    for (item, collateral, times) in CASES {
        let file = account.read(item);
        let quote = match item.ends_with(".yaml") {
            true => Evidence::parse(&file).unwrap().td_quote.unwrap(),
            false => file,
        };
        let collateral = Collateral::read(&account.read(collateral)).unwrap().tdx;
        let item = match item.ends_with(".yaml") {
            true => &format!("{item}, TD quote"),
            false => item,
        };
        for (at, stated) in times {
            let verdict = appraised(&quote, collateral.as_ref(), *at);
            account.verdict(item, *at, *stated, &verdict);
        }
        rooted(&quote);
        if item.ends_with(".bin") {
            values(account, item, &quote);
        }
    }
    spr_e4(account);
    gce(account);
    let report = account.read("tdx/tdreport.bin");
    let verdict = appraised(&report, None, SPR_TIME);
    let stated = Stated::Rejected(&["td-quote-format"]);
    account.verdict("tdx/tdreport.bin", SPR_TIME, stated, &verdict);
    account.timeless(
        "tdx/tdreport.bin",
        "what a quote is made from, and no quote",
    );
    // Sixteen bits of the report's type where a quote has its version.
    let version = QuoteError::Version { found: 0xd70f };
    assert_eq!(Quote::parse(&report), Err(version));
}

/// The root in the quote's own chain is the pinned one.
fn rooted(quote: &[u8]) {
    let chain = Quote::parse(quote).unwrap().endorsement.pck_chain;
    let chain = X509::read_all(chain).unwrap();
    assert_eq!(chain[2].der(), INTEL.root);
}

/// Accepted by its source's own test, which has the issuer chains that are not in the files. Here it is refused for the text behind it, which the
/// source ignores; without that text for the attributes of the TD; and without looking at the TD it waits for the chains.
fn spr_e4(account: &mut Account) {
    let item = "tdx/v4-spr-e4/quote.bin";
    let quote = account.read(item);
    let names = [
        "tcb_info.json",
        "qe_identity.json",
        "pck_crl.der",
        "root_crl.der",
    ];
    let files = names.map(|name| {
        let bytes = account.read(&format!("tdx/v4-spr-e4/{name}"));
        (name.to_owned(), bytes)
    });
    let collateral = Collateral::from_files(&files.into()).unwrap().tdx;
    let verdict = appraised(&quote, collateral.as_ref(), SPR_TIME);
    let stated = Stated::Rejected(&["td-quote-format"]);
    account.verdict(item, SPR_TIME, stated, &verdict);
    let trailing = QuoteError::Trailing { offset: SPR_END };
    assert_eq!(Quote::parse(&quote), Err(trailing));
    let quote = quote.get(..SPR_END).unwrap();
    let verdict = appraised(quote, collateral.as_ref(), SPR_TIME);
    let stated = Stated::Rejected(&["sept-ve-disable"]);
    account.verdict(item, SPR_TIME, stated, &verdict);
    let only = Expected {
        signature_only: true,
        ..Expected::default()
    };
    let policy = Policy::default();
    let authentic = |at| appraise(quote, collateral.as_ref(), &only, &policy, &INTEL, at);
    let missing = Stated::Missing("tcb-info-issuer-chain");
    account.verdict(item, SPR_TIME, missing, &authentic(SPR_TIME));
    let expired = Stated::Expired(&["pck-validity", "root-crl", "pck-crl"]);
    account.verdict(item, LATE, expired, &authentic(LATE));
    values(account, item, quote);
}

/// Without collateral; REPORTDATA is the nonce.
fn gce(account: &mut Account) {
    let item = "tdx/v4-gce-cos/quote.bin";
    let quote = account.read(item);
    let nonce = account.read("tdx/v4-gce-cos/nonce.bin");
    let parsed = Quote::parse(&quote).unwrap();
    assert_eq!((quote.len(), parsed.length), (8000, 4935));
    assert_eq!(parsed.body.report_data.as_slice(), nonce);
    let at = 1_750_809_600;
    let verdict = appraised(&quote, None, at);
    account.verdict(item, at, Stated::Missing("tcb-info"), &verdict);
    let verdict = appraised(&quote, None, LATE);
    account.verdict(item, LATE, Stated::Expired(&["pck-validity"]), &verdict);
    rooted(&quote);
    values(account, item, &quote);
}

/// Header, body and measurements against the values of the independent script.
fn values(account: &mut Account, item: &str, quote: &[u8]) {
    let quote = Quote::parse(quote).unwrap();
    let body = &quote.body;
    let (offset, kind) = match (quote.version, &body.v1_5) {
        (5, Some(_)) => (54, Some(3)),
        (5, None) => (54, Some(2)),
        _ => (48, None),
    };
    let rtmrs: Vec<_> = body.rtmr.iter().map(hex::encode).collect();
    let found: [(&str, Value); 11] = [
        ("version", quote.version.into()),
        ("body_offset", offset.into()),
        ("body_type", kind.into()),
        ("tee_tcb_svn", hex::encode(body.tee_tcb_svn).into()),
        ("mrseam", hex::encode(body.mr_seam).into()),
        (
            "td_attributes",
            hex::encode(body.td_attributes.to_le_bytes()).into(),
        ),
        ("xfam", hex::encode(body.xfam.to_le_bytes()).into()),
        ("mrtd", hex::encode(body.mr_td).into()),
        ("mrconfigid", hex::encode(body.mr_config_id).into()),
        ("report_data", hex::encode(body.report_data).into()),
        ("rtmrs", rtmrs.into()),
    ];
    for (member, found) in found {
        account.equal("tdx", item, member, found);
    }
    // The verdict is in words; the table has it.
    account.used("tdx", item, &["quote", "verdict"]);
}
