//! The checks of what the guest demanded of its host and who it is.

use super::policy::Policy;
use super::report::Report;
use super::rules;
use crate::checks::{Checks, Rule};
use crate::policy::Hex;

const SMT: u32 = 16;
const ALWAYS: u32 = 17;
const MIGRATE_MA: u32 = 18;
const DEBUG: u32 = 19;
const CXL: u32 = 21;
/// Bits of POLICY from here on have no meaning.
const RESERVED: u32 = 26;
/// Bits of PLATFORM_INFO with a known meaning.
const KNOWN_PLATFORM: u64 = 0xbf;

/// Makes all of them.
pub(super) fn appraise(report: &Report, policy: &Policy, checks: &mut Checks) {
    let bit = |bit: u32| report.policy >> bit & 1 == 1;
    let found = format!("{:#x}", report.policy);
    let clear = |checks: &mut Checks, rule, at: u32, allowed| {
        let wanted = match allowed {
            true => format!("bit {at} set or clear"),
            false => format!("bit {at} clear"),
        };
        checks.require(rule, allowed || !bit(at), wanted, found.clone());
    };
    clear(checks, &rules::POLICY_DEBUG, DEBUG, false);
    migration(report, checks);
    let reserved = bit(ALWAYS) && report.policy >> RESERVED == 0;
    let wanted = format!("bit {ALWAYS} set, bits from {RESERVED} clear");
    checks.require(&rules::POLICY_RESERVED, reserved, wanted, found.clone());
    abi(report, policy, checks);
    clear(checks, &rules::POLICY_SMT, SMT, policy.allow_smt);
    clear(checks, &rules::POLICY_CXL, CXL, policy.allow_cxl);
    let demands = &policy.guest_policy_required;
    let lacking = names(
        demands
            .iter()
            .filter(|demand| !bit(demand.bit()))
            .map(|demand| demand.name()),
    );
    let all = names(demands.iter().map(|demand| demand.name()));
    named(&rules::POLICY_REQUIRED, all, lacking, &found, checks);
    platform_info(report, policy, checks);
    identity(report, policy, checks);
}

fn migration(report: &Report, checks: &mut Checks) {
    let allowed = report.policy >> MIGRATE_MA & 1 == 1;
    let agent = report.report_id_ma != [0xff; 32];
    let wanted = format!("bit {MIGRATE_MA} clear, REPORT_ID_MA all ones");
    let found = match agent {
        true => format!(
            "{:#x}, agent {}",
            report.policy,
            hex::encode(report.report_id_ma)
        ),
        false => format!("{:#x}, no agent", report.policy),
    };
    checks.require(&rules::POLICY_MIGRATION, !allowed && !agent, wanted, found);
}

fn abi(report: &Report, policy: &Policy, checks: &mut Checks) {
    let [minor, major, ..] = report.policy.to_le_bytes();
    let minimum = policy.minimum_abi;
    let passed = (major, minor) >= (minimum.major, minimum.minor);
    let wanted = format!("{}.{} or later", minimum.major, minimum.minor);
    checks.require(
        &rules::POLICY_ABI,
        passed,
        wanted,
        format!("{major}.{minor}"),
    );
}

fn platform_info(report: &Report, policy: &Policy, checks: &mut Checks) {
    let required = &policy.platform_info_required;
    let has = |bit: u32| report.platform_info >> bit & 1 == 1;
    let lacking = names(
        required
            .iter()
            .filter(|feature| !has(feature.bit()))
            .map(|feature| feature.name()),
    );
    let all = names(required.iter().map(|feature| feature.name()));
    let mut found = format!("{:#x}", report.platform_info);
    let unknown = report.platform_info & !KNOWN_PLATFORM;
    if unknown != 0 {
        found = format!("{found} (bits {unknown:#x} have no known meaning)");
    }
    named(&rules::PLATFORM_INFO, all, lacking, &found, checks);
}

/// A check of bits by name.
fn named(rule: &Rule, all: String, lacking: String, found: &str, checks: &mut Checks) {
    let wanted = match all.is_empty() {
        true => "nothing in particular".to_owned(),
        false => all,
    };
    let passed = lacking.is_empty();
    let found = match passed {
        true => found.to_owned(),
        false => format!("{found}, without {lacking}"),
    };
    checks.require(rule, passed, wanted, found);
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn identity(report: &Report, policy: &Policy, checks: &mut Checks) {
    let (wanted, found) = (policy.vmpl, report.vmpl);
    let passed = wanted == found;
    checks.require(&rules::VMPL, passed, wanted.to_string(), found.to_string());
    let (floor, found) = (policy.minimum_guest_svn, report.guest_svn);
    let wanted = format!("{floor} or later");
    checks.require(&rules::GUEST_SVN, found >= floor, wanted, found.to_string());
    let digests = &policy.id_key_digests;
    listed(&rules::ID_KEY, digests, &report.id_key_digest, checks);
    let digests = &policy.author_key_digests;
    listed(
        &rules::AUTHOR_KEY,
        digests,
        &report.author_key_digest,
        checks,
    );
    let wanted = policy.host_data.as_slice();
    listed(&rules::HOST_DATA, wanted, &report.host_data, checks);
}

/// A value that must be one of those the policy names, where it names any.
pub(super) fn listed<const N: usize>(
    rule: &Rule,
    wanted: &[Hex<N>],
    found: &[u8; N],
    checks: &mut Checks,
) {
    if wanted.is_empty() {
        checks.skip(rule.name, false, rule.meaning, "the policy names none");
        return;
    }
    let passed = wanted.iter().any(|value| value.0 == *found);
    let wanted = wanted.iter().map(|value| hex::encode(value.0));
    let wanted = wanted.collect::<Vec<_>>().join(" or ");
    checks.require(rule, passed, wanted, hex::encode(found));
}
