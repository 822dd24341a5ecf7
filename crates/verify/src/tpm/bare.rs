//! A quote by itself, as files: who made the TPM, and who runs it, stays open.

use cloister_evidence::tpm::{PcrValues, Quote};
use cloister_measure::reference::ReferenceValues;
use serde::Deserialize;

use super::key::Ak;
use super::{attributes, quoted, registers, rules};
use crate::Verdict;
use crate::checks::{self, Checks, Rule};
use crate::verdict::{self, Subject, Trust};

/// The name of the platform in verdicts without reference values.
const PLATFORM: &str = "tpm";

/// A quote and what belongs to it, each as it stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BareQuote<'a> {
    /// `TPMS_ATTEST`.
    pub attest: &'a [u8],
    /// `TPMT_SIGNATURE`, or an RSA signature as it is.
    pub signature: &'a [u8],
    /// The attestation key in any form of [`Ak::parse`].
    pub ak: &'a [u8],
    /// The PCR values as tpm2-tools write them: [`PcrValues::from_tools`].
    pub pcrs: &'a [u8],
    /// The firmware's event log.
    pub event_log: Option<&'a [u8]>,
}

/// What a quote is held against beside the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expected<'a> {
    /// The qualifying data; without it nothing is accepted.
    pub nonce: Option<&'a [u8]>,
    /// The image; without it nothing is accepted.
    pub reference: Option<&'a ReferenceValues>,
}

/// Demands of a quote that no policy can drop are its signature, its nonce and its PCR values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// The PCRs that must be quoted, exactly; absent for 0 to 15 or all 24.
    pub pcrs: Option<Vec<u8>>,
}

/// Appraises a quote. Whoever runs the machine can make all of this with a TPM of software: the verdict says so, and is never
/// `confidential`. `at` is in seconds since the Unix epoch; nothing in a quote has dates.
pub fn appraise_quote(
    evidence: &BareQuote<'_>,
    expected: &Expected<'_>,
    policy: &Policy,
    at: u64,
) -> Verdict {
    let mut checks = Checks::default();
    registers::pinned(expected.reference, &registers::ANY, &mut checks);
    let wanted = "one TPMS_ATTEST of a quote";
    let quote = checks.take(&rules::QUOTE_FORMAT, wanted, Quote::parse(evidence.attest));
    let key = key(evidence.ak, &mut checks);
    if let Some(quote) = &quote {
        if let Some(key) = &key {
            let (attest, signature) = (evidence.attest, evidence.signature);
            let rule = &checks::QUOTE_SIGNATURE;
            quoted::signature(rule, &key.key, attest, signature, &mut checks);
        }
        quoted::nonce(expected.nonce, quote, &mut checks);
        values(evidence, quote, expected.reference, policy, &mut checks);
        quoted::clock(&quote.clock_info, &mut checks);
    }
    conclude(expected.reference, at, checks)
}

fn key(input: &[u8], checks: &mut Checks) -> Option<Ak> {
    let wanted = "TPMT_PUBLIC, SubjectPublicKeyInfo or JSON Web Key, RSA or P-256";
    let key = checks.take(&rules::AK_FORMAT, wanted, Ak::parse(input))?;
    match key.attributes {
        Some(found) => attributes(found, checks),
        None => {
            let rule = &checks::AK_ATTRIBUTES;
            let reason = "the key was given without its TPM attributes: give its TPMT_PUBLIC";
            checks.skip(rule.name, false, rule.meaning, reason);
        }
    }
    Some(key)
}

/// The checks of which PCRs are quoted, and of their values.
fn values(
    evidence: &BareQuote<'_>,
    quote: &Quote,
    reference: Option<&ReferenceValues>,
    policy: &Policy,
    checks: &mut Checks,
) {
    let wanted = "a list as `tpm2_quote --pcrs` writes it, of the SHA-256 bank";
    let parsed = PcrValues::from_tools(evidence.pcrs);
    let values = checks.take(&rules::PCR_LIST, wanted, parsed);
    let (rule, pcrs) = (&rules::PCR_SELECTION, policy.pcrs.as_deref());
    let selected = quoted::selection(rule, pcrs, &quote.pcr_select, checks);
    let (Some(values), Some(selected)) = (values, selected) else {
        return;
    };
    if !quoted::digest(&values, &selected, quote, checks) {
        return;
    }
    if let Some(reference) = reference {
        registers::compare(&values, reference, checks);
    }
    event_log(evidence.event_log, &values, checks);
}

/// The check of the firmware's log, where there is one.
pub(crate) fn event_log(log: Option<&[u8]>, values: &PcrValues, checks: &mut Checks) {
    let rule = &rules::EVENT_LOG;
    match log {
        Some(log) => registers::firmware_log(rule, values, registers::replay(log, true), checks),
        None => {
            let reason = "no event log was given: the registers speak for themselves";
            checks.skip(rule.name, false, rule.meaning, reason);
        }
    }
}

fn conclude(reference: Option<&ReferenceValues>, at: u64, mut checks: Checks) -> Verdict {
    let skipped: [(&Rule, &str); 2] = [
        (
            &checks::AK_ORIGIN,
            "no chain was asked for: whoever runs the machine can have made the key",
        ),
        (
            &checks::CONFIDENTIAL,
            "not confidential: a quote says nothing about who can read the guest's memory",
        ),
    ];
    for (rule, reason) in skipped {
        checks.skip(rule.name, false, rule.meaning, reason);
    }
    let subject = Subject {
        mode: verdict::Mode::Evidence,
        platform: reference.map_or(PLATFORM, |reference| &reference.platform),
        recipe: reference.map(|reference| reference.recipe.as_str()),
        confidential: false,
        trust: Trust::Host,
        at: Some(at),
    };
    Verdict::new(&subject, checks.finish(rules::QUOTE))
}
