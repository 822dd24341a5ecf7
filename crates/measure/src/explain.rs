//! Why a register holds something else: the first step at which two accounts part, or the inputs that would give a digest.
//!
//! An [`Account`] comes from a transcript (also from JSON that `cloister measure ... --transcript --json` printed), or from an
//! event log of a machine. [`search`] has only a launch digest to go by, and tries what hosts and people vary.

mod launch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

pub use launch::{Guess, Match, search};

use crate::digest::{Bank, Digest};
use crate::eventlog::{EventLog, Registers};
use crate::transcript::{Register, Step, Transcript};

/// JSON nested deeper than any transcript is not searched.
const MAX_DEPTH: usize = 16;

/// What one side says about registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Which of several accounts this is, for example `sha256`; empty when there is one.
    pub name: String,
    /// Every extend.
    pub steps: Transcript,
    /// Registers of which the account tells, also those that are never extended, by the size of their digests.
    pub registers: BTreeSet<(Bank, Register)>,
    /// Whether `steps` is an event log: such a log tells of every register of its machine.
    pub is_log: bool,
}

/// Where two accounts of a register part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parting {
    /// The register.
    pub register: Register,
    /// Its bank.
    pub bank: Bank,
    /// Steps of this register that agree before.
    pub agreeing: usize,
    /// The step on the first side; `None` when that account has ended.
    pub a: Option<Step>,
    /// The step on the second side.
    pub b: Option<Step>,
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parting {
            register,
            bank,
            agreeing,
            a,
            b,
        } = self;
        writeln!(f, "{register} {bank}: parts at step {}", agreeing + 1)?;
        for (side, step) in [("A", a), ("B", b)] {
            match step {
                Some(step) => writeln!(
                    f,
                    "  {side}: {} ({}) digest {}",
                    step.what, step.input, step.digest
                )?,
                None => writeln!(f, "  {side}: nothing more")?,
            }
        }
        Ok(())
    }
}

impl Account {
    /// Takes a transcript as it is.
    pub fn of_transcript(steps: Transcript) -> Account {
        let told = steps.steps.iter();
        Account {
            registers: told
                .map(|step| (step.digest.bank(), step.register.clone()))
                .collect(),
            steps,
            ..Account::default()
        }
    }

    /// Takes an event log, all banks; those in which an event has no digest are left out.
    pub fn of_log(log: &EventLog<'_>, registers: Registers) -> Account {
        let mut all = Transcript::default();
        for bank in log.banks() {
            let mut steps = Transcript::default();
            if log.replay_into(bank, registers, &mut steps).is_ok() {
                all.steps.extend(steps.steps);
            }
        }
        Account {
            is_log: true,
            ..Account::of_transcript(all)
        }
    }

    /// Finds every transcript in a JSON document: arrays called `transcript`, wherever they are. A `registers` object beside
    /// one names registers that the account tells of even when no step extends them.
    pub fn of_json(document: &Value) -> Vec<Account> {
        let mut found = Vec::new();
        find(document, "", MAX_DEPTH, &mut found);
        if let Some(steps) = steps(document) {
            found.push(Account::of_transcript(steps));
        }
        found
    }

    fn of(&self, bank: Bank, register: &Register) -> impl Iterator<Item = &Step> {
        let steps = self.steps.of(register);
        steps.filter(move |step| step.digest.bank() == bank)
    }
}

fn steps(value: &Value) -> Option<Transcript> {
    let steps: Transcript = serde_json::from_value(value.clone()).ok()?;
    (!steps.steps.is_empty()).then_some(steps)
}

fn find(value: &Value, name: &str, depth: usize, found: &mut Vec<Account>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let below = |key: &str| match name {
        "" => key.to_owned(),
        name => format!("{name} {key}"),
    };
    match value {
        Value::Object(fields) => {
            if let Some(steps) = fields.get("transcript").and_then(steps) {
                let mut account = Account::of_transcript(steps);
                account.name = name.to_owned();
                account.registers.extend(named(fields.get("registers")));
                found.push(account);
            }
            for (key, value) in fields.iter().filter(|(key, _)| *key != "transcript") {
                find(value, &below(key), depth, found);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                let model = value.get("model").and_then(Value::as_str);
                let key = model.map_or_else(|| index.to_string(), str::to_owned);
                find(value, &below(&key), depth, found);
            }
        }
        _ => {}
    }
}

/// Registers that a JSON object has values of.
fn named(registers: Option<&Value>) -> Vec<(Bank, Register)> {
    let fields = registers.and_then(Value::as_object).into_iter().flatten();
    fields
        .filter_map(|(name, value)| {
            let value = value.as_array().map_or(Some(value), |all| all.first())?;
            let digest: Digest = value.as_str()?.parse().ok()?;
            Some((digest.bank(), name.parse().ok()?))
        })
        .collect()
}

/// Compares two accounts register by register, in the order of banks and registers.
///
/// Of a log only the registers are compared that the other side tells of: it tells of a whole machine.
pub fn differences(a: &Account, b: &Account) -> Vec<Parting> {
    let both: BTreeSet<_> = a.registers.union(&b.registers).collect();
    let asked = |key: &&&(Bank, Register)| match (a.is_log, b.is_log) {
        (true, false) => b.registers.contains(**key) && knows(a, key),
        (false, true) => a.registers.contains(**key) && knows(b, key),
        _ => true,
    };
    both.iter()
        .filter(asked)
        .filter_map(|(bank, register)| parting(a, b, *bank, register))
        .collect()
}

/// Whether a log has registers of the kind in the bank at all.
fn knows(log: &Account, (bank, register): &(Bank, Register)) -> bool {
    let kind = std::mem::discriminant(register);
    let mut known = log.registers.iter();
    known.any(|(other, register)| other == bank && std::mem::discriminant(register) == kind)
}

fn parting(a: &Account, b: &Account, bank: Bank, register: &Register) -> Option<Parting> {
    let (mut left, mut right) = (a.of(bank, register), b.of(bank, register));
    let mut agreeing = 0;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return None,
            (Some(a), Some(b)) if a.digest == b.digest => agreeing += 1,
            (a, b) => {
                return Some(Parting {
                    register: register.clone(),
                    bank,
                    agreeing,
                    a: a.cloned(),
                    b: b.cloned(),
                });
            }
        }
    }
}

/// Pairs accounts of the same name; a side with a single account is compared with every one of the other.
pub fn pairs<'a>(a: &'a [Account], b: &'a [Account]) -> Vec<(&'a Account, &'a Account)> {
    let names: BTreeMap<&str, &Account> = b.iter().map(|b| (b.name.as_str(), b)).collect();
    match (a, b) {
        ([a], many) => many.iter().map(|b| (a, b)).collect(),
        (many, [b]) => many.iter().map(|a| (a, b)).collect(),
        _ => a
            .iter()
            .filter_map(|a| Some((a, *names.get(a.name.as_str())?)))
            .collect(),
    }
}

#[cfg(test)]
mod tests;
