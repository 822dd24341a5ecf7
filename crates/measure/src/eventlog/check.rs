//! What is wrong with a log that parses: digests that do not fit their data, and orders no firmware writes.
//!
//! A host that writes a log of its own has to make it replay to the quoted registers. The rules here narrow what such a
//! log can say in between. Those with `refused` are what strict mode refuses; `docs/measurement.md` lists all with
//! their source. Spec: TCG PC Client Platform Firmware Profile 1.06 ("Profile"); UEFI 2.10, section 38.4.1 (CC).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::digests::{Variable, mismatch};
use super::parse::SPEC_ID;
use super::{Event, EventLog, Registers, STARTUP_LOCALITY};

/// Digest sizes by TPM identifier (TCG Algorithm Registry).
const SIZES: [(u16, u16); 8] = [
    (0x0004, 20),
    (0x000b, 32),
    (0x000c, 48),
    (0x000d, 64),
    (0x0012, 32),
    (0x0027, 32),
    (0x0028, 48),
    (0x0029, 64),
];
/// The Secure Boot variables in the order in which firmware measures them (Profile, on PCR 7).
const SECURE_BOOT: [&str; 5] = ["SecureBoot", "PK", "KEK", "db", "dbx"];
/// Localities a TPM is started at: 0, or 3 and 4 with a hardware root (Profile, on `EV_NO_ACTION`).
const LOCALITIES: [u8; 3] = [0, 3, 4];
/// What firmware measures last.
const EXITED: &[u8] = b"Exit Boot Services Returned with Success";

/// Something about a log that a reader should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Number of the event; `None` when the whole log is meant.
    pub event: Option<usize>,
    /// Where the event starts, in bytes.
    pub offset: Option<usize>,
    /// Name of the rule, as in `docs/measurement.md`.
    pub rule: &'static str,
    /// Whether strict mode refuses the log for it.
    pub refused: bool,
    /// What was found, in words.
    pub message: String,
}

/// Lists everything that is odd about `log`, in the order of the events; findings about the whole log come last.
pub fn check(log: &EventLog<'_>, registers: Registers) -> Vec<Finding> {
    let mut checker = Checker {
        log,
        registers,
        findings: Vec::new(),
        separators: BTreeMap::new(),
        extended: BTreeSet::new(),
        variables: 0,
        localities: 0,
        exited: false,
    };
    for event in &log.events {
        checker.event(event);
    }
    checker.whole_log();
    checker.findings
}

/// Whether firmware, and not what it boots, owns the register.
pub(super) fn is_firmware(register: u32, registers: Registers) -> bool {
    separated(registers).contains(&register)
}

/// Registers in which firmware draws a line before it boots anything.
fn separated(registers: Registers) -> &'static [u32] {
    match registers {
        Registers::Pcr => &[0, 1, 2, 3, 4, 5, 6, 7],
        Registers::Cc => &[1, 2],
    }
}

/// What may come after the separator of a register.
fn after_separator(register: u32, registers: Registers) -> &'static [&'static str] {
    match (registers, register) {
        // Some firmware measures boot variables late; seen on a physical machine.
        (Registers::Pcr, 1) => &["EV_EFI_VARIABLE_BOOT", "EV_EFI_VARIABLE_BOOT2"],
        (Registers::Pcr, 4) => &[
            "EV_EFI_BOOT_SERVICES_APPLICATION",
            "EV_EFI_BOOT_SERVICES_DRIVER",
            "EV_EFI_RUNTIME_SERVICES_DRIVER",
            "EV_EFI_ACTION",
            "EV_ACTION",
            "EV_COMPACT_HASH",
            "EV_IPL",
            "EV_OMIT_BOOT_DEVICE_EVENTS",
        ],
        (Registers::Pcr, 5) => &[
            "EV_EFI_GPT_EVENT",
            "EV_EFI_GPT_EVENT2",
            "EV_EFI_ACTION",
            "EV_EVENT_TAG",
            "EV_IPL",
            "EV_IPL_PARTITION_DATA",
        ],
        (Registers::Pcr, 6) => &["EV_COMPACT_HASH", "EV_ACTION"],
        (Registers::Pcr, 7) => &["EV_EFI_VARIABLE_AUTHORITY"],
        (Registers::Cc, 1) => &[
            "EV_PLATFORM_CONFIG_FLAGS",
            "EV_EFI_HANDOFF_TABLES",
            "EV_EFI_HANDOFF_TABLES2",
            "EV_EFI_VARIABLE_BOOT",
            "EV_EFI_VARIABLE_BOOT2",
            "EV_EFI_VARIABLE_AUTHORITY",
        ],
        (Registers::Cc, 2) => &[
            "EV_EFI_BOOT_SERVICES_APPLICATION",
            "EV_EFI_BOOT_SERVICES_DRIVER",
            "EV_EFI_RUNTIME_SERVICES_DRIVER",
            "EV_EFI_GPT_EVENT",
            "EV_EFI_GPT_EVENT2",
            "EV_EFI_ACTION",
            "EV_EVENT_TAG",
            "EV_IPL",
            // What td-shim, which is no UEFI, starts.
            "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
            "EV_PLATFORM_CONFIG_FLAGS",
        ],
        _ => &[],
    }
}

struct Checker<'l, 'a> {
    log: &'l EventLog<'a>,
    registers: Registers,
    findings: Vec<Finding>,
    /// Registers to the number of the event that closed them.
    separators: BTreeMap<u32, usize>,
    extended: BTreeSet<u32>,
    variables: usize,
    localities: usize,
    exited: bool,
}

