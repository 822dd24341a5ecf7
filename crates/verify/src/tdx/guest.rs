//! The checks of a TD's attributes and of who owns it.
//!
//! Spec: Intel TDX Module ABI 348551-008, tables ATTRIBUTES and XFAM.

use super::policy::Policy;
use super::quote::Body;
use super::rules;
use crate::checks::{Checks, Rule};
use crate::policy::Hex;

/// TUD: debugging (bit 0), profiling (4 to 6) and what may come.
const TUD: u64 = 0xff;
const SERVTD_EXT: u64 = 1 << 17;
const SEPT_VE_DISABLE: u64 = 1 << 28;
const MIGRATABLE: u64 = 1 << 29;
const KEY_LOCKER: u64 = 1 << 31;
const PERFMON: u64 = 1 << 63;
/// Bits that the specification gives a meaning or leaves to the TD: TUD, ICSSD (16), SERVTD_EXT (17), 18 to 22, LASS (27), 28 to
/// 31, TPA (62), PERFMON (63).
const KNOWN: u64 = TUD | 0xf87f_0000 | 3 << 62;

/// Makes all of them.
pub(super) fn appraise(body: &Body, policy: &Policy, checks: &mut Checks) {
    let attributes = body.td_attributes;
    let found = format!("{attributes:#x}");
    let mut clear = |rule, mask: u64, wanted: &str| {
        checks.require(rule, attributes & mask == 0, wanted, found.clone());
    };
    clear(&rules::DEBUG, TUD, "bits 0 to 7 clear");
    clear(&rules::ATTRIBUTES, !KNOWN, "no bits beside the known ones");
    clear(&rules::MIGRATION, MIGRATABLE, "bit 29 clear");
    let (mask, wanted) = allowed(policy.allow_perfmon, PERFMON, "bit 63 clear");
    clear(&rules::PERFMON, mask, wanted);
    let (mask, wanted) = allowed(policy.allow_key_locker, KEY_LOCKER, "bit 31 clear");
    clear(&rules::KEY_LOCKER, mask, wanted);
    let disabled = attributes & SEPT_VE_DISABLE != 0;
    checks.require(&rules::SEPT_VE, disabled, "bit 28 set", found);
    let mask = u64::from_be_bytes(policy.xfam_allowed.0);
    let wanted = format!("no bits beside {mask:#x}");
    let found = format!("{:#x}", body.xfam);
    checks.require(&rules::XFAM, body.xfam & !mask == 0, wanted, found);
    module(body, policy, checks);
    service_td(body, checks);
    let owned = [
        (&rules::CONFIG_ID, policy.mr_config_id, body.mr_config_id),
        (&rules::OWNER, policy.mr_owner, body.mr_owner),
        (
            &rules::OWNER_CONFIG,
            policy.mr_owner_config,
            body.mr_owner_config,
        ),
    ];
    for (rule, Hex(wanted), found) in owned {
        checks.equal(rule, &wanted, &found);
    }
}

fn allowed(allowed: bool, mask: u64, clear: &str) -> (u64, &str) {
    match allowed {
        true => (0, "set or clear"),
        false => (mask, clear),
    }
}

fn module(body: &Body, policy: &Policy, checks: &mut Checks) {
    let passed = body.mr_signer_seam == [0; 48] && body.seam_attributes == 0;
    let found = format!(
        "{}, SEAMATTRIBUTES {:#x}",
        hex::encode(body.mr_signer_seam),
        body.seam_attributes
    );
    checks.require(&rules::SIGNER_SEAM, passed, "zero", found);
    let rule: &Rule = &rules::MR_SEAM;
    if policy.mr_seam.is_empty() {
        checks.skip(rule.name, false, rule.meaning, "the policy names none");
        return;
    }
    let passed = policy.mr_seam.contains(&Hex(body.mr_seam));
    let wanted: Vec<String> = policy
        .mr_seam
        .iter()
        .map(|hash| hex::encode(hash.0))
        .collect();
    checks.require(rule, passed, wanted.join(" or "), hex::encode(body.mr_seam));
}

fn service_td(body: &Body, checks: &mut Checks) {
    let bindable = body.td_attributes & SERVTD_EXT != 0;
    let (bound, found) = match &body.v1_5 {
        None => (false, "a TDX 1.0 body, which has none".to_owned()),
        Some(added) => (
            added.mr_service_td != [0; 48],
            hex::encode(added.mr_service_td),
        ),
    };
    let found = match bindable {
        true => format!("{found}, SERVTD_EXT set"),
        false => found,
    };
    checks.require(&rules::SERVICE_TD, !bound && !bindable, "zero", found);
}
