//! The one signature of a RIM: its form, the digest of what it covers, and its value.
//!
//! Specs: XML-Signature Syntax and Processing 1.1, RFC 6931 (algorithm names). The form is the one that NVIDIA signs with and no
//! other: the signature is a child of the outer element, its one reference is the whole document without the signature, and every
//! algorithm is the only one that is taken. What is signed can so be named in one sentence, and nothing can be wrapped.

use core::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloister_verify::signature::{PublicKey, Scheme};
use sha2::{Digest as _, Sha384};
use thiserror::Error;

use crate::Digest;
use crate::canonical::canonical;
use crate::document::{Document, Element, Node, Position};

/// Namespace of XML-Signature.
pub const NAMESPACE: &str = "http://www.w3.org/2000/09/xmldsig#";
const CANONICAL: &str = "http://www.w3.org/2006/12/xml-c14n11";
const ECDSA_SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SHA384: &str = "http://www.w3.org/2001/04/xmldsig-more#sha384";
/// Certificates that are looked at; chains have four.
const MAX_CERTIFICATES: usize = 8;

/// Why a document is not signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// No signature.
    #[error("file has no XML signature")]
    Unsigned,
    /// More than one signature, wherever it stands.
    #[error("second signature at {at}, wanted one")]
    Second {
        /// Where.
        at: Position,
    },
    /// A signature that is not a child of the outer element.
    #[error("signature at {at} is not a child of the outer element")]
    Wrapped {
        /// Where.
        at: Position,
    },
    /// Other elements than a signature of this form has.
    #[error("`{element}` at {at} has {found} in it, wanted {wanted}")]
    Form {
        /// Name of the element.
        element: String,
        /// Where.
        at: Position,
        /// The children of this form, in order.
        wanted: String,
        /// The children there.
        found: String,
    },
    /// An attribute that is not of this form, or text where none belongs.
    #[error("`{element}` at {at} has {found}, which is not allowed there")]
    Stray {
        /// Name of the element.
        element: String,
        /// Where.
        at: Position,
        /// Name of the attribute, or `text`.
        found: String,
    },
    /// Another algorithm.
    #[error("`{element}` at {at} is `{found}`, wanted `{wanted}`")]
    Algorithm {
        /// Name of the element.
        element: String,
        /// Where.
        at: Position,
        /// The only identifier that is taken.
        wanted: &'static str,
        /// The identifier there; empty where there is none.
        found: String,
    },
    /// A reference to something else than the whole document.
    #[error("reference at {at} is to {}, wanted `URI=\"\"`", found.as_deref().map_or_else(|| "nothing".to_owned(), |uri| format!("`{uri}`")))]
    Reference {
        /// Where.
        at: Position,
        /// The URI, where there is one.
        found: Option<String>,
    },
    /// Not base64 of the right length.
    #[error("`{element}` at {at} is not base64 of {wanted}")]
    Base64 {
        /// Name of the element.
        element: String,
        /// Where.
        at: Position,
        /// Of what.
        wanted: &'static str,
    },
    /// More certificates than are looked at.
    #[error("more than {MAX_CERTIFICATES} certificates at {at}")]
    Certificates {
        /// Where.
        at: Position,
    },
    /// The document is not the one that was signed.
    #[error(
        "digest of the content is {}, the signature is over {}",
        hex::encode(found),
        hex::encode(wanted)
    )]
    Digest {
        /// DigestValue.
        wanted: Digest,
        /// SHA-384 of the canonical form.
        found: Digest,
    },
    /// The leaf's key did not sign SignedInfo.
    #[error("signature value is not one of the leaf certificate's key over SignedInfo")]
    Value,
}

