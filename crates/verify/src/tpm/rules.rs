//! The checks of a quote by itself, in the order in which they are made.

use crate::checks::{AK_ATTRIBUTES, PCR_DIGEST, QUOTE_SIGNATURE, REFERENCE, Rule, rules};

rules! {
    QUOTE_FORMAT "quote-format" "the quote must be one TPMS_ATTEST with the magic that only a TPM writes, and a quote"
    AK_FORMAT "ak-format" "the attestation key must be RSA for RSASSA with SHA-256, or ECDSA P-256"
    NONCE "nonce" "the quote must commit to what the verifier chose; anything else is a replay or made for somebody else"
    PCR_LIST "pcr-list" "the PCR values must be a strict list of the SHA-256 bank"
    PCR_SELECTION "pcr-selection" "the quote must cover exactly the PCRs that are wanted, in the SHA-256 bank; others could be set at will"
    EVENT_LOG "event-log" "the firmware's event log must be well formed and replay to the quoted PCRs 0 to 9"
    CLOCK_INFO "clock-info" "clock and reset counters of the TPM, for comparison with an earlier quote"
}

/// The rules that every verdict about a quote by itself lists.
pub(super) const QUOTE: &[&Rule] = &[
    &REFERENCE,
    &QUOTE_FORMAT,
    &AK_FORMAT,
    &AK_ATTRIBUTES,
    &QUOTE_SIGNATURE,
    &NONCE,
    &PCR_LIST,
    &PCR_SELECTION,
    &PCR_DIGEST,
    &EVENT_LOG,
];
