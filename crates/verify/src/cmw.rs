//! Conceptual message wrappers of others: records, tags and collections, in JSON, in CBOR and in certificates.
//!
//! Specs: draft-ietf-rats-msg-wrap (CMW, `id-pe-cmw`), RFC 9277 section 4.3 (tags of content formats), RFC 4648 section 5
//! (base64url, no padding), RFC 8949 (CBOR). CBOR of indefinite length is refused; map order and width of numbers are free, as in the draft.
//! Left out: the tunnels of one encoding inside the other, and what the values mean. Cloister's own bundle, whose bytes are
//! fixed, is [`cloister_evidence::bundle`]. The module stands here, not there, so that PID 1 does not link a JSON reader.

mod binary;
mod text;

use std::collections::BTreeMap;

use cloister_evidence::bundle::EXTENSION_OID;
use thiserror::Error;
use x509_cert::der::asn1::{OctetStringRef, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _, Tag, Tagged as _};

/// Longest wrapper that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting: a collection in a collection has depth 2.
pub const MAX_DEPTH: usize = 4;
/// Most entries of a collection.
pub const MAX_ENTRIES: usize = 64;
/// Longest label, media type or collection type, in bytes.
pub const MAX_NAME: usize = 256;

/// The label of a collection's own type.
const COLLECTION_TYPE: &str = "__cmwc_t";
/// Tag of content format 0.
const FIRST_TAG: u64 = 0x6374_0101;
/// Content formats that have a tag: 0 to 65024.
const LAST_FORMAT: u64 = 65024;
/// Bits of the indicator that have a meaning.
const KINDS: u32 = 0x1f;

/// Why bytes are not a wrapper.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CmwError {
    /// Longer than any.
    #[error("CMW has {found} bytes, at most {MAX_BYTES} are read")]
    TooLarge {
        /// Length in bytes.
        found: usize,
    },
    /// Not the JSON of the draft; the reason names line and column.
    #[error("not a CMW in JSON: {reason}")]
    Json {
        /// The JSON reader's message.
        reason: String,
    },
    /// Not the CBOR of the draft.
    #[error("not a CMW in CBOR: {fault} at byte {offset}")]
    Cbor {
        /// What is wrong.
        fault: Fault,
        /// Offset in bytes.
        offset: usize,
    },
    /// An extension's value that is neither of the two choices.
    #[error("extension {EXTENSION_OID} is neither one DER UTF8String nor one DER OCTET STRING")]
    Choice,
}

/// What is wrong with a wrapper, whatever its encoding.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not the item that stands here in the draft.
    #[error("wanted {wanted}")]
    Unexpected {
        /// What the draft has here.
        wanted: &'static str,
    },
    /// Bytes behind the wrapper.
    #[error("bytes follow the wrapper")]
    Trailing,
    /// Nested too deeply.
    #[error("more than {MAX_DEPTH} collections inside each other")]
    Depth,
    /// Empty, or with too many entries.
    #[error("a collection of {found} entries, wanted 1 to {MAX_ENTRIES}")]
    Entries {
        /// Number of entries.
        found: u64,
    },
    /// A label or type that is empty or too long.
    #[error("a label or type of {found} bytes, wanted 1 to {MAX_NAME}")]
    Name {
        /// Length in bytes.
        found: usize,
    },
    /// A label that stands twice.
    #[error("label `{label}` stands twice")]
    Twice {
        /// The label.
        label: String,
    },
    /// An indicator without meaning.
    #[error("indicator {found}, wanted a combination of the bits 0 to 4")]
    Indicator {
        /// The indicator.
        found: u64,
    },
    /// A tag that no content format has.
    #[error("tag {found}, wanted one of a content format")]
    Tag {
        /// The tag.
        found: u64,
    },
}

/// The type of a record's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentType {
    /// CoAP content format, RFC 7252 section 12.3.
    Format(u16),
    /// Media type.
    Media(String),
}

/// A value and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Type of the value.
    pub content_type: ContentType,
    /// The value.
    pub value: Vec<u8>,
    /// What the value is: bits 0 reference values, 1 endorsements, 2 evidence, 3 attestation results, 4 appraisal policy.
    pub indicator: Option<u32>,
    /// Whether it was written as a CBOR tag.
    pub tagged: bool,
}

/// The label of an entry; JSON has text only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
}

/// Wrappers under labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// URI or dotted object identifier of the collection's type.
    pub kind: Option<String>,
    /// The entries.
    pub entries: BTreeMap<Label, Cmw>,
}

/// A wrapper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cmw {
    /// One value.
    Record(Record),
    /// Several wrappers.
    Collection(Collection),
}

/// How a wrapper was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    Json,
    /// CBOR.
    Cbor,
}

impl Cmw {
    /// Reads JSON.
    ///
    /// # Errors
    /// See [`CmwError`]; repeated labels are refused.
    pub fn from_json(input: &[u8]) -> Result<Self, CmwError> {
        bounded(input)?;
        text::read(input)
    }

    /// Reads CBOR.
    ///
    /// # Errors
    /// See [`CmwError`]; repeated labels are refused.
    pub fn from_cbor(input: &[u8]) -> Result<Self, CmwError> {
        bounded(input)?;
        binary::read(input)
    }

