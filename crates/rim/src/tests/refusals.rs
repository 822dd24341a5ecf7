//! Names of all refusals; chains and times; what may differ without harm.

use super::made::{AT, Draft, Pki};
use crate::chain::{ChainError, RootKey, TimeError};
use crate::content::ContentError;
use crate::document::{DocumentError, Feature};
use crate::{RimError, SignatureError, verify};

/// What an error is, without places and names.
pub(crate) fn kind(error: &RimError) -> &'static str {
    match error {
        RimError::Document(error) => match error {
            DocumentError::TooLarge { .. } => "too large",
            DocumentError::Encoding { .. } => "encoding",
            DocumentError::Declaration { .. } => "declaration",
            DocumentError::Malformed { .. } => "malformed",
            DocumentError::Feature { feature, .. } => match feature {
                Feature::DocumentType => "document type",
                Feature::ProcessingInstruction => "processing instruction",
                Feature::XmlAttribute => "xml attribute",
                Feature::RelativeNamespace => "relative namespace",
                Feature::ReservedNamespace => "reserved namespace",
            },
            DocumentError::TooMany { what, .. } => what,
        },
        RimError::Signature(error) => match error {
            SignatureError::Unsigned => "unsigned",
            SignatureError::Second { .. } => "second",
            SignatureError::Wrapped { .. } => "wrapped",
            SignatureError::Form { .. } => "form",
            SignatureError::Stray { .. } => "stray",
            SignatureError::Algorithm { .. } => "algorithm",
            SignatureError::Reference { .. } => "reference",
            SignatureError::Base64 { .. } => "base64",
            SignatureError::Certificates { .. } => "certificates",
            SignatureError::Digest { .. } => "digest",
            SignatureError::Value => "value",
        },
        RimError::Chain(error) => match error {
            ChainError::Count { .. } => "count",
            ChainError::Certificate { .. } => "certificate",
            ChainError::Leaf { .. } => "leaf",
            ChainError::Link { .. } => "link",
            ChainError::Root { .. } => "root",
        },
        RimError::Time(error) => match error {
            TimeError::Expired { .. } => "expired",
            TimeError::NotYetValid { .. } => "not yet valid",
        },
        RimError::Content(error) => match error {
            ContentError::NotSwid { .. } => "not SWID",
            ContentError::Element { .. } => "element",
            ContentError::Text { .. } => "text",
            ContentError::Missing { .. } => "missing",
            ContentError::Value { .. } => "attribute",
            ContentError::Stray { .. } => "stray attribute",
            ContentError::Version { .. } => "version",
            ContentError::Twice { .. } => "twice",
        },
    }
}

#[test]
fn a_signed_rim_gives_its_active_measurements() {
    let pki = Pki::new();
    let rim = pki.verify(&Draft::new(&pki).sign(&pki)).unwrap();
    assert_eq!((rim.tag_id.as_str(), rim.entries), ("tag", 3));
    assert_eq!((rim.valid_from, rim.valid_until), (AT - 1000, AT + 700));
    let values: Vec<_> = rim.values.into_iter().collect();
    let wanted = [(0, vec![[0x11; 48]]), (63, vec![[0x11; 48], [0x22; 48]])];
    assert_eq!(values, wanted);
}

#[test]
fn a_chain_that_does_not_hold_is_refused_with_its_reason() {
    use cloister_test_pki::Extension;
    type Change = fn(&mut Pki);
    let changes: [(&str, Change); 8] = [
        ("link", |pki| pki.certificates[3].issuer = "Root".to_owned()),
        ("link", |pki| drop(pki.certificates[2].extensions.remove(0))),
        ("link", |pki| drop(pki.certificates[1].extensions.remove(1))),
        ("link", |pki| {
            pki.certificates[1].extensions[0] = Extension::authority(Some(0))
        }),
        ("leaf", |pki| pki.certificates[3].extensions.clear()),
        ("leaf", |pki| {
            pki.certificates[3]
                .extensions
                .push(Extension::authority(None))
        }),
        ("expired", |pki| pki.certificates[3].validity.1 = AT - 1),
        ("not yet valid", |pki| {
            pki.certificates[0].validity.0 = AT + 1
        }),
    ];
    let mut refused = 0;
    for (wanted, change) in changes {
        let mut pki = Pki::new();
        change(&mut pki);
        let found = pki
            .verify(&Draft::new(&pki).sign(&pki))
            .map_err(|error| kind(&error));
        assert_eq!(found.map(|rim| rim.tag_id), Err(wanted));
        refused += 1;
    }
    let pki = Pki::new();
    type Edit = fn(&mut Vec<Vec<u8>>);
    let edits: [(&str, Edit); 7] = [
        ("count", |chain| chain.truncate(3)),
        ("count", |chain| chain.push(chain[3].clone())),
        ("count", |chain| chain.clear()),
        ("certificates", |chain| chain.resize(9, vec![0])),
        // Leaf last: another key.
        ("value", |chain| chain.reverse()),
        ("link", |chain| chain.swap(1, 2)),
        ("certificate", |chain| chain[2].push(0)),
    ];
    for (wanted, edit) in edits {
        let mut draft = Draft::new(&pki);
        edit(&mut draft.chain);
        let found = pki.verify(&draft.sign(&pki)).map_err(|error| kind(&error));
        assert_eq!(found.map(|rim| rim.tag_id), Err(wanted));
        refused += 1;
    }
    let file = Draft::new(&pki).sign(&pki);
    let none = verify(file.as_bytes(), &[RootKey::nvidia()], AT).map_err(|error| kind(&error));
    assert_eq!(none.map(|rim| rim.tag_id), Err("root"));
    assert_eq!(refused + 1, 16);
}

