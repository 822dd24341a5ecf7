//! The checks of collateral by its dates, and of the platform's standing.

use core::str::FromStr as _;

use serde::Deserialize;
use thiserror::Error;
use x509_cert::der::DateTime;

use super::dcap::{self, Step};
use super::policy::{Policy, TcbStatus};
use super::rules;
use crate::checks::Checks;
use crate::collateral::TdxCollateral;
use crate::verdict::instant;
use crate::x509::{ValidityError, X509};

/// What is read of TCB info and QE identity here; the rest is for `dcap-qvl`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
}

/// Why a document is not current.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum CurrentError {
    #[error("{document} does not parse: {reason}")]
    Json {
        document: &'static str,
        reason: String,
    },
    #[error("{document} has the date `{found}`, wanted one such as 2026-11-22T00:00:00Z")]
    Date {
        document: &'static str,
        found: String,
    },
    #[error("{document} is valid from {} to {}, not at {}", instant(*.from), instant(*.to), instant(*.at))]
    Outside {
        document: &'static str,
        from: u64,
        to: u64,
        at: u64,
    },
    #[error(transparent)]
    Signer(#[from] ValidityError),
}

/// Checks the dates of signed documents and of their signers, and how much they can know.
pub(super) fn current(
    collateral: &TdxCollateral,
    signers: &[X509],
    policy: &Policy,
    at: u64,
    checks: &mut Checks,
) -> bool {
    let read = || -> Result<u32, CurrentError> {
        let documents = [
            ("TCB info", &collateral.tcb_info),
            ("QE identity", &collateral.qe_identity),
        ];
        let mut lowest = u32::MAX;
        for (name, document) in documents {
            let body = document.as_ref().map_or("", |signed| &signed.body);
            lowest = lowest.min(dated(name, body, at)?);
        }
        signers.iter().try_for_each(|signer| signer.valid_at(at))?;
        Ok(lowest)
    };
    let wanted = "documents and signers that are current at the time of the appraisal";
    let Some(found) = checks.take(&rules::COLLATERAL_CURRENT, wanted, read()) else {
        return false;
    };
    let floor = policy.minimum_tcb_evaluation;
    let wanted = format!("{floor} or later");
    let passed = found >= floor;
    checks.require(&rules::TCB_EVALUATION, passed, wanted, found.to_string());
    true
}

/// The tcbEvaluationDataNumber of a document that is current.
fn dated(document: &'static str, body: &str, at: u64) -> Result<u32, CurrentError> {
    let read: Dated = serde_json::from_str(body).map_err(|error| CurrentError::Json {
        document,
        reason: error.to_string(),
    })?;
    let date = |text: String| match DateTime::from_str(&text) {
        Ok(date) => Ok(date.unix_duration().as_secs()),
        Err(_) => Err(CurrentError::Date {
            document,
            found: text,
        }),
    };
    let (from, to) = (date(read.issue_date)?, date(read.next_update)?);
    if !(from..=to).contains(&at) {
        return Err(CurrentError::Outside {
            document,
            from,
            to,
            at,
        });
    }
    Ok(read.tcb_evaluation_data_number)
}

/// Checks quoting enclave, TCB level and status of the platform.
pub(super) fn appraise(
    quote: &[u8],
    collateral: &TdxCollateral,
    policy: &Policy,
    root: &[u8],
    at: u64,
    checks: &mut Checks,
) {
    let Some(evaluated) = dcap::evaluate(quote, collateral, root, at) else {
        return;
    };
    let statuses: Vec<&str> = policy
        .tcb_statuses
        .iter()
        .map(|status| status.name())
        .collect();
    let statuses = statuses.join(" or ");
    let standing = match evaluated {
        Ok(standing) => standing,
        Err(error) => {
            let (rule, wanted) = match error.step {
                Step::Enclave => (&rules::QE_ENCLAVE, "the enclave of the QE identity"),
                Step::Level => (&rules::TCB_LEVEL, "a TCB level that the platform reaches"),
                Step::Revoked => (&rules::TCB_STATUS, statuses.as_str()),
            };
            checks.require(rule, false, wanted, error.reason);
            return;
        }
    };
    let wanted = "the enclave of the QE identity";
    checks.require(&rules::QE_ENCLAVE, true, wanted, wanted);
    let wanted = "a TCB level that the platform reaches";
    checks.require(&rules::TCB_LEVEL, true, wanted, wanted);
    let status = standing.status;
    let known = TcbStatus::ALL
        .into_iter()
        .find(|known| known.name() == status);
    let passed = known.is_some_and(|status| policy.tcb_statuses.contains(&status));
    let advisories = match standing.advisories.is_empty() {
        true => "none".to_owned(),
        false => standing.advisories.join(", "),
    };
    let found = format!("{status}, advisories: {advisories}");
    checks.require(&rules::TCB_STATUS, passed, statuses, found);
    let refused = &policy.refused_advisories;
    let passed = !refused.iter().any(|id| standing.advisories.contains(id));
    let wanted = match refused.is_empty() {
        true => "any".to_owned(),
        false => format!("none of {}", refused.join(", ")),
    };
    checks.require(&rules::ADVISORIES, passed, wanted, advisories);
}
