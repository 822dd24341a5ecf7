//! Registers of a unified kernel image started by firmware from disk.
//!
//! [`predict`] gives what reference values pin: PCR 4, 9, 11, 12 and 13 of images whose model was confirmed by a booted guest.
//! [`survey`](fn@survey) gives everything that can be said of any UKI, with PCR 5, systemd's phases and the RTMRs.
//!
//! The model is firmware (edk2) -> systemd stub -> Linux EFI stub, with no shim and no boot loader:
//!
//! | PCR | extended by | with |
//! | --- | --- | --- |
//! | 4 | firmware | "Calling EFI Application from Boot Option", separator, Authenticode of the UKI and of its kernel |
//! | 9 | Linux EFI stub | command line (UTF-16LE with NUL), initrd as the systemd stub hands it over |
//! | 11 | systemd stub | each section's name with NUL and contents, in canonical order |
//! | 12 | systemd stub | nothing: a command line that replaces or adds to the built-in one, credentials and addons would appear |
//! | 13 | systemd stub | nothing: system extensions would appear |
//!
//! Source: systemd 257.13 `src/boot/stub.c` (`measure_sections`, `settle_command_line`, `run`),
//! `src/fundamental/uki.h` (order), `src/boot/linux.c` (the kernel is loaded with `LoadImage`, so firmware
//! measures it); UAPI group UKI specification; Linux 6.12 `drivers/firmware/efi/libstub`.
//! Not covered: other stub versions (258 loads the kernel by itself), profiles other than the first, device-tree
//! selection. These are named, never guessed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use thiserror::Error;

use crate::digest::{Bank, Digest};
use crate::pcr::{Extension, separator};
use crate::pe::{Pe, PeError, Section};
use crate::transcript::{Register, Transcript};

mod archives;
mod survey;

pub use survey::{Pcr11, RtmrCandidate, Survey, survey};

/// Sections in the order in which the stub measures them, whatever their order in the file.
/// `.pcrsig` is left out there and here: it signs the outcome.
const MEASURED_SECTIONS: [&str; 12] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat",
    ".pcrpkey", ".profile", ".hwids",
];
/// Starts the sections of a profile, which replace those before the first one.
const PROFILE: &str = ".profile";
/// Sections whose choice depends on the machine.
const SELECTED_SECTIONS: [&str; 2] = [".dtbauto", ".efifw"];
/// Words that systemd extends PCR 11 with as it boots (systemd `units/systemd-pcrphase*.service`).
const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];
/// The major version of the systemd stub this model was checked with.
const STUB_VERSION: u32 = 257;
/// What the stub's `.sdmagic` section starts with.
const STUB_MAGIC: &str = "#### LoaderInfo: systemd-stub ";
/// The event of firmware before the first boot option (TCG PC Client Profile, on PCR 4).
const CALLING_APPLICATION: &str = "Calling EFI Application from Boot Option";

/// Registers that do not follow from the image, each with the reason; for `unpredicted` in
/// reference values.
pub const UNPREDICTED: [(u32, &str); 10] = [
    (0, "firmware code and version: host profile"),
    (1, "firmware configuration and boot variables: host profile"),
    (2, "drivers of the machine's devices: host profile"),
    (3, "configuration of the machine's devices: host profile"),
    (
        5,
        "partition table and boot-services exit, which firmware may retry: more than one value",
    ),
    (6, "machine-specific events: host profile"),
    (7, "secure-boot variables: host profile"),
    (8, "used by boot loaders, of which there is none"),
    (10, "Linux IMA: depends on run time"),
    (14, "used by shim, of which there is none"),
];

/// Why a UKI's registers cannot be predicted.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UkiError {
    /// The image is no PE.
    #[error("UKI: {0}")]
    Pe(PeError),
    /// The kernel inside is no PE.
    #[error("kernel in `.linux`: {0}")]
    Kernel(PeError),
    /// A section that every UKI here has.
    #[error("UKI has no `{name}` section")]
    MissingSection {
        /// The section.
        name: &'static str,
    },
    /// A section whose measurement depends on what boots it.
    #[error("UKI has a `{name}` section, so PCR 11 depends on the machine and the boot entry")]
    SelectedSection {
        /// The section.
        name: &'static str,
    },
    /// Two sections of one name: the stub takes the first, readers may take another.
    #[error("UKI has more than one `{name}` section")]
    RepeatedSection {
        /// The section.
        name: &'static str,
    },
    /// A stub whose measurements are not known here.
    #[error("UKI has stub `{found}`, wanted systemd-stub {STUB_VERSION}")]
    Stub {
        /// What `.sdmagic` says, cut to 64 characters.
        found: String,
    },
    /// A kernel without the initrd protocol that the model assumes.
    #[error("kernel has EFI stub version {major}.{minor}, wanted at least 1.1")]
    OldKernel {
        /// `MajorImageVersion` of the kernel.
        major: u16,
        /// `MinorImageVersion` of the kernel.
        minor: u16,
    },
    /// A command line that is not UTF-8.
    #[error("UKI command line is not UTF-8 at byte {offset}")]
    CommandLine {
        /// First wrong byte.
        offset: usize,
    },
}

