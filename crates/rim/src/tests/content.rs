//! Well signed, and still no RIM: changes of the canonical form before it is signed.

use super::made::{Draft, Pki, resource};
use super::refusals::kind;

/// Reason, what is replaced in the third measurement, and by what.
const MEASUREMENT: [(&str, &str, &str); 24] = [
    ("attribute", "active=\"True\"", "active=\"true\""),
    ("attribute", "active=\"True\"", "active=\"1\""),
    ("attribute", "active=\"True\"", "active=\"\""),
    ("attribute", "active=\"True\" ", ""),
    ("attribute", "index=\"63\"", "index=\"64\""),
    ("attribute", "index=\"63\"", "index=\"063\""),
    ("attribute", "index=\"63\"", "index=\"+3\""),
    ("attribute", "index=\"63\"", "index=\"\""),
    ("attribute", "size=\"48\"", "size=\"32\""),
    ("attribute", "\"Measurement\"", "\"File\""),
    ("attribute", "alternatives=\"2\"", "alternatives=\"0\""),
    ("attribute", "alternatives=\"2\"", "alternatives=\"17\""),
    // Hash2 is missing, and then Hash1 is one too many.
    ("attribute", "alternatives=\"2\"", "alternatives=\"3\""),
    (
        "stray attribute",
        "alternatives=\"2\"",
        "alternatives=\"1\"",
    ),
    ("attribute", "ns2:Hash0", "ns0:Hash0"),
    ("attribute", "Hash0=\"11", "Hash0=\"1"),
    ("attribute", "Hash0=\"11", "Hash0=\"1111"),
    ("attribute", "Hash0=\"11", "Hash0=\"zz"),
    ("stray attribute", "name=\"M\"", "mask=\"M\""),
    (
        "stray attribute",
        "<ns0:Resource ",
        "<ns0:Resource Hash0=\"11\" ",
    ),
    (
        "stray attribute",
        " ns2:Hash1",
        " ns2:Hash01=\"00\" ns2:Hash1",
    ),
    (
        "element",
        "></ns0:Resource>",
        "><ns0:Resource></ns0:Resource></ns0:Resource>",
    ),
    ("text", "<ns0:Resource ", "text<ns0:Resource "),
    (
        "element",
        "<ns0:Resource ",
        "<ns0:File></ns0:File><ns0:Resource ",
    ),
];

/// Reason, what is replaced in the tag around the measurements, and by what.
const TAG: [(&str, &str, &str); 14] = [
    ("version", "96.00.5E.00.01", "96.00.5E.00"),
    ("version", "96.00.5E.00.01", "96.00.5G.00.01"),
    ("version", "96.00.5E.00.01", "550"),
    ("version", "96.00.5E.00.01", "550.144.03a"),
    ("attribute", "\"GH100\"", "\"\""),
    ("attribute", " product=\"GH100\"", ""),
    ("attribute", "\"direct\"", "\"indirect\""),
    ("attribute", "\"tag\"", "\"a b\""),
    (
        "attribute",
        "supplemental=\"false\"",
        "supplemental=\"true\"",
    ),
    ("attribute", "patch=\"false\"", "patch=\"true\""),
    ("element", "<ns0:Meta ", "<ns0:Meta></ns0:Meta><ns0:Meta "),
    (
        "element",
        "<ns0:Meta ",
        "<ns0:Payload></ns0:Payload><ns0:Meta ",
    ),
    ("element", "<ns0:Meta ", "<ns0:Link></ns0:Link><ns0:Meta "),
    ("text", "<ns0:Meta ", "text<ns0:Meta "),
];

fn refused(pki: &Pki, draft: &Draft) -> Option<&'static str> {
    let found = pki.verify(&draft.sign(pki));
    found.err().map(|error| kind(&error))
}

#[test]
fn a_signed_measurement_of_another_form_is_refused_with_its_reason() {
    let pki = Pki::new();
    let mut count = 0;
    for (wanted, from, to) in MEASUREMENT {
        let mut draft = Draft::new(&pki);
        assert!(draft.resources[2].contains(from), "{from}");
        draft.resources[2] = draft.resources[2].replacen(from, to, 1);
        assert_eq!(refused(&pki, &draft), Some(wanted), "{from} -> {to}");
        count += 1;
    }
    assert_eq!(count, 24);
}

/// An inactive one is held to the same form, and its index is taken.
#[test]
fn an_inactive_measurement_is_checked_like_an_active_one() {
    let pki = Pki::new();
    let mut draft = Draft::new(&pki);
    draft.resources[1] = draft.resources[1].replace("Hash0=\"00", "Hash0=\"0");
    assert_eq!(refused(&pki, &draft), Some("attribute"));
    for active in ["True", "False"] {
        let mut draft = Draft::new(&pki);
        let one = "11".repeat(48);
        draft.resources.push(resource(1, active, &[&one]));
        assert_eq!(refused(&pki, &draft), Some("twice"));
    }
}

#[test]
fn a_signed_tag_of_another_form_is_refused_with_its_reason() {
    let pki = Pki::new();
    let mut count = 0;
    for (wanted, from, to) in TAG {
        let mut draft = Draft::new(&pki);
        for part in [&mut draft.outer, &mut draft.meta] {
            *part = part.replacen(from, to, 1);
        }
        assert_eq!(refused(&pki, &draft), Some(wanted), "{from} -> {to}");
        count += 1;
    }
    let mut draft = Draft::new(&pki);
    draft.meta.clear();
    assert_eq!(refused(&pki, &draft), Some("missing"));
    draft = Draft::new(&pki);
    draft.extra = "<ns0:Payload></ns0:Payload>".to_owned();
    assert_eq!(refused(&pki, &draft), Some("element"));
    assert_eq!(count, 14);
}

#[test]
fn the_largest_rim_that_is_taken_has_every_index_and_sixteen_alternatives() {
    let pki = Pki::new();
    let mut draft = Draft::new(&pki);
    let digest = "ab".repeat(48);
    draft.resources = (0..64)
        .map(|index| resource(index, "True", &[digest.as_str(); 10]))
        .collect();
    draft.resources[5] = sixteen(&digest);
    let rim = pki.verify(&draft.sign(&pki)).unwrap();
    assert_eq!((rim.entries, rim.values.len()), (64, 64));
    assert_eq!(rim.values[&5], vec![[0xab; 48]; 16]);
}

/// Index 5 with its digests in the order of their names: Hash10 stands before Hash2.
fn sixteen(digest: &str) -> String {
    let mut names: Vec<String> = (0..16).map(|number| format!("Hash{number}")).collect();
    names.sort();
    let hashes: String = names
        .iter()
        .map(|name| format!(" ns2:{name}=\"{digest}\""))
        .collect();
    let one = resource(5, "True", &[digest]);
    let one = one.replace("alternatives=\"1\"", "alternatives=\"16\"");
    one.replace(&format!(" ns2:Hash0=\"{digest}\""), &hashes)
}
