//! The checks of image and purpose: MRTD, RTMRs, event log, REPORTDATA.

use cloister_measure::digest::{Bank, Digest};
use cloister_measure::eventlog::{EventLog, EventLogError, Registers};
use cloister_measure::reference::{Class, ReferenceValues};
use cloister_measure::transcript::Transcript;
use thiserror::Error;

use super::quote::Body;
use super::{Endorsed, Expected, rules};
use crate::checks::Checks;
use crate::google::{Endorsement, EndorsementError, SignerError};

/// Why an event log does not explain a quote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum LogError {
    #[error(transparent)]
    Log(#[from] EventLogError),
    #[error("a log of another kind: its registers are not those of a TD")]
    Kind,
    #[error("replays RTMR{register} to {replayed}, the quote has {quoted}")]
    Differs {
        register: usize,
        replayed: String,
        quoted: String,
    },
}

/// Why an endorsement does not endorse an MRTD.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum FirmwareError {
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error("an endorsement without values for TDX")]
    NoTdx,
    #[error("MRTD {mrtd} is none of the {count} endorsed")]
    NotListed { mrtd: String, count: usize },
}

/// Makes all of them.
pub(super) fn appraise(body: &Body, expected: &Expected<'_>, at: u64, checks: &mut Checks) {
    event_log(body, expected.event_log, checks);
    let endorsed = firmware_endorsement(body, expected.endorsed, at, checks);
    let digests = expected.reference.map(|values| &values.launch_digests);
    let pinned = digests.is_some_and(|digests| !digests.is_empty());
    // A value that pins one firmware counts more than one of all that Google endorses.
    let named = expected.mrtd.or(endorsed.filter(|_| !pinned));
    mrtd(body, expected.reference, named, checks);
    // Every VM of every customer there starts an endorsed firmware: alone it pins nothing.
    rtmrs(body, expected.reference, expected.mrtd.is_some(), checks);
    let rule = &rules::REPORT_DATA;
    match expected.report_data {
        Some(wanted) => checks.equal(rule, &wanted, &body.report_data),
        None => checks.require(rule, false, "an expected value", NOTHING),
    };
}

/// The checks of firmware and image alone, [`rules::MEASURED`].
pub(super) fn measured(
    body: &Body,
    reference: Option<&ReferenceValues>,
    named: Option<[u8; 48]>,
    checks: &mut Checks,
) {
    mrtd(body, reference, named, checks);
    rtmrs(body, reference, named.is_some(), checks);
}

const NOTHING: &str = "nothing to compare with";

fn event_log(body: &Body, log: Option<&[u8]>, checks: &mut Checks) {
    let rule = &rules::EVENT_LOG;
    let Some(log) = log else {
        checks.skip(rule.name, false, rule.meaning, "no log was given");
        return;
    };
    checks.take(rule, "a log that replays to the RTMRs", replayed(body, log));
}

/// Gives the MRTD when it is endorsed.
fn firmware_endorsement(
    body: &Body,
    endorsed: Option<Endorsed<'_>>,
    at: u64,
    checks: &mut Checks,
) -> Option<[u8; 48]> {
    let rule = &rules::FIRMWARE_ENDORSEMENT;
    let Some(endorsed) = endorsed else {
        checks.skip(rule.name, false, rule.meaning, "no endorsement was given");
        return None;
    };
    let wanted = "an endorsement under the given root that lists the MRTD";
    let listed = listed(body, &endorsed, at);
    let passed = listed.is_ok();
    let found = listed.unwrap_or_else(|error| error.to_string());
    checks
        .require(rule, passed, wanted, found)
        .then_some(body.mr_td)
}

