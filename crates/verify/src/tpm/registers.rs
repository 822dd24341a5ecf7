//! PCR values against the reference, and the logs that explain them.

use std::collections::BTreeMap;

use cloister_evidence::bundle::Bundle;
use cloister_evidence::devices::Devices;
use cloister_evidence::log::{EventLog, GPU, SEPARATOR, predict_pcr15};
use cloister_evidence::tpm::PcrValues;
use cloister_measure::digest::{Bank, Digest};
use cloister_measure::eventlog;
use cloister_measure::reference::{Class, ReferenceValues, Register};

use crate::checks::{self, Checks, Rule};

/// The registers that together fix the image: each must be pinned, as a value of the image. PCR 11
/// alone is what the UKI says of itself; PCR 4 says that it is this UKI; PCR 12 and 13 at zero say that
/// nothing was added to it; PCR 9 is the kernel's own account; PCR 15 is the guest's.
pub(crate) const PINNED: [&str; 6] = ["pcr4", "pcr9", "pcr11", "pcr12", "pcr13", "pcr15"];
const PCR15: u8 = 15;
/// PCRs that the firmware's log must explain: 0 to 9. The stub's registers, 11 to 13, are pinned.
const FIRMWARE: u8 = 10;

/// What reference values must be for to be of use.
pub(crate) struct Demand {
    /// The platforms; empty for any.
    pub(crate) platforms: &'static [&'static str],
    /// Whether the platform must be confidential, where that matters.
    pub(crate) confidential: Option<bool>,
    /// The registers that must be pinned, as values of the image.
    pub(crate) registers: &'static [&'static str],
}

/// Reference values of any platform, and of other images than Cloister's, of which nothing is known but that PCR 4 says what
/// was started: what a quote by itself is compared with.
pub(super) const ANY: Demand = Demand {
    platforms: &[],
    confidential: None,
    registers: &["pcr4"],
};
/// Reference values of the one platform with a bare TPM.
pub(super) const QEMU_VTPM: Demand = Demand {
    platforms: &["qemu-vtpm"],
    confidential: Some(false),
    registers: &PINNED,
};

/// Checks that there are reference values, and that they can pin an image.
pub(crate) fn pinned(reference: Option<&ReferenceValues>, demand: &Demand, checks: &mut Checks) {
    match reference {
        Some(reference) => self::reference(reference, demand, checks),
        None => {
            let (wanted, found) = ("reference values", "nothing to compare with");
            checks.require(&checks::REFERENCE, false, wanted, found);
        }
    }
}

/// Checks that the reference values can pin an image at all.
pub(super) fn reference(reference: &ReferenceValues, demand: &Demand, checks: &mut Checks) {
    let mut faults = Vec::new();
    let platform = reference.platform.as_str();
    if !demand.platforms.is_empty() && !demand.platforms.contains(&platform) {
        faults.push(format!("platform `{platform}`"));
    }
    if reference.bank != Bank::Sha256 {
        faults.push(format!("bank {}", reference.bank));
    }
    match (demand.confidential, reference.confidential) {
        (Some(false), true) => {
            faults.push("`confidential` set for a platform that is not".to_owned());
        }
        (Some(true), false) => faults.push("a platform that is not `confidential`".to_owned()),
        _ => {}
    }
    if !reference.launch_digests.is_empty() {
        faults.push("launch digests, which a TPM cannot show".to_owned());
    }
    for &name in demand.registers {
        match reference.registers.get(name) {
            None => faults.push(format!("no {name}")),
            Some(register) if register.values.is_empty() => {
                faults.push(format!("no value of {name}"));
            }
            Some(register) if register.class != Class::Image => {
                faults.push(format!("{name} that does not come from the image"));
            }
            Some(_) => {}
        }
    }
    let platforms: Vec<_> = demand
        .platforms
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let platforms = match platforms.is_empty() {
        true => "any platform".to_owned(),
        false => format!("platform {}", platforms.join(" or ")),
    };
    let wanted = format!(
        "{platforms} with {} of the image",
        demand.registers.join(", ")
    );
    let found = match faults.is_empty() {
        true => wanted.clone(),
        false => faults.join("; "),
    };
    checks.require(&checks::REFERENCE, faults.is_empty(), wanted, found);
}

