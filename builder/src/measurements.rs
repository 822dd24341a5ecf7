//! Reference values of a finished image, one file per platform.
//!
//! `qemu-vtpm`, `azure-snp` and `gcp-snp`: PCR 4, 9, 11, 12 and 13 follow from the UKI, PCR 15 from the guest's own event log.
//! `gcp-tdx`: RTMR1 from the UKI and the partition table, RTMR2 from the UKI; both have as many values as there are ways to boot.
//! `qemu-snp`: the launch digest for every vCPU model and count of the platform, from the locked firmware.
//! Nothing here is read from a running guest. Computing them is `cloister_measure`'s work; this module decides which
//! values a platform has.

use std::collections::{BTreeMap, BTreeSet};

use cloister_evidence::log::{LogError, boot_events, predict_pcr15};
use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{
    Class, GpuReference, LaunchDigestEntry, LaunchPolicy, ReferenceValues, Register, SCHEMA_VERSION,
};
use cloister_measure::snp::{
    EnforcementError, HostProfile, KernelHashes, LaunchError, LaunchInputs, Ovmf, OvmfError,
    UnknownHost, UnknownVcpuModel, VcpuSignature, launch_digests,
};
use cloister_measure::uki::{UNPREDICTED, UkiError, predict, survey};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::platform::{BootMethod, EvidenceKind, Platform, SnpLaunch};

/// Registers of a trust domain that do not follow from the image.
const TDX_UNPREDICTED: [(&str, &str); 2] = [
    (
        "rtmr0",
        "firmware settings, ACPI tables and boot variables: changes with machine type, firmware release and disks",
    ),
    (
        "rtmr3",
        "the guest's own log: its events have no SHA-384 form yet, and no guest extends this register",
    ),
];
/// Host profile of the launch digests.
const HOST: &str = "qemu";

/// The files and words that the values are computed from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured<'a> {
    /// Recipe name.
    pub(crate) recipe: &'a str,
    /// The whole UKI.
    pub(crate) uki: &'a [u8],
    /// Kernel for direct boot.
    pub(crate) kernel: &'a [u8],
    /// Initrd for direct boot.
    pub(crate) initrd: &'a [u8],
    /// Command line for direct boot, without NUL.
    pub(crate) cmdline: &'a str,
    /// Encoded guest configuration, as it stands in the initrd.
    pub(crate) guest_configuration: &'a [u8],
    /// What the guest logs for `gpu`.
    pub(crate) gpu: &'a str,
    /// What its GPU must measure, where there must be one.
    pub(crate) golden: Option<&'a str>,
    /// What the guest logs for `model`.
    pub(crate) model: &'a str,
    /// The locked AmdSev firmware.
    pub(crate) firmware: Option<&'a Firmware>,
    /// The first sectors of the disk as Google has it, with its partition table.
    pub(crate) google_disk: &'a [u8],
}

/// Firmware that compares the kernel it boots with the hashes that its launch digest covers.
#[derive(Clone, Debug)]
pub(crate) struct Firmware {
    /// The whole image.
    pub(crate) image: Vec<u8>,
    ovmf: Ovmf,
}

impl Firmware {
    /// Parses `image` and refuses one that would boot any kernel.
    pub(crate) fn new(image: Vec<u8>) -> Result<Self, MeasurementsError> {
        let ovmf = Ovmf::from_image(&image)?;
        ovmf.check_enforcement(&image)?;
        Ok(Self { image, ovmf })
    }
}