/// A signature of the right form, of which nothing holds yet.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Its nodes in the document.
    pub(crate) nodes: Range<usize>,
    signed_info: Range<usize>,
    digest: Digest,
    value: [u8; 96],
    /// DER in the order of the file.
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// Finds the one signature of a document.
pub(crate) fn locate(document: &Document) -> Result<Signature, SignatureError> {
    let is_signature = |element: &Element| element.is(NAMESPACE, "Signature");
    let mut all = document
        .elements()
        .filter(|(_, element)| is_signature(element));
    let (index, element) = all.next().ok_or(SignatureError::Unsigned)?;
    if let Some((_, second)) = all.next() {
        return Err(SignatureError::Second { at: second.at });
    }
    if !document.within(0).any(|(child, _)| child == index) {
        return Err(SignatureError::Wrapped { at: element.at });
    }
    let form = Form { document };
    let [signed_info, value, key_info] =
        form.children(index, ["SignedInfo", "SignatureValue", "KeyInfo"])?;
    let digest = form.signed_info(signed_info)?;
    let [data] = form.children(key_info, ["X509Data"])?;
    Ok(Signature {
        nodes: document.range(index),
        signed_info: document.range(signed_info),
        digest,
        value: form.base64(value, "r and s, 48 bytes each")?,
        certificates: form.certificates(data)?,
    })
}

impl Signature {
    /// Whether the document without the signature is what was signed.
    pub(crate) fn digest(&self, document: &Document) -> Result<(), SignatureError> {
        let found = Sha384::digest(canonical(&document.nodes, &self.nodes)).into();
        match found == self.digest {
            true => Ok(()),
            false => Err(SignatureError::Digest {
                wanted: self.digest,
                found,
            }),
        }
    }

    /// Whether `key` signed.
    pub(crate) fn value(&self, document: &Document, key: &PublicKey) -> Result<(), SignatureError> {
        let nodes = document.nodes.get(self.signed_info.clone());
        let signed = canonical(nodes.unwrap_or_default(), &(0..0));
        key.verify(Scheme::EcdsaSha384, &signed, &self.value)
            .map_err(|_| SignatureError::Value)
    }
}

/// Reads elements of the form that is wanted.
struct Form<'a> {
    document: &'a Document,
}