/// Compares every register of the reference with its quoted value.
pub(crate) fn compare(pcrs: &PcrValues, reference: &ReferenceValues, checks: &mut Checks) {
    let mut registers: Vec<_> = reference.registers.iter().collect();
    registers.sort_by_key(|(name, _)| (index(name), *name));
    for (name, register) in registers {
        let value = index(name).and_then(|index| pcrs.get(index));
        let found = value.map_or("not in the quote".to_owned(), hex::encode);
        let passed = value.is_some_and(|value| register.allows(value));
        checks.register(name, meaning(name), passed, describe(register), found);
    }
    for (name, reason) in &reference.unpredicted {
        let reason = format!("no reference value: {reason}");
        checks.skip(name, false, meaning(name), &reason);
    }
}

/// Replays the logs and compares the device section with them.
pub(crate) fn logs(
    pcrs: &PcrValues,
    bundle: &Bundle,
    reference: Option<&ReferenceValues>,
    checks: &mut Checks,
) {
    let log = match EventLog::decode(&bundle.log) {
        Ok(log) => log,
        Err(error) => {
            let wanted = "a log section";
            checks.require(&checks::CLOISTER_LOG, false, wanted, error.to_string());
            return;
        }
    };
    cloister_log(pcrs, &log, checks);
    let replayed = replay(log.firmware(), false);
    firmware_log(&checks::FIRMWARE_LOG, pcrs, replayed, checks);
    let gpu = reference.and_then(|reference| reference.gpu.as_ref());
    let wanted = gpu.map_or("none", |gpu| gpu.model.as_str());
    devices(&bundle.devices, &log, wanted, checks);
}

fn cloister_log(pcrs: &PcrValues, log: &EventLog, checks: &mut Checks) {
    let rule = &checks::CLOISTER_LOG;
    let separators = log
        .events()
        .iter()
        .filter(|event| event.name() == SEPARATOR);
    let closed = log
        .events()
        .last()
        .is_some_and(|last| last.name() == SEPARATOR);
    if !closed || separators.count() != 1 {
        let wanted = "one separator, at the end";
        checks.require(rule, false, wanted, "a log that is not closed once");
        return;
    }
    let quoted = pcrs.get(PCR15);
    let quoted = quoted.map_or_else(Vec::new, |value| value.to_vec());
    checks.equal(rule, &quoted, &predict_pcr15(log.events()));
}

/// Replays a log in the SHA-256 bank. `strict` also refuses what firmware would not have written.
pub(super) fn replay(log: &[u8], strict: bool) -> Result<BTreeMap<u32, Digest>, String> {
    let parsed = eventlog::EventLog::parse(log).map_err(|error| error.to_string())?;
    let kind = parsed.kind();
    if strict && kind != eventlog::Registers::Pcr {
        return Err("an event log of TDX, which has no PCRs".to_owned());
    }
    if strict {
        let mut findings = eventlog::check(&parsed, kind).into_iter();
        if let Some(finding) = findings.find(|finding| finding.refused) {
            return Err(format!("rule `{}`: {}", finding.rule, finding.message));
        }
    }
    let replayed = parsed.replay(Bank::Sha256);
    replayed.map_err(|error| error.to_string())
}

