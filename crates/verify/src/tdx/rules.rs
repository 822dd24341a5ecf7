//! The checks of a TD quote, in the order in which they are made.

use crate::checks::{Rule, rules};

rules! {
    FORMAT "td-quote-format" "the quote must be of version 4 or 5 with a TDX 1.0 or 1.5 body, every part as long as it says, and zeros alone behind it"
    TEE_TYPE "tee-type" "the quote must be of a TD, by Intel's quoting enclave, signed with P-256"
    PCK_CHAIN "pck-chain" "the PCK certificate must be issued by a PCK CA, and that by the pinned Intel root"
    PCK_VALIDITY "pck-validity" "PCK certificate, PCK CA and root must be valid at the time of the appraisal"
    QE_REPORT "qe-report" "the quoting enclave's report must be signed by the PCK and name the attestation key"
    QUOTE_SIGNATURE "td-quote-signature" "header and body must be signed by the attestation key, over the bytes as they were given"
    ROOT_CRL "root-crl" "the root's revocation list must be by the root, current, and list neither PCK CA nor signer of TCB info and QE identity"
    PCK_CRL "pck-crl" "the PCK CA's revocation list must be by that CA, current, and not list the PCK certificate"
    TCB_INFO "tcb-info" "the TCB info must be signed under the pinned root, and be for TDX"
    QE_IDENTITY "qe-identity" "the QE identity must be signed under the pinned root, and be that of the TD quoting enclave"
    COLLATERAL_CURRENT "collateral-current" "TCB info, QE identity and the certificates of their signers must be current at the time of the appraisal"
    QE_ENCLAVE "qe-enclave" "the quoting enclave must be the one that the QE identity describes, at a level Intel lists"
    TCB_LEVEL "tcb-level" "`dcap-qvl` must accept quote and collateral together: quoting enclave, TDX module and a TCB level that the platform reaches"
    TCB_STATUS "tcb-status" "the policy names the statuses it takes; others are of platforms with known holes"
    ADVISORIES "advisories" "advisories that the policy refuses must not apply"
    TCB_EVALUATION "tcb-evaluation" "collateral from before the floor does not know of later holes"
    DEBUG "debug" "with a bit of TUD set, debugging or profiling, the host reads the TD's memory or state"
    ATTRIBUTES "td-attributes" "bits of TDATTRIBUTES without known meaning must be zero"
    SEPT_VE "sept-ve-disable" "without it the host injects #VE into the kernel by unmapping pages"
    MIGRATION "migratable" "a migration TD can take the TD elsewhere"
    PERFMON "perfmon" "performance counters must be off unless the policy allows them"
    KEY_LOCKER "key-locker" "Key Locker must be off unless the policy allows it"
    XFAM "xfam" "the TD may use no processor features beside those of the policy"
    SIGNER_SEAM "mr-signer-seam" "the TDX module must be signed by Intel: MRSIGNERSEAM and SEAMATTRIBUTES are zero"
    MR_SEAM "mr-seam" "the TDX module must be one of the policy's where it names any"
    SERVICE_TD "mr-servicetd" "no service TD may be bound to the TD, nor be able to be (SERVTD_EXT)"
    CONFIG_ID "mr-config-id" "MRCONFIGID must be the wanted value"
    OWNER "mr-owner" "MROWNER must be the wanted value"
    OWNER_CONFIG "mr-owner-config" "MROWNERCONFIG must be the wanted value"
    EVENT_LOG "event-log" "the event log must be one of a TD and replay to the RTMRs of the quote"
    FIRMWARE_ENDORSEMENT "firmware-endorsement" "Google must have signed that firmware of its own measures to this MRTD, under the root that was given"
    MRTD "mrtd" "the firmware must be one of the image's"
    RTMR "rtmr" "reference values must pin a register of the image"
    REPORT_DATA "report-data" "the 64 bytes must be those that the verifier expects: without them any quote of this image fits"
}

/// The rules about the platform: authenticity, validity, TCB.
pub(crate) const PLATFORM: &[&Rule] = &[
    &FORMAT,
    &TEE_TYPE,
    &PCK_CHAIN,
    &PCK_VALIDITY,
    &QE_REPORT,
    &QUOTE_SIGNATURE,
    &ROOT_CRL,
    &PCK_CRL,
    &TCB_INFO,
    &QE_IDENTITY,
    &COLLATERAL_CURRENT,
    &QE_ENCLAVE,
    &TCB_LEVEL,
    &TCB_STATUS,
    &ADVISORIES,
    &TCB_EVALUATION,
];

/// The rules that cannot be made until the whole of the collateral is there.
pub(super) const OF_COLLATERAL: [&Rule; 6] = [
    &COLLATERAL_CURRENT,
    &QE_ENCLAVE,
    &TCB_LEVEL,
    &TCB_STATUS,
    &ADVISORIES,
    &TCB_EVALUATION,
];

/// The rules about the TD: its attributes and who owns it.
pub(crate) const GUEST: &[&Rule] = &[
    &DEBUG,
    &ATTRIBUTES,
    &SEPT_VE,
    &MIGRATION,
    &PERFMON,
    &KEY_LOCKER,
    &XFAM,
    &SIGNER_SEAM,
    &MR_SEAM,
    &SERVICE_TD,
    &CONFIG_ID,
    &OWNER,
    &OWNER_CONFIG,
];

/// The rules about firmware and image.
pub(crate) const MEASURED: &[&Rule] = &[&MRTD, &RTMR];

/// The rules about the image and the purpose of the quote, which only its requester can know.
pub(super) const EXPECTED: &[&Rule] = &[&MRTD, &RTMR, &REPORT_DATA];
