//! The checks of evidence from Azure beside those of the SNP report or TD quote in it, in the order in which they are made.

use crate::checks::{
    BINDING, CLOISTER_LOG, DEVICES, FIRMWARE_LOG, LEAF_FRONT, PCR_DIGEST, REFERENCE, Rule,
    SESSION_FRONT, rules,
};
use crate::tpm::rules::{EVENT_LOG, NONCE, QUOTE_FORMAT};
use crate::{snp, tdx};

rules! {
    EVIDENCE_FORMAT "evidence-format" "the evidence must be of a known shape: an HCL report, or an HCL report with a quote around it"
    HCL_FORMAT "hcl-format" "the HCL report must be whole, with lengths that agree and zeros in every byte without meaning"
    CLAIMS_HASH "claims-hash" "the hardware must commit to the claims: its REPORT_DATA is their hash and zeros"
    ATTESTATION_KEY "attestation-key" "the claims must name exactly one key HCLAkPub, RSA: no other key counts"
    TPM_ENABLED "tpm-enabled" "the claims must say that the guest has a vTPM"
    SECURE_BOOT "secure-boot" "with Secure Boot only signed programs were started, where the policy wants that"
    CONSOLE "console" "a serial console is a way out of the guest, and one that takes input a way in"
    VPCI_DEVICES "vpci-devices" "devices that the host lets through see what the guest shows them"
    QUOTE_SIGNATURE "quote-signature" "the quote must be signed by the key HCLAkPub of the claims, whatever other key comes with it"
    PCR_SELECTION "pcr-selection" "the quote must cover exactly the PCRs that are wanted, in the SHA-256 bank; others could be set at will"
    USER_DATA "user-data" "what the guest had put into the claims must be the quote's nonce, where it put anything"
    AK_CERTIFICATE "ak-certificate" "a certificate that comes along must be of the key HCLAkPub and for a confidential VM"
    AK_VALIDITY "ak-validity" "the certificate of the key, and those above it, must be valid at the time of the appraisal"
    AK_CHAIN "ak-chain" "the certificate of the key must lead to Microsoft's pinned root, where the certificates between are given"
    PARAVISOR_VMPL "paravisor-vmpl" "the report must be the paravisor's own, from VMPL 0: the guest runs at VMPL 2"
    PARAVISOR_ID_KEY "paravisor-id-key" "the paravisor must be signed by a named key: anybody else's could sign any quote"
    PARAVISOR_GUEST_SVN "paravisor-guest-svn" "the paravisor's security version must reach the floor"
    PARAVISOR_GUEST_POLICY "paravisor-guest-policy" "the paravisor must be launched with exactly this policy"
    PARAVISOR_MEASUREMENT "paravisor-measurement" "the paravisor must be a named one, where the policy names any; Microsoft publishes no list"
    PARAVISOR_MRTD "paravisor-mrtd" "the paravisor must be a named one: on TDX no key stands behind it, and anybody else's could sign any quote"
    TD_QUOTE "td-quote" "the TD quote must be of the TDREPORT in the HCL report, whose REPORTDATA is the hash of the claims: a genuine quote of another TD proves nothing"
}

/// The rules of both kinds of hardware, beside those of nonce and logs.
const COMMON: &[&Rule] = &[
    &REFERENCE,
    &EVIDENCE_FORMAT,
    &HCL_FORMAT,
    &CLAIMS_HASH,
    &ATTESTATION_KEY,
    &TPM_ENABLED,
    &SECURE_BOOT,
    &CONSOLE,
    &VPCI_DEVICES,
    &QUOTE_FORMAT,
    &QUOTE_SIGNATURE,
    &PCR_SELECTION,
    &PCR_DIGEST,
    &USER_DATA,
    &AK_CERTIFICATE,
    &AK_VALIDITY,
    &AK_CHAIN,
];

/// What evidence in files is compared with, and may be.
const IN_FILES: &[&Rule] = &[&NONCE, &EVENT_LOG];

/// What a bundle says beside the hardware's evidence.
const IN_A_BUNDLE: &[&Rule] = &[&BINDING, &CLOISTER_LOG, &FIRMWARE_LOG, &DEVICES];

const PARAVISOR_ON_SNP: &[&Rule] = &[
    &PARAVISOR_VMPL,
    &PARAVISOR_ID_KEY,
    &PARAVISOR_GUEST_SVN,
    &PARAVISOR_GUEST_POLICY,
    &PARAVISOR_MEASUREMENT,
];

const PARAVISOR_ON_TDX: &[&Rule] = &[&PARAVISOR_MRTD, &TD_QUOTE];

/// The rules that every verdict about a VM on SEV-SNP lists.
pub(super) fn on_snp() -> Vec<&'static Rule> {
    [
        COMMON,
        IN_FILES,
        PARAVISOR_ON_SNP,
        snp::rules::PLATFORM,
        snp::rules::GUEST,
    ]
    .concat()
}

/// The rules that every verdict about a VM on TDX lists.
pub(super) fn on_tdx() -> Vec<&'static Rule> {
    [
        COMMON,
        IN_FILES,
        PARAVISOR_ON_TDX,
        tdx::rules::PLATFORM,
        tdx::rules::GUEST,
    ]
    .concat()
}

/// The rules that every verdict about a leaf lists.
pub(super) fn leaf() -> Vec<&'static Rule> {
    [LEAF_FRONT, &in_a_bundle()].concat()
}

/// The rules that every verdict about a session lists.
pub(super) fn session() -> Vec<&'static Rule> {
    [SESSION_FRONT, &in_a_bundle()].concat()
}

fn in_a_bundle() -> Vec<&'static Rule> {
    [
        COMMON,
        IN_A_BUNDLE,
        PARAVISOR_ON_SNP,
        snp::rules::PLATFORM,
        snp::rules::GUEST,
    ]
    .concat()
}