/// Compares what the firmware's log gives with the quoted registers.
pub(super) fn firmware_log(
    rule: &Rule,
    pcrs: &PcrValues,
    replayed: Result<BTreeMap<u32, Digest>, String>,
    checks: &mut Checks,
) {
    let wanted = "an event log that replays to the quoted PCRs 0 to 9";
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error) => {
            checks.require(rule, false, wanted, error);
            return;
        }
    };
    let differs = |&(index, quoted): &(u32, &[u8; 32])| {
        let value = replayed.get(&index);
        let value = value.copied().unwrap_or(Digest::zero(Bank::Sha256));
        value.as_bytes() != quoted
    };
    let quoted = (0..FIRMWARE).filter_map(|index| Some((index.into(), pcrs.get(index)?)));
    let quoted: Vec<_> = quoted.collect();
    if quoted.is_empty() {
        checks.require(rule, false, wanted, "none of these PCRs is quoted");
        return;
    }
    let different: Vec<_> = quoted
        .into_iter()
        .filter(differs)
        .map(|(index, _)| index.to_string())
        .collect();
    if different.is_empty() {
        checks.require(rule, true, wanted, wanted);
    } else {
        let found = format!(
            "one that gives other values of PCR {}",
            different.join(", ")
        );
        checks.require(rule, false, wanted, found);
    }
}

/// `model` is the word of the reference values: `none`, or that of a GPU.
fn devices(section: &[u8], log: &EventLog, model: &str, checks: &mut Checks) {
    let rule = &checks::DEVICES;
    let wanted = match model {
        "none" => "no GPU, and one log event `gpu` that says `none`".to_owned(),
        model => format!("evidence of one GPU, and one log event `gpu` that says `{model}`"),
    };
    match Devices::decode(section) {
        Err(error) => {
            checks.require(rule, false, wanted, error.to_string());
            return;
        }
        Ok(devices) if devices.word() != model => {
            let found = format!("a section that says `{}`", devices.word());
            checks.require(rule, false, wanted, found);
            return;
        }
        Ok(_) => {}
    }
    let mut words = log.events().iter().filter(|event| event.name() == GPU);
    let (first, second) = (words.next(), words.next());
    let says = |event: &cloister_evidence::log::Event| event.value() == model.as_bytes();
    let agrees = first.is_some_and(says) && second.is_none();
    let found = match agrees {
        true => wanted.clone(),
        false => "a log that says otherwise".to_owned(),
    };
    checks.require(rule, agrees, wanted, found);
}

fn index(name: &str) -> Option<u8> {
    name.strip_prefix("pcr")?.parse().ok()
}

fn describe(register: &Register) -> String {
    let values: Vec<_> = register.values.iter().map(ToString::to_string).collect();
    values.join(" or ")
}

/// What a PCR covers on a machine that boots a UKI (TCG PC Client Platform Firmware Profile, table
/// "PCR usage"; the stub's and the kernel's own documentation for 9 to 13).
fn meaning(name: &str) -> &'static str {
    match name {
        "pcr0" => "PCR 0 covers the firmware's code",
        "pcr1" => "PCR 1 covers the firmware's configuration and the virtual hardware",
        "pcr2" => "PCR 2 covers option ROMs",
        "pcr3" => "PCR 3 covers the configuration of option ROMs",
        "pcr4" => "PCR 4 covers the boot applications: another UKI image was started",
        "pcr5" => "PCR 5 covers the partition table and the boot loader's configuration",
        "pcr6" => "PCR 6 covers events of the host's manufacturer",
        "pcr7" => "PCR 7 covers the state and the keys of Secure Boot",
        "pcr8" => "PCR 8 covers what a boot loader measures; a UKI measures nothing there",
        "pcr9" => "PCR 9 covers the command line and the initrd as the kernel took them over",
        "pcr10" => "PCR 10 covers files measured by the kernel (IMA)",
        "pcr11" => "PCR 11 covers the UKI's sections: kernel, initrd and command line",
        "pcr12" => {
            "PCR 12 covers what was added from outside: a replaced command line, credentials, addons"
        }
        "pcr13" => "PCR 13 covers system extensions added from outside",
        "pcr14" => "PCR 14 covers the keys of shim, which is not used",
        "pcr15" => {
            "PCR 15 covers Cloister's own log: configuration, devices, model, ready, separator"
        }
        _ => "this register is not part of a TPM quote",
    }
}
