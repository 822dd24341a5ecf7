//! `ratls/` and `cmw/`: certificates of others that carry evidence, and wrappers by themselves.

use cloister_verify::Verdict;
use cloister_verify::cert::{Form, Leaf, ccc, form, wrapped};
use cloister_verify::tdx::{Carried, INTEL, Policy};
use cloister_verify::verdict::Outcome;
use cloister_verify::x509::{X509, certificates};

use crate::account::{Account, Stated};

/// 2026-11-22.
const NOW: u64 = 1_795_305_600;
/// 2023-06-01, within the year of the rats-tls certificate.
const SUMMER_2023: u64 = 1_685_577_600;

fn appraised(der: &[u8], wanted: Form, at: u64) -> Verdict {
    assert_eq!(form(der), Some(wanted));
    let leaf = Leaf { der, issuers: &[] };
    match wanted {
        Form::Ccc => {
            let nothing = Carried {
                collateral: None,
                reference: None,
                mrtd: None,
                policy: &Policy::default(),
                roots: &INTEL,
            };
            ccc::appraise(&leaf, None, &nothing, at)
        }
        _ => wrapped::appraise(&leaf, at),
    }
}

pub(crate) fn judge(account: &mut Account) {
    ccc_leaves(account);
    wrapped_leaf(account);
    wrappers(account);
}

/// Gramine's to 2030, the other to 2024-02-22. Both have an SGX quote inside, which is never judged.
fn ccc_leaves(account: &mut Account) {
    for (item, within) in [
        ("ratls/interop-gramine-cert.pem", NOW),
        ("ratls/interop-rats-tls-cert.pem", SUMMER_2023),
    ] {
        let der = certificates(&account.read(item)).unwrap().remove(0);
        let (first, last) = X509::from_der(&der).unwrap().validity();
        let expired = Stated::Expired(&["certificate-validity"]);
        for (at, stated) in [
            (first - 1, expired),
            (first, Stated::Unjudged("quote")),
            (within, Stated::Unjudged("quote")),
            (last, Stated::Unjudged("quote")),
            (last + 1, expired),
        ] {
            let verdict = appraised(&der, Form::Ccc, at);
            account.verdict(item, at, stated, &verdict);
        }
        let verdict = appraised(&der, Form::Ccc, within);
        for name in ["claims-format", "pubkey-hash", "quote-claims-binding"] {
            let check = verdict.check(name).unwrap();
            assert_eq!(check.outcome, Outcome::Pass, "{item}\n{verdict}");
        }
        if item.contains("rats-tls") {
            let wanted = "not known and ignored: `key_0`, `key_1`";
            let claims = verdict.check("claims-format").unwrap();
            assert!(claims.found.ends_with(wanted), "{}", claims.found);
            assert!(last < NOW);
        }
    }
}

/// It has one name for subject and issuer, but another key signed it (`openssl verify -check_ss_sig` agrees).
fn wrapped_leaf(account: &mut Account) {
    let item = "cmw/x509-cert+cbor-cmw.der";
    let der = account.read(item);
    let (first, last) = X509::from_der(&der).unwrap().validity();
    let expired = Stated::Expired(&["certificate-signature", "certificate-validity"]);
    for (at, stated) in [
        (first - 1, expired),
        (NOW, Stated::Rejected(&["certificate-signature"])),
        (last + 1, expired),
    ] {
        let verdict = appraised(&der, Form::Wrapped, at);
        account.verdict(item, at, stated, &verdict);
        let format = verdict.check("cmw-format").unwrap();
        assert_eq!(format.outcome, Outcome::Pass);
    }
}

fn wrappers(account: &mut Account) {
    for (item, wanted) in [
        (
            "cmw/collection-ok.json",
            "JSON, `a`: application/vnd.a, no indicator, 1 bytes; `b`: application/vnd.b, no indicator, 1 bytes",
        ),
        (
            "cmw/collection-cbor-ok.cbor",
            "CBOR, `1`: application/signed-corim+cbor, reference-values+endorsements, 7 bytes; \
             `2`: content format 29884, no indicator, 4 bytes; `s`: content format 30001, no indicator, 4 bytes",
        ),
    ] {
        let verdict = wrapped::appraise_file(&account.read(item));
        account.verdict(item, NOW, Stated::Unjudged("evidence"), &verdict);
        let format = verdict.check("cmw-format").unwrap();
        let found = (format.outcome, format.found.as_str());
        assert_eq!(found, (Outcome::Pass, wanted), "{item}");
        account.timeless(item, "a wrapper by itself has no dates");
    }
}
