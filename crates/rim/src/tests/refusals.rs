//! One refusal for each reason, of files that are right but for it, and what may differ without harm.

use super::made::{AT, Draft, Pki, resource};
use crate::chain::{ChainError, RootKey, TimeError};
use crate::content::ContentError;
use crate::document::{DocumentError, Feature, MAX_ELEMENTS, MAX_INPUT};
use crate::{RimError, SignatureError, verify};

/// What an error is, without places and names.
fn kind(error: &RimError) -> &'static str {
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

/// Edits of the finished file: nobody signed them.
#[test]
fn an_edited_file_is_refused_with_its_reason() {
    let pki = Pki::new();
    let file = Draft::new(&pki).sign(&pki);
    let start = file.find("<ds:Signature ").unwrap();
    let end = file.find("</SoftwareIdentity>").unwrap();
    let signature = &file[start..end];
    let unsigned = file.replace(signature, "");
    let body =
        &unsigned[unsigned.find("\n ").unwrap()..unsigned.rfind("</SoftwareIdentity>").unwrap()];
    let info = &signature[signature.find("<ds:SignedInfo>").unwrap()
        ..signature.find("<ds:SignatureValue>").unwrap()];
    let replaced = |from: &str, to: &str| {
        assert!(file.contains(from), "{from}");
        file.replacen(from, to, 1)
    };
    let edits = [
        ("unsigned", unsigned.clone()),
        (
            "second",
            replaced(
                "</SoftwareIdentity>",
                &format!("{signature}</SoftwareIdentity>"),
            ),
        ),
        (
            "second",
            replaced("<ns0:Payload>", &format!("<ns0:Payload>{signature}")),
        ),
        // The signature moves into another element; the signed document moves into one of the attacker's.
        (
            "wrapped",
            unsigned.replace("</ns0:Payload>", &format!("{signature}</ns0:Payload>")),
        ),
        ("wrapped", format!("<evil xmlns=\"urn:evil\">{file}</evil>")),
        (
            "wrapped",
            replaced(
                ">\n <ns0:Meta",
                &format!(" xmlns:e=\"urn:e\"><e:old>{file}</e:old>\n <ns0:Meta"),
            )
            .replacen(signature, "\u{1}", 2)
            .replacen('\u{1}', signature, 1)
            .replace('\u{1}', ""),
        ),
        ("digest", replaced(&"11".repeat(48), &"12".repeat(48))),
        ("digest", replaced("index=\"63\"", "index=\"62\"")),
        ("digest", replaced("active=\"False\"", "active=\"True\"")),
        (
            "digest",
            replaced("\n </ns0:Meta>".trim(), "&#13;</ns0:Meta>"),
        ),
        ("digest", replaced(body, &format!("{body} "))),
        (
            "digest",
            replaced("</ns0:Payload>", "</ns0:Payload><ns0:Entity/>"),
        ),
        (
            "value",
            replaced("<ds:Reference URI", "\n<ds:Reference URI"),
        ),
        (
            "value",
            replaced(
                "xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"",
                "xmlns:x=\"urn:x\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"",
            ),
        ),
        (
            "form",
            replaced("<ds:KeyInfo>", "<ds:Object></ds:Object><ds:KeyInfo>"),
        ),
        (
            "form",
            replaced("<ds:KeyInfo>", &format!("{info}<ds:KeyInfo>")),
        ),
        (
            "form",
            replaced("<ds:X509Data>", "<ds:KeyName>a</ds:KeyName><ds:X509Data>"),
        ),
        (
            "form",
            replaced(
                "<ds:X509Certificate>",
                "<ds:X509CRL>AA==</ds:X509CRL><ds:X509Certificate>",
            ),
        ),
        (
            "form",
            replaced("<ds:SignatureValue>", "<ds:SignatureValue><ds:X/>"),
        ),
        (
            "stray",
            replaced("<ds:SignedInfo>", "<ds:SignedInfo Id=\"a\">"),
        ),
        ("stray", replaced("<ds:KeyInfo>", "<ds:KeyInfo>text")),
        (
            "base64",
            replaced("<ds:SignatureValue>", "<ds:SignatureValue>!"),
        ),
        (
            "base64",
            replaced("<ds:SignatureValue>", "<ds:SignatureValue>AAAA"),
        ),
        (
            "base64",
            replaced("<ds:X509Certificate>", "<ds:X509Certificate>="),
        ),
        (
            "certificate",
            replaced("<ds:X509Certificate>", "<ds:X509Certificate>AAAA"),
        ),
        (
            "document type",
            format!("<!DOCTYPE SoftwareIdentity>{file}"),
        ),
        (
            "document type",
            format!(
                "<!DOCTYPE a [<!ENTITY x \"y\">]>{}",
                replaced("index=\"63\"", "index=\"&x;\"")
            ),
        ),
        ("processing instruction", format!("<?a b?>{file}")),
        (
            "processing instruction",
            replaced("<ns0:Payload>", "<ns0:Payload><?a b?>"),
        ),
        ("malformed", replaced("index=\"63\"", "index=\"&x;\"")),
        (
            "malformed",
            replaced("index=\"63\"", "index=\"63\" index=\"63\""),
        ),
        ("malformed", replaced("index=\"63\"", "x:index=\"63\"")),
        ("malformed", format!("{file}{file}")),
        ("malformed", format!("{file}text")),
        ("malformed", file[..file.len() - 1].to_owned()),
        ("malformed", String::new()),
        (
            "xml attribute",
            replaced("<ns0:Payload>", "<ns0:Payload xml:base=\"a\">"),
        ),
        (
            "xml attribute",
            replaced("<ns0:Payload>", "<ns0:Payload xml:lang=\"en\">"),
        ),
        (
            "relative namespace",
            replaced("<ns0:Payload>", "<ns0:Payload xmlns:a=\"a\">"),
        ),
        ("declaration", format!("<?xml version=\"1.1\"?>{file}")),
        (
            "declaration",
            format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>{file}"),
        ),
        (
            "elements",
            replaced(
                "<ns0:Payload>",
                &format!("<ns0:Payload>{}", "<a/>".repeat(MAX_ELEMENTS)),
            ),
        ),
        (
            "elements within one another",
            replaced("<ns0:Payload>", &"<ns0:Payload>".repeat(20)),
        ),
        ("too large", format!("{file}{}", " ".repeat(MAX_INPUT))),
    ];
    let mut refused = 0;
    for (wanted, edited) in &edits {
        match pki.verify(edited) {
            Err(error) if kind(&error) == *wanted => refused += 1,
            other => panic!("{wanted}: {other:?}\n{edited}"),
        }
    }
    assert_eq!(refused, 44);
    let latin = verify(b"<a>\xe4</a>", &[pki.root()], AT);
    assert_eq!(latin, Err(DocumentError::Encoding { offset: 3 }.into()));
}

