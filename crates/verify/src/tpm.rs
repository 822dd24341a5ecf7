//! Appraisal of TPM quotes.
//!
//! Specs: TCG TPM 2.0 Library, Parts 1 and 2; `docs/evidence-format.md`, section "Appraisal". The platform
//! `qemu-vtpm` has a TPM of the host's software, so a verdict shows that the chain from the image to the evidence
//! is whole, and always says that the machine is not confidential. A quote by itself, as files, shows no more. What
//! every quote goes through is shared with platforms whose TPM is endorsed.

mod bare;
mod key;
mod quote;
pub(crate) mod quoted;
pub(crate) mod registers;
pub(crate) mod rules;

use cloister_evidence::tpm::{FIXED_PARENT, FIXED_TPM, RESTRICTED, SENSITIVE_DATA_ORIGIN, SIGN};
use cloister_measure::reference::ReferenceValues;

use crate::checks::{self, Checks, Rule};
use crate::layers::{self, Bound};
use crate::verdict::{self, Subject, Trust};
use crate::{Policy, Verdict, certificate};

pub(crate) use bare::event_log;
pub use bare::{BareQuote, Expected, Policy as QuotePolicy, appraise_quote};
pub use key::{Ak, AkError};

/// `decrypt` (TPM 2.0 Library, Part 2, table "Definition of (UINT32) TPMA_OBJECT Bits").
const DECRYPT: u32 = 1 << 17;
/// What an attestation key must be.
const DEMANDED: u32 = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | RESTRICTED | SIGN;

/// Appraises a leaf certificate and the bundle served with it, of `qemu-vtpm` alone: [`layers::appraise_leaf`] knows the others too.
///
/// `leaf_der` is the certificate of the TLS handshake, `bundle` the answer of
/// `GET /.well-known/attestation`, `now` the verifier's own clock in seconds since the Unix epoch.
/// TLS itself must have shown that the peer holds the leaf's key. No GPU is trusted here: reference values that name one are not met.
pub fn appraise_leaf(
    leaf_der: &[u8],
    bundle: &[u8],
    reference: &ReferenceValues,
    policy: &Policy,
    now: u64,
) -> Verdict {
    let verdict = leaf(leaf_der, bundle, reference, policy, now);
    let nonce = certificate::gpu_nonce(leaf_der);
    layers::with_gpu(verdict, nonce, bundle, reference, &[], now)
}

/// The checks of everything but a GPU.
pub(crate) fn leaf(
    leaf_der: &[u8],
    bundle: &[u8],
    reference: &ReferenceValues,
    policy: &Policy,
    now: u64,
) -> Verdict {
    let mut checks = Checks::default();
    registers::reference(reference, &registers::QEMU_VTPM, &mut checks);
    if let Some(bound) = layers::leaf(leaf_der, bundle, policy, now, &mut checks) {
        evidence(&bound, reference, &mut checks);
    }
    let mode = verdict::Mode::Leaf;
    conclude(
        mode,
        Some(now),
        checks::LEAF_FRONT,
        reference,
        policy,
        checks,
    )
}

/// Appraises a bundle that was made for one TLS connection, of `qemu-vtpm` alone: [`layers::appraise_session`] knows the others too.
///
/// `spki_der` is the DER SubjectPublicKeyInfo of the leaf that the peer showed in the handshake of this
/// very connection ([`certificate::spki`]), `nonce` the 32 bytes that the verifier chose and sent, and
/// `exporter` the keying material that the verifier exported itself from this connection with the
/// label [`cloister_evidence::binding::EXPORTER_LABEL`] and the nonce as context; it must never come
/// from the peer. Whether the leaf is valid is for [`appraise_leaf`] to say. No GPU is trusted here: reference values that name one
/// are not met.
pub fn appraise_session(
    spki_der: &[u8],
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    bundle: &[u8],
    reference: &ReferenceValues,
    policy: &Policy,
) -> Verdict {
    let verdict = session(spki_der, nonce, exporter, bundle, reference, policy);
    layers::with_gpu(verdict, None, bundle, reference, &[], 0)
}

/// The checks of everything but a GPU.
pub(crate) fn session(
    spki_der: &[u8],
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    bundle: &[u8],
    reference: &ReferenceValues,
    policy: &Policy,
) -> Verdict {
    let mut checks = Checks::default();
    registers::reference(reference, &registers::QEMU_VTPM, &mut checks);
    if let Some(bound) = layers::session(spki_der, nonce, exporter, bundle, &mut checks) {
        evidence(&bound, reference, &mut checks);
    }
    let mode = verdict::Mode::Session;
    conclude(mode, None, checks::SESSION_FRONT, reference, policy, checks)
}

/// Everything that leaf and session have in common.
fn evidence(bound: &Bound, reference: &ReferenceValues, checks: &mut Checks) {
    if let Some(pcrs) = quote::appraise(&bound.bundle.cpu, bound.report_data, checks) {
        registers::compare(&pcrs, reference, checks);
        registers::logs(&pcrs, &bound.bundle, Some(reference), checks);
    }
}

/// Checks that the key was made in the TPM, cannot leave it, and signs only what the TPM generates.
fn attributes(found: u32, checks: &mut Checks) {
    let passed = found & DEMANDED == DEMANDED && found & DECRYPT == 0;
    let wanted = format!("{DEMANDED:#010x} set and {DECRYPT:#010x} clear");
    let rule = &checks::AK_ATTRIBUTES;
    checks.require(rule, passed, wanted, format!("{found:#010x}"));
}

fn conclude(
    mode: verdict::Mode,
    at: Option<u64>,
    front: &[&'static Rule],
    reference: &ReferenceValues,
    policy: &Policy,
    mut checks: Checks,
) -> Verdict {
    let origin = &checks::AK_ORIGIN;
    let reason = "a software TPM has no maker's certificate: the host could sign with any key";
    checks.skip(origin.name, false, origin.meaning, reason);
    let confidential = &checks::CONFIDENTIAL;
    let reason = "not confidential: the host can read the guest's memory and forge this evidence";
    let required = policy.require_confidential;
    checks.skip(confidential.name, required, confidential.meaning, reason);
    let subject = Subject {
        mode,
        platform: &reference.platform,
        recipe: Some(&reference.recipe),
        confidential: false,
        trust: Trust::Host,
        at,
    };
    let rules = [front, checks::BARE_TPM].concat();
    Verdict::new(&subject, checks.finish(&rules))
}
