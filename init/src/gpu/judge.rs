//! What PID 1 makes of the helper's records. Values in, a verdict out: nothing here touches the machine.
//!
//! The order is that of the causes: a GPU behind a switch is named so, and not as one whose confidential mode is off, which it says
//! as well. Spec of the numbers: NVML API reference, "Confidential Computing APIs". Why each is demanded: `docs/gpu.md`.

use cloister_evidence::bundle::CpuKind;
use cloister_evidence::devices::{Devices, GpuEvidence};
use cloister_gpu::appraise::{Device, Expected, appraise};
use cloister_gpu::{GoldenValues, RootKey, signature};
use cloister_gpu_helper::record::{Evidence, Probe};

use super::GpuError;

/// The most that encrypting under one key may help an attacker before the driver takes another key: the driver's own default, named
/// here so that it is the image's. NVML takes 50 to 65.
pub(super) const ATTACKER_ADVANTAGE: u64 = 60;
/// The first driver branch that rotates keys.
const ROTATES_KEYS: u32 = 570;
const HOPPER: u32 = 9;
const PRODUCTION: u32 = 2;

/// A GPU that is in the right mode; nothing is proved yet.
#[derive(Debug, Clone)]
pub(super) struct Probed {
    /// Driver version, of module and library.
    pub(super) driver: String,
    /// What NVML says of the VBIOS.
    pub(super) vbios: String,
    cpu_caps: u32,
}

/// Evidence that holds; only this module makes one, so that nothing is set ready without.
#[derive(Debug)]
pub(super) struct Verified {
    /// The device.
    pub(super) device: Device,
    /// The evidence for the device section.
    pub(super) devices: Devices,
}

/// Whether the machine is in the mode that is wanted, before anything is asked of the GPU.
pub(super) fn probe(probe: &Probe, module: &str) -> Result<Probed, GpuError> {
    if probe.driver != module {
        return Err(GpuError::Versions {
            module: module.to_owned(),
            library: probe.driver.clone(),
        });
    }
    let [device] = probe.devices.as_slice() else {
        return Err(GpuError::Devices(probe.devices.len()));
    };
    let refused = match probe {
        _ if device.architecture != HOPPER => Some(GpuError::Architecture(device.architecture)),
        Probe { multi_gpu_mode, .. } if *multi_gpu_mode != 0 => {
            Some(GpuError::MultiGpu(*multi_gpu_mode))
        }
        Probe { dev_tools_mode, .. } if *dev_tools_mode != 0 => Some(GpuError::DevTools),
        Probe {
            cc_feature,
            gpus_caps,
            ..
        } if (*cc_feature, *gpus_caps) != (1, 1) => Some(GpuError::ConfidentialOff),
        Probe { environment, .. } if *environment != PRODUCTION => {
            Some(GpuError::Environment(*environment))
        }
        Probe { ready, .. } if *ready != 0 => Some(GpuError::ReadyAlready),
        _ => None,
    };
    refused.map_or(Ok(()), Err)?;
    Ok(Probed {
        driver: probe.driver.clone(),
        vbios: device.vbios.clone(),
        cpu_caps: probe.cpu_caps,
    })
}

impl Probed {
    /// Whether the driver sees the CPU that the guest's own evidence is of. A TPM by itself says nothing of the CPU.
    pub(super) fn fits(&self, cpu: CpuKind) -> Result<(), GpuError> {
        let (wanted, fits): (&str, &[u32]) = match cpu {
            CpuKind::SnpReport => ("3 (SEV-SNP)", &[3]),
            CpuKind::Azure => ("2 (TDX) or 4 (SEV-SNP with vTOM)", &[2, 4]),
            _ => return Ok(()),
        };
        match fits.contains(&self.cpu_caps) {
            true => Ok(()),
            false => Err(GpuError::Cpu {
                found: self.cpu_caps,
                wanted,
            }),
        }
    }

    /// Whether the threshold for key rotation is the one that was set; `None` from a driver that has none.
    pub(super) fn key_rotation(&self, found: Option<u64>) -> Result<(), GpuError> {
        let branch = self.driver.split('.').next();
        let branch = branch.and_then(|branch| branch.parse::<u32>().ok());
        match found {
            Some(ATTACKER_ADVANTAGE) => Ok(()),
            Some(found) => Err(GpuError::AttackerAdvantage {
                wanted: ATTACKER_ADVANTAGE,
                found,
            }),
            None if branch.is_some_and(|branch| branch < ROTATES_KEYS) => Ok(()),
            None => Err(GpuError::KeyRotation(self.driver.clone())),
        }
    }

