//! XML as a flat list of nodes, as much of it as signed manifests need.
//!
//! Specs: XML 1.0 (fifth edition), Namespaces in XML 1.0. The parser is the crate `xml`; this module refuses what the canonical form here has no
//! answer to, and bounds the rest. Comments are dropped, which is what canonical XML without comments does; CDATA becomes text.

mod tags;

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;
use xml::attribute::OwnedAttribute;
use xml::common::{Position as _, XmlVersion};
use xml::name::OwnedName;
use xml::namespace::{NS_XML_URI, NS_XMLNS_URI, Namespace};
use xml::reader::{ErrorKind, EventReader, ParserConfig, XmlEvent};

/// Longest file that is read, in bytes; RIMs have 18 to 26 thousand.
pub const MAX_INPUT: usize = 256 << 10;
/// Elements within one another.
pub const MAX_DEPTH: usize = 16;
/// Elements of a document.
pub const MAX_ELEMENTS: usize = 1024;
/// Prefixes that are bound in one place.
pub const MAX_PREFIXES: usize = 16;

/// Where something stands in the text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Character of the line.
    pub column: u64,
}

impl core::fmt::Display for Position {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

impl From<xml::common::TextPosition> for Position {
    fn from(position: xml::common::TextPosition) -> Self {
        Self {
            line: position.row + 1,
            column: position.column + 1,
        }
    }
}

/// Why bytes are not a document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Too long to read.
    #[error("file has {found} bytes, at most {MAX_INPUT} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Another encoding.
    #[error("byte at offset {offset} is not UTF-8")]
    Encoding {
        /// Bytes before it.
        offset: usize,
    },
    /// A declaration of another version or encoding.
    #[error("XML declaration says {found}, wanted version 1.0 in UTF-8")]
    Declaration {
        /// Version or encoding.
        found: String,
    },
    /// Not well-formed, or a reference to an entity that is not one of the five.
    #[error("not XML at {at}: {reason}")]
    Malformed {
        /// Where.
        at: Position,
        /// What the parser says.
        reason: String,
    },
    /// XML that a signed manifest does not need.
    #[error("{feature} at {at}: not allowed in a RIM")]
    Feature {
        /// What it is.
        feature: Feature,
        /// Where, as far as it was read.
        at: Position,
    },
    /// More of something than is read.
    #[error("more than {limit} {what} at {at}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are read.
        limit: usize,
        /// Where.
        at: Position,
    },
}

/// XML that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A document type, and with it entities and default attributes.
    DocumentType,
    /// A processing instruction.
    ProcessingInstruction,
    /// `xml:base`, `xml:id`, `xml:lang` or `xml:space`: canonical XML has inheritance rules for them.
    XmlAttribute,
    /// A namespace name that is no absolute URI: it has no canonical form.
    RelativeNamespace,
    /// A namespace of XML itself under another prefix.
    ReservedNamespace,
}

impl core::fmt::Display for Feature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Feature::DocumentType => "document type",
            Feature::ProcessingInstruction => "processing instruction",
            Feature::XmlAttribute => "attribute of the `xml` prefix",
            Feature::RelativeNamespace => "namespace name that is no absolute URI",
            Feature::ReservedNamespace => "another prefix for a namespace of XML itself",
        })
    }
}

/// Namespace names by prefix; the default namespace has the empty one.
pub(crate) type Scope = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    /// Empty where there is none.
    pub(crate) prefix: String,
    /// Empty where there is none.
    pub(crate) namespace: String,
    pub(crate) local: String,
    pub(crate) value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    /// Empty where there is none.
    pub(crate) prefix: String,
    /// Empty where there is none.
    pub(crate) namespace: String,
    pub(crate) local: String,
    pub(crate) attributes: Vec<Attribute>,
    /// Every prefix that is bound here.
    pub(crate) scope: Scope,
    pub(crate) at: Position,
    /// Place of its end in the list of nodes.
    pub(crate) end: usize,
}

impl Element {
    /// Whether it is this one.
    pub(crate) fn is(&self, namespace: &str, local: &str) -> bool {
        self.namespace == namespace && self.local == local
    }

    /// The name as it is written.
    pub(crate) fn qualified(&self) -> String {
        qualified(&self.prefix, &self.local)
    }