/// Why reference values could not be computed.
#[derive(Debug, Error)]
pub(crate) enum MeasurementsError {
    /// UKI.
    #[error(transparent)]
    Uki(#[from] UkiError),
    /// Event log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Golden values that do not fit the schema.
    #[error("golden values: {0}")]
    Golden(#[from] serde_json::Error),
    /// Firmware.
    #[error("locked firmware: {0}")]
    Firmware(#[from] OvmfError),
    /// Firmware that would boot any kernel, whatever its launch digest says.
    #[error("locked firmware cannot be trusted with a measured kernel")]
    Enforcement(#[from] EnforcementError),
    /// Launch.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// vCPU model of the platform file.
    #[error("platform `{platform}`: {source}")]
    Model {
        /// Platform.
        platform: String,
        /// Cause.
        source: UnknownVcpuModel,
    },
    /// Host profile.
    #[error(transparent)]
    Host(#[from] UnknownHost),
    /// The platform starts by firmware that the recipe does not lock.
    #[error("platform `{0}` needs firmware, and the recipe has no `tools.firmware`")]
    NoFirmware(String),
    /// The platform file lacks what its boot method needs.
    #[error("platform `{platform}`: {what}")]
    Platform {
        /// Platform.
        platform: String,
        /// What is missing or wrong.
        what: &'static str,
    },
}

/// The reference values of `image` on `platform`.
pub(crate) fn reference(
    platform: &Platform,
    image: &Measured<'_>,
) -> Result<ReferenceValues, MeasurementsError> {
    match (platform.boot, platform.evidence) {
        (
            BootMethod::Uki,
            EvidenceKind::TpmQuote | EvidenceKind::AzureHcl | EvidenceKind::SnpReportTpmQuote,
        ) => tpm(platform, image),
        (BootMethod::Uki, EvidenceKind::TdQuote) => tdx(platform, image),
        (BootMethod::KernelHashes, EvidenceKind::SevSnpReport) => snp(platform, image),
        _ => Err(wrong(
            platform,
            "boot method and evidence do not go together",
        )),
    }
}

fn tpm(platform: &Platform, image: &Measured<'_>) -> Result<ReferenceValues, MeasurementsError> {
    let prediction = predict(image.uki, Bank::Sha256)?;
    let name = |index: u32| format!("pcr{index}");
    let single = |value| Register::single(Class::Image, value);
    let mut registers: BTreeMap<String, Register> = prediction
        .pcrs
        .iter()
        .map(|(index, value)| (name(*index), single(*value)))
        .collect();
    let events = boot_events(image.guest_configuration, image.gpu, image.model)?;
    registers.insert(name(15), single(Digest::Sha256(predict_pcr15(&events))));
    if !platform
        .registers
        .iter()
        .all(|wanted| registers.contains_key(wanted))
    {
        return Err(wrong(
            platform,
            "one of its registers does not follow from this image",
        ));
    }
    let general = UNPREDICTED
        .iter()
        .map(|(index, reason)| (name(*index), (*reason).to_owned()));
    let own = prediction
        .unpredicted
        .iter()
        .map(|(index, reason)| (name(*index), reason.clone()));
    Ok(ReferenceValues {
        registers,
        unpredicted: general.chain(own).collect(),
        ..empty(platform, image, &uki_inputs(image))?
    })
}

/// Files that the values of a UKI are computed from.
fn uki_inputs<'a>(image: &Measured<'a>) -> [(&'static str, &'a [u8]); 4] {
    [
        ("guest-configuration", image.guest_configuration),
        ("initrd", image.initrd),
        ("kernel", image.kernel),
        ("uki", image.uki),
    ]
}

/// RTMR1 and RTMR2. Each is a set, every value of which pins the whole image: leaving boot services may fail once and be
/// tried again (RTMR1), and the stub may or may not measure through the CC protocol (RTMR2; both were seen of others).
fn tdx(platform: &Platform, image: &Measured<'_>) -> Result<ReferenceValues, MeasurementsError> {
    // Refuses what no model was confirmed for; the survey by itself is more lenient.
    predict(image.uki, Bank::Sha384)?;
    let survey = survey(image.uki, Some(image.google_disk), Bank::Sha384)?;
    let rtmr1: BTreeSet<Digest> = survey
        .rtmrs
        .iter()
        .flat_map(|model| &model.rtmr1)
        .copied()
        .collect();
    let rtmr2: BTreeSet<Digest> = survey
        .rtmrs
        .iter()
        .filter_map(|model| model.rtmr2)
        .collect();
    let registers: BTreeMap<String, Register> = [("rtmr1", rtmr1), ("rtmr2", rtmr2)]
        .into_iter()
        .map(|(name, values)| {
            let values = values.into_iter().collect();
            let class = Class::Image;
            (name.to_owned(), Register { class, values })
        })
        .collect();
    let open = |wanted: &String| {
        registers
            .get(wanted)
            .is_none_or(|found| found.values.is_empty())
    };
    if platform.registers.iter().any(open) {
        return Err(wrong(
            platform,
            "one of its registers does not follow from this image",
        ));
    }
    let unpredicted = TDX_UNPREDICTED.map(|(name, reason)| (name.to_owned(), reason.to_owned()));
    Ok(ReferenceValues {
        bank: Bank::Sha384,
        registers,
        unpredicted: unpredicted.into(),
        ..empty(platform, image, &uki_inputs(image))?
    })
}

fn snp(platform: &Platform, image: &Measured<'_>) -> Result<ReferenceValues, MeasurementsError> {
    let firmware = image
        .firmware
        .ok_or_else(|| MeasurementsError::NoFirmware(platform.name.clone()))?;
    let facts = platform
        .snp
        .as_ref()
        .ok_or_else(|| wrong(platform, "`[snp]` is missing"))?;
    let policy = launch_policy(platform, facts)?;
    let (kernel, initrd) = (
        Sha256::digest(image.kernel).into(),
        Sha256::digest(image.initrd).into(),
    );
    let hashes = KernelHashes::new(kernel, Some(initrd), image.cmdline.as_bytes());
    let counts: BTreeSet<u32> = platform.vcpus.iter().copied().collect();
    let mut entries = Vec::new();
    for model in platform.vcpu_models.iter().collect::<BTreeSet<_>>() {
        let vcpu: VcpuSignature = model.parse().map_err(|source| MeasurementsError::Model {
            platform: platform.name.clone(),
            source,
        })?;
        let host = HostProfile::named(HOST)?;
        let (kernel, sev_features) = (Some(hashes), policy.sev_features);
        let inputs = LaunchInputs {
            firmware: &firmware.ovmf,
            kernel,
            host,
            vcpu,
            sev_features,
        };
        entries.extend(
            launch_digests(&inputs, &counts)?
                .into_iter()
                .map(|(vcpus, digest)| LaunchDigestEntry {
                    digest: digest.into(),
                    vcpu_model: model.clone(),
                    vcpus,
                }),
        );
    }
    let inputs = [
        ("cmdline", image.cmdline.as_bytes()),
        ("firmware", firmware.image.as_slice()),
        ("initrd", image.initrd),
        ("kernel", image.kernel),
    ];
    Ok(ReferenceValues {
        launch_digests: entries,
        launch_policy: Some(policy),
        ..empty(platform, image, &inputs)?
    })
}

fn launch_policy(
    platform: &Platform,
    facts: &SnpLaunch,
) -> Result<LaunchPolicy, MeasurementsError> {
    if facts.id_block {
        return Err(wrong(platform, "`id-block = true` is not supported yet"));
    }
    let number = |text: &str, what| {
        let digits = text
            .strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        digits.ok_or_else(|| wrong(platform, what))
    };
    Ok(LaunchPolicy {
        guest_policy: number(
            &facts.guest_policy,
            "`guest-policy` is not `0x` and hexadecimal digits",
        )?,
        host: HOST.to_owned(),
        id_key_digest: None,
        sev_features: number(
            &facts.guest_features,
            "`guest-features` is not `0x` and hexadecimal digits",
        )?,
        vmpl: u32::from(facts.vmpl),
    })
}

/// Values without any register, to be filled in.
fn empty(
    platform: &Platform,
    image: &Measured<'_>,
    inputs: &[(&str, &[u8])],
) -> Result<ReferenceValues, MeasurementsError> {
    let digest = |bytes: &[u8]| Digest::Sha256(Sha256::digest(bytes).into());
    Ok(ReferenceValues {
        bank: Bank::Sha256,
        confidential: platform.confidential,
        gpu: gpu(image)?,
        inputs: inputs
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), digest(bytes)))
            .collect(),
        launch_digests: Vec::new(),
        launch_policy: None,
        platform: platform.name.clone(),
        recipe: image.recipe.to_owned(),
        registers: BTreeMap::new(),
        schema_version: SCHEMA_VERSION,
        unpredicted: BTreeMap::new(),
    })
}

fn gpu(image: &Measured<'_>) -> Result<Option<GpuReference>, MeasurementsError> {
    let Some(golden) = image.golden else {
        return Ok(None);
    };
    Ok(Some(GpuReference {
        golden_values: serde_json::from_str(golden)?,
        model: image.gpu.to_owned(),
    }))
}

fn wrong(platform: &Platform, what: &'static str) -> MeasurementsError {
    MeasurementsError::Platform {
        platform: platform.name.clone(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(firmware: Option<&Firmware>) -> Measured<'_> {
        Measured {
            recipe: "demo",
            uki: b"MZ",
            kernel: b"kernel",
            initrd: b"initrd",
            cmdline: "quiet",
            guest_configuration: b"",
            gpu: "none",
            golden: None,
            model: "root",
            firmware,
            google_disk: b"",
        }
    }

    fn platform(name: &str) -> Platform {
        Platform::load(name).unwrap()
    }

    /// Firmware of the test vectors.
    fn vector(name: &str) -> Result<Firmware, MeasurementsError> {
        let path = format!("{}/../tests/vectors/snp/{name}", env!("CARGO_MANIFEST_DIR"));
        Firmware::new(std::fs::read(path).unwrap())
    }

    #[test]
    fn snp_needs_firmware_with_tables_and_a_sound_platform_file() {
        let of =
            |platform: &Platform, firmware| reference(platform, &measured(firmware)).unwrap_err();
        let snp = platform("qemu-snp");
        assert!(
            matches!(of(&snp, None), MeasurementsError::NoFirmware(name) if name == "qemu-snp")
        );
        assert!(matches!(
            Firmware::new(b"x".to_vec()),
            Err(MeasurementsError::Firmware(_))
        ));
        let sound = vector("enforcing.fd").unwrap();
        let mut wrong = snp.clone();
        wrong.snp.as_mut().unwrap().guest_policy = "30000".to_owned();
        assert!(matches!(
            of(&wrong, Some(&sound)),
            MeasurementsError::Platform { .. }
        ));
        let mut wrong = snp.clone();
        wrong.snp.as_mut().unwrap().id_block = true;
        assert!(matches!(
            of(&wrong, Some(&sound)),
            MeasurementsError::Platform { .. }
        ));
        let mixed = Platform {
            boot: BootMethod::Uki,
            ..snp
        };
        assert!(matches!(
            of(&mixed, None),
            MeasurementsError::Platform { .. }
        ));
    }

    #[test]
    fn snp_refuses_firmware_that_would_boot_any_kernel() {
        let refused = vector("not-enforcing.fd").unwrap_err();
        assert!(matches!(refused, MeasurementsError::Enforcement(_)));
        let sound = vector("enforcing.fd").unwrap();
        let values = reference(&platform("qemu-snp"), &measured(Some(&sound))).unwrap();
        assert!(!values.launch_digests.is_empty());
    }

    #[test]
    fn platforms_that_boot_a_uki_refuse_what_is_none() {
        for name in ["qemu-vtpm", "azure-snp", "gcp-snp", "gcp-tdx"] {
            let error = reference(&platform(name), &measured(None)).unwrap_err();
            assert!(matches!(error, MeasurementsError::Uki(_)), "{name}");
        }
    }
}
