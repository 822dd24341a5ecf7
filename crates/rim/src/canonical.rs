//! Canonical XML 1.1 without comments, of one element and what is in it.
//!
//! Spec: W3C Canonical XML 1.1, sections 2.2 to 2.4, for a node set that has the element with all its descendants but perhaps
//! one of them. Ancestors are not in the set: their namespaces are written at the element, and their attributes of the `xml`
//! prefix would have to be inherited, which is why [`crate::document`] refuses those everywhere.

use std::ops::Range;

use crate::document::{Element, Node, Scope, qualified};

/// The canonical form of `nodes`, an element from start to end, without the nodes of `hole`, which must be an element too or empty.
pub(crate) fn canonical(nodes: &[Node], hole: &Range<usize>) -> Vec<u8> {
    let mut out = String::new();
    // Scopes of the elements that are open: those that were written, not the ancestors of the first.
    let mut scopes: Vec<&Scope> = Vec::new();
    let none = Scope::new();
    for (index, node) in nodes.iter().enumerate() {
        if hole.contains(&index) {
            continue;
        }
        match node {
            Node::Start(element) => {
                start(&mut out, element, scopes.last().copied().unwrap_or(&none));
                scopes.push(&element.scope);
            }
            Node::Text(text) => escape(&mut out, text, Within::Text),
            Node::End(name) => {
                scopes.pop();
                out.extend(["</", name, ">"]);
            }
        }
    }
    out.into_bytes()
}

/// A start tag: namespaces that the parent has not, by prefix, then attributes by namespace and name.
fn start(out: &mut String, element: &Element, parent: &Scope) {
    out.extend(["<", &element.qualified()]);
    if parent.contains_key("") && !element.scope.contains_key("") {
        out.push_str(" xmlns=\"\"");
    }
    for (prefix, uri) in &element.scope {
        if parent.get(prefix) == Some(uri) {
            continue;
        }
        match prefix.as_str() {
            "" => pair(out, "xmlns", uri),
            prefix => pair(out, &format!("xmlns:{prefix}"), uri),
        }
    }
    let mut attributes: Vec<_> = element.attributes.iter().collect();
    attributes.sort_by_key(|found| (&found.namespace, &found.local));
    for attribute in attributes {
        let name = qualified(&attribute.prefix, &attribute.local);
        pair(out, &name, &attribute.value);
    }
    out.push('>');
}

fn pair(out: &mut String, name: &str, value: &str) {
    out.extend([" ", name, "=\""]);
    escape(out, value, Within::Value);
    out.push('"');
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Text,
    Value,
}

fn escape(out: &mut String, text: &str, within: Within) {
    for character in text.chars() {
        match (character, within) {
            ('&', _) => out.push_str("&amp;"),
            ('<', _) => out.push_str("&lt;"),
            ('\r', _) => out.push_str("&#xD;"),
            ('>', Within::Text) => out.push_str("&gt;"),
            ('"', Within::Value) => out.push_str("&quot;"),
            ('\t', Within::Value) => out.push_str("&#x9;"),
            ('\n', Within::Value) => out.push_str("&#xA;"),
            (other, _) => out.push(other),
        }
    }
}
