//! What a RIM says: of which chip and version it is, and what must be measured.
//!
//! Specs: ISO/IEC 19770-2:2015 (`SoftwareIdentity`, `Meta`, `Payload`), TCG Reference Integrity Manifest; `Resource` as NVIDIA writes it, one for
//! each index. Index i is SPDM block i + 1. Whether driver or VBIOS is meant stands nowhere but in the form of the version.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use crate::Digest;
use crate::document::{Attribute, Document, Element, Node, Position};

/// Namespace of SWID tags.
pub const NAMESPACE: &str = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd";
/// Namespace of digests, which names their algorithm.
pub const SHA384: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
/// Largest index.
pub const MAX_INDEX: u8 = 63;
/// Digests that one index may have; RIMs have at most four.
pub const MAX_ALTERNATIVES: usize = 16;
/// Longest id, product or version, in bytes.
const MAX_TEXT: usize = 128;

/// Why a signed document is not a RIM that is understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Another document.
    #[error("outer element is `{found}`, wanted `SoftwareIdentity` of SWID")]
    NotSwid {
        /// Its name.
        found: String,
    },
    /// An element that has no place there, or stands twice.
    #[error("`{found}` at {at} has no place there")]
    Element {
        /// Its name.
        found: String,
        /// Where.
        at: Position,
    },
    /// Text where none belongs.
    #[error("text in `{element}` at {at}")]
    Text {
        /// The element it stands in.
        element: String,
        /// Where that starts.
        at: Position,
    },
    /// An element that must be there.
    #[error("`{wanted}` is missing")]
    Missing {
        /// Its name.
        wanted: &'static str,
    },
    /// An attribute that is not what it must be.
    #[error("`{attribute}` of `{element}` at {at} is {}, wanted {wanted}", found.as_deref().map_or_else(|| "missing".to_owned(), |found| format!("`{found}`")))]
    Value {
        /// Name of the element.
        element: String,
        /// Where.
        at: Position,
        /// Name of the attribute.
        attribute: String,
        /// What it must be.
        wanted: &'static str,
        /// What it is, where it is there.
        found: Option<String>,
    },
    /// An attribute that a measurement does not have.
    #[error("`{attribute}` at {at} is no attribute of measurement {index}")]
    Stray {
        /// Name of the attribute.
        attribute: String,
        /// Where.
        at: Position,
        /// Which measurement.
        index: u8,
    },
    /// A version that is neither a driver's nor a VBIOS's.
    #[error(
        "version `{found}` is neither a driver's, as `580.159.03`, nor a VBIOS's, as `96.00.9F.00.01`"
    )]
    Version {
        /// The version.
        found: String,
    },
    /// An index that stands twice.
    #[error("index {index} stands twice, the second time at {at}")]
    Twice {
        /// The index.
        index: u8,
        /// Where.
        at: Position,
    },
}

/// What a RIM is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A driver.
    Driver,
    /// A VBIOS.
    Vbios,
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Kind::Driver => "driver",
            Kind::Vbios => "VBIOS",
        })
    }
}

/// A RIM whose signature and chain held at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rim {
    /// `tagId` of the SWID tag, the same in every edition of a RIM.
    pub tag_id: String,
    /// `product`: the chip, as in `GH100`.
    pub product: String,
    /// `colloquialVersion`, as it is written.
    pub version: String,
    /// What the version is of.
    pub kind: Kind,
    /// Measurements in the file, active or not; all of them were checked.
    pub entries: usize,
    /// Active measurements: each index with what it may be, in the order of the file.
    pub values: BTreeMap<u8, Vec<Digest>>,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// The time that was asked about, in seconds since the Unix epoch.
    pub checked_at: u64,
    /// First second at which all four certificates are valid.
    pub valid_from: u64,
    /// Last second at which all four certificates are valid.
    pub valid_until: u64,
}

/// What stands in the tag itself.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) tag_id: String,
    pub(crate) product: String,
    pub(crate) version: String,
    pub(crate) kind: Kind,
    pub(crate) entries: usize,
    pub(crate) values: BTreeMap<u8, Vec<Digest>>,
}