impl Checker<'_, '_> {
    fn event(&mut self, event: &Event<'_>) {
        if let Some(found) = mismatch(event, self.registers) {
            self.tell(event, "digest", found.certain, found.message);
        }
        self.completeness(event);
        if event.is_extended() {
            self.place(event);
            self.secure_boot(event);
            self.separator(event);
            self.exit(event);
            self.extended.insert(event.register);
        } else {
            self.information(event);
        }
    }

    fn tell(&mut self, event: &Event<'_>, rule: &'static str, refused: bool, message: String) {
        self.findings.push(Finding {
            event: Some(event.number),
            offset: Some(event.offset),
            rule,
            refused,
            message,
        });
    }

    /// Every event has a digest in every announced algorithm (Profile, on event logging).
    fn completeness(&mut self, event: &Event<'_>) {
        let mut announced = self.log.algorithms.keys();
        if let Some(missing) = announced.find(|id| !event.algorithms.contains(id)) {
            let message = format!("no digest of the announced algorithm {missing:#06x}");
            self.tell(event, "digest-missing", true, message);
        }
    }

    /// A CCEL has registers 1 to 4: nothing extends MRTD after the build (UEFI, section 38.4.1).
    fn place(&mut self, event: &Event<'_>) {
        let register = event.register;
        if self.registers == Registers::Cc && !(1..=4).contains(&register) {
            let message = format!("extends register {register}, a TDX guest has 1 to 4");
            self.tell(event, "register", true, message);
        }
    }

    /// Firmware measures the Secure Boot variables in one order, each once (Profile, on PCR 7).
    fn secure_boot(&mut self, event: &Event<'_>) {
        if event.type_name() != "EV_EFI_VARIABLE_DRIVER_CONFIG" {
            return;
        }
        let name = Variable::parse(event.data).map(|variable| variable.name);
        let Some(name) = name.filter(|name| SECURE_BOOT.contains(&name.as_str())) else {
            return;
        };
        let wanted = SECURE_BOOT.get(self.variables).copied();
        if wanted == Some(name.as_str()) {
            self.variables += 1;
        } else {
            let wanted = wanted.unwrap_or("no more of them");
            let message = format!("Secure Boot variable `{name}`, wanted {wanted}");
            self.tell(event, "secure-boot-order", true, message);
        }
    }

    /// One separator closes a register (Profile, on `EV_SEPARATOR`), and little comes after it.
    fn separator(&mut self, event: &Event<'_>) {
        let register = event.register;
        let firmware = is_firmware(register, self.registers);
        let is_separator = event.type_name() == "EV_SEPARATOR";
        if let (true, Some(first)) = (is_separator, self.separators.get(&register)) {
            let message = format!("second separator of register {register}, the first is {first}");
            self.tell(event, "second-separator", true, message);
        } else if is_separator {
            self.separators.insert(register, event.number);
            if firmware && ![[0; 4], [0xff; 4]].iter().any(|good| good == event.data) {
                let message = "separator that tells of an error of the firmware".to_owned();
                self.tell(event, "separator-value", true, message);
            }
        } else if firmware
            && self.separators.contains_key(&register)
            && !after_separator(register, self.registers).contains(&event.type_name())
        {
            let name = event.type_name();
            let message = format!("{name} after the separator of register {register}");
            self.tell(event, "after-separator", true, message);
        }
    }

    /// After it has left boot services firmware measures nothing (Profile, on PCR 4 and PCR 5).
    fn exit(&mut self, event: &Event<'_>) {
        if self.exited && is_firmware(event.register, self.registers) {
            let message = format!("{} after boot services were left", event.type_name());
            self.tell(event, "after-exit", true, message);
        }
        self.exited |= event.type_name() == "EV_EFI_ACTION" && event.data == EXITED;
    }

    /// Events that only inform: a second header, or the locality at which the TPM was started, which comes before
    /// anything in PCR 0 (Profile, sections 10.4.5.1 and 10.4.5.3).
    fn information(&mut self, event: &Event<'_>) {
        if event.data.starts_with(SPEC_ID) {
            self.tell(event, "second-header", true, "a second header".to_owned());
        }
        let Some(locality) = event.data.strip_prefix(STARTUP_LOCALITY) else {
            return;
        };
        self.localities += 1;
        let wrong = match locality {
            _ if self.registers == Registers::Cc => "for registers that have none",
            _ if event.register != 0 => "for a register other than PCR 0",
            _ if self.localities > 1 => "for the second time",
            _ if self.extended.contains(&0) => "after PCR 0 was extended",
            [locality] if LOCALITIES.contains(locality) => return,
            _ => "that is not 0, 3 or 4",
        };
        self.tell(
            event,
            "startup-locality",
            true,
            format!("startup locality {wrong}"),
        );
    }

    fn whole_log(&mut self) {
        let mut whole = |rule, refused, message| {
            self.findings.push(Finding {
                event: None,
                offset: None,
                rule,
                refused,
                message,
            });
        };
        for register in separated(self.registers) {
            if !self.separators.contains_key(register) {
                let message = format!("register {register} has no separator");
                whole("separator-missing", true, message);
            }
        }
        for (id, size) in &self.log.algorithms {
            if !SIZES.contains(&(*id, *size)) {
                let message = format!("hash algorithm {id:#06x} with digests of {size} bytes");
                whole("algorithm-unknown", true, message);
            }
        }
        if self.log.algorithms.keys().eq([&0x0004]) {
            let message = "digests are SHA-1 only, which proves nothing today".to_owned();
            whole("sha1-only", false, message);
        }
    }
}
