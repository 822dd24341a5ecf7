//! Every register that a UKI fills when firmware starts it from disk, as far as it follows from the bytes at hand.
//!
//! Unlike [`predict`](super::predict), which makes reference values and refuses what it has no confirmed model for, this takes any
//! PE with UKI sections and says register by register what it knows. RTMR1 and RTMR2 are given for two models of the
//! stub, because no event log of a TDX guest with this stub has been seen.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    CALLING_APPLICATION, Parts, UkiError, archives, check_stub, has_systemd_stub, pcr4, pcr9,
    pcr11_of, phases, stub_command_line,
};
use crate::digest::{Bank, Digest};
use crate::gpt::{self, GptError};
use crate::pcr::{Extension, separator};
use crate::pe::Pe;
use crate::transcript::{Register, Transcript};

/// What firmware measures when the kernel leaves boot services, after so many failed tries. Linux tries at most twice
/// (`drivers/firmware/efi/libstub/efi-stub-helper.c`, `efi_exit_boot_services`), and a failed try leaves one event (edk2
/// `Tcg2Dxe`; seen in `ubuntu-2404-amd-sevsnp.bin` of google/go-tpm-tools).
const EXITS: [&[&str]; 2] = [
    &[
        "Exit Boot Services Invocation",
        "Exit Boot Services Returned with Success",
    ],
    &[
        "Exit Boot Services Returned with Failure",
        "Exit Boot Services Invocation",
        "Exit Boot Services Returned with Success",
    ],
];
const CONSTANT: &str = "constant of firmware";

/// PCR 11 as it grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pcr11 {
    /// When the kernel starts PID 1.
    pub before_pid1: Digest,
    /// After Cloister's PID 1: the same, since that extends PCR 15 only (decision 5).
    pub after_pid1: Digest,
    /// After systemd's phase words, for images with systemd as PID 1: `enter-initrd`, `enter-initrd:leave-initrd`, ...
    pub systemd_phases: BTreeMap<String, Digest>,
}

/// RTMR1 and RTMR2 under one model of the stub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RtmrCandidate {
    /// `kernel-measures`, or `stub-and-kernel-measure`.
    pub model: &'static str,
    /// What the model says.
    pub summary: &'static str,
    /// Values of RTMR1: without and with a failed try to leave boot services. Empty without the disk.
    pub rtmr1: Vec<Digest>,
    /// RTMR2; `None` when command line or initrd are not known.
    pub rtmr2: Option<Digest>,
    /// Every extend of both, of RTMR1 in the usual boot.
    pub transcript: Transcript,
}

/// What a UKI leaves in the registers of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The hash algorithm.
    pub bank: Bank,
    /// PCR index to every value it may have; most have one.
    pub pcrs: BTreeMap<u32, Vec<Digest>>,
    /// PCR 11 step by step.
    pub pcr11: Pcr11,
    /// PCR index to the reason why it has no value here.
    pub unpredicted: BTreeMap<u32, String>,
    /// RTMRs, which are SHA-384: empty in other banks.
    pub rtmrs: Vec<RtmrCandidate>,
    /// What was assumed, in words.
    pub notes: Vec<String>,
    /// Every extend of a PCR; of several values the one of the usual boot.
    pub transcript: Transcript,
}

