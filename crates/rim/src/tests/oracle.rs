//! Canonical forms byte for byte as libxml2 writes them, asked through Python's `lxml`.

use std::process::Command;

use crate::canonical::canonical;
use crate::document::{Document, Node};

/// Prints, for each file named, the canonical form (C14N 1.1 rules and 1.0 differ only in attributes of `xml`, which we refuse).
const SCRIPT: &str = "
import sys
from lxml import etree
parser = etree.XMLParser(resolve_entities=False, no_network=True)
for name in sys.argv[1:]:
    tree = etree.parse(name, parser)
    sys.stdout.buffer.write(etree.tostring(tree, method='c14n', with_comments=False) + b'\\0')
";

const DOCUMENTS: [&str; 22] = [
    "<a/>",
    "<a></a>",
    "<?xml version='1.0' encoding='UTF-8'?>\n<!-- x --><a>\n</a>\n<!-- y -->\n",
    "<a z='1' b='2' a='3'/>",
    "<a xmlns:z='urn:a' xmlns:b='urn:z' b:x='1' z:y='2' x='3' z:a='4'/>",
    "<a xmlns='urn:a'><b xmlns=''><c/></b><d xmlns='urn:d'><e xmlns='urn:d'/></d></a>",
    "<p:a xmlns:p='urn:p'><p:b xmlns:p='urn:q'><p:c xmlns:p='urn:p' p:d=''/></p:b></p:a>",
    "<p:a xmlns:p='urn:p' xmlns='urn:p'><b xmlns:p='urn:p'/><p:b/></p:a>",
    "<a xmlns:unused='urn:u'><b/></a>",
    "<a>&lt;&gt;&amp;&apos;&quot;</a>",
    "<a b='&lt;&gt;&amp;&apos;&quot;'/>",
    "<a b='x\ty\nz\r\nw'>x\ty\nz\r\nw\rv</a>",
    "<a b='&#9;&#10;&#13;&#32;&#x20ac;'>&#9;&#10;&#13;&#32;&#x20ac;</a>",
    "<a b='  two  spaces  '/>",
    "<a><![CDATA[<&>]]]]><![CDATA[>]]></a>",
    "<a>one<!-- two -->three<b/>four<!-- - --></a>",
    "<ä é='ü'>€ 𝄞</ä>",
    "<a><b></b>\n<c/> <d>\t</d></a>",
    "<a b = '1'   c\n=\n\"2\"  ></a   >",
    "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'><b/></a>",
    "<_a-b.c d-e='f'/>",
    "\u{feff}<a>bom</a>",
];

/// The canonical forms of these files by libxml2.
fn libxml2(files: &[std::path::PathBuf]) -> Option<Vec<Vec<u8>>> {
    let python = super::workspace().join("target/venv/bin/python");
    let check = Command::new(&python)
        .args(["-c", "import lxml.etree"])
        .output();
    let has_lxml = check.is_ok_and(|output| output.status.success());
    let python = super::found(
        has_lxml.then_some(python),
        "lxml in target/venv; scripts/test.sh installs it",
    )?;
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .args(files)
        .output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let mut forms: Vec<Vec<u8>> = output
        .stdout
        .split(|byte| *byte == 0)
        .map(<[u8]>::to_vec)
        .collect();
    assert_eq!(forms.pop().as_deref(), Some(&[][..]));
    Some(forms)
}

#[test]
fn canonical_forms_are_those_of_libxml2() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (number, text) in DOCUMENTS.iter().enumerate() {
        let file = directory.path().join(number.to_string());
        std::fs::write(&file, text).unwrap();
        files.push(file);
    }
    if let Some(vectors) = super::vectors() {
        let rims = [
            "rims/NV_GPU_DRIVER_GH100_550.144.03.xml",
            "c-580.159.03/1010_0205_862_9600740020_PROD.swidtag",
        ];
        files.extend(rims.map(|file| vectors.join(file)));
    }
    let Some(forms) = libxml2(&files) else {
        return;
    };
    assert_eq!(forms.len(), files.len());
    for (file, wanted) in files.iter().zip(forms) {
        let input = std::fs::read(file).unwrap();
        let document = Document::parse(&input).unwrap();
        let found = canonical(&document.nodes, &(0..0));
        let text = String::from_utf8_lossy;
        assert_eq!(text(&found), text(&wanted), "{}", text(&input));
    }
}