/// Files whose signature says something else than the one form does.
#[test]
fn another_signed_info_is_refused_with_its_reason() {
    let pki = Pki::new();
    let c14n = "http://www.w3.org/2006/12/xml-c14n11";
    let enveloped = "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>";
    let edits = [
        (
            "algorithm",
            c14n,
            "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
        ),
        ("algorithm", c14n, "http://www.w3.org/2001/10/xml-exc-c14n#"),
        (
            "algorithm",
            c14n,
            "http://www.w3.org/2006/12/xml-c14n11#WithComments",
        ),
        ("algorithm", "#ecdsa-sha384", "#ecdsa-sha256"),
        (
            "algorithm",
            "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
            "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
        ),
        ("algorithm", "xmldsig-more#sha384", "xmlenc#sha256"),
        (
            "algorithm",
            "xmldsig#enveloped-signature",
            "REC-xslt-19991116",
        ),
        ("form", enveloped, ""),
        ("form", enveloped, &enveloped.repeat(2)),
        (
            "form",
            "<ds:Reference URI=\"\">",
            "<ds:Reference URI=\"#a\"></ds:Reference><ds:Reference URI=\"\">",
        ),
        (
            "form",
            "</ds:SignatureMethod>",
            "<ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>",
        ),
        ("form", "<ds:DigestValue>", "<ds:Digest>"),
        ("reference", "URI=\"\"", "URI=\"#tag\""),
        ("reference", " URI=\"\"", ""),
        ("stray", "URI=\"\"", "Type=\"a\" URI=\"\""),
        ("base64", "{digest}", "AAAA"),
        (
            "digest",
            "{digest}",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
    ];
    let mut refused = 0;
    for (wanted, from, to) in edits {
        let mut draft = Draft::new(&pki);
        assert!(draft.signed_info.contains(from), "{from}");
        draft.signed_info = draft.signed_info.replacen(from, to, 1).replace(
            "</ds:DigestValue>",
            if to == "<ds:Digest>" {
                "</ds:Digest>"
            } else {
                "</ds:DigestValue>"
            },
        );
        let found = pki.verify(&draft.sign(&pki)).map_err(|error| kind(&error));
        assert_eq!(found.map(|rim| rim.tag_id), Err(wanted), "{from} -> {to}");
        refused += 1;
    }
    assert_eq!(refused, 17);
}

/// Well signed, and still no RIM: what is said before `draft` is signed is what the signer meant.
#[test]
fn signed_content_that_is_no_rim_is_refused_with_its_reason() {
    let pki = Pki::new();
    let one = "11".repeat(48);
    type Change = Box<dyn Fn(&mut Draft)>;
    let resources = |from: &str, to: &str| -> Change {
        let (from, to) = (from.to_owned(), to.to_owned());
        Box::new(move |draft: &mut Draft| {
            assert!(draft.resources[2].contains(&from), "{from}");
            draft.resources[2] = draft.resources[2].replacen(&from, &to, 1);
        })
    };
    let meta = |from: &str, to: &str| -> Change {
        let (from, to) = (from.to_owned(), to.to_owned());
        Box::new(move |draft: &mut Draft| {
            draft.meta = draft.meta.replace(&from, &to);
            draft.outer = draft.outer.replace(&from, &to);
        })
    };
    let double = resource(0, "False", &[&one]);
    let changes: Vec<(&str, Change)> = vec![
        (
            "twice",
            Box::new(move |draft| draft.resources.push(double.clone())),
        ),
        ("attribute", resources("active=\"True\"", "active=\"true\"")),
        ("attribute", resources("active=\"True\"", "active=\"1\"")),
        ("attribute", resources("active=\"True\" ", "")),
        ("attribute", resources("index=\"63\"", "index=\"64\"")),
        ("attribute", resources("index=\"63\"", "index=\"063\"")),
        ("attribute", resources("index=\"63\"", "index=\"+3\"")),
        ("attribute", resources("index=\"63\"", "index=\"\"")),
        ("attribute", resources("size=\"48\"", "size=\"32\"")),
        (
            "attribute",
            resources("type=\"Measurement\"", "type=\"File\""),
        ),
        (
            "attribute",
            resources("alternatives=\"2\"", "alternatives=\"0\""),
        ),
        (
            "attribute",
            resources("alternatives=\"2\"", "alternatives=\"17\""),
        ),
        // Hash2 is missing; Hash1 is one too many.
        (
            "attribute",
            resources("alternatives=\"2\"", "alternatives=\"3\""),
        ),
        (
            "stray attribute",
            resources("alternatives=\"2\"", "alternatives=\"1\""),
        ),
        (
            "attribute",
            resources(
                "<ns0:Resource active=\"True\" alternatives=\"2\"",
                "<ns0:Resource Hash0=\"11\" active=\"True\" alternatives=\"3\"",
            ),
        ),
        ("attribute", resources("ns2:Hash0", "ns0:Hash0")),
        ("attribute", resources("Hash0=\"11", "Hash0=\"1")),
        ("attribute", resources("Hash0=\"11", "Hash0=\"1111")),
        ("attribute", resources("Hash0=\"11", "Hash0=\"zz")),
        ("stray attribute", resources("name=\"M\"", "mask=\"M\"")),
        (
            "stray attribute",
            resources("ns2:Hash1=\"", "ns2:Hash01=\"00\" ns2:Hash1=\""),
        ),
        ("element", resources("ns0:Resource", "ns2:Resource")),
        (
            "element",
            resources("></ns0", "><ns0:Resource></ns0:Resource></ns0"),
        ),
        ("text", resources("<ns0", "text<ns0")),
        ("version", meta("96.00.5E.00.01", "96.00.5E.00")),
        ("version", meta("96.00.5E.00.01", "96.00.5G.00.01")),
        ("version", meta("96.00.5E.00.01", "550,144")),
        ("attribute", meta("product=\"GH100\"", "product=\"\"")),
        ("attribute", meta(" product=\"GH100\"", "")),
        (
            "attribute",
            meta("PayloadType=\"direct\"", "PayloadType=\"indirect\""),
        ),
        ("attribute", meta("tagId=\"tag\"", "tagId=\"a b\"")),
        (
            "attribute",
            meta("supplemental=\"false\"", "supplemental=\"true\""),
        ),
        ("attribute", meta("patch=\"false\"", "patch=\"true\"")),
        ("missing", Box::new(|draft| draft.meta.clear())),
        (
            "element",
            Box::new(|draft| draft.meta = draft.meta.repeat(2)),
        ),
        (
            "element",
            Box::new(|draft| draft.extra.push_str("<ns0:Payload></ns0:Payload>")),
        ),
        (
            "element",
            Box::new(|draft| draft.extra.push_str("<ns0:Link></ns0:Link>")),
        ),
        ("text", Box::new(|draft| draft.extra.push('x'))),
        (
            "element",
            Box::new(|draft| draft.extra = "<ns0:Meta></ns0:Meta>".to_owned()),
        ),
    ];
    let mut refused = 0;
    for (number, (wanted, change)) in changes.iter().enumerate() {
        let mut draft = Draft::new(&pki);
        change(&mut draft);
        // Renamed start tags get their end tags renamed too.
        for resource in &mut draft.resources {
            if resource.starts_with("<ns2:Resource") {
                *resource = resource.replace("</ns0:Resource>", "</ns2:Resource>");
            }
        }
        let found = pki
            .verify(&draft.sign(&pki))
            .map_err(|error| (kind(&error), error.to_string()));
        let found = found.map(|rim| rim.tag_id).map_err(|(kind, message)| {
            assert!(kind == *wanted, "change {number}: {message}");
            kind
        });
        assert_eq!(found, Err(*wanted), "change {number}");
        refused += 1;
    }
    assert_eq!(refused, 39);
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
