//! Certificates of the CCC's form around SGX quotes that nobody signed: everything but the quote is right. TD quotes stand in `td`.

use cloister_verify::cert::ccc::{self, CccError, Claims, Evidence, HashAlgorithm, Tagged};
use cloister_verify::verdict::{Conclusion, Outcome, Verdict};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::leaf::{Made, NOW, fails, keys, outcome, plain, spki};
use crate::td::against_nothing;

/// CBOR head in the form with two bytes of length, and the bytes.
fn bytes(value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[0x59][..], &length, value].concat()
}

fn text(value: &str) -> Vec<u8> {
    [
        &[0x78, u8::try_from(value.len()).unwrap()][..],
        value.as_bytes(),
    ]
    .concat()
}

fn pubkey_hash(algorithm: u8, hash: &[u8]) -> Vec<u8> {
    bytes(&[&[0x82, algorithm][..], &bytes(hash)].concat())
}

/// Claims of this leaf: pubkey-hash, nonce 0x0123 and two that nobody knows.
pub(crate) fn claims() -> Vec<u8> {
    [
        vec![0xa4],
        text("pubkey-hash"),
        pubkey_hash(1, &Sha256::digest(spki())),
        text("nonce"),
        bytes(&[0x01, 0x23]),
        text("host"),
        vec![0x81, 0xf6],
        text("age"),
        vec![0x18, 40],
    ]
    .concat()
}

/// An SGX quote over `claims`.
fn sgx(claims: &[u8]) -> Vec<u8> {
    let mut quote = vec![0; 436];
    quote[0] = 3;
    quote[368..400].copy_from_slice(&Sha256::digest(claims));
    quote
}

pub(crate) fn tagged(tag: u16, quote: &[u8], claims: &[u8]) -> Vec<u8> {
    [
        &[0xd9][..],
        &tag.to_be_bytes(),
        &[0x82],
        &bytes(quote),
        &bytes(claims),
    ]
    .concat()
}

fn made(value: Vec<u8>) -> Made {
    Made::own(vec![
        plain("2.5.29.14", [4, 1, 1]),
        plain(ccc::EXTENSION, value),
    ])
}

fn judged(made: &Made, der: &[u8], nonce: Option<&[u8]>) -> Verdict {
    against_nothing(|td| made.with(der, |leaf| ccc::appraise(leaf, nonce, td, made.at)))
}

fn appraise(made: &Made) -> Verdict {
    judged(made, &made.der(), None)
}

fn of(quote: &[u8], claims: &[u8]) -> Verdict {
    appraise(&made(tagged(60000, quote, claims)))
}

const PASSED: [&str; 8] = [
    "certificate-format",
    "certificate-signature",
    "certificate-validity",
    "extension",
    "claims-format",
    "pubkey-hash",
    "quote-format",
    "quote-claims-binding",
];

#[test]
fn all_but_the_quote_passes_and_is_not_enough() {
    let claims = claims();
    let value = tagged(60000, &sgx(&claims), &claims);
    for made in [made(value.clone()).issued(), made(value)] {
        let verdict = judged(&made, &made.der(), Some(&[0x01, 0x23]));
        fails(&verdict, &[]);
        for name in PASSED.into_iter().chain(["nonce"]) {
            assert_eq!(outcome(&verdict, name), Outcome::Pass, "{name}");
        }
        assert_eq!(outcome(&verdict, "quote"), Outcome::Skipped);
        assert_eq!(verdict.conclusion, Conclusion::Rejected);
        let found = &verdict.check("quote-format").unwrap().found;
        assert_eq!(found, "SGX quote of version 3");
        let found = &verdict.check("claims-format").unwrap().found;
        assert!(
            found.ends_with("not known and ignored: `host`, `age`"),
            "{found}"
        );
    }
}

#[test]
fn nonce_is_compared_where_one_is_given() {
    let claims = claims();
    let made = made(tagged(60000, &sgx(&claims), &claims));
    let der = made.der();
    for (nonce, wanted) in [
        (None, Outcome::Skipped),
        (Some(&[0x01, 0x23][..]), Outcome::Pass),
        (Some(&[0x01, 0x24]), Outcome::Fail),
        (Some(&[0x01]), Outcome::Fail),
    ] {
        let verdict = judged(&made, &der, nonce);
        assert_eq!(outcome(&verdict, "nonce"), wanted);
        assert!(verdict.check("nonce").unwrap().required == nonce.is_some());
    }
}