/// What libxml2 refuses as not well-formed, or as against the rules of namespaces.
const BROKEN: [&str; 38] = [
    "",
    " ",
    "a",
    "<a>",
    "<a/><b/>",
    "<a/>b",
    "b<a/>",
    "<a></b>",
    "<a><b></a></b>",
    "<a b='1' b='2'/>",
    "<a xmlns:p='urn:p' xmlns:q='urn:p' p:b='1' q:b='2'/>",
    "<a xmlns:p='urn:p' xmlns:p='urn:p'/>",
    "<a xmlns:p='urn:p' xmlns:p='urn:q'><p:b/></a>",
    "<a xmlns='urn:p' xmlns='urn:q'/>",
    "<a><b xmlns:p='urn:p'/><c xmlns:q='urn:p' xmlns:p = \"urn:p\"\nxmlns:q ='urn:q'/></a>",
    "<p:a/>",
    "<a p:b='1'/>",
    "<a xmlns:p='urn:p'><b xmlns:p=''/></a>",
    "<a xmlns:xml='urn:x'/>",
    "<a xmlns:xmlns='urn:x'/>",
    "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
    "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
    "<a:b:c xmlns:a='urn:a'/>",
    "<:a/>",
    "<a b/>",
    "<a b=1/>",
    "<a b='1'c='2'/>",
    "<a b='<'/>",
    "<a b='&'/>",
    "<a>&</a>",
    "<a>&x;</a>",
    "<a>&#0;</a>",
    "<a>&#xD800;</a>",
    "<a>\u{1}</a>",
    "<a>]]></a>",
    "<a><!-- -- --></a>",
    "<1/>",
    " <?xml version='1.0'?><a/>",
];

#[test]
fn what_libxml2_refuses_is_refused() {
    let accepted: Vec<_> = BROKEN
        .iter()
        .filter(|text| Document::parse(text.as_bytes()).is_ok())
        .collect();
    assert_eq!(accepted, [] as [&&str; 0]);
}

/// Prefixes bound anew, undone and shared by names, attributes in any order, text of every kind.
#[test]
fn canonical_forms_of_made_up_documents_are_those_of_libxml2() {
    let directory = tempfile::tempdir().unwrap();
    let (mut files, mut seed) = (Vec::new(), 1);
    for number in 0..300 {
        let file = directory.path().join(number.to_string());
        std::fs::write(&file, element(&mut seed, 0)).unwrap();
        files.push(file);
    }
    let Some(forms) = libxml2(&files) else {
        return;
    };
    let mut nodes = 0;
    for (file, wanted) in files.iter().zip(forms) {
        let input = std::fs::read(file).unwrap();
        let document = Document::parse(&input).unwrap();
        nodes += document
            .nodes
            .iter()
            .filter(|node| matches!(node, Node::Start(_)))
            .count();
        let found = canonical(&document.nodes, &(0..0));
        let text = String::from_utf8_lossy;
        assert_eq!(text(&found), text(&wanted), "{}", text(&input));
    }
    assert!(nodes > 1000, "{nodes} elements are few");
}

/// A number below `limit` (linear congruence of Knuth's MMIX).
fn draw(seed: &mut u64, limit: usize) -> usize {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap() % limit
}

/// An element that binds all its prefixes itself, to one of three names, so that every draw is well-formed.
fn element(seed: &mut u64, depth: usize) -> String {
    const NAMES: [&str; 3] = ["urn:a", "urn:b", "http://c"];
    const TEXTS: [&str; 8] = [
        "",
        " ",
        "x",
        "&lt;",
        "\r\n",
        "&#13;",
        "<!--c-->",
        "<![CDATA[&]]>",
    ];
    let mut attributes = Vec::new();
    let mut bound = ["p", "q"].map(|prefix| (prefix, draw(seed, 3)));
    if bound[0].1 == bound[1].1 {
        bound[1].1 = (bound[1].1 + 1) % 3;
    }
    for (prefix, name) in bound {
        attributes.push(format!("xmlns:{prefix}='{}'", NAMES[name]));
    }
    match draw(seed, 4) {
        0 => attributes.push("xmlns=''".to_owned()),
        1 | 2 => attributes.push(format!("xmlns=\"{}\"", NAMES[draw(seed, 3)])),
        _ => {}
    }
    for name in ["a", "b", "p:a", "q:a", "q:b"] {
        if draw(seed, 2) == 0 {
            let value = ["", "1", "&quot;", "\t", "&#10;", "&gt;"][draw(seed, 6)];
            attributes.push(format!("{name}=\"{value}\""));
        }
    }
    for place in (1..attributes.len()).rev() {
        attributes.swap(place, draw(seed, place + 1));
    }
    let name = ["a", "p:a", "q:b"][draw(seed, 3)];
    let mut out = format!("<{name} {}>", attributes.join(" "));
    for _ in 0..draw(seed, 4) {
        out.push_str(TEXTS[draw(seed, 8)]);
        if depth < 5 {
            out.push_str(&element(seed, depth + 1));
        }
    }
    out.push_str(TEXTS[draw(seed, 8)]);
    format!("{out}</{name}>")
}