/// Computes the registers of `image`, a PE file with UKI sections, in `bank`. `disk` is the start of the disk that it is booted
/// from ([`gpt::USUAL_BYTES`] are enough for usual tables), for PCR 5 and RTMR1.
///
/// # Errors
/// [`UkiError`] when there is no PCR 11: no PE, no `.linux`, repeated sections, or sections chosen by the machine.
pub fn survey(image: &[u8], disk: Option<&[u8]>, bank: Bank) -> Result<Survey, UkiError> {
    let uki = Pe::parse(image).map_err(UkiError::Pe)?;
    let parts = Parts::of_first_profile(&uki)?;
    let pcr11 = pcr11_of(&parts, bank)?;
    let table = disk.map(gpt::event);
    let mut survey = Survey {
        bank,
        pcrs: BTreeMap::from([8, 14, 15].map(|index| (index, vec![Digest::zero(bank)]))),
        pcr11: Pcr11 {
            before_pid1: pcr11.value(),
            after_pid1: pcr11.value(),
            systemd_phases: phases(&pcr11).into_iter().collect(),
        },
        unpredicted: BTreeMap::new(),
        rtmrs: Vec::new(),
        notes: Vec::new(),
        transcript: Transcript::default(),
    };
    survey.loaded(&uki, &parts);
    survey.partitions(table.as_ref());
    let kernel = survey.kernel(&uki, &parts)?;
    let value = pcr11.clone().finish(&mut survey.transcript);
    survey.pcrs.insert(11, vec![value]);
    survey.additions(&parts)?;
    if bank == Bank::Sha384 {
        let boot = boot_events(&uki, &parts, table.and_then(Result::ok));
        survey.candidates(boot.as_deref(), kernel.as_ref(), &pcr11);
    }
    Ok(survey)
}

impl Survey {
    /// PCR 4: the UKI, and the kernel that the stub loads through firmware.
    fn loaded(&mut self, uki: &Pe<'_>, parts: &Parts<'_, '_>) {
        match (check_stub(uki), kernel_digest(parts, self.bank)) {
            (Ok(()), Some(kernel)) => {
                let pcr = pcr4(uki.authenticode(self.bank), kernel);
                let value = pcr.finish(&mut self.transcript);
                self.pcrs.insert(4, vec![value]);
            }
            (Ok(()), None) => self.open(4, "`.linux` is no PE image, so firmware cannot load it"),
            (Err(error), _) => self.open(4, &error.to_string()),
        }
    }

    /// PCR 5: the partition table and the way out of boot services.
    fn partitions(&mut self, table: Option<&Result<Vec<u8>, GptError>>) {
        let table = match table {
            None => return self.open(5, "depends on the disk: give it too"),
            Some(Err(error)) => return self.open(5, &error.to_string()),
            Some(Ok(table)) => table,
        };
        let mut values = Vec::new();
        for (tries, exits) in EXITS.iter().enumerate() {
            let mut pcr = Extension::new(Register::Pcr(5), self.bank);
            pcr.extend(separator(self.bank), "EV_SEPARATOR", CONSTANT);
            pcr.measure(table, "EV_EFI_GPT_EVENT", "partition table");
            leave(&mut pcr, exits);
            values.push(pcr.value());
            if tries == 0 {
                pcr.finish(&mut self.transcript);
            }
        }
        self.pcrs.insert(5, values);
        self.notes.push(
            "pcr5 has two values: leaving boot services may fail once and be tried again"
                .to_owned(),
        );
    }

    /// PCR 9; gives it back for RTMR2.
    fn kernel(
        &mut self,
        uki: &Pe<'_>,
        parts: &Parts<'_, '_>,
    ) -> Result<Option<Extension>, UkiError> {
        if let Err(error) = check_stub(uki) {
            self.open(9, &error.to_string());
            return Ok(None);
        }
        let Some(cmdline) = parts.contents(".cmdline")? else {
            self.open(9, "no `.cmdline`: the boot entry decides the command line");
            return Ok(None);
        };
        if parts.contents(".ucode")?.is_some() {
            self.notes.push(
                "pcr9 and rtmr2 with `.ucode` follow the stub's source and were not seen in a boot"
                    .to_owned(),
            );
        }
        let initrd = archives::initrd(parts, self.bank)?;
        let pcr = pcr9(&stub_command_line(&cmdline)?, initrd, self.bank);
        let value = pcr.clone().finish(&mut self.transcript);
        self.pcrs.insert(9, vec![value]);
        Ok(Some(pcr))
    }

