//! Leaf and session of a guest on Azure: every check of the evidence, and those of the bundle around it.
//!
//! Spec: `docs/evidence-format.md`, "Azure" and section 9. In place of a nonce the quote has the binding; the registers are explained by the logs of the
//! bundle. Left out: VMs on TDX, which are no platform yet.

use super::{Beside, Case, Evidence, rules};
use crate::Verdict;
use crate::checks::{Checks, Rule};
use crate::collateral::Der;
use crate::layers::{self, Bound, Expected};
use crate::tpm;
use crate::tpm::registers;
use crate::verdict::{Mode, Subject, Trust};

/// Layer A, for [`layers::appraise_leaf`].
pub(crate) fn appraise_leaf(
    leaf_der: &[u8],
    bundle: &[u8],
    expected: &Expected<'_>,
    now: u64,
) -> Verdict {
    let mut checks = Checks::default();
    let bound = layers::leaf(leaf_der, bundle, expected.policy, now, &mut checks);
    conclude(
        Mode::Leaf,
        bound.as_ref(),
        &rules::leaf(),
        expected,
        now,
        checks,
    )
}

/// Layer B, for [`layers::appraise_session`].
pub(crate) fn appraise_session(
    spki_der: &[u8],
    nonce: &[u8; 32],
    exporter: &[u8; 32],
    bundle: &[u8],
    expected: &Expected<'_>,
    now: u64,
) -> Verdict {
    let mut checks = Checks::default();
    let bound = layers::session(spki_der, nonce, exporter, bundle, &mut checks);
    conclude(
        Mode::Session,
        bound.as_ref(),
        &rules::session(),
        expected,
        now,
        checks,
    )
}

fn conclude(
    mode: Mode,
    bound: Option<&Bound>,
    rules: &[&Rule],
    expected: &Expected<'_>,
    now: u64,
    mut checks: Checks,
) -> Verdict {
    match bound {
        Some(bound) => evidence(bound, expected, now, &mut checks),
        None => {
            let demand = super::demand(&[super::ON_SNP]);
            registers::pinned(Some(expected.reference), &demand, &mut checks);
        }
    }
    let subject = Subject {
        mode,
        platform: &expected.reference.platform,
        recipe: Some(&expected.reference.recipe),
        confidential: true,
        trust: Trust::Paravisor,
        at: Some(now),
    };
    Verdict::new(&subject, checks.finish(rules))
}

/// The checks of the `cpu` section.
fn evidence(bound: &Bound, expected: &Expected<'_>, now: u64, checks: &mut Checks) {
    let Expected {
        reference,
        platform,
        roots,
        collateral,
        ..
    } = *expected;
    let chain = collateral.map_or_else(Vec::new, |given| slices(&given.chain));
    let crls = collateral.map_or_else(Vec::new, |given| slices(&given.crls));
    let vek = collateral.and_then(|given| given.vek.as_ref());
    let beside = Beside {
        vek: vek.map(|der| der.0.as_slice()),
        certificates: &chain,
        crls: &crls,
        ..Beside::default()
    };
    let case = Case {
        beside: &beside,
        expected: &tpm::Expected {
            nonce: None,
            reference: Some(reference),
        },
        bound: Some(bound),
        policy: platform,
        roots,
        at: now,
    };
    case.whole(Evidence::from_cpu(&bound.bundle.cpu), checks);
}

fn slices(structures: &[Der]) -> Vec<&[u8]> {
    structures.iter().map(|der| der.0.as_slice()).collect()
}
