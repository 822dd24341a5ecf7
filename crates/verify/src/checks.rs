//! The rules of the format, and the record of the checks made.

use crate::verdict::{Check, Outcome};

/// A check that the format knows.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// What the check is for.
    pub(crate) meaning: &'static str,
}

/// Declares rules as constants: identifier, stable name, what the check is for.
macro_rules! rules {
    ($($id:ident $name:literal $meaning:literal)*) => {
        $(pub(crate) const $id: $crate::checks::Rule =
            $crate::checks::Rule { name: $name, meaning: $meaning };)*
    };
}
pub(crate) use rules;

rules! {
    REFERENCE "reference" "reference values must pin the image on a platform that this verifier knows"
    CERTIFICATE_FORMAT "certificate-format" "the leaf must be one strict DER X.509 v3 certificate without unknown critical extensions"
    CERTIFICATE_KEY "certificate-key" "the leaf must hold an ECDSA P-256 key"
    CERTIFICATE_SIGNATURE "certificate-signature" "the leaf must be signed by its own key, so that no byte of it can be changed"
    CERTIFICATE_LIFETIME "certificate-lifetime" "a leaf may be valid for 24 h at most, so that stolen keys and old images run out"
    CERTIFICATE_CURRENT "certificate-current" "the leaf must be valid now; the evidence covers its dates"
    CERTIFICATE_EVIDENCE "certificate-evidence" "the leaf must carry evidence in extension 1.3.6.1.5.5.7.1.35, once and non-critical"
    BUNDLE_FORMAT "bundle-format" "the bundle must be the deterministic encoding of exactly the known sections"
    BUNDLE_DIGEST "bundle-digest" "the bundle must be the one that the leaf names, with the same hardware evidence"
    BATCH "batch" "the proof must fit a batch of its size"
    CPU_FORMAT "cpu-format" "the hardware evidence must be a TPM quote with its key and PCR values, strictly encoded"
    AK_ATTRIBUTES "ak-attributes" "the attestation key must be made in the TPM, unable to leave it, and sign only what the TPM generates"
    QUOTE_SIGNER "quote-signer" "the quote must name the attestation key in the evidence as a primary key of the owner hierarchy"
    QUOTE_SIGNATURE "quote-signature" "the quote must be signed by the attestation key in the evidence"
    BINDING "binding" "the quote must commit to this TLS key, this freshness or session, the devices and the log; anything else is a relay or a replay"
    PCR_SELECTION "pcr-selection" "the quote must cover exactly PCRs 0 to 15 of the SHA-256 bank; PCRs 16 and 23 can be reset by software"
    PCR_DIGEST "pcr-digest" "the PCR values in the evidence must be those that were quoted"
    CLOISTER_LOG "cloister-log" "Cloister's log must replay to PCR 15 and end with its separator"
    FIRMWARE_LOG "firmware-log" "the firmware's event log must replay to PCRs 0 to 9"
    DEVICES "devices" "the device section must be known, and be what the reference values and the event log say"
    AK_ORIGIN "ak-origin" "a chain from the TPM's maker would show that the attestation key lives in a real TPM"
    CONFIDENTIAL "confidential" "the platform must keep the host out of the guest's memory"
}

/// The rules of a leaf that come before those of the hardware.
pub(crate) const LEAF_FRONT: &[&Rule] = &[
    &REFERENCE,
    &CERTIFICATE_FORMAT,
    &CERTIFICATE_KEY,
    &CERTIFICATE_SIGNATURE,
    &CERTIFICATE_LIFETIME,
    &CERTIFICATE_CURRENT,
    &CERTIFICATE_EVIDENCE,
    &BUNDLE_FORMAT,
    &BUNDLE_DIGEST,
];

/// The rules of a session that come before those of the hardware.
pub(crate) const SESSION_FRONT: &[&Rule] = &[&REFERENCE, &CERTIFICATE_KEY, &BUNDLE_FORMAT, &BATCH];

/// The rules of a bundle whose hardware is a bare TPM.
pub(crate) const BARE_TPM: &[&Rule] = &[
    &CPU_FORMAT,
    &AK_ATTRIBUTES,
    &QUOTE_SIGNER,
    &QUOTE_SIGNATURE,
    &BINDING,
    &PCR_SELECTION,
    &PCR_DIGEST,
    &CLOISTER_LOG,
    &FIRMWARE_LOG,
    &DEVICES,
];

/// The checks made so far.
#[derive(Default)]
pub(crate) struct Checks(Vec<Check>);

impl Checks {
    /// Records a required check.
    pub(crate) fn require(
        &mut self,
        rule: &Rule,
        passed: bool,
        wanted: impl Into<String>,
        found: impl Into<String>,
    ) -> bool {
        self.register(rule.name, rule.meaning, passed, wanted.into(), found.into());
        passed
    }

    /// Records a required check that compares bytes, shown in hex.
    pub(crate) fn equal(&mut self, rule: &Rule, wanted: &[u8], found: &[u8]) -> bool {
        self.require(
            rule,
            wanted == found,
            hex::encode(wanted),
            hex::encode(found),
        )
    }

    /// Records a required check that gives a value when it passes.
    pub(crate) fn take<T, E: std::fmt::Display>(
        &mut self,
        rule: &Rule,
        wanted: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => {
                self.require(rule, true, wanted, wanted);
                Some(value)
            }
            Err(error) => {
                self.require(rule, false, wanted, error.to_string());
                None
            }
        }
    }

    /// Records a required check of a register or of a rule.
    pub(crate) fn register(
        &mut self,
        name: &str,
        meaning: &str,
        passed: bool,
        wanted: String,
        found: String,
    ) {
        let outcome = if passed { Outcome::Pass } else { Outcome::Fail };
        self.0.push(Check {
            name: name.to_owned(),
            outcome,
            required: true,
            wanted,
            found,
            explanation: meaning.to_owned(),
            missing: None,
        });
    }

    /// Records a check that was not made, and why.
    pub(crate) fn skip(&mut self, name: &str, required: bool, wanted: &str, reason: &str) {
        self.0.push(Check {
            name: name.to_owned(),
            outcome: Outcome::Skipped,
            required,
            wanted: wanted.to_owned(),
            found: String::new(),
            explanation: reason.to_owned(),
            missing: None,
        });
    }

    /// Records what was found where nothing is wanted in particular.
    pub(crate) fn show(&mut self, rule: &Rule, found: String) {
        self.0.push(Check {
            name: rule.name.to_owned(),
            outcome: Outcome::Pass,
            required: false,
            wanted: "anything".to_owned(),
            found,
            explanation: rule.meaning.to_owned(),
            missing: None,
        });
    }

    /// Records a required check that waits for `collateral`, such as `vcek`.
    pub(crate) fn missing(&mut self, rule: &Rule, collateral: &str) {
        self.0.push(Check {
            name: rule.name.to_owned(),
            outcome: Outcome::Skipped,
            required: true,
            wanted: rule.meaning.to_owned(),
            found: String::new(),
            explanation: format!("waits for collateral: {collateral}"),
            missing: Some(collateral.to_owned()),
        });
    }

    /// All checks; those of `rules` that were not made are listed as skipped and required.
    pub(crate) fn finish(mut self, rules: &[&Rule]) -> Vec<Check> {
        for rule in rules {
            if !self.0.iter().any(|check| check.name == rule.name) {
                let reason = "not made, because an earlier check failed";
                self.skip(rule.name, true, rule.meaning, reason);
            }
        }
        self.0
    }
}
