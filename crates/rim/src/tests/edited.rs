//! Edits that nobody signed, and signatures of another form: one refusal for each reason, of files that are right but for it.

use super::made::{AT, Draft, Pki};
use super::refusals::kind;
use crate::document::{Document, DocumentError, MAX_ELEMENTS, MAX_INPUT, Position};
use crate::verify;

/// Reason, what is replaced in the finished file, and by what.
const EDITS: [(&str, &str, &str); 37] = [
    ("digest", "Hash0=\"11", "Hash0=\"12"),
    ("digest", "index=\"63\"", "index=\"62\""),
    ("digest", "active=\"False\"", "active=\"True\""),
    ("digest", "</ns0:Meta>", "&#13;</ns0:Meta>"),
    ("digest", "</ns0:Payload>", " </ns0:Payload>"),
    ("digest", "</ns0:Payload>", "</ns0:Payload><ns0:Entity/>"),
    ("value", "<ds:Reference URI", "\n<ds:Reference URI"),
    (
        "value",
        "<ds:Signature xmlns",
        "<ds:Signature xmlns:x=\"urn:x\" xmlns",
    ),
    (
        "form",
        "<ds:KeyInfo>",
        "<ds:Object></ds:Object><ds:KeyInfo>",
    ),
    ("form", "<ds:KeyInfo>", "<ds:SignedInfo/><ds:KeyInfo>"),
    (
        "form",
        "<ds:X509Data>",
        "<ds:KeyName>a</ds:KeyName><ds:X509Data>",
    ),
    (
        "form",
        "<ds:X509Certificate>",
        "<ds:X509CRL/><ds:X509Certificate>",
    ),
    ("form", "<ds:SignatureValue>", "<ds:SignatureValue><ds:X/>"),
    ("stray", "<ds:SignedInfo>", "<ds:SignedInfo Id=\"a\">"),
    ("stray", "<ds:KeyInfo>", "<ds:KeyInfo>text"),
    ("base64", "<ds:SignatureValue>", "<ds:SignatureValue>!"),
    ("base64", "<ds:SignatureValue>", "<ds:SignatureValue>AAAA"),
    ("base64", "<ds:X509Certificate>", "<ds:X509Certificate>="),
    (
        "certificate",
        "<ds:X509Certificate>",
        "<ds:X509Certificate>AAAA",
    ),
    (
        "document type",
        "<SoftwareIdentity",
        "<!DOCTYPE a><SoftwareIdentity",
    ),
    (
        "document type",
        "<SoftwareIdentity",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><SoftwareIdentity",
    ),
    (
        "document type",
        "<SoftwareIdentity",
        "<!DOCTYPE a SYSTEM \"file:///b\"><SoftwareIdentity",
    ),
    (
        "processing instruction",
        "<SoftwareIdentity",
        "<?a b?><SoftwareIdentity",
    ),
    (
        "processing instruction",
        "<ns0:Payload>",
        "<ns0:Payload><?a b?>",
    ),
    ("malformed", "index=\"63\"", "index=\"&x;\""),
    ("malformed", "index=\"63\"", "index=\"63\" index=\"63\""),
    ("malformed", "index=\"63\"", "x:index=\"63\""),
    (
        "malformed",
        "<ns0:Payload>",
        "<ns0:Payload xmlns:a=\"urn:a\" xmlns:a=\"urn:a\">",
    ),
    (
        "malformed",
        "<ds:Signature xmlns",
        "<ds:Signature xmlns:ds=\"urn:ds\" xmlns",
    ),
    (
        "malformed",
        "</SoftwareIdentity>",
        "</SoftwareIdentity>text",
    ),
    (
        "malformed",
        "</SoftwareIdentity>",
        "</SoftwareIdentity><a/>",
    ),
    (
        "xml attribute",
        "<ns0:Payload>",
        "<ns0:Payload xml:base=\"a\">",
    ),
    (
        "xml attribute",
        "<ns0:Payload>",
        "<ns0:Payload xml:lang=\"en\">",
    ),
    (
        "relative namespace",
        "<ns0:Payload>",
        "<ns0:Payload xmlns:a=\"a\">",
    ),
    (
        "reserved namespace",
        "<ns0:Payload>",
        "<ns0:Payload xmlns:a=\"http://www.w3.org/XML/1998/namespace\">",
    ),
    (
        "declaration",
        "<SoftwareIdentity",
        "<?xml version=\"1.1\"?><SoftwareIdentity",
    ),
    (
        "declaration",
        "<SoftwareIdentity",
        "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><SoftwareIdentity",
    ),
];