#[test]
fn every_hash_is_compared() {
    let spki = spki();
    let hashes = [
        (1, Sha256::digest(&spki).to_vec()),
        (7, Sha384::digest(&spki).to_vec()),
        (8, Sha512::digest(&spki).to_vec()),
    ];
    for (algorithm, hash) in hashes {
        let claims = |hash: &[u8]| {
            [
                vec![0xa1],
                text("pubkey-hash"),
                pubkey_hash(algorithm, hash),
            ]
            .concat()
        };
        let right = claims(&hash);
        fails(&of(&sgx(&right), &right), &[]);
        let mut changed = hash.clone();
        *changed.last_mut().unwrap() ^= 1;
        let wrong = claims(&changed);
        fails(&of(&sgx(&wrong), &wrong), &["pubkey-hash"]);
    }
}

#[test]
fn each_check_rejects() {
    let claims = claims();
    let quote = sgx(&claims);
    let value = tagged(60000, &quote, &claims);
    let mut other_claims = claims.clone();
    *other_claims.last_mut().unwrap() ^= 1;
    fails(&of(&quote, &other_claims), &["quote-claims-binding"]);
    let mut not_zero = quote.clone();
    not_zero[431] = 1;
    fails(&of(&not_zero, &claims), &["quote-claims-binding"]);
    fails(&of(&quote[..431], &claims), &["quote-format"]);
    for (tag, wanted) in [
        (
            60001,
            "a report (tag 60001), which only its own machine can check",
        ),
        (60002, "a legacy SGX quote (tag 60002)"),
    ] {
        let verdict = appraise(&made(tagged(tag, &quote, &claims)));
        fails(&verdict, &["quote-format"]);
        assert_eq!(verdict.check("quote-format").unwrap().found, wanted);
    }
    fails(
        &appraise(&made(tagged(60003, &quote, &claims))),
        &["extension"],
    );
    fails(&of(&sgx(&[0xa0]), &[0xa0]), &["claims-format"]);
    fails(&appraise(&Made::own(Vec::new())), &["extension"]);
    let mut late = made(value.clone());
    late.at = NOW + 86_400;
    fails(&appraise(&late), &["certificate-validity"]);
    let mut early = made(value.clone());
    early.at = NOW - 7200;
    fails(&appraise(&early), &["certificate-validity"]);
    let mut stranger = made(value.clone());
    stranger.signer = Some(&keys()[2]);
    fails(&appraise(&stranger), &["certificate-signature"]);
    let mut critical = made(value.clone());
    critical.certificate.extensions[1].critical = true;
    fails(&appraise(&critical), &["certificate-format"]);
    let mut twice = made(value.clone());
    twice
        .certificate
        .extensions
        .push(plain(ccc::EXTENSION, value));
    fails(&appraise(&twice), &["certificate-format"]);
}

#[test]
fn issuer_must_be_given_and_must_have_signed() {
    let claims = claims();
    let value = tagged(60000, &sgx(&claims), &claims);
    let mut alone = made(value.clone()).issued();
    alone.issuers.clear();
    let verdict = appraise(&alone);
    fails(&verdict, &[]);
    let check = verdict.check("certificate-signature").unwrap();
    assert_eq!(check.missing.as_deref(), Some("issuer"));
    let mut stranger = made(value.clone()).issued();
    stranger.signer = Some(&keys()[2]);
    fails(&appraise(&stranger), &["certificate-signature"]);
    let mut namesake = made(value.clone()).issued();
    namesake.certificate.subject = "operator".to_owned();
    fails(&appraise(&namesake), &[]);
    namesake.issuers.clear();
    fails(&appraise(&namesake), &["certificate-signature"]);
    let mut garbage = made(value).issued();
    garbage.issuers = vec![vec![0x30, 0x80]];
    fails(&appraise(&garbage), &["certificate-signature"]);
}

#[test]
fn every_changed_byte_fails_a_check_or_asks_for_another_issuer() {
    let claims = claims();
    let made = made(tagged(60000, &sgx(&claims), &claims));
    let der = made.der();
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1 << (at % 8);
        let verdict = judged(&made, &changed, None);
        // Another name as issuer asks for that issuer.
        let waits = verdict.checks.iter().any(|check| check.missing.is_some());
        let failed = verdict.failures().next().is_some();
        assert!(failed || waits, "byte {at}\n{verdict}");
    }
}

fn unexpected(wanted: &'static str, offset: usize) -> CccError {
    CccError::Unexpected { wanted, offset }
}

