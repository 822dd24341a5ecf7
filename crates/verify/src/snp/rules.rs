//! The checks of an SNP report, in the order in which they are made.

use crate::checks::{Rule, rules};

rules! {
    FORMAT "format" "the report must be 1184 bytes of a known version, signed with P-384, and zero wherever AMD reserves"
    REPORT_VERSION "report-version" "the policy names the versions it takes; version 2 does not say which processor made it"
    PRODUCT "product" "the processor must be of a line with pinned roots, by its CPUID and never by the report's version"
    PRODUCT_ALLOWED "product-allowed" "the policy names the lines it takes; Milan's root seed can be extracted by software (arXiv 2605.12990)"
    SIGNING_KEY "signing-key" "the policy names the kinds of key it takes: VCEK of the chip, VLEK of the cloud"
    TCB_FORMAT "tcb-format" "the four TCB fields must be zero wherever the product has no component"
    VEK_FORMAT "vek-format" "the VCEK or VLEK must be one strict DER certificate with a P-384 key"
    VEK_CHAIN "chain" "the certificate must be issued by ASK or ASVK, and that by the pinned ARK; what is given beside it must be theirs"
    VEK_VALIDITY "validity" "certificate, ASK or ASVK and ARK must be valid at the time of the appraisal"
    REVOCATION "revocation" "the ARK's revocation list must be current and must not list the ASK or ASVK"
    VEK_EXTENSIONS "vek-extensions" "the certificate's extensions must be those of the product and of its kind of key"
    CSP_ID "csp-id" "the policy names the clouds whose VLEK it takes"
    HWID "hwid" "the certificate must be for the chip that the report names; a masked CHIP_ID names none"
    TCB_VEK "tcb-vek" "the key must be derived from the firmware levels that the report claims"
    SIGNATURE "signature" "the report must be signed by the key of the certificate, over the bytes as they were given"
    TCB_ORDER "tcb-order" "reported levels cannot be above committed ones, nor those above current ones"
    TCB_FLOOR_COMMITTED "tcb-floor-committed" "firmware that can be rolled back to a known hole has that hole"
    TCB_FLOOR_LAUNCH "tcb-floor-launch" "a guest that was launched by firmware with a known hole may have been tampered with since"
    MITIGATION_VECTOR "mitigation-vector" "mitigations that the policy names must have been in force at launch (version 5)"
    POLICY_DEBUG "debug" "with debugging allowed the host reads and writes the guest's memory"
    POLICY_MIGRATION "policy-migration" "a migration agent can take the guest's memory elsewhere"
    POLICY_RESERVED "policy-reserved" "bit 17 must be one and bits without meaning zero"
    POLICY_ABI "policy-abi" "the guest must demand at least this version of the firmware interface"
    POLICY_SMT "policy-smt" "with SMT a sibling thread of the host may share the core"
    POLICY_CXL "policy-cxl" "CXL memory may be populated with devices outside the package"
    POLICY_REQUIRED "policy-required" "the policy names further demands that the guest must make of its host"
    PLATFORM_INFO "platform-info" "the platform must have these features on, such as the alias check that BadRAM (CVE-2024-21944) calls for"
    VMPL "vmpl" "the report must be requested from the privilege level that owns the guest"
    GUEST_SVN "guest-svn" "the guest's security version must reach the floor"
    ID_KEY "id-key" "the ID block must be signed by a named key where one is wanted"
    AUTHOR_KEY "author-key" "the ID key must be certified by a named author where one is wanted"
    HOST_DATA "host-data" "HOST_DATA must be the wanted value where one is"
    CHIP_ID "chip-id" "the chip must be on the list where there is one, so that a key stolen elsewhere is of no use"
    GUEST_POLICY "guest-policy" "POLICY must be exactly that of the reference values: the launch digest does not cover it"
    MEASUREMENT "measurement" "the launch digest must be one of the image's"
    REPORT_DATA "report-data" "the 64 bytes must be those that the verifier expects: without them any report of this image fits"
}

/// The rules that hold for every SNP report, also one inside other evidence.
pub(crate) const PLATFORM: &[&Rule] = &[
    &FORMAT,
    &REPORT_VERSION,
    &PRODUCT,
    &PRODUCT_ALLOWED,
    &SIGNING_KEY,
    &TCB_FORMAT,
    &VEK_FORMAT,
    &VEK_CHAIN,
    &VEK_VALIDITY,
    &REVOCATION,
    &VEK_EXTENSIONS,
    &CSP_ID,
    &HWID,
    &TCB_VEK,
    &SIGNATURE,
    &TCB_ORDER,
    &TCB_FLOOR_COMMITTED,
    &TCB_FLOOR_LAUNCH,
    &MITIGATION_VECTOR,
    &CHIP_ID,
];

/// The rules that need to know the product line.
pub(super) const OF_PRODUCT: [&Rule; 7] = [
    &PRODUCT,
    &PRODUCT_ALLOWED,
    &TCB_FORMAT,
    &TCB_ORDER,
    &TCB_FLOOR_COMMITTED,
    &TCB_FLOOR_LAUNCH,
    &MITIGATION_VECTOR,
];

/// The rules about the guest: what it demanded of its host, and who it is.
pub(crate) const GUEST: &[&Rule] = &[
    &POLICY_DEBUG,
    &POLICY_MIGRATION,
    &POLICY_RESERVED,
    &POLICY_ABI,
    &POLICY_SMT,
    &POLICY_CXL,
    &POLICY_REQUIRED,
    &PLATFORM_INFO,
    &VMPL,
    &GUEST_SVN,
    &ID_KEY,
    &AUTHOR_KEY,
    &HOST_DATA,
];

/// The rules about the image and the purpose of the report, which only its requester can know.
pub(crate) const EXPECTED: &[&Rule] = &[&GUEST_POLICY, &MEASUREMENT, &REPORT_DATA];
