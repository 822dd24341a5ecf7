//! Names of the errors, by which the cases are counted: a new one does not compile until it has a name, and does not pass until it has a case.

use crate::Cause;
use crate::chain::{CertificateError, ChainError, FwidError, LinkError, Model};
use crate::report::{Feature, ReportError};

/// Every error that evidence can lead to.
pub(super) const VARIANTS: [&str; 52] = [
    "blocks",
    "certificate",
    "certificate: algorithm",
    "certificate: critical",
    "certificate: der",
    "certificate: key",
    "certificate: not strict",
    "certificate: twice",
    "certificate: version",
    "certificates",
    "chain",
    "chain: count",
    "chain: pem",
    "chain: stray",
    "chain: too large",
    "feature",
    "feature: MPT",
    "feature: PPCIE",
    "fwid",
    "fwid: absent",
    "fwid: form",
    "leaf fwid",
    "link: issuer",
    "link: key usage",
    "link: leaf is authority",
    "link: not authority",
    "link: path length",
    "link: root",
    "link: signature",
    "measurements",
    "model",
    "model: Blackwell",
    "model: LS10",
    "model: unknown",
    "no golden values",
    "no version",
    "nonce",
    "protected PCIe",
    "report",
    "report: blocks",
    "report: invalid",
    "report: length",
    "report: text",
    "report: trailing",
    "report: truncated",
    "report: twice",
    "report: unknown",
    "report: value",
    "signature",
    "unknown",
    "validity",
    "version",
];

/// The name of a cause, and of what is inside of it.
pub(super) fn variant(cause: &Cause) -> Vec<&'static str> {
    match cause {
        Cause::Report(error) => vec!["report", report(error)],
        Cause::Certificates(error) => [vec!["certificates"], chain(error)].concat(),
        Cause::Model { found } => vec!["model", model(*found)],
        Cause::Blocks { .. } => vec!["blocks"],
        Cause::Chain(error) => vec!["chain", link(error)],
        Cause::Validity(_) => vec!["validity"],
        Cause::LeafFwid(FwidError::Absent) => vec!["leaf fwid", "fwid: absent"],
        Cause::LeafFwid(FwidError::Form) => vec!["leaf fwid", "fwid: form"],
        Cause::Fwid { .. } => vec!["fwid"],
        Cause::Nonce { .. } => vec!["nonce"],
        Cause::NoVersion => vec!["no version"],
        Cause::Version { .. } => vec!["version"],
        Cause::Unknown { .. } => vec!["unknown"],
        Cause::NoGoldenValues { .. } => vec!["no golden values"],
        Cause::Signature => vec!["signature"],
        Cause::Feature { found } => vec!["feature", feature(*found)],
        Cause::ProtectedPcie => vec!["protected PCIe"],
        Cause::Measurements { .. } => vec!["measurements"],
    }
}

fn report(error: &ReportError) -> &'static str {
    match error {
        ReportError::Truncated { .. } => "report: truncated",
        ReportError::Value { .. } => "report: value",
        ReportError::Blocks { .. } => "report: blocks",
        ReportError::Twice { .. } => "report: twice",
        ReportError::Invalid { .. } => "report: invalid",
        ReportError::Length { .. } => "report: length",
        ReportError::Text { .. } => "report: text",
        ReportError::Unknown { .. } => "report: unknown",
        ReportError::Trailing { .. } => "report: trailing",
    }
}

fn chain(error: &ChainError) -> Vec<&'static str> {
    match error {
        ChainError::TooLarge { .. } => vec!["chain: too large"],
        ChainError::Count { .. } => vec!["chain: count"],
        ChainError::Pem { .. } => vec!["chain: pem"],
        ChainError::Stray { .. } => vec!["chain: stray"],
        ChainError::Certificate { error, .. } => vec!["certificate", certificate(error)],
    }
}

fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Der { .. } => "certificate: der",
        CertificateError::NotStrict => "certificate: not strict",
        CertificateError::Version => "certificate: version",
        CertificateError::Algorithm { .. } => "certificate: algorithm",
        CertificateError::Key => "certificate: key",
        CertificateError::Critical { .. } => "certificate: critical",
        CertificateError::Twice { .. } => "certificate: twice",
    }
}

fn link(error: &LinkError) -> &'static str {
    match error {
        LinkError::Issuer { .. } => "link: issuer",
        LinkError::Signature { .. } => "link: signature",
        LinkError::NotAuthority { .. } => "link: not authority",
        LinkError::KeyUsage { .. } => "link: key usage",
        LinkError::PathLength { .. } => "link: path length",
        LinkError::LeafIsAuthority => "link: leaf is authority",
        LinkError::Root { .. } => "link: root",
    }
}

fn model(model: Model) -> &'static str {
    match model {
        Model::Gh100 => "model: GH100",
        Model::Blackwell => "model: Blackwell",
        Model::Ls10 => "model: LS10",
        Model::Unknown => "model: unknown",
    }
}

fn feature(feature: Feature) -> &'static str {
    match feature {
        Feature::SinglePassthrough => "feature: SPT",
        Feature::MultiPassthrough => "feature: MPT",
        Feature::ProtectedPcie => "feature: PPCIE",
    }
}