#[test]
fn an_edited_file_is_refused_with_its_reason() {
    let pki = Pki::new();
    let file = Draft::new(&pki).sign(&pki);
    let mut refused = 0;
    for (wanted, from, to) in EDITS {
        assert!(file.contains(from), "{from}");
        let found = pki.verify(&file.replacen(from, to, 1));
        let found = found.map_err(|error| kind(&error));
        assert_eq!(found.map(|rim| rim.tag_id), Err(wanted), "{from} -> {to}");
        refused += 1;
    }
    assert_eq!(refused, 37);
}

/// Whatever looks like it is none: other elements, values, comments and CDATA.
#[test]
fn a_prefix_bound_twice_in_one_tag_is_named_with_its_place() {
    let parse = |text: &str| Document::parse(text.as_bytes());
    let right = [
        "<a xmlns:p='urn:p'><b xmlns:p='urn:p'/><b xmlns:p='urn:q'></b ></a>",
        "<a xmlns:p='urn:p' xmlns:p2='urn:p' xmlns='urn:p'/>",
        "<a xmlns:p='urn:p' b='> xmlns:p=&quot;urn:p&quot;' c=\" xmlns:p='urn:p'\"/>",
        "<a xmlns:p='urn:p'><!-- xmlns:p='urn:p' ><b xmlns:p='1' xmlns:p='2'> --></a>",
        "<a><![CDATA[<b xmlns:p='1' xmlns:p='2'>]]> xmlns:p='1' xmlns:p='2'</a>",
        "<a xmlnsp='1' xmlnsq='2'/>",
    ];
    for text in right {
        assert!(parse(text).is_ok(), "{text}");
    }
    let wrong = [
        ("<a xmlns:p='urn:p' xmlns:p='urn:p'/>", "xmlns:p", (1, 1)),
        (
            "<ä>\n <!--\n--><é xmlns = \"urn:p\"\n b='>' xmlns='urn:p'/></ä>",
            "xmlns",
            (3, 4),
        ),
    ];
    for (text, name, (line, column)) in wrong {
        let error = DocumentError::Malformed {
            at: Position { line, column },
            reason: format!("Attribute '{name}' is redefined"),
        };
        assert_eq!(parse(text), Err(error), "{text}");
    }
    assert_eq!((right.len(), wrong.len()), (6, 2));
}

/// A genuine signature that is moved, repeated or taken away, so that it covers something else than what would be read.
#[test]
fn a_wrapped_signature_is_refused() {
    let pki = Pki::new();
    let file = Draft::new(&pki).sign(&pki);
    let start = file.find("<ds:Signature ").unwrap();
    let (before, signature) = file.split_at(start);
    let (signature, _) = signature.split_at(signature.find("</SoftwareIdentity>").unwrap());
    let evil = before.replace(&"11".repeat(48), &"12".repeat(48));
    let unsigned = format!("{before}</SoftwareIdentity>");
    let edits = [
        ("unsigned", unsigned.clone()),
        (
            "second",
            format!("{before}{signature}{signature}</SoftwareIdentity>"),
        ),
        (
            "second",
            file.replace("<ns0:Payload>", &format!("<ns0:Payload>{signature}")),
        ),
        (
            "wrapped",
            unsigned.replace("</ns0:Payload>", &format!("{signature}</ns0:Payload>")),
        ),
        ("wrapped", format!("<evil xmlns=\"urn:evil\">{file}</evil>")),
        ("wrapped", format!("{evil}{file}</SoftwareIdentity>")),
        (
            "wrapped",
            format!("{evil}<ns0:Entity>{file}</ns0:Entity></SoftwareIdentity>"),
        ),
        (
            "digest",
            format!("{evil}{signature}{unsigned}</SoftwareIdentity>"),
        ),
    ];
    for (wanted, edited) in &edits {
        let found = pki.verify(edited).map_err(|error| kind(&error));
        assert_eq!(found.map(|rim| rim.tag_id), Err(*wanted), "{edited}");
    }
    assert_eq!(edits.len(), 8);
}