    /// PCR 12 and 13: nothing, for a stub that adds nothing.
    fn additions(&mut self, parts: &Parts<'_, '_>) -> Result<(), UkiError> {
        let known = has_systemd_stub(parts)?;
        for index in [12, 13] {
            if known {
                self.pcrs.insert(index, vec![Digest::zero(self.bank)]);
            } else {
                self.open(index, "not a systemd stub: what it measures is not known");
            }
        }
        self.notes
            .push("pcr8 and pcr14 are zero without GRUB and shim".to_owned());
        if known {
            self.notes
                .push("pcr12 and pcr13 are zero when nothing is added to the UKI".to_owned());
        }
        Ok(())
    }

    fn candidates(
        &mut self,
        boot: Option<&[Extension]>,
        kernel: Option<&Extension>,
        pcr11: &Extension,
    ) {
        let boot = boot.unwrap_or_default();
        let models: [(&str, &str, &[&Extension]); 2] = [
            (
                "kernel-measures",
                "the stub measures through a TPM only; RTMR2 is command line and initrd",
                &[],
            ),
            (
                "stub-and-kernel-measure",
                "the stub measures through the CC protocol; RTMR2 starts with the sections of PCR 11",
                &[pcr11],
            ),
        ];
        for (model, summary, before) in models {
            let mut transcript = Transcript::default();
            if let Some(usual) = boot.first() {
                usual.clone().finish(&mut transcript);
            }
            let rtmr2 = kernel.map(|kernel| {
                let mut rtmr = Extension::new(Register::Rtmr(2), Bank::Sha384);
                for step in before.iter().chain([&kernel]).flat_map(|part| part.steps()) {
                    rtmr.extend(step.digest, step.what.clone(), step.input.clone());
                }
                rtmr.finish(&mut transcript)
            });
            self.rtmrs.push(RtmrCandidate {
                model,
                summary,
                rtmr1: boot.iter().map(Extension::value).collect(),
                rtmr2,
                transcript,
            });
        }
    }

    fn open(&mut self, index: u32, reason: &str) {
        self.unpredicted.insert(index, reason.to_owned());
    }
}

fn kernel_digest(parts: &Parts<'_, '_>, bank: Bank) -> Option<Digest> {
    let kernel = parts.contents(".linux").ok()??;
    Some(Pe::parse(&kernel).ok()?.authenticode(bank))
}

/// RTMR1 for each way out of boot services: PCR 4 and 5 in one register, in the order of the boot
/// (edk2 `OvmfPkg/IntelTdx/TdxMeasurementLib`: PCR 2 to 6 are RTMR1; order as in `cos-113-intel-tdx.bin`).
fn boot_events(
    uki: &Pe<'_>,
    parts: &Parts<'_, '_>,
    table: Option<Vec<u8>>,
) -> Option<Vec<Extension>> {
    check_stub(uki).ok()?;
    let bank = Bank::Sha384;
    let (table, kernel) = (table?, kernel_digest(parts, bank)?);
    let loaded = "EV_EFI_BOOT_SERVICES_APPLICATION";
    let boot = |exits: &&[&str]| {
        let mut rtmr = Extension::new(Register::Rtmr(1), bank);
        rtmr.measure(CALLING_APPLICATION.as_bytes(), "EV_EFI_ACTION", CONSTANT);
        rtmr.extend(separator(bank), "EV_SEPARATOR", CONSTANT);
        rtmr.measure(&table, "EV_EFI_GPT_EVENT", "partition table");
        rtmr.extend(uki.authenticode(bank), loaded, "Authenticode of the UKI");
        rtmr.extend(kernel, loaded, "Authenticode of `.linux`");
        leave(&mut rtmr, exits);
        rtmr
    };
    Some(EXITS.iter().map(boot).collect())
}

fn leave(register: &mut Extension, exits: &[&str]) {
    for action in exits {
        register.measure(action.as_bytes(), "EV_EFI_ACTION", CONSTANT);
    }
}