    /// Value of the attribute without prefix that is called `local`.
    pub(crate) fn attribute(&self, local: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let found = attributes.find(|found| found.namespace.is_empty() && found.local == local);
        found.map(|attribute| attribute.value.as_str())
    }
}

/// A name as it is written.
pub(crate) fn qualified(prefix: &str, local: &str) -> String {
    match prefix {
        "" => local.to_owned(),
        prefix => format!("{prefix}:{local}"),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Start(Element),
    Text(String),
    /// The name as it is written.
    End(String),
}

/// A document: the nodes of its one outer element, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub(crate) nodes: Vec<Node>,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn parse(file: &[u8]) -> Result<Self, DocumentError> {
        let found = file.len();
        if found > MAX_INPUT {
            return Err(DocumentError::TooLarge { found });
        }
        let text = core::str::from_utf8(file).map_err(|error| DocumentError::Encoding {
            offset: error.valid_up_to(),
        })?;
        let mut reader = EventReader::new_with_config(file, configuration());
        let mut builder = Builder::default();
        loop {
            let event = reader.next().map_err(|error| DocumentError::Malformed {
                at: error.position().into(),
                reason: reason(error.kind()),
            })?;
            if event == XmlEvent::EndDocument {
                break;
            }
            builder.take(event, reader.position().into())?;
        }
        match tags::bound_twice(text) {
            None => Ok(Self {
                nodes: builder.nodes,
            }),
            // In the parser's words for other attributes.
            Some((at, name)) => Err(DocumentError::Malformed {
                at,
                reason: format!("Attribute '{name}' is redefined"),
            }),
        }
    }

    /// Whether it is a SWID tag, by the name of its outer element: nothing else of it is looked at.
    pub fn is_tag(&self) -> bool {
        let outer = self.element(0);
        outer.is_some_and(|outer| outer.is(crate::content::NAMESPACE, "SoftwareIdentity"))
    }

    /// The element that starts at `index`.
    pub(crate) fn element(&self, index: usize) -> Option<&Element> {
        match self.nodes.get(index) {
            Some(Node::Start(element)) => Some(element),
            _ => None,
        }
    }

    /// Nodes from `index` to the end of the element there.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        index..self.element(index).map_or(index, |found| found.end + 1)
    }

    /// Every element, with its place.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (usize, &Element)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(index, node)| match node {
            Node::Start(element) => Some((index, element)),
            _ => None,
        })
    }

    /// Elements and text immediately within the element at `index`, with their places.
    pub(crate) fn within(&self, index: usize) -> impl Iterator<Item = (usize, &Node)> {
        let end = self.range(index).end.saturating_sub(1);
        let mut next = index + 1;
        core::iter::from_fn(move || {
            let here = next;
            let node = self.nodes.get(here).filter(|_| here < end)?;
            next = match node {
                Node::Start(element) => element.end + 1,
                _ => here + 1,
            };
            Some((here, node))
        })
    }
}

/// What the parser says, without the place.
fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::Syntax(text) => text.to_string(),
        ErrorKind::UnexpectedEof => "ends too early".to_owned(),
        other => format!("{other:?}"),
    }
}

fn configuration() -> ParserConfig {
    ParserConfig::new()
        .whitespace_to_characters(true)
        .cdata_to_characters(true)
        .ignore_comments(true)
        .coalesce_characters(true)
        .allow_multiple_root_elements(false)
        .max_name_length(256)
        .max_attributes(64)
        .max_attribute_length(4 << 10)
        .max_data_length(16 << 10)
}

/// The nodes so far.
#[derive(Debug, Default)]
struct Builder {
    nodes: Vec<Node>,
    /// Places of the elements that are open.
    open: Vec<usize>,
    elements: usize,
}

