//! The checks of certificates of others, in the order in which they are made. Those of an SNP report inside are in [`crate::snp`].

use crate::checks::{Rule, rules};

rules! {
    CERTIFICATE_FORMAT "certificate-format" "the certificate must be strict DER, X.509 v3, without unknown critical extensions"
    CERTIFICATE_SIGNATURE "certificate-signature" "the certificate must be signed by its own key or by a given issuer, so that no byte of it can be changed; a signer adds no trust"
    CERTIFICATE_VALIDITY "certificate-validity" "the certificate must be valid at the time of the appraisal"
    EXTENSION "extension" "the certificate must carry evidence in the form that its extension promises"
    CMW_FORMAT "cmw-format" "the wrapper must be strict JSON or CBOR of the draft, within the limits, no label twice"
    EVIDENCE "evidence" "the wrapper must hold evidence of a kind that this verifier judges"
    CLAIMS_FORMAT "claims-format" "the claims must be a CBOR map of texts, none twice, with a pubkey-hash; unknown claims are listed and mean nothing"
    PUBKEY_HASH "pubkey-hash" "the claims must hold the hash of the certificate's key; otherwise the evidence is of another key"
    QUOTE_FORMAT "quote-format" "the quote must be long enough for its version to have user data"
    QUOTE_CLAIMS_BINDING "quote-claims-binding" "the quote's user data must be the SHA-256 of the claims and zeros"
    NONCE "nonce" "the claims must hold the verifier's nonce where one is given"
    QUOTE "quote" "the quote must be one of a TD, to be held against Intel's key, the policy and the image"
    ENVIRONMENT "environment" "a certificate that does not say `production` is of a development machine"
    GPU_ENVELOPE "gpu-envelope" "GPU evidence must be a strict PGAE envelope whose report repeats the envelope's nonce"
    GPU_MODE "gpu-mode" "the GPU must be in production, with confidential computing on and developer tools off, by its own word"
    GPU_EVIDENCE "gpu-evidence" "the GPU's report and chain must be judged before the GPU is trusted"
    AGE "age" "notBefore, which the evidence covers, must be a whole minute at most 24 h ago; notAfter is only the signer's word"
    BINDING "binding" "the hardware evidence must commit to this key, to notBefore and to the GPU evidence"
}

/// The rules of every certificate.
pub(super) const LEAF: &[&Rule] = &[
    &CERTIFICATE_FORMAT,
    &CERTIFICATE_SIGNATURE,
    &CERTIFICATE_VALIDITY,
];

/// The rules of a wrapper.
pub(super) const WRAPPED: &[&Rule] = &[&CMW_FORMAT, &EVIDENCE];

/// The rules of CCC interoperable RA-TLS; those of the quote come on top.
pub(super) const CCC: &[&Rule] = &[
    &EXTENSION,
    &CLAIMS_FORMAT,
    &PUBKEY_HASH,
    &QUOTE_FORMAT,
    &QUOTE_CLAIMS_BINDING,
    &NONCE,
];

/// The rules of Privasys' timestamp mode, whatever the hardware.
pub(super) const PRIVASYS: &[&Rule] = &[
    &EXTENSION,
    &ENVIRONMENT,
    &GPU_ENVELOPE,
    &GPU_MODE,
    &GPU_EVIDENCE,
    &AGE,
    &BINDING,
];