#[test]
fn tagged_evidence_names_what_is_wrong_and_where() {
    let quote = bytes(&[1]);
    let value = |parts: &[&[u8]]| [&[0xd9, 0xea, 0x60][..], &parts.concat()].concat();
    let cases = [
        (vec![], unexpected("a tag", 0)),
        (
            value(&[&[0x83]]),
            unexpected("an array of quote and claims", 3),
        ),
        (
            value(&[&[0x9f]]),
            unexpected("an array of quote and claims", 3),
        ),
        (
            value(&[&[0x82, 0x60]]),
            unexpected("a quote as byte string", 4),
        ),
        (
            value(&[&[0x82], &quote, &[0xa0]]),
            unexpected("claims as byte string", 8),
        ),
        (
            value(&[&[0x82], &quote, &quote, &[0]]),
            CccError::Trailing { offset: 12 },
        ),
        (vec![0xd8, 40, 0x40], CccError::Tag { found: 40 }),
    ];
    for (input, wanted) in cases {
        assert_eq!(Tagged::parse(&input), Err(wanted));
    }
    let tagged = Tagged::parse(&value(&[&[0x82], &quote, &bytes(&[2])])).unwrap();
    assert_eq!(
        (tagged.evidence, tagged.quote, tagged.claims),
        (Evidence::Quote, vec![1], vec![2])
    );
}

#[test]
fn claims_name_what_is_wrong_and_where() {
    let hash = pubkey_hash(1, &[0; 32]);
    let claim = |name: &str, value: &[u8]| [text(name), value.to_vec()].concat();
    let map = |head: u8, parts: &[Vec<u8>]| [vec![head], parts.concat()].concat();
    let known = claim("pubkey-hash", &hash);
    let parsed = Claims::parse(&map(0xa1, std::slice::from_ref(&known))).unwrap();
    assert_eq!(parsed.algorithm, HashAlgorithm::Sha256);
    let twice = |name: &str| CccError::Twice {
        name: name.to_owned(),
    };
    let cases = [
        (vec![0xbf, 0xff], unexpected("a map of known size", 0)),
        (vec![0xb8, 65], CccError::TooLarge),
        (
            map(0xa1, &[vec![0x01, 0x01]]),
            unexpected("the name of a claim", 1),
        ),
        (map(0xa1, &[claim("host", &[0xf6])]), CccError::NoPubkeyHash),
        (
            map(0xa2, &[known.clone(), known.clone()]),
            twice("pubkey-hash"),
        ),
        (map(0xa2, &[claim("x", &[0]), claim("x", &[0])]), twice("x")),
        (
            map(0xa1, &[claim("pubkey-hash", &pubkey_hash(1, &[0; 48]))]),
            CccError::Hash {
                algorithm: 1,
                length: 48,
            },
        ),
        (
            map(0xa1, &[claim("pubkey-hash", &pubkey_hash(2, &[0; 32]))]),
            CccError::Hash {
                algorithm: 2,
                length: 32,
            },
        ),
        (
            map(0xa1, &[known, vec![0]]),
            CccError::Trailing { offset: 54 },
        ),
    ];
    for (input, wanted) in cases {
        assert_eq!(
            Claims::parse(&input),
            Err(wanted),
            "{}",
            hex::encode(&input)
        );
    }
}

#[test]
fn claims_are_at_most_64_with_names_of_at_most_256_bytes() {
    let name = |length: usize| {
        let head = u16::try_from(length).unwrap().to_be_bytes();
        [&[0x79][..], &head, &vec![b'n'; length]].concat()
    };
    let claims = |count: u8, longest: usize| {
        let hash = [text("pubkey-hash"), pubkey_hash(1, &[0; 32])].concat();
        let others = (0..count - 2).flat_map(|n| [text(&n.to_string()), vec![n % 24]].concat());
        let longest = [name(longest), vec![0xf6]].concat();
        [vec![0xb8, count], hash, longest, others.collect()].concat()
    };
    for (count, longest, taken) in [
        (64, 256, true),
        (65, 256, false),
        (66, 256, false),
        (64, 257, false),
        (64, 258, false),
    ] {
        let parsed = Claims::parse(&claims(count, longest));
        let unknown = parsed.map(|claims| claims.unknown.len());
        let wanted = if taken {
            Ok(63)
        } else {
            Err(CccError::TooLarge)
        };
        assert_eq!(unknown, wanted, "{count} claims, a name of {longest} bytes");
    }
}