impl Builder {
    fn take(&mut self, event: XmlEvent, at: Position) -> Result<(), DocumentError> {
        let refused = |feature| Err(DocumentError::Feature { feature, at });
        match event {
            XmlEvent::StartDocument {
                version, encoding, ..
            } => declaration(version, &encoding),
            XmlEvent::Doctype { .. } => refused(Feature::DocumentType),
            XmlEvent::ProcessingInstruction { .. } => refused(Feature::ProcessingInstruction),
            XmlEvent::StartElement {
                name,
                attributes,
                namespace,
            } => self.start(name, attributes, namespace, at),
            XmlEvent::EndElement { name } => {
                self.end(&name);
                Ok(())
            }
            XmlEvent::Characters(text) | XmlEvent::CData(text) | XmlEvent::Whitespace(text) => {
                self.text(text);
                Ok(())
            }
            XmlEvent::Comment(_) | XmlEvent::EndDocument => Ok(()),
        }
    }

    fn start(
        &mut self,
        name: OwnedName,
        attributes: Vec<OwnedAttribute>,
        namespace: Namespace,
        at: Position,
    ) -> Result<(), DocumentError> {
        self.elements += 1;
        let too_many = |what, limit| Err(DocumentError::TooMany { what, limit, at });
        if self.elements > MAX_ELEMENTS {
            return too_many("elements", MAX_ELEMENTS);
        }
        if self.open.len() >= MAX_DEPTH {
            return too_many("elements within one another", MAX_DEPTH);
        }
        let scope = scope(namespace, at)?;
        if scope.len() > MAX_PREFIXES {
            return too_many("prefixes", MAX_PREFIXES);
        }
        let attributes = attributes.into_iter().map(|found| attribute(found, at));
        self.open.push(self.nodes.len());
        self.nodes.push(Node::Start(Element {
            prefix: name.prefix.unwrap_or_default(),
            namespace: name.namespace.unwrap_or_default(),
            local: name.local_name,
            attributes: attributes.collect::<Result<_, _>>()?,
            scope,
            at,
            end: 0,
        }));
        Ok(())
    }

    /// The parser has seen to it that the name is the one of the element that is open.
    fn end(&mut self, name: &OwnedName) {
        let here = self.nodes.len();
        if let Some(start) = self.open.pop()
            && let Some(Node::Start(element)) = self.nodes.get_mut(start)
        {
            element.end = here;
        }
        let prefix = name.prefix.as_deref().unwrap_or_default();
        self.nodes
            .push(Node::End(qualified(prefix, &name.local_name)));
    }

    /// Text outside of the outer element is white space, and no part of the canonical form.
    fn text(&mut self, text: String) {
        match self.nodes.last_mut() {
            _ if self.open.is_empty() => {}
            Some(Node::Text(before)) => before.push_str(&text),
            _ => self.nodes.push(Node::Text(text)),
        }
    }
}

fn declaration(version: XmlVersion, encoding: &str) -> Result<(), DocumentError> {
    let found = match version {
        XmlVersion::Version10 if encoding.eq_ignore_ascii_case("utf-8") => return Ok(()),
        XmlVersion::Version10 => format!("encoding `{encoding}`"),
        XmlVersion::Version11 => "version 1.1".to_owned(),
    };
    Err(DocumentError::Declaration { found })
}

/// What is bound beyond `xml` and `xmlns`, which always are.
fn scope(namespace: Namespace, at: Position) -> Result<Scope, DocumentError> {
    let mut scope = namespace.0;
    scope.retain(|prefix, uri| prefix != "xml" && prefix != "xmlns" && !uri.is_empty());
    let refused = |feature| Err(DocumentError::Feature { feature, at });
    let reserved = |uri: &String| [NS_XML_URI, NS_XMLNS_URI].contains(&uri.as_str());
    if scope.values().any(reserved) {
        return refused(Feature::ReservedNamespace);
    }
    match scope.values().all(|uri| is_absolute(uri)) {
        true => Ok(scope),
        false => refused(Feature::RelativeNamespace),
    }
}

/// Whether it starts with a scheme of RFC 3986.
fn is_absolute(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    let mut characters = scheme.bytes();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
}

fn attribute(found: OwnedAttribute, at: Position) -> Result<Attribute, DocumentError> {
    let prefix = found.name.prefix.unwrap_or_default();
    if prefix == "xml" {
        return Err(DocumentError::Feature {
            feature: Feature::XmlAttribute,
            at,
        });
    }
    Ok(Attribute {
        prefix,
        namespace: found.name.namespace.unwrap_or_default(),
        local: found.name.local_name,
        value: found.value,
    })
}