/// Reads the tag: every node of the document but those of its signature.
pub(crate) fn read(document: &Document, signature: &Range<usize>) -> Result<Tag, ContentError> {
    let outer = document.element(0).filter(|_| document.is_tag());
    let outer = outer.ok_or_else(|| ContentError::NotSwid {
        found: document
            .element(0)
            .map(Element::qualified)
            .unwrap_or_default(),
    })?;
    for flag in ["corpus", "patch", "supplemental"] {
        one_of(outer, flag, &["false"], "`false`")?;
    }
    let (mut meta, mut payload) = (None, None);
    for (index, element) in children(document, 0)? {
        let place = match element.local.as_str() {
            _ if index == signature.start => continue,
            "Entity" if swid(element, "Entity") => continue,
            "Meta" if swid(element, "Meta") => &mut meta,
            "Payload" if swid(element, "Payload") => &mut payload,
            _ => return Err(misplaced(element)),
        };
        if place.replace((index, element)).is_some() {
            return Err(misplaced(element));
        }
    }
    let (_, meta) = meta.ok_or(ContentError::Missing { wanted: "Meta" })?;
    let (payload, _) = payload.ok_or(ContentError::Missing { wanted: "Payload" })?;
    one_of(meta, "PayloadType", &["direct"], "`direct`")?;
    let version = text(meta, "colloquialVersion")?;
    let (entries, values) = measurements(document, payload)?;
    Ok(Tag {
        tag_id: text(outer, "tagId")?,
        product: text(meta, "product")?,
        kind: kind(&version)?,
        version,
        entries,
        values,
    })
}

/// How many measurements there are, and the active ones.
fn measurements(
    document: &Document,
    payload: usize,
) -> Result<(usize, BTreeMap<u8, Vec<Digest>>), ContentError> {
    let mut all: BTreeMap<u8, (bool, Vec<Digest>)> = BTreeMap::new();
    for (place, element) in children(document, payload)? {
        if !swid(element, "Resource") {
            return Err(misplaced(element));
        }
        if let Some((_, inner)) = children(document, place)?.first() {
            return Err(misplaced(inner));
        }
        let index = index(element)?;
        let measurement = (active(element)?, digests(element, index)?);
        if all.insert(index, measurement).is_some() {
            let at = element.at;
            return Err(ContentError::Twice { index, at });
        }
    }
    let entries = all.len();
    let active = all.into_iter().filter(|(_, (active, _))| *active);
    let values = active.map(|(index, (_, digests))| (index, digests));
    Ok((entries, values.collect()))
}

fn index(resource: &Element) -> Result<u8, ContentError> {
    one_of(resource, "type", &["Measurement"], "`Measurement`")?;
    one_of(resource, "size", &["48"], "`48`")?;
    number(resource, "index", "a number from 0 to 63", |found| {
        u8::try_from(found).ok().filter(|index| *index <= MAX_INDEX)
    })
}

fn active(resource: &Element) -> Result<bool, ContentError> {
    let found = one_of(resource, "active", &["True", "False"], "`True` or `False`")?;
    Ok(found == "True")
}

/// `Hash0` to `HashN-1`, and no attribute that is not known.
fn digests(resource: &Element, index: u8) -> Result<Vec<Digest>, ContentError> {
    let wanted = "a number from 1 to 16";
    let alternatives = number(resource, "alternatives", wanted, |found| {
        (1..=MAX_ALTERNATIVES).contains(&found).then_some(found)
    })?;
    let digests = (0..alternatives).map(|number| digest(resource, number));
    let digests: Vec<Digest> = digests.collect::<Result<_, _>>()?;
    let known = ["type", "index", "active", "alternatives", "name", "size"];
    let is_known = |attribute: &Attribute| match attribute.namespace.as_str() {
        "" => known.contains(&attribute.local.as_str()),
        SHA384 => (0..alternatives).any(|number| attribute.local == format!("Hash{number}")),
        _ => false,
    };
    let mut attributes = resource.attributes.iter();
    match attributes.find(|attribute| !is_known(attribute)) {
        Some(attribute) => Err(ContentError::Stray {
            attribute: attribute.local.clone(),
            at: resource.at,
            index,
        }),
        None => Ok(digests),
    }
}