    /// Appraises the evidence of the one device. The time is the one at which the golden values were checked: it is measured, as the
    /// clock is not, and a device's certificates do not expire.
    pub(super) fn evidence(
        &self,
        evidence: Vec<Evidence>,
        nonce: &[u8; 32],
        golden: &GoldenValues,
        roots: &[RootKey],
    ) -> Result<Verified, GpuError> {
        let found = evidence.len();
        let [Evidence { report, chain }] =
            <[Evidence; 1]>::try_from(evidence).map_err(|_| GpuError::EvidenceCount(found))?;
        let rims = golden.pairs().iter().flat_map(|pair| pair.rims());
        let expected = Expected {
            nonce,
            driver: Some(&self.driver),
            vbios: Some(&self.vbios),
            golden: Some(golden),
            roots,
            at: rims.map(|rim| rim.checked_at).max().unwrap_or_default(),
        };
        let device = appraise(&report, &chain, &expected, signature::verify).into_result()?;
        Ok(Verified {
            device,
            devices: Devices::H100(GpuEvidence { report, chain }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_gpu_helper::record;

    type Change = fn(&mut Probe);

    fn good() -> Probe {
        Probe {
            driver: "550.144.03".into(),
            cpu_caps: 3,
            gpus_caps: 1,
            environment: 2,
            cc_feature: 1,
            dev_tools_mode: 0,
            multi_gpu_mode: 0,
            ready: 0,
            devices: vec![record::Device {
                uuid: "GPU-1".into(),
                vbios: "96.00.9F.00.01".into(),
                architecture: 9,
            }],
        }
    }

    #[test]
    fn probe_accepts_production_and_names_every_other_mode() {
        assert!(probe(&good(), "550.144.03").is_ok());
        let cases: [(Change, &str); 13] = [
            (
                |p| p.driver = "550.127.05".into(),
                "the library is of driver 550.127.05, the kernel module of 550.144.03",
            ),
            (|p| p.devices.clear(), "the library sees 0 GPUs, wanted 1"),
            (
                |p| p.devices.extend(good().devices),
                "the library sees 2 GPUs, wanted 1",
            ),
            (
                |p| p.devices[0].architecture = 10,
                "GPU architecture 10, wanted 9 (Hopper)",
            ),
            (
                |p| (p.multi_gpu_mode, p.cc_feature) = (1, 0),
                "multi-GPU mode 1, wanted 0: one GPU for one guest",
            ),
            (
                |p| p.multi_gpu_mode = 2,
                "multi-GPU mode 2, wanted 0: one GPU for one guest",
            ),
            (
                |p| (p.dev_tools_mode, p.environment, p.ready) = (1, 1, 1),
                "developer tools are on: the GPU hides nothing",
            ),
            (
                |p| p.cc_feature = 0,
                "confidential computing is off in the GPU: the host must set it",
            ),
            (
                |p| p.gpus_caps = 0,
                "confidential computing is off in the GPU: the host must set it",
            ),
            (
                |p| p.environment = 1,
                "environment 1 of the GPU, wanted 2 (production)",
            ),
            (
                |p| p.environment = 0,
                "environment 0 of the GPU, wanted 2 (production)",
            ),
            (
                |p| p.ready = 1,
                "the GPU is ready already: set by developer tools, or by an earlier session",
            ),
            (
                |p| p.ready = 7,
                "the GPU is ready already: set by developer tools, or by an earlier session",
            ),
        ];
        for (change, wanted) in cases {
            let mut changed = good();
            change(&mut changed);
            let error = probe(&changed, "550.144.03").unwrap_err();
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[test]
    fn key_rotation_may_be_absent_only_where_no_driver_has_it() {
        let of = |driver: &str, found| {
            let probed = Probed {
                driver: driver.into(),
                vbios: String::new(),
                cpu_caps: 3,
            };
            let outcome = probed.key_rotation(found);
            outcome.map_err(|error| error.to_string())
        };
        for driver in ["535.86.09", "550.163.01", "570.86.15", "595.45.04"] {
            assert_eq!(of(driver, Some(60)), Ok(()));
            let wanted = "key rotation at attacker advantage 65 after it was set, wanted 60";
            assert_eq!(of(driver, Some(65)), Err(wanted.to_owned()));
        }
        assert_eq!(of("535.86.09", None), Ok(()));
        assert_eq!(of("550.163.01", None), Ok(()));
        for driver in ["570.86.15", "595.45.04", "next"] {
            let wanted = format!(
                "driver {driver} does not take a threshold for key rotation, as drivers from 570 on do"
            );
            assert_eq!(of(driver, None), Err(wanted));
        }
    }

    #[test]
    fn fits_demands_the_cpu_of_the_guests_own_evidence() {
        let fits = |caps, cpu| {
            let mut changed = good();
            changed.cpu_caps = caps;
            probe(&changed, "550.144.03").unwrap().fits(cpu).is_ok()
        };
        let table = |cpu| [0, 1, 2, 3, 4, 5].map(|caps| fits(caps, cpu));
        let only_snp = [false, false, false, true, false, false];
        assert_eq!(table(CpuKind::SnpReport), only_snp);
        let azure = [false, false, true, false, true, false];
        assert_eq!(table(CpuKind::Azure), azure);
        assert_eq!(table(CpuKind::TpmQuote), [true; 6]);
    }
}
