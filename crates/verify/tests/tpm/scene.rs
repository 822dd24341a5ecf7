//! One made-up quote with everything right, to be made wrong in one place.

use std::sync::OnceLock;

use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{Class, ReferenceValues, Register, SCHEMA_VERSION};
use cloister_test_pki::Key;
use cloister_test_pki::azure::{Attest, pcr_list, rsa_numbers, tpmt_signature};
use cloister_verify::Verdict;
use cloister_verify::tpm::{BareQuote, Expected, QuotePolicy, appraise_quote};
use sha2::{Digest as _, Sha256};

/// 2026-11-22.
pub(crate) const NOW: u64 = 1_795_305_600;
/// What the verifier chose.
pub(crate) const NONCE: [u8; 32] = [0x5a; 32];
/// The log of a real boot, and the registers that its TPM had: `tests/vectors/README.md`.
pub(crate) const EVENT_LOG: &[u8] =
    include_bytes!("../../../../tests/vectors/measurement/qemu-ovmf-swtpm.eventlog");
const EVENT_LOG_PCRS: &[u8] =
    include_bytes!("../../../../tests/vectors/measurement/qemu-ovmf-swtpm.pcrs.json");
/// `objectAttributes` of Cloister's attestation key.
const ATTRIBUTES: u32 = 0x0005_0472;

pub(crate) fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::rsa_2048().unwrap())
}

pub(crate) fn stranger() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::rsa_2048().unwrap())
}

/// The registers that the real boot had; those that were not recorded are zero.
pub(crate) fn pcrs() -> Vec<[u8; 32]> {
    let recorded: serde_json::Value = serde_json::from_slice(EVENT_LOG_PCRS).unwrap();
    let value = |index: usize| {
        let text = recorded["sha256"][index.to_string()].as_str();
        let bytes = text.map(|text| hex::decode(text).unwrap());
        bytes.map_or([0; 32], |bytes| bytes.try_into().unwrap())
    };
    (0..24).map(value).collect()
}

/// `TPMT_PUBLIC` of an RSA key.
pub(crate) fn public(key: &Key, attributes: u32) -> Vec<u8> {
    let (modulus, _) = rsa_numbers(key).unwrap();
    let mut bytes = vec![0, 1, 0, 0x0b];
    bytes.extend(attributes.to_be_bytes());
    bytes.extend([0, 0, 0, 0x10, 0, 0x14, 0, 0x0b, 8, 0, 0, 0, 0, 0, 1, 0]);
    bytes.extend(modulus);
    bytes
}

/// What is appraised, before anything is signed.
pub(crate) struct Scene {
    pub(crate) attest: Attest,
    pub(crate) pcrs: Vec<[u8; 32]>,
    /// Signs instead of the attestation key.
    pub(crate) signer: Option<&'static Key>,
    pub(crate) attributes: u32,
    /// Given instead of the public area.
    pub(crate) ak: Option<Vec<u8>>,
    pub(crate) list: Option<Vec<u8>>,
    pub(crate) event_log: Option<Vec<u8>>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) reference: Option<ReferenceValues>,
    pub(crate) policy: QuotePolicy,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let pcrs = pcrs();
        Self {
            attest: Attest::new(&NONCE, &Sha256::digest(pcrs.as_flattened())),
            reference: Some(reference(&pcrs)),
            pcrs,
            signer: None,
            attributes: ATTRIBUTES,
            ak: None,
            list: None,
            event_log: Some(EVENT_LOG.to_vec()),
            nonce: Some(NONCE.to_vec()),
            policy: QuotePolicy::default(),
        }
    }

    /// Quotes the first `count` registers.
    pub(crate) fn select(&mut self, count: usize, bitmap: [u8; 3]) {
        self.pcrs.truncate(count);
        self.attest.pcr_digest = Sha256::digest(self.pcrs.as_flattened()).to_vec();
        self.attest.banks = vec![(0x000b, bitmap.to_vec())];
    }

    pub(crate) fn ak(&self) -> Vec<u8> {
        let public = || public(key(), self.attributes);
        self.ak.clone().unwrap_or_else(public)
    }

    pub(crate) fn list(&self) -> Vec<u8> {
        let list = || pcr_list(&self.pcrs);
        self.list.clone().unwrap_or_else(list)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let (attest, signature) = self.attest.sign(self.signer.unwrap_or(key())).unwrap();
        self.judge(&attest, &tpmt_signature(&signature))
    }

    /// The verdict about these very bytes.
    pub(crate) fn judge(&self, attest: &[u8], signature: &[u8]) -> Verdict {
        let (ak, pcrs) = (self.ak(), self.list());
        let evidence = BareQuote {
            attest,
            signature,
            ak: &ak,
            pcrs: &pcrs,
            event_log: self.event_log.as_deref(),
        };
        let expected = Expected {
            nonce: self.nonce.as_deref(),
            reference: self.reference.as_ref(),
        };
        appraise_quote(&evidence, &expected, &self.policy, NOW)
    }
}

/// Reference values with registers of an image.
pub(crate) fn reference(pcrs: &[[u8; 32]]) -> ReferenceValues {
    let register = |index: usize| {
        let value = Digest::from_bytes(Bank::Sha256, &pcrs[index]).unwrap();
        let name = format!("pcr{index}");
        (name, Register::single(Class::Image, value))
    };
    ReferenceValues {
        bank: Bank::Sha256,
        confidential: false,
        inputs: Default::default(),
        launch_digests: Vec::new(),
        gpu: None,
        launch_policy: None,
        platform: "qemu-vtpm".to_owned(),
        recipe: "demo".to_owned(),
        registers: [4, 7].map(register).into(),
        schema_version: SCHEMA_VERSION,
        unpredicted: Default::default(),
    }
}

/// The names of the failed checks.
pub(crate) fn failed(verdict: &Verdict) -> Vec<&str> {
    verdict
        .failures()
        .map(|check| check.name.as_str())
        .collect()
}
