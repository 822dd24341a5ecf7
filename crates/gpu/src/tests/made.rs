//! A made-up GPU under a made-up root: for every step and every error that can be reached a case that is refused for exactly it, beside
//! cases that are accepted.
//!
//! What is wanted follows from the layout of DSP0274 and from what a case changed, never from a run. Golden values are those of [`Pair::new`].

mod account;
mod chain;
mod report;
mod scene;
mod steps;

use std::collections::BTreeSet;

use crate::signature::verify;
use crate::{Cause, Chain, Outcome, Report, Step};
use account::variant;
use scene::Scene;

/// What a case changes.
type Edit = Box<dyn Fn(&mut Scene)>;

/// A case with everything that is refused in it: nothing where it is accepted.
struct Case {
    name: String,
    edit: Edit,
    refused: Vec<(Step, Cause)>,
}

fn accepted(name: impl Into<String>, edit: impl Fn(&mut Scene) + 'static) -> Case {
    refused(name, edit, Vec::new())
}

fn refused(
    name: impl Into<String>,
    edit: impl Fn(&mut Scene) + 'static,
    refused: Vec<(Step, Cause)>,
) -> Case {
    Case {
        name: name.into(),
        edit: Box::new(edit),
        refused,
    }
}

/// Steps and errors that the cases showed.
#[derive(Default)]
struct Account {
    passed: BTreeSet<&'static str>,
    refused: BTreeSet<&'static str>,
    variants: BTreeSet<&'static str>,
}

impl Account {
    fn judge(&mut self, case: &Case) {
        let mut scene = Scene::new();
        (case.edit)(&mut scene);
        let appraisal = scene.appraise();
        let findings = appraisal.findings();
        let steps: Vec<Step> = findings.iter().map(|finding| finding.step).collect();
        assert_eq!(steps, Step::ALL, "{}", case.name);
        let mut found = Vec::new();
        for finding in findings {
            match &finding.outcome {
                Outcome::Refused(cause) => {
                    self.refused.insert(finding.step.name());
                    self.variants.extend(variant(cause));
                    found.push((finding.step, cause.clone()));
                }
                Outcome::Passed(_) if case.refused.is_empty() => {
                    self.passed.insert(finding.step.name());
                }
                _ => {}
            }
        }
        assert_eq!(found, case.refused, "{}", case.name);
        let result = appraisal.into_result();
        match case.refused.first() {
            None => assert_eq!(result.map(|device| device.serial), Ok(scene.device())),
            Some((step, cause)) => {
                let refusal = result.unwrap_err();
                assert_eq!((refusal.step, &*refusal.cause), (*step, cause));
            }
        }
    }
}

#[test]
fn every_step_and_every_error_has_its_cases() {
    let cases = [
        steps::cases(),
        steps::measurements(),
        chain::containers(),
        chain::certificates(),
        chain::links(),
        chain::validity(),
        report::structure(),
        report::fields(),
    ];
    let mut account = Account::default();
    for case in cases.iter().flatten() {
        account.judge(case);
    }
    let all: BTreeSet<&str> = Step::ALL.iter().map(|step| step.name()).collect();
    assert_eq!(account.passed, all, "steps without an accepting case");
    assert_eq!(account.refused, all, "steps without a rejecting case");
    assert_eq!(
        account.variants,
        account::VARIANTS.into(),
        "errors without a case"
    );
    let all: Vec<&Case> = cases.iter().flatten().collect();
    let accepted = all.iter().filter(|case| case.refused.is_empty());
    assert_eq!((accepted.count(), all.len()), (32, 233));
}

/// Of what the leaf signed everything is covered by structure, nonce or signature; the steps over them are in the cases.
#[test]
fn every_byte_of_a_made_report_flipped_is_refused() {
    let scene = Scene::new();
    let (mut report, chain) = scene.evidence();
    assert!(scene.judge(&report, &chain).into_result().is_ok());
    let chain = Chain::parse(&chain).unwrap();
    let (mut structure, mut nonce, mut signature) = (0, 0, 0);
    for at in 0..report.len() {
        report[at] ^= 1;
        match Report::parse(&report) {
            Err(_) => structure += 1,
            Ok(parsed) if parsed.nonce != scene::NONCE => nonce += 1,
            Ok(parsed) => {
                assert!(!parsed.signed_by(chain.leaf_key(), verify), "byte {at}");
                signature += 1;
            }
        }
        report[at] ^= 1;
    }
    println!("flipped: {structure} by structure, {nonce} by nonce, {signature} by signature");
    assert_eq!(structure + nonce + signature, scene::LENGTH);
    assert_eq!(nonce, 32);
}