impl Form<'_> {
    /// The digest that SignedInfo is about.
    fn signed_info(&self, index: usize) -> Result<Digest, SignatureError> {
        let children = ["CanonicalizationMethod", "SignatureMethod", "Reference"];
        let [method, signature, reference] = self.children(index, children)?;
        self.algorithm(method, CANONICAL)?;
        self.algorithm(signature, ECDSA_SHA384)?;
        self.only_attribute(reference, "URI")?;
        let element = self.element(reference)?;
        let uri = element.attribute("URI");
        if uri != Some("") {
            return Err(SignatureError::Reference {
                at: element.at,
                found: uri.map(str::to_owned),
            });
        }
        let children = ["Transforms", "DigestMethod", "DigestValue"];
        let [transforms, method, value] = self.elements(reference, children)?;
        let [enveloped, canonical] = self.children(transforms, ["Transform", "Transform"])?;
        self.algorithm(enveloped, ENVELOPED)?;
        self.algorithm(canonical, CANONICAL)?;
        self.algorithm(method, SHA384)?;
        self.base64(value, "a SHA-384 of 48 bytes")
    }

    fn certificates(&self, data: usize) -> Result<Vec<Vec<u8>>, SignatureError> {
        self.no_attribute(data)?;
        let children = self.names(data)?;
        let element = self.element(data)?;
        let certificate = |(_, child): &(usize, &Element)| child.is(NAMESPACE, "X509Certificate");
        if !children.iter().all(certificate) {
            return Err(self.form(element, "X509Certificate alone".to_owned(), &children));
        }
        if children.len() > MAX_CERTIFICATES {
            return Err(SignatureError::Certificates { at: element.at });
        }
        let der = |(index, _): &(usize, &Element)| self.bytes(*index, "a certificate");
        children.iter().map(der).collect()
    }

    /// The children of an element without attributes, which must be these.
    fn children<const N: usize>(
        &self,
        index: usize,
        wanted: [&str; N],
    ) -> Result<[usize; N], SignatureError> {
        self.no_attribute(index)?;
        self.elements(index, wanted)
    }

    /// The child elements, which must be these of XML-Signature.
    fn elements<const N: usize>(
        &self,
        index: usize,
        wanted: [&str; N],
    ) -> Result<[usize; N], SignatureError> {
        let children = self.names(index)?;
        let same = children.len() == N;
        let mut pairs = children.iter().zip(wanted);
        let same = same && pairs.all(|((_, child), name)| child.is(NAMESPACE, name));
        let places: Vec<usize> = children.iter().map(|(place, _)| *place).collect();
        let places = places.try_into().ok().filter(|_| same);
        let element = self.element(index)?;
        places.ok_or_else(|| self.form(element, wanted.join(", "), &children))
    }

    /// The child elements; between them may be white space.
    fn names(&self, index: usize) -> Result<Vec<(usize, &Element)>, SignatureError> {
        let mut children = Vec::new();
        for (place, node) in self.document.within(index) {
            match node {
                Node::Start(child) => children.push((place, child)),
                Node::Text(text) if text.chars().all(is_space) => {}
                _ => return Err(self.stray(self.element(index)?, "text")),
            }
        }
        Ok(children)
    }

    /// Checks an element that is empty but for `Algorithm`.
    fn algorithm(&self, index: usize, wanted: &'static str) -> Result<(), SignatureError> {
        self.only_attribute(index, "Algorithm")?;
        let element = self.element(index)?;
        let found = element.attribute("Algorithm").unwrap_or_default();
        if found != wanted {
            return Err(SignatureError::Algorithm {
                element: element.qualified(),
                at: element.at,
                wanted,
                found: found.to_owned(),
            });
        }
        let [] = self.elements(index, [])?;
        Ok(())
    }

    fn no_attribute(&self, index: usize) -> Result<(), SignatureError> {
        self.only_attribute(index, "")
    }

    /// Checks that there is no attribute but perhaps this one without prefix.
    fn only_attribute(&self, index: usize, name: &str) -> Result<(), SignatureError> {
        let element = self.element(index)?;
        let mut attributes = element.attributes.iter();
        match attributes.find(|found| !found.namespace.is_empty() || found.local != name) {
            Some(found) => Err(self.stray(element, &format!("attribute `{}`", found.local))),
            None => Ok(()),
        }
    }

    /// Exactly `N` bytes of an element of text without attributes.
    fn base64<const N: usize>(
        &self,
        index: usize,
        wanted: &'static str,
    ) -> Result<[u8; N], SignatureError> {
        let bytes = self.bytes(index, wanted)?;
        let element = self.element(index)?;
        bytes.try_into().map_err(|_| SignatureError::Base64 {
            element: element.qualified(),
            at: element.at,
            wanted,
        })
    }

    /// The bytes of an element of text without attributes.
    fn bytes(&self, index: usize, wanted: &'static str) -> Result<Vec<u8>, SignatureError> {
        self.no_attribute(index)?;
        let element = self.element(index)?;
        let mut text = String::new();
        let mut children = Vec::new();
        for (place, node) in self.document.within(index) {
            match node {
                Node::Text(part) => text.extend(part.chars().filter(|found| !is_space(*found))),
                Node::Start(child) => children.push((place, child)),
                Node::End(_) => {}
            }
        }
        if !children.is_empty() {
            return Err(self.form(element, "text".to_owned(), &children));
        }
        STANDARD.decode(text).map_err(|_| SignatureError::Base64 {
            element: element.qualified(),
            at: element.at,
            wanted,
        })
    }

    /// Places come from the document itself, so that there always is one.
    fn element(&self, index: usize) -> Result<&Element, SignatureError> {
        self.document.element(index).ok_or(SignatureError::Unsigned)
    }

    fn stray(&self, element: &Element, found: &str) -> SignatureError {
        SignatureError::Stray {
            element: element.qualified(),
            at: element.at,
            found: found.to_owned(),
        }
    }

    fn form(
        &self,
        element: &Element,
        wanted: String,
        children: &[(usize, &Element)],
    ) -> SignatureError {
        let mut found = String::new();
        for (number, (_, child)) in children.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let _ = write!(found, "{comma}{}", child.local);
        }
        if found.is_empty() {
            found.push_str("no element");
        }
        SignatureError::Form {
            element: element.qualified(),
            at: element.at,
            wanted: if wanted.is_empty() {
                "no element".to_owned()
            } else {
                wanted
            },
            found,
        }
    }
}

/// White space of XML.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}