/// What a UKI will leave in the PCRs of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrPrediction {
    /// The hash algorithm.
    pub bank: Bank,
    /// Register index to its final value; only registers that follow from the image.
    pub pcrs: BTreeMap<u32, Digest>,
    /// Register index to the reason why this image leaves it open; empty for a usual image.
    pub unpredicted: BTreeMap<u32, String>,
    /// Every extend that leads to `pcrs`.
    pub transcript: Transcript,
}

/// Predicts the PCRs of `image`, a whole UKI file, in `bank`.
///
/// # Errors
/// See [`UkiError`].
pub fn predict(image: &[u8], bank: Bank) -> Result<PcrPrediction, UkiError> {
    let uki = Pe::parse(image).map_err(UkiError::Pe)?;
    check_stub(&uki)?;
    let parts = Parts::of_first_profile(&uki)?;
    if uki.section(PROFILE).is_some() {
        return Err(UkiError::SelectedSection { name: PROFILE });
    }
    let kernel = parts.linux()?;
    let kernel = Pe::parse(&kernel).map_err(UkiError::Kernel)?;
    let (major, minor) = kernel.image_version();
    if (major, minor) < (1, 1) {
        return Err(UkiError::OldKernel { major, minor });
    }
    let mut transcript = Transcript::default();
    let mut pcrs = BTreeMap::new();
    let mut unpredicted = BTreeMap::new();
    pcrs.insert(
        4,
        pcr4(uki.authenticode(bank), kernel.authenticode(bank)).finish(&mut transcript),
    );
    match pcr9_of(&parts, bank)? {
        Ok(extension) => drop(pcrs.insert(9, extension.finish(&mut transcript))),
        Err(reason) => drop(unpredicted.insert(9, reason)),
    }
    pcrs.insert(11, pcr11_of(&parts, bank)?.finish(&mut transcript));
    pcrs.insert(12, Digest::zero(bank));
    pcrs.insert(13, Digest::zero(bank));
    Ok(PcrPrediction {
        bank,
        pcrs,
        unpredicted,
        transcript,
    })
}

/// Returns the command line as the stub passes it on: control characters become spaces, white space at both
/// ends goes, everything from the first NUL goes, characters beyond U+FFFF go.
///
/// # Errors
/// [`UkiError::CommandLine`] when the text before the first NUL is not UTF-8.
pub fn stub_command_line(section: &[u8]) -> Result<String, UkiError> {
    let text = section.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|error| UkiError::CommandLine {
        offset: error.valid_up_to(),
    })?;
    let blank = |c: char| c <= ' ' || c == '\u{7f}';
    let passed: String = text
        .chars()
        .filter(|&c| c <= '\u{ffff}')
        .map(|c| if blank(c) { ' ' } else { c })
        .collect();
    Ok(passed.trim_matches(' ').to_owned())
}

fn check_stub(uki: &Pe<'_>) -> Result<(), UkiError> {
    let magic = contents(uki.section(".sdmagic"))?.unwrap_or_default();
    let magic = String::from_utf8_lossy(&magic);
    let version = magic.strip_prefix(STUB_MAGIC).unwrap_or_default();
    let major = version
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
    if major.parse() != Ok(STUB_VERSION) {
        let found = magic.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(UkiError::Stub { found });
    }
    Ok(())
}

fn has_systemd_stub(parts: &Parts<'_, '_>) -> Result<bool, UkiError> {
    let magic = parts.contents(".sdmagic")?.unwrap_or_default();
    Ok(magic.starts_with(STUB_MAGIC.as_bytes()))
}

/// The sections that the stub works with when no profile is chosen: those before the first `.profile`, replaced by those
/// between the first and the second (systemd `src/boot/pe.c`, `pe_locate_profile_sections`).
struct Parts<'p, 'a> {
    base: &'p [Section<'a>],
    profile: &'p [Section<'a>],
}

impl<'p, 'a> Parts<'p, 'a> {
    fn of_first_profile(uki: &'p Pe<'a>) -> Result<Parts<'p, 'a>, UkiError> {
        let is_profile = |section: &Section<'_>| section.name() == PROFILE;
        let sections = uki.sections();
        let first = sections
            .iter()
            .position(is_profile)
            .unwrap_or(sections.len());
        let (base, rest) = sections.split_at_checked(first).unwrap_or((sections, &[]));
        let next = rest.iter().skip(1).position(is_profile);
        let end = next.map_or(rest.len(), |next| next + 1);
        let parts = Parts {
            base,
            profile: rest.get(..end).unwrap_or_default(),
        };
        parts.check()?;
        Ok(parts)
    }

    fn check(&self) -> Result<(), UkiError> {
        let machine = SELECTED_SECTIONS.into_iter();
        if let Some(name) = machine.clone().find(|name| self.section(name).is_some()) {
            return Err(UkiError::SelectedSection { name });
        }
        let twice = |name: &&str| {
            [self.base, self.profile].iter().any(|sections| {
                let named = sections.iter().filter(|section| section.name() == *name);
                named.count() > 1
            })
        };
        match MEASURED_SECTIONS.into_iter().find(|name| twice(name)) {
            Some(name) => Err(UkiError::RepeatedSection { name }),
            None => Ok(()),
        }
    }