fn digest(resource: &Element, number: usize) -> Result<Digest, ContentError> {
    let name = format!("Hash{number}");
    let mut attributes = resource.attributes.iter();
    let found = attributes.find(|found| found.namespace == SHA384 && found.local == name);
    let found = found.map(|attribute| attribute.value.as_str());
    let mut digest = [0; 48];
    match found.map(|text| hex::decode_to_slice(text, &mut digest)) {
        Some(Ok(())) => Ok(digest),
        _ => Err(value(resource, &name, "a SHA-384 in hex", found)),
    }
}

/// Two or three decimal numbers, or five bytes in hex.
fn kind(version: &str) -> Result<Kind, ContentError> {
    let parts: Vec<&str> = version.split('.').collect();
    let decimal = |part: &&str| {
        (1..=4).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit())
    };
    let byte = |part: &&str| part.len() == 2 && part.bytes().all(|d| d.is_ascii_hexdigit());
    match parts.len() {
        2 | 3 if parts.iter().all(decimal) => Ok(Kind::Driver),
        5 if parts.iter().all(byte) => Ok(Kind::Vbios),
        _ => Err(ContentError::Version {
            found: version.to_owned(),
        }),
    }
}

/// The child elements; between them may be white space.
fn children(document: &Document, index: usize) -> Result<Vec<(usize, &Element)>, ContentError> {
    let mut children = Vec::new();
    for (place, node) in document.within(index) {
        match node {
            Node::Start(child) => children.push((place, child)),
            Node::Text(text) if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() => {}
            _ => {
                let element = document.element(index);
                return Err(ContentError::Text {
                    element: element.map(Element::qualified).unwrap_or_default(),
                    at: element.map_or(Position { line: 1, column: 1 }, |found| found.at),
                });
            }
        }
    }
    Ok(children)
}

fn swid(element: &Element, local: &str) -> bool {
    element.is(NAMESPACE, local)
}

fn misplaced(element: &Element) -> ContentError {
    ContentError::Element {
        found: element.qualified(),
        at: element.at,
    }
}

/// An attribute that must be one of a few.
fn one_of<'a>(
    element: &'a Element,
    attribute: &str,
    allowed: &[&str],
    wanted: &'static str,
) -> Result<&'a str, ContentError> {
    let found = element.attribute(attribute);
    let allowed = found.filter(|found| allowed.contains(found));
    allowed.ok_or_else(|| value(element, attribute, wanted, found))
}

/// A decimal number in its one spelling, if `pick` takes it.
fn number<T>(
    element: &Element,
    attribute: &str,
    wanted: &'static str,
    pick: impl Fn(usize) -> Option<T>,
) -> Result<T, ContentError> {
    let found = element.attribute(attribute);
    let number = found.and_then(|text| {
        let number: usize = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    });
    let number = number.and_then(pick);
    number.ok_or_else(|| value(element, attribute, wanted, found))
}

/// Visible ASCII of some length.
fn text(element: &Element, attribute: &str) -> Result<String, ContentError> {
    let found = element.attribute(attribute);
    let text = found.filter(|text| {
        (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic())
    });
    let wanted = "1 to 128 visible characters of ASCII";
    let text = text.map(str::to_owned);
    text.ok_or_else(|| value(element, attribute, wanted, found))
}

fn value(
    element: &Element,
    attribute: &str,
    wanted: &'static str,
    found: Option<&str>,
) -> ContentError {
    ContentError::Value {
        element: element.qualified(),
        at: element.at,
        attribute: attribute.to_owned(),
        wanted,
        found: found.map(str::to_owned),
    }
}
