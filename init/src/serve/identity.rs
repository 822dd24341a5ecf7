//! What this guest shows of itself on a connection: the TLS configuration with the leaf, and the leaf's evidence.
//!
//! Layer A of `cloister-ra/1`: a self-signed P-256 leaf whose extension holds the hardware evidence and the
//! digest of the leaf bundle. The key is made here and never leaves this process. Times are seconds since
//! 1970-01-01 00:00 UTC.

use super::answer::Answer;
use bytes::Bytes;
use cloister_evidence::binding::MAX_LEAF_VALIDITY;
use cloister_evidence::bundle::{self, Bundle, CpuSection, EXTENSION_ARCS, LeafExtension};
use rcgen::{
    CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// A leaf is valid from this long before it is made, for clients whose clock is behind.
const BACKDATE: u64 = 5 * 60;

/// No leaf could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    /// Key or certificate.
    #[error("cannot make a leaf certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses it.
    #[error("cannot use the leaf certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// A new key and the validity of its leaf, before there is evidence for them.
#[derive(Debug)]
pub(super) struct Draft {
    key: KeyPair,
    /// SHA-256 of the DER SubjectPublicKeyInfo.
    pub(super) spki_sha256: [u8; 32],
    /// First second of validity.
    pub(super) not_before: u64,
    /// Last second of validity.
    pub(super) not_after: u64,
}

/// The evidence for a leaf, as PID 1 gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeafEvidence {
    /// Hardware evidence over the leaf's binding.
    pub(super) cpu: CpuSection,
    /// CBOR of the device section.
    pub(super) devices: Vec<u8>,
    /// CBOR of the log section.
    pub(super) log: Vec<u8>,
}

/// What session evidence needs to know about the leaf of its connection.
#[derive(Debug)]
pub(super) struct Leaf {
    /// SHA-256 of the DER SubjectPublicKeyInfo.
    pub(super) spki_sha256: [u8; 32],
    /// CBOR of the device section.
    pub(super) devices: Vec<u8>,
    /// CBOR of the log section.
    pub(super) log: Vec<u8>,
    bundle: Bytes,
    renew_from: u64,
    not_before: u64,
}

/// An identity; a connection keeps the one it was handshaked with.
#[derive(Debug)]
pub(super) struct Identity {
    config: Arc<rustls::ServerConfig>,
    leaf: Option<Arc<Leaf>>,
}

impl Draft {
    /// Makes a key; its leaf is valid at `now`.
    pub(super) fn new(now: u64) -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let spki_sha256 = Sha256::digest(key.subject_public_key_info()).into();
        let not_before = now.saturating_sub(BACKDATE);
        Ok(Self {
            key,
            spki_sha256,
            not_before,
            not_after: not_before.saturating_add(MAX_LEAF_VALIDITY),
        })
    }

    /// Makes the leaf with its evidence.
    pub(super) fn finish(
        self,
        subject: &str,
        evidence: LeafEvidence,
    ) -> Result<Identity, IdentityError> {
        let LeafEvidence { cpu, devices, log } = evidence;
        let bundle = Bundle {
            cpu: cpu.clone(),
            log,
            batch: None,
            devices,
        };
        let encoded = bundle.encode();
        let extension = LeafExtension {
            cpu,
            bundle_sha256: bundle::digest(&encoded),
        };
        let leaf = Leaf {
            spki_sha256: self.spki_sha256,
            devices: bundle.devices,
            log: bundle.log,
            bundle: encoded.into(),
            renew_from: self.not_before.midpoint(self.not_after),
            not_before: self.not_before,
        };
        let certificate = self
            .parameters(subject, &extension)?
            .self_signed(&self.key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = server_config(vec![certificate.der().clone()], key)?;
        Ok(Identity {
            config: Arc::new(config),
            leaf: Some(Arc::new(leaf)),
        })
    }

    fn parameters(
        &self,
        subject: &str,
        extension: &LeafExtension,
    ) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(self.not_before);
        params.not_after = epoch + Duration::from_secs(self.not_after);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &EXTENSION_ARCS,
            extension.encode(),
        )];
        Ok(params)
    }
}

impl Identity {
    /// An identity with a certificate made elsewhere and no evidence.
    pub(super) fn fixed(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            config: Arc::new(server_config(chain, key)?),
            leaf: None,
        })
    }

    /// The TLS configuration for a new connection.
    pub(super) fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The leaf, if it is one with evidence.
    pub(super) fn leaf(&self) -> Option<&Arc<Leaf>> {
        self.leaf.as_ref()
    }

    /// Whether half of the leaf's validity is over, or it is not valid at all (the clock was set).
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.leaf
            .as_ref()
            .is_none_or(|leaf| now < leaf.not_before || now >= leaf.renew_from)
    }

    /// Layer A: the bundle whose digest is in the leaf.
    pub(super) fn leaf_answer(&self) -> Answer {
        match &self.leaf {
            Some(leaf) => Answer::new(200, bundle::CONTENT_TYPE, leaf.bundle.clone()),
            None => Answer::error(404, "not found"),
        }
    }
}

/// TLS 1.3 only; no tickets, no resumption, no early data.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<rustls::ServerConfig, rustls::Error> {
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_evidence::bundle::CpuKind;

    #[test]
    fn identity_is_due_at_half_time_and_when_the_clock_was_set_back() {
        let now = 1_800_000_000;
        let draft = Draft::new(now).unwrap();
        assert_eq!(draft.not_after - draft.not_before, 24 * 3600);
        assert!(draft.not_before < now && now < draft.not_after);
        let half = draft.not_before + 12 * 3600;
        let cpu = CpuSection {
            kind: CpuKind::TpmQuote,
            value: vec![1],
        };
        let identity = draft
            .finish(
                "demo",
                LeafEvidence {
                    cpu,
                    devices: vec![2],
                    log: vec![3],
                },
            )
            .unwrap();
        assert!(!identity.is_due(now));
        assert!(!identity.is_due(half - 1));
        assert!(identity.is_due(half));
        assert!(identity.is_due(now - 3600));
    }
}