/// The firmware that the endorsement is about, in words.
fn listed(body: &Body, endorsed: &Endorsed<'_>, at: u64) -> Result<String, FirmwareError> {
    let endorsement = Endorsement::parse(endorsed.endorsement)?;
    endorsement.signed_under(endorsed.root, at)?;
    let firmware = &endorsement.firmware;
    let tdx = firmware.tdx.as_ref().ok_or(FirmwareError::NoTdx)?;
    let mut measurements = tdx.measurements.iter();
    let found = measurements
        .find(|found| found.mrtd == body.mr_td)
        .ok_or_else(|| FirmwareError::NotListed {
            mrtd: hex::encode(body.mr_td),
            count: tdx.measurements.len(),
        })?;
    Ok(format!(
        "firmware with SHA-384 {}, SVN {}, {} GiB, signed by `{}`",
        hex::encode(firmware.digest),
        tdx.svn,
        found.ram_gib,
        endorsement.certificate.subject()
    ))
}

fn replayed(body: &Body, log: &[u8]) -> Result<(), LogError> {
    let log = EventLog::parse(log)?;
    if log.kind() != Registers::Cc {
        return Err(LogError::Kind);
    }
    let values = log.replay_into(Bank::Sha384, Registers::Cc, &mut Transcript::default())?;
    for (register, (index, quoted)) in (1..).zip(&body.rtmr).enumerate() {
        let zero = Digest::zero(Bank::Sha384);
        let replayed = values.get(&index).unwrap_or(&zero);
        if replayed.as_bytes() != quoted {
            return Err(LogError::Differs {
                register,
                replayed: replayed.to_string(),
                quoted: hex::encode(quoted),
            });
        }
    }
    Ok(())
}

fn mrtd(
    body: &Body,
    reference: Option<&ReferenceValues>,
    named: Option<[u8; 48]>,
    checks: &mut Checks,
) {
    let digests = reference.map(|reference| &reference.launch_digests);
    let mut wanted: Vec<String> = digests
        .into_iter()
        .flatten()
        .map(|entry| hex::encode(entry.digest.as_bytes()))
        .collect();
    // A value that is named beside reference values is the one that counts.
    if let Some(mrtd) = named {
        wanted = vec![hex::encode(mrtd)];
    }
    let rule = &rules::MRTD;
    if wanted.is_empty() {
        checks.require(rule, false, "an expected value", NOTHING);
        return;
    }
    let found = hex::encode(body.mr_td);
    checks.require(rule, wanted.contains(&found), wanted.join(" or "), found);
}

fn rtmrs(
    body: &Body,
    reference: Option<&ReferenceValues>,
    firmware_pinned: bool,
    checks: &mut Checks,
) {
    let rule = &rules::RTMR;
    let Some(reference) = reference else {
        if firmware_pinned {
            let reason = "no reference values: the firmware is pinned, not what it booted";
            checks.skip(rule.name, false, rule.meaning, reason);
        } else {
            checks.require(rule, false, "reference values", NOTHING);
        }
        return;
    };
    let pinned = pinned(reference);
    let wanted = "a register of the image with SHA-384 values";
    let found = match pinned.is_empty() {
        true => "none".to_owned(),
        false => pinned.join(", "),
    };
    checks.require(rule, !pinned.is_empty(), wanted, found);
    for (index, quoted) in body.rtmr.iter().enumerate() {
        let name = format!("rtmr{index}");
        let Some(register) = reference.registers.get(&name) else {
            let reason = reference.unpredicted.get(&name);
            let reason = reason.map_or("the reference values have none", String::as_str);
            checks.skip(&name, false, "a value of the image", reason);
            continue;
        };
        let values: Vec<String> = register.values.iter().map(ToString::to_string).collect();
        checks.register(
            &name,
            "the register must hold a value of the image",
            register.allows(quoted),
            values.join(" or "),
            hex::encode(quoted),
        );
    }
}

/// The RTMRs that the image alone decides.
fn pinned(reference: &ReferenceValues) -> Vec<&str> {
    let registers = reference.registers.iter();
    registers
        .filter(|(name, register)| name.starts_with("rtmr") && register.class == Class::Image)
        .map(|(name, _)| name.as_str())
        .collect()
}