#[test]
fn a_file_that_is_too_much_or_too_little_is_refused() {
    let pki = Pki::new();
    let file = Draft::new(&pki).sign(&pki);
    let payload = |to: &str| file.replace("<ns0:Payload>", to);
    let prefixes: String = (0..20)
        .map(|number| format!(" xmlns:a{number}=\"urn:a\""))
        .collect();
    let edits = [
        ("malformed", String::new()),
        ("malformed", file[..file.len() - 1].to_owned()),
        (
            "elements",
            payload(&format!("<ns0:Payload>{}", "<a/>".repeat(MAX_ELEMENTS))),
        ),
        (
            "elements within one another",
            payload(&"<ns0:Payload>".repeat(20)),
        ),
        ("prefixes", payload(&format!("<ns0:Payload{prefixes}>"))),
        (
            "malformed",
            payload(&format!("<ns0:Payload a=\"{}\">", "a".repeat(5000))),
        ),
        (
            "malformed",
            payload(&format!("<ns0:Payload>{}", "a".repeat(20_000))),
        ),
        ("too large", format!("{file}{}", " ".repeat(MAX_INPUT))),
    ];
    for (wanted, edited) in &edits {
        let found = pki.verify(edited).map_err(|error| kind(&error));
        assert_eq!(found.map(|rim| rim.tag_id), Err(*wanted), "{edited}");
    }
    assert_eq!(edits.len(), 8);
    let latin = verify(b"<a>\xe4</a>", &[pki.root()], AT);
    assert_eq!(latin, Err(DocumentError::Encoding { offset: 3 }.into()));
}

const C14N: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ENVELOPED: &str = "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>";
const ECDSA: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
const DIGEST: &str = "<ds:DigestValue>{digest}</ds:DigestValue>";

/// Reason, what is replaced in SignedInfo before it is signed, and by what.
const SIGNED_INFO: [(&str, &str, &str); 17] = [
    (
        "algorithm",
        C14N,
        "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    ),
    ("algorithm", C14N, "http://www.w3.org/2001/10/xml-exc-c14n#"),
    (
        "algorithm",
        C14N,
        "http://www.w3.org/2006/12/xml-c14n11#WithComments",
    ),
    ("algorithm", "#ecdsa-sha384", "#ecdsa-sha256"),
    (
        "algorithm",
        ECDSA,
        "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
    ),
    ("algorithm", "xmldsig-more#sha384", "xmlenc#sha256"),
    (
        "algorithm",
        "xmldsig#enveloped-signature",
        "REC-xslt-19991116",
    ),
    ("form", ENVELOPED, ""),
    ("form", "<ds:Transforms>", "<ds:Transforms><ds:Transform/>"),
    (
        "form",
        "<ds:Reference URI=\"\">",
        "<ds:Reference URI=\"#a\"/><ds:Reference URI=\"\">",
    ),
    (
        "form",
        "</ds:SignatureMethod>",
        "<ds:HMACOutputLength>1</ds:HMACOutputLength></ds:SignatureMethod>",
    ),
    ("form", DIGEST, ""),
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

#[test]
fn another_signed_info_is_refused_with_its_reason() {
    let pki = Pki::new();
    let mut refused = 0;
    for (wanted, from, to) in SIGNED_INFO {
        let mut draft = Draft::new(&pki);
        assert!(draft.signed_info.contains(from), "{from}");
        draft.signed_info = draft.signed_info.replacen(from, to, 1);
        let found = pki.verify(&draft.sign(&pki)).map_err(|error| kind(&error));
        assert_eq!(found.map(|rim| rim.tag_id), Err(wanted), "{from} -> {to}");
        refused += 1;
    }
    assert_eq!(refused, 17);
}
