//! A made-up leaf certificate, to be made wrong in one place.

use std::sync::OnceLock;

use cloister_test_pki::{Certificate, Extension, Key, Parameters};
use cloister_verify::cert::Leaf;
use cloister_verify::verdict::{Outcome, Verdict};
use sha2::{Digest as _, Sha256};
use x509_cert::der::Encode as _;

use crate::folder::failed;

/// 2026-11-22T00:00:00Z.
pub(crate) const NOT_BEFORE: u64 = 1_795_305_600;
/// An hour later.
pub(crate) const NOW: u64 = NOT_BEFORE + 3600;

/// Keys of the leaf, of its issuer and of somebody else.
pub(crate) fn keys() -> &'static [Key; 3] {
    static KEYS: OnceLock<[Key; 3]> = OnceLock::new();
    KEYS.get_or_init(|| [(); 3].map(|()| Key::p384().unwrap()))
}

/// SHA-256 of the leaf's SubjectPublicKeyInfo.
pub(crate) fn spki_sha256() -> [u8; 32] {
    Sha256::digest(spki()).into()
}

pub(crate) fn spki() -> Vec<u8> {
    keys()[0].spki().unwrap().to_der().unwrap()
}

pub(crate) fn plain(oid: &str, value: impl Into<Vec<u8>>) -> Extension {
    Extension {
        oid: oid.to_owned(),
        critical: false,
        value: value.into(),
    }
}

/// A leaf before it is signed.
pub(crate) struct Made {
    pub(crate) certificate: Certificate,
    /// Signs the leaf; its own key otherwise.
    pub(crate) signer: Option<&'static Key>,
    /// Given as certificates of possible signers.
    pub(crate) issuers: Vec<Vec<u8>>,
    pub(crate) at: u64,
}

impl Made {
    /// A leaf signed by its own key.
    pub(crate) fn own(extensions: Vec<Extension>) -> Self {
        let certificate = Certificate {
            version: 2,
            serial: vec![7],
            issuer: "leaf".to_owned(),
            subject: "leaf".to_owned(),
            validity: (NOT_BEFORE, NOT_BEFORE + 86_400),
            extensions,
            inner: Parameters::EcdsaSha384,
            outer: Parameters::EcdsaSha384,
        };
        Self {
            certificate,
            signer: None,
            issuers: Vec::new(),
            at: NOW,
        }
    }

    /// Has an authority sign it.
    pub(crate) fn issued(mut self) -> Self {
        let [_, issuer, _] = keys();
        let mut authority = Self::own(vec![
            Extension::authority(Some(0)),
            Extension::key_usage(true),
        ]);
        authority.certificate.subject = "operator".to_owned();
        authority.certificate.issuer = "operator".to_owned();
        self.issuers = vec![authority.certificate.sign(issuer, issuer).unwrap()];
        self.certificate.issuer = "operator".to_owned();
        self.signer = Some(issuer);
        self
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let [key, ..] = keys();
        let signer = self.signer.unwrap_or(key);
        self.certificate.sign(key, signer).unwrap()
    }

    /// Has `der`, this leaf or a changed one, appraised.
    pub(crate) fn with<T>(&self, der: &[u8], appraise: impl FnOnce(&Leaf<'_>) -> T) -> T {
        let issuers: Vec<&[u8]> = self.issuers.iter().map(Vec::as_slice).collect();
        appraise(&Leaf {
            der,
            issuers: &issuers,
        })
    }
}

/// The outcome of the check called `name`.
pub(crate) fn outcome(verdict: &Verdict, name: &str) -> Outcome {
    let check = verdict.check(name);
    check
        .unwrap_or_else(|| panic!("no check `{name}` in\n{verdict}"))
        .outcome
}

/// Asserts that `name` failed, and nothing else but `others`.
#[track_caller]
pub(crate) fn fails(verdict: &Verdict, names: &[&str]) {
    assert_eq!(failed(verdict), names, "{verdict}");
    assert!(!verdict.accepted, "{verdict}");
}
