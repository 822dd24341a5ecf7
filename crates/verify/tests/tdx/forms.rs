//! Quotes byte for byte: limits, lengths, and what stands around the certificates; and whom to ask about the platform.

use cloister_test_pki::tdx::{Made, Part};
use cloister_verify::tdx::{
    MAX_BYTES, PckCa, Platform, PlatformError, Quote, QuoteError, platform,
};
use cloister_verify::verdict::Outcome;

use crate::scene::Scene;

/// Where version 4 has the length of the signature, in bytes: behind header and body.
const SIGNATURE: usize = 48 + 584;
/// The length of the certification data of the quote: behind signature, attestation key and type.
const CERTIFICATION: usize = SIGNATURE + 4 + 64 + 64 + 2;
/// The length of the chain: behind the enclave's report with its signature, authentication data and type.
const CHAIN: usize = CERTIFICATION + 4 + 384 + 64 + 2 + 32 + 2;

/// Puts `bytes` at the end of each part whose length stands at one of `lengths`.
fn longer(quote: &[u8], lengths: &[usize], bytes: &[u8]) -> Vec<u8> {
    let mut quote = quote.to_vec();
    for &at in lengths {
        let length: [u8; 4] = quote[at..at + 4].try_into().unwrap();
        let length = u32::from_le_bytes(length) + u32::try_from(bytes.len()).unwrap();
        quote[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    quote.extend(bytes);
    quote
}

/// The quote with other text for its chain.
fn with_chain(quote: &[u8], chain: &[u8]) -> Vec<u8> {
    let mut quote = quote[..CHAIN + 4].to_vec();
    for at in [SIGNATURE, CERTIFICATION, CHAIN] {
        let length = u32::try_from(quote.len() - at - 4).unwrap();
        quote[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    longer(&quote, &[SIGNATURE, CERTIFICATION, CHAIN], chain)
}

#[test]
fn quote_of_the_longest_length_is_read_and_no_longer() {
    let quote = Scene::v4().make().quote;
    let end = quote.len();
    for (length, read) in [
        (end, true),
        (MAX_BYTES, true),
        (MAX_BYTES + 1, false),
        (MAX_BYTES + 2, false),
    ] {
        let mut padded = quote.clone();
        padded.resize(length, 0);
        let found = Quote::parse(&padded).map(|quote| quote.length);
        let wanted = match read {
            true => Ok(end),
            false => Err(QuoteError::TooLarge { found: length }),
        };
        assert_eq!(found, wanted, "{length}");
    }
}

#[test]
fn every_part_ends_where_it_says() {
    let quote = Scene::v4().make().quote;
    let excess = |what| Some(QuoteError::Excess { what, found: 2 });
    let outer = "certification data of the quote";
    for (lengths, wanted) in [
        (&[SIGNATURE][..], excess("signature")),
        (&[SIGNATURE, CERTIFICATION][..], excess(outer)),
        (&[SIGNATURE, CERTIFICATION, CHAIN][..], None),
    ] {
        let quote = longer(&quote, lengths, &[0, 0]);
        assert_eq!(Quote::parse(&quote).err(), wanted, "{lengths:?}");
    }
    for zeros in [0, 3, 700] {
        let behind = [&vec![0; zeros][..], &[1, 0]].concat();
        let offset = quote.len() + zeros;
        let found = Quote::parse(&[&quote[..], &behind].concat()).err();
        assert_eq!(found, Some(QuoteError::Trailing { offset }));
    }
}

/// Wanted and found of a check that fails.
fn refused(scene: &Scene, made: &Made, quote: &[u8], check: &str) -> (String, String) {
    let verdict = scene.judge(made, quote);
    let check = verdict.check(check).unwrap();
    assert_eq!(check.outcome, Outcome::Fail, "{verdict}");
    (check.wanted.clone(), check.found.clone())
}

#[test]
fn only_empty_lines_and_one_nul_stand_around_the_certificates() {
    let scene = Scene::v4();
    let made = scene.make();
    let chain = String::from_utf8(made.quote[CHAIN + 4..].to_vec()).unwrap();
    assert_eq!(chain.lines().count(), 9);
    let middle = chain.replace(
        "-----END CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n\n",
    );
    let accepted = [
        chain.clone(),
        format!("\n{chain}\n"),
        format!("{chain}\0"),
        chain.replace('\n', "\r\n"),
        chain.trim_end().to_owned(),
        middle,
    ];
    for chain in accepted {
        let verdict = scene.judge(&made, &with_chain(&made.quote, chain.as_bytes()));
        assert!(verdict.accepted, "{chain:?}\n{verdict}");
    }
    let second = chain.find('\n').unwrap() + 1;
    let (first, rest) = chain.split_at(second);
    let broken = |text: &str| format!("{first}{text}{rest}");
    for (chain, line) in [
        (format!("a note\n{chain}"), 1),
        (format!("{chain}a note"), 10),
        // Base64 without a border.
        (format!("AAAA\n{chain}"), 1),
        (format!("{chain}AAAA\n"), 10),
        // Borders without a certificate.
        (format!("-----END CERTIFICATE-----\n{chain}"), 1),
        (format!("{chain}-----END CERTIFICATE-----\n"), 10),
        (broken("-----BEGIN CERTIFICATE-----\n"), 2),
        // White space, which other readers leave out.
        (broken(" "), 2),
        (broken("\t\n"), 2),
        (format!("{chain} "), 10),
        (format!("{chain}\n\n\r\r\n"), 12),
        (format!("{chain}\0\0"), 10),
        (format!("\0{chain}"), 1),
    ] {
        let quote = with_chain(&made.quote, chain.as_bytes());
        let (_, found) = refused(&scene, &made, &quote, "pck-chain");
        let wanted = format!("line {line} of the chain belongs to no certificate");
        assert_eq!(found, wanted, "{chain:?}");
    }
}

#[test]
fn chain_of_another_length_is_refused_with_its_length() {
    let parts = [Part::Pck, Part::Ca, Part::Root, Part::Root, Part::Root];
    for length in [1, 4, 5] {
        let mut scene = Scene::v4();
        scene.unsigned.chain = parts[..length].to_vec();
        let made = scene.make();
        let (_, found) = refused(&scene, &made, &made.quote, "pck-chain");
        let wanted = format!("chain has {length} certificates, wanted PCK, PCK CA and root");
        assert_eq!(found, wanted);
    }
    let scene = Scene::v4();
    let mut made = scene.make();
    let root = made.issuer_chain.rfind("-----BEGIN").unwrap();
    let root = made.issuer_chain[root..].to_owned();
    for length in [3, 4] {
        made.issuer_chain.push_str(&root);
        let (_, found) = refused(&scene, &made, &made.quote, "tcb-info");
        let wanted = format!("chain has {length} certificates, wanted signer and root");
        assert_eq!(found, wanted);
    }
}

#[test]
fn platform_is_told_by_the_pck_certificate() {
    let of = |issuer: &str| {
        let mut scene = Scene::v4();
        scene.unsigned.pck.issuer = issuer.to_owned();
        platform(&scene.make().quote)
    };
    let fmspc = [0x5c, 0x06, 0x6f, 0, 0, 0];
    for (issuer, ca, name) in [
        ("Intel SGX PCK Platform CA", PckCa::Platform, "platform"),
        ("Intel SGX PCK Processor CA", PckCa::Processor, "processor"),
    ] {
        let found = of(issuer).unwrap();
        assert_eq!(found, Platform { fmspc, ca });
        assert_eq!(found.ca.name(), name);
    }
    for issuer in ["Intel SGX Root CA", "Intel SGX PCK Platform CA 2"] {
        let error = of(issuer).unwrap_err();
        assert!(matches!(error, PlatformError::Issuer { .. }), "{error}");
        assert!(error.to_string().contains(issuer), "{error}");
    }
    let mut scene = Scene::v4();
    scene.unsigned.pck.extensions.clear();
    let error = platform(&scene.make().quote).unwrap_err();
    assert!(matches!(error, PlatformError::Extension { .. }), "{error}");
    let error = platform(b"quote").unwrap_err();
    assert!(matches!(error, PlatformError::Quote(_)), "{error}");
}
