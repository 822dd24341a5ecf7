//! Certificates of others that carry evidence: which form one has, and its appraisal.
//!
//! Three forms beside Cloister's own leaf: conceptual message wrappers ([`wrapped`]), CCC interoperable RA-TLS ([`ccc`]) and the
//! timestamp mode of Privasys ([`privasys`]). None of them is bound to a connection: whoever holds the key of *some* machine that
//! passes can stand in for any other. Left out: names in the certificate, which are for TLS, and Privasys' challenge mode.

pub mod ccc;
mod leaf;
pub mod pgae;
pub mod privasys;
mod quote;
mod rules;
pub mod wrapped;

use cloister_evidence::bundle::{EXTENSION_OID, LeafExtension};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

pub use leaf::Leaf;
pub use quote::{Quote, QuoteError, QuoteKind};

/// What kind of evidence a certificate carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A leaf of "cloister-ra/1", for [`crate::tpm::appraise_leaf`].
    Cloister,
    /// Another conceptual message wrapper.
    Wrapped,
    /// CCC interoperable RA-TLS.
    Ccc,
    /// Privasys.
    Privasys,
}

/// Tells the form of a DER certificate by its extensions; `None` when it carries no evidence that is known, or does not parse.
/// Whether it is a strict certificate is for the appraisal to say. Where several stand in one certificate, the first named here counts.
pub fn form(der: &[u8]) -> Option<Form> {
    let certificate = Certificate::from_der(der).ok()?;
    let extensions = certificate.tbs_certificate.extensions?;
    let value = |oid: &str| {
        let found = extensions.iter().find(|one| one.extn_id.to_string() == oid);
        found.map(|extension| extension.extn_value.as_bytes())
    };
    if let Some(value) = value(EXTENSION_OID) {
        let own = LeafExtension::decode(value).is_ok();
        return Some(if own { Form::Cloister } else { Form::Wrapped });
    }
    if value(ccc::EXTENSION).is_some() {
        return Some(Form::Ccc);
    }
    let privasys = [privasys::SNP, privasys::TDX];
    privasys
        .iter()
        .any(|oid| value(oid).is_some())
        .then_some(Form::Privasys)
}