/// The dates are the first and the last second at which it passes, and the error names certificate and date.
#[test]
fn the_first_and_the_last_second_count() {
    let pki = Pki::new();
    let file = Draft::new(&pki).sign(&pki);
    let at = |at| verify(file.as_bytes(), &[pki.root()], at);
    assert!(at(AT - 1000).is_ok() && at(AT + 700).is_ok());
    let late = at(AT + 701).unwrap_err();
    assert_eq!(
        late.to_string(),
        "leaf certificate has expired: `CN=Signer,O=Cloister Tests` is valid from 2023-11-14T21:56:40Z to 2023-11-14T22:25:00Z, not at 2023-11-14T22:25:01Z"
    );
    assert_eq!(kind(&at(AT - 1001).unwrap_err()), "not yet valid");
}

/// White space in tags, order of attributes, empty-element tags, quotes, character references, CDATA, comments, line ends, base64 with line
/// breaks, and an XML declaration: other bytes of the same document.
#[test]
fn another_spelling_of_the_same_document_gives_the_same_values() {
    let pki = Pki::new();
    let file = Draft::new(&pki).sign(&pki);
    let mut wanted = pki.verify(&file).unwrap();
    let spellings = [
        ("></ns0:Resource>", " />"),
        ("index=\"63\" name=\"M\"", "name='M'   index='63'"),
        ("index=\"63\"", "index=\"&#x36;3\""),
        ("\n <ns0:Meta", "<!-- a -->\r\n <ns0:Meta"),
        ("\n <ns0:Meta", "<![CDATA[\n]]> <ns0:Meta"),
        (
            "<ns0:Payload>",
            "<ns0:Payload xmlns:ns0=\"http://standards.iso.org/iso/19770/-2/2015/schema.xsd\">",
        ),
        ("<ds:SignatureValue>", "<ds:SignatureValue>\n  "),
        ("<ds:X509Certificate>MII", "<ds:X509Certificate>M\nI\tI"),
        (
            "<SoftwareIdentity ",
            "<?xml version='1.0' encoding='utf-8'?>\n<!-- a --><SoftwareIdentity ",
        ),
        ("</SoftwareIdentity>", "</SoftwareIdentity>\n\n"),
    ];
    for (from, to) in spellings {
        assert!(file.contains(from), "{from}");
        let found = pki.verify(&file.replacen(from, to, 1)).unwrap();
        assert_ne!(found.sha256, wanted.sha256);
        wanted.sha256 = found.sha256;
        assert_eq!(found, wanted, "{from} -> {to}");
    }
    assert_eq!(spellings.len(), 10);
}

#[test]
fn every_flipped_byte_is_refused_or_changes_no_value() {
    let pki = Pki::new();
    let mut file = Draft::new(&pki).sign(&pki).into_bytes();
    let mut wanted = verify(&file, &[pki.root()], AT).unwrap();
    let (mut refused, mut same) = (0, 0);
    for place in 0..file.len() {
        for flip in [0x01, 0x20, 0x80] {
            file[place] ^= flip;
            match verify(&file, &[pki.root()], AT) {
                Err(_) => refused += 1,
                Ok(found) => {
                    wanted.sha256 = found.sha256;
                    assert_eq!(found, wanted, "byte {place} with {flip:#x}");
                    same += 1;
                }
            }
            file[place] ^= flip;
        }
    }
    assert_eq!((refused, same), (3 * file.len(), 0));
}