    fn section(&self, name: &str) -> Option<&'p Section<'a>> {
        let mut sections = self.profile.iter().chain(self.base);
        sections.find(|section| section.name() == name)
    }

    /// Returns a section as it lies in memory; an empty one counts as missing, as for the stub.
    fn contents(&self, name: &str) -> Result<Option<Cow<'a, [u8]>>, UkiError> {
        contents(self.section(name))
    }

    fn linux(&self) -> Result<Cow<'a, [u8]>, UkiError> {
        let missing = UkiError::MissingSection { name: ".linux" };
        self.contents(".linux")?.ok_or(missing)
    }
}

fn contents<'a>(section: Option<&Section<'a>>) -> Result<Option<Cow<'a, [u8]>>, UkiError> {
    match section.filter(|section| section.virtual_size() > 0) {
        Some(section) => section.contents().map(Some).map_err(UkiError::Pe),
        None => Ok(None),
    }
}

/// Predicts PCR 4 from the Authenticode digests of the UKI and of the kernel inside, both of one bank.
pub fn pcr4(uki: Digest, kernel: Digest) -> Extension {
    let bank = uki.bank();
    let mut pcr = Extension::new(Register::Pcr(4), bank);
    pcr.measure(
        CALLING_APPLICATION.as_bytes(),
        "EV_EFI_ACTION",
        "constant of firmware",
    );
    pcr.extend(separator(bank), "EV_SEPARATOR", "constant of firmware");
    let what = "EV_EFI_BOOT_SERVICES_APPLICATION";
    pcr.extend(uki, what, "Authenticode of the UKI");
    pcr.extend(kernel, what, "Authenticode of `.linux`");
    pcr
}

/// Predicts PCR 9 from the command line that reaches the kernel (see [`stub_command_line`]) and the digest
/// of the initrd; without initrd the kernel measures none.
pub fn pcr9(command_line: &str, initrd: Option<Digest>, bank: Bank) -> Extension {
    let wide: Vec<u8> = command_line
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut pcr = Extension::new(Register::Pcr(9), bank);
    let what = "EV_EVENT_TAG LOADED_IMAGE::LoadOptions";
    pcr.measure(&wide, what, "`.cmdline` as UTF-16LE with NUL");
    if let Some(initrd) = initrd {
        pcr.extend(initrd, "EV_EVENT_TAG Linux initrd", "`.initrd`");
    }
    pcr
}

/// Returns PCR 9, or the reason why this UKI leaves it open.
fn pcr9_of(parts: &Parts<'_, '_>, bank: Bank) -> Result<Result<Extension, String>, UkiError> {
    if parts.contents(".ucode")?.is_some() {
        return Ok(Err(
            "the initrd with `.ucode` was never compared with a boot".to_owned(),
        ));
    }
    let cmdline = parts.contents(".cmdline")?;
    let cmdline = cmdline.ok_or(UkiError::MissingSection { name: ".cmdline" })?;
    let initrd = archives::initrd(parts, bank)?;
    Ok(Ok(pcr9(&stub_command_line(&cmdline)?, initrd, bank)))
}

/// Predicts PCR 11 when the kernel starts PID 1, for any PE file with UKI sections.
///
/// # Errors
/// [`UkiError`] for no `.linux`, repeated sections, and sections that the machine chooses among.
pub fn pcr11(uki: &Pe<'_>, bank: Bank) -> Result<Extension, UkiError> {
    pcr11_of(&Parts::of_first_profile(uki)?, bank)
}

fn pcr11_of(parts: &Parts<'_, '_>, bank: Bank) -> Result<Extension, UkiError> {
    parts.linux()?;
    let mut pcr = Extension::new(Register::Pcr(11), bank);
    for name in MEASURED_SECTIONS {
        if let Some(bytes) = parts.contents(name)? {
            let mut with_nul = name.as_bytes().to_vec();
            with_nul.push(0);
            pcr.measure(
                &with_nul,
                "EV_IPL section name",
                format!("`{name}` and NUL"),
            );
            pcr.measure(&bytes, "EV_IPL section contents", format!("`{name}`"));
        }
    }
    Ok(pcr)
}

/// Returns PCR 11 after each word that systemd as PID 1 extends it with: the words so far, joined by `:`, and the value.
/// Cloister's PID 1 extends none of them.
pub fn phases(pcr11: &Extension) -> Vec<(String, Digest)> {
    let mut pcr = pcr11.clone();
    let mut path = String::new();
    let after = |word: &str| {
        pcr.measure(word.as_bytes(), "EV_IPL phase", "systemd-pcrphase");
        path = match path.as_str() {
            "" => word.to_owned(),
            before => format!("{before}:{word}"),
        };
        (path.clone(), pcr.value())
    };
    PHASES.into_iter().map(after).collect()
}

#[cfg(test)]
mod tests;
