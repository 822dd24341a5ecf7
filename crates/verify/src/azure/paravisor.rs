//! Microsoft's paravisor: what stands between the hardware and the guest, and signs for the guest.
//!
//! Microsoft publishes neither its source as built nor a list of its measurements. What is known of it is data with a date, seen in evidence.

use cloister_measure::azure::TdxFacts;

use super::policy::Policy;
use super::rules;
use crate::checks::{Checks, Rule};
use crate::policy::Hex;
use crate::snp::Report;
use crate::tdx::Body;

/// A key that signs paravisors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdKey {
    /// ID_KEY_DIGEST: SHA-384 of the key.
    pub digest: Hex<48>,
    /// First time it was seen, as far as known.
    pub since: &'static str,
    /// Where.
    pub source: &'static str,
}

/// Keys that are taken without being named. Older paravisors (evidence of 2023, GUEST_SVN 2 and 5) had two others.
pub const ID_KEYS: [IdKey; 1] = [IdKey {
    digest: Hex([
        0x94, 0x2f, 0xd9, 0x3e, 0xbd, 0xe6, 0xea, 0x7a, 0x96, 0xef, 0xad, 0xea, 0xfc, 0x60, 0xf1,
        0xc6, 0xb3, 0xd1, 0x0e, 0x70, 0x3b, 0x1d, 0xaf, 0xd7, 0x55, 0x5b, 0x92, 0xf7, 0xf3, 0xd3,
        0x2d, 0x0e, 0x00, 0x67, 0x67, 0x64, 0x8c, 0xba, 0x5b, 0x10, 0x2a, 0xf3, 0xd6, 0x57, 0x56,
        0xaf, 0x41, 0x77,
    ]),
    since: "2025-01",
    source: "the same in evidence of three VMs of other projects (Trustee, attestation-rs), GUEST_SVN 10 and 12",
}];

/// Lowest GUEST_SVN seen with that key (2025-01); on Genoa it is counted from 65536 on (65547 seen).
pub const MINIMUM_GUEST_SVN: u32 = 10;

/// POLICY in all evidence seen so far: ABI 0.31, SMT allowed, neither debugging nor migration.
pub const GUEST_POLICY: u64 = 0x3_001f;

/// The privilege level of the paravisor.
const VMPL: u32 = 0;
/// TDINFO_STRUCT in a TDREPORT_STRUCT, up to the last RTMR: ATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG, RTMR0 to 3
/// (Intel TDX Module ABI).
const TD_INFO: core::ops::Range<usize> = 512..912;

/// The checks of a paravisor on SEV-SNP.
pub(super) fn snp(report: &Report, policy: &Policy, checks: &mut Checks) {
    let found = report.vmpl;
    let rule = &rules::PARAVISOR_VMPL;
    checks.require(rule, found == VMPL, VMPL.to_string(), found.to_string());
    let (rule, keys) = (&rules::PARAVISOR_ID_KEY, &policy.paravisor_id_key_digests);
    named(rule, keys, &report.id_key_digest, checks);
    let (floor, found) = (policy.paravisor_minimum_guest_svn, report.guest_svn);
    let (rule, wanted) = (&rules::PARAVISOR_GUEST_SVN, format!("{floor} or later"));
    checks.require(rule, found >= floor, wanted, found.to_string());
    let (wanted, found) = (policy.paravisor_guest_policy, report.policy);
    let rule = &rules::PARAVISOR_GUEST_POLICY;
    let passed = wanted == found;
    checks.require(rule, passed, format!("{wanted:#x}"), format!("{found:#x}"));
    let rule = &rules::PARAVISOR_MEASUREMENT;
    match policy.paravisor_measurements.as_slice() {
        [] => {
            let reason = "the policy names none: any paravisor that the key signed";
            checks.skip(rule.name, false, rule.meaning, reason);
        }
        measurements => named(rule, measurements, &report.measurement, checks),
    }
}

/// The check of a paravisor on TDX.
pub(super) fn tdx(facts: &TdxFacts, policy: &Policy, checks: &mut Checks) {
    let (rule, mrtds) = (&rules::PARAVISOR_MRTD, &policy.paravisor_mrtds);
    named(rule, mrtds, facts.mrtd.as_bytes(), checks);
}

/// Whether a quote is of the TDREPORT of the HCL report: what the TD is and what the paravisor had it commit to, byte by byte.
pub(super) fn quoted(body: &Body, tdreport: &[u8], facts: &TdxFacts, checks: &mut Checks) {
    let rule = &rules::TD_QUOTE;
    let (attributes, xfam) = (body.td_attributes.to_le_bytes(), body.xfam.to_le_bytes());
    let info: [&[u8]; 7] = [
        &attributes,
        &xfam,
        &body.mr_td,
        &body.mr_config_id,
        &body.mr_owner,
        &body.mr_owner_config,
        body.rtmr.as_flattened(),
    ];
    let same = tdreport.get(TD_INFO) == Some(info.concat().as_slice());
    let bound = body.report_data == facts.report_data;
    let tell = |report_data: &[u8], mrtd: &[u8]| {
        let [report_data, mrtd] = [report_data, mrtd].map(hex::encode);
        format!("REPORTDATA {report_data}, MRTD {mrtd}")
    };
    let wanted = tell(&facts.report_data, facts.mrtd.as_bytes());
    let mut found = tell(&body.report_data, &body.mr_td);
    if bound && !same && body.mr_td == facts.mrtd.as_bytes() {
        found.push_str(", but other attributes, owners or RTMRs");
    }
    checks.require(rule, same && bound, wanted, found);
}

/// A value that must be one of those the policy names; where it names none, nothing is good.
fn named(rule: &Rule, wanted: &[Hex<48>], found: &[u8], checks: &mut Checks) {
    let passed = wanted.iter().any(|value| value.0 == found);
    let wanted: Vec<_> = wanted.iter().map(|value| hex::encode(value.0)).collect();
    let wanted = match wanted.is_empty() {
        true => "one that the policy names: it names none".to_owned(),
        false => wanted.join(" or "),
    };
    checks.require(rule, passed, wanted, hex::encode(found));
}