    /// Reads a file: JSON when it begins with a bracket, otherwise CBOR. No wrapper in CBOR begins like that.
    ///
    /// # Errors
    /// See [`CmwError`].
    pub fn from_bytes(input: &[u8]) -> Result<(Self, Encoding), CmwError> {
        match input.trim_ascii_start().first() {
            Some(b'[' | b'{') => Ok((Self::from_json(input)?, Encoding::Json)),
            _ => Ok((Self::from_cbor(input)?, Encoding::Cbor)),
        }
    }

    /// Reads the value of the extension `id-pe-cmw`: UTF8String with JSON, or OCTET STRING with CBOR.
    ///
    /// # Errors
    /// See [`CmwError`].
    pub fn from_extension(value: &[u8]) -> Result<(Self, Encoding), CmwError> {
        bounded(value)?;
        let any = x509_cert::der::asn1::AnyRef::from_der(value).map_err(|_| CmwError::Choice)?;
        if any.to_der().as_deref() != Ok(value) {
            return Err(CmwError::Choice);
        }
        match any.tag() {
            Tag::Utf8String => {
                let text: Utf8StringRef<'_> = any.decode_as().map_err(|_| CmwError::Choice)?;
                Ok((Self::from_json(text.as_bytes())?, Encoding::Json))
            }
            Tag::OctetString => {
                let octets: OctetStringRef<'_> = any.decode_as().map_err(|_| CmwError::Choice)?;
                Ok((Self::from_cbor(octets.as_bytes())?, Encoding::Cbor))
            }
            _ => Err(CmwError::Choice),
        }
    }

    /// Every record with the labels that lead to it, in the order of the labels.
    pub fn records(&self) -> Vec<(String, &Record)> {
        match self {
            Cmw::Record(record) => vec![(String::new(), record)],
            Cmw::Collection(collection) => {
                let entries = collection.entries.iter();
                let inner = entries.flat_map(|(label, inner)| {
                    let records = inner.records().into_iter();
                    records.map(move |(path, record)| match path.is_empty() {
                        true => (label.to_string(), record),
                        false => (format!("{label}/{path}"), record),
                    })
                });
                inner.collect()
            }
        }
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Label::Integer(number) => write!(f, "{number}"),
            Label::Text(text) => write!(f, "{}", text.escape_debug()),
        }
    }
}

impl std::fmt::Display for ContentType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ContentType::Format(number) => write!(f, "content format {number}"),
            ContentType::Media(name) => write!(f, "{}", name.escape_debug()),
        }
    }
}

impl Record {
    /// Names of the indicator's bits.
    pub fn kinds(&self) -> Vec<&'static str> {
        const NAMES: [&str; 5] = [
            "reference-values",
            "endorsements",
            "evidence",
            "attestation-results",
            "appraisal-policy",
        ];
        let bits = self.indicator.unwrap_or_default();
        let named = NAMES.iter().enumerate();
        named
            .filter(|(bit, _)| bits >> bit & 1 == 1)
            .map(|(_, name)| *name)
            .collect()
    }
}

fn bounded(input: &[u8]) -> Result<(), CmwError> {
    let found = input.len();
    match found > MAX_BYTES {
        true => Err(CmwError::TooLarge { found }),
        false => Ok(()),
    }
}

/// A label, media type or collection type of a length that is taken.
fn name(text: &str) -> Result<String, Fault> {
    let found = text.len();
    match (1..=MAX_NAME).contains(&found) {
        true => Ok(text.to_owned()),
        false => Err(Fault::Name { found }),
    }
}

/// A media type: type, slash, subtype, then anything printable.
fn media_type(text: &str) -> Result<ContentType, Fault> {
    let named = name(text)?;
    let printable = text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    let typed = text
        .split_once('/')
        .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
    match printable && typed {
        true => Ok(ContentType::Media(named)),
        false => Err(Fault::Unexpected {
            wanted: "a media type or a content format",
        }),
    }
}

/// A URI or a dotted object identifier, told by their first characters only.
fn collection_type(text: &str) -> Result<String, Fault> {
    let named = name(text)?;
    let oid = text
        .split('.')
        .all(|arc| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()))
        && text.contains('.');
    let uri = text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    match (oid || uri) && text.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
        true => Ok(named),
        false => Err(Fault::Unexpected {
            wanted: "a URI or an object identifier as collection type",
        }),
    }
}

fn indicator(found: u64) -> Result<u32, Fault> {
    let bits = u32::try_from(found).ok();
    bits.filter(|bits| *bits != 0 && bits & !KINDS == 0)
        .ok_or(Fault::Indicator { found })
}

/// The content format of a tag.
fn format_of_tag(found: u64) -> Result<u16, Fault> {
    let wrong = Fault::Tag { found };
    let distance = found.checked_sub(FIRST_TAG).ok_or(wrong.clone())?;
    let (high, low) = (distance >> 8, distance & 0xff);
    // The low byte of a tag is 1 to 255, so 255 formats share each value of the byte above.
    let format = high * 255 + low;
    match low < 255 && format <= LAST_FORMAT {
        true => u16::try_from(format).map_err(|_| wrong),
        false => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
