//! Conceptual message wrappers of others, in a certificate or by themselves.
//!
//! Spec: draft-ietf-rats-msg-wrap. The wrapper is read to the last byte and its records are listed; which of them would be judged depends
//! on their type, and no type of others is judged by this version. Nothing is accepted.

use super::{Leaf, leaf, rules};
use crate::Verdict;
use crate::checks::{Checks, Rule};
use crate::cmw::{Cmw, CmwError, Encoding};
use crate::verdict::{Mode, Subject, Trust};
use cloister_evidence::bundle::EXTENSION_OID;

const PLATFORM: &str = "cmw";
const WANTED: &str = "a wrapper in JSON or CBOR";

/// Appraises a certificate with a wrapper; `at` is in seconds since the Unix epoch.
pub fn appraise(leaf: &Leaf<'_>, at: u64) -> Verdict {
    let mut checks = Checks::default();
    if let Some(certificate) = leaf.open(at, &mut checks) {
        let value = leaf::extension(&certificate, EXTENSION_OID);
        let rule = &rules::CMW_FORMAT;
        match value {
            Some(value) => wrapper(Cmw::from_extension(value), &mut checks),
            None => {
                checks.require(rule, false, WANTED, "no such extension");
            }
        }
    }
    conclude(&[rules::LEAF, rules::WRAPPED].concat(), Some(at), checks)
}

/// Appraises a wrapper in a file, JSON or CBOR, which nothing ties to a key or to a time.
pub fn appraise_file(input: &[u8]) -> Verdict {
    let mut checks = Checks::default();
    wrapper(Cmw::from_bytes(input), &mut checks);
    conclude(rules::WRAPPED, None, checks)
}

fn wrapper(parsed: Result<(Cmw, Encoding), CmwError>, checks: &mut Checks) {
    let rule = &rules::CMW_FORMAT;
    let (cmw, encoding) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            checks.require(rule, false, WANTED, error.to_string());
            return;
        }
    };
    let encoding = match encoding {
        Encoding::Json => "JSON",
        Encoding::Cbor => "CBOR",
    };
    let records = cmw.records().into_iter().map(|(path, record)| {
        let kinds = record.kinds().join("+");
        let kinds = if kinds.is_empty() {
            "no indicator".to_owned()
        } else {
            kinds
        };
        let length = record.value.len();
        let path = if path.is_empty() {
            "record".to_owned()
        } else {
            format!("`{path}`")
        };
        format!("{path}: {}, {kinds}, {length} bytes", record.content_type)
    });
    let records = records.collect::<Vec<_>>().join("; ");
    checks.require(rule, true, WANTED, format!("{encoding}, {records}"));
    let rule = &rules::EVIDENCE;
    let reason = "no record has a type that this version judges";
    checks.skip(rule.name, true, rule.meaning, reason);
}

fn conclude(rules: &[&Rule], at: Option<u64>, checks: Checks) -> Verdict {
    let subject = Subject {
        mode: Mode::Evidence,
        platform: PLATFORM,
        recipe: None,
        confidential: false,
        trust: Trust::Hardware,
        at,
    };
    Verdict::new(&subject, checks.finish(rules))
}
