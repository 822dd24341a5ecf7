//! The driver behind the library: its state, and what each call does to it.
//!
//! Semantics as `conf_compute_api.c` and `gpu_mgr.c` of NVIDIA/open-gpu-kernel-modules 595 have them: the ready state begins at 0 (with
//! developer tools at 1), setting it is for root, going back to 0 latches a failure after which every setting is refused, and reports work
//! while it is 0.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::evidence;
use crate::fault::Fault;
use crate::settings::Settings;

/// `nvmlReturn_t`.
pub(crate) type Return = u32;
pub(crate) const SUCCESS: Return = 0;
pub(crate) const UNINITIALIZED: Return = 1;
pub(crate) const INVALID_ARGUMENT: Return = 2;
pub(crate) const NO_PERMISSION: Return = 4;
const NOT_SUPPORTED: Return = 3;
const NOT_FOUND: Return = 6;
const DRIVER_NOT_LOADED: Return = 9;
const GPU_LOST: Return = 15;
const VERSION_MISMATCH: Return = 18;
pub(crate) const ARGUMENT_VERSION: Return = 25;
const INVALID_STATE: Return = 29;
pub(crate) const UNKNOWN: Return = 999;

/// The one driver of the process.
static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

/// A loaded driver.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) settings: Settings,
    clients: u32,
    counted: u32,
    /// How many reports there were.
    reported: u32,
    /// The GPU that the present call is about, from 1 on.
    pub(crate) asked: usize,
    ready: u32,
    latched: bool,
    pub(crate) attacker_advantage: u64,
}

/// `nvmlSystemConfComputeSettings_t` without its version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Modes {
    pub(crate) environment: u32,
    pub(crate) cc_feature: u32,
    pub(crate) dev_tools_mode: u32,
    pub(crate) multi_gpu_mode: u32,
}

/// The driver, for the time of one call.
pub(crate) fn lock() -> MutexGuard<'static, Option<Driver>> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `call` on the initialised driver and records it under `name` with what it returned.
pub(crate) fn with(name: &str, call: impl FnOnce(&mut Driver) -> Result<(), Return>) -> Return {
    let mut guard = lock();
    let Some(driver) = guard.as_mut().filter(|driver| driver.clients > 0) else {
        return UNINITIALIZED;
    };
    let code = call(driver).err().unwrap_or(SUCCESS);
    driver.record(&format!("{name} {code}"));
    code
}

/// `nvmlInit_v2`; `library` is the path of this library.
pub(crate) fn initialise(library: &Path) -> Return {
    let mut guard = lock();
    if guard.is_none() {
        let mut file = library.as_os_str().to_owned();
        file.push(".conf");
        let Some(settings) = Settings::read(&PathBuf::from(file)) else {
            return UNKNOWN;
        };
        *guard = Some(Driver::new(settings));
    }
    let Some(driver) = guard.as_mut() else {
        return UNKNOWN;
    };
    let code = match driver.settings.fault {
        Some(Fault::DriverNotLoaded) => DRIVER_NOT_LOADED,
        Some(Fault::LibraryVersion) => VERSION_MISMATCH,
        _ => SUCCESS,
    };
    if code == SUCCESS {
        driver.clients += 1;
    }
    driver.record(&format!("nvmlInit {code}"));
    code
}

impl Driver {
    fn new(settings: Settings) -> Self {
        let advantage = match settings.fault {
            Some(Fault::KeyRotationIgnored) => 62,
            _ => 60,
        };
        let from_the_start = [Some(Fault::ReadyAlready), Some(Fault::DevTools)];
        Self {
            ready: u32::from(from_the_start.contains(&settings.fault)),
            latched: settings.fault == Some(Fault::Latched),
            settings,
            clients: 0,
            counted: 0,
            reported: 0,
            asked: 0,
            attacker_advantage: advantage,
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.settings.fault == Some(fault)
    }

    fn record(&self, line: &str) {
        let Some(path) = &self.settings.record else {
            return;
        };
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        if let Ok(mut file) = file {
            let _unwritable = file.write_all(format!("{line}\n").as_bytes());
        }
    }

    /// `nvmlShutdown`.
    pub(crate) fn shutdown(&mut self) {
        self.clients = self.clients.saturating_sub(1);
    }

    /// What the library says of the driver's version.
    pub(crate) fn version(&self) -> String {
        match self.has(Fault::OtherDriver) {
            true => "570.86.15".to_owned(),
            false => self.settings.driver.clone(),
        }
    }

    /// What the library says of the VBIOS: in upper case.
    pub(crate) fn vbios(&self) -> String {
        self.settings.vbios.to_uppercase()
    }

    pub(crate) fn architecture(&self) -> u32 {
        match self.has(Fault::Blackwell) {
            true => 10,
            false => 9,
        }
    }

    pub(crate) fn modes(&self) -> Modes {
        let production = Modes {
            environment: 2,
            cc_feature: 1,
            dev_tools_mode: 0,
            multi_gpu_mode: 0,
        };
        match self.settings.fault {
            Some(Fault::ConfidentialOff) => Modes {
                environment: 0,
                cc_feature: 0,
                ..production
            },
            Some(Fault::DevTools) => Modes {
                environment: 1,
                dev_tools_mode: 1,
                ..production
            },
            Some(Fault::ProtectedPcie) => Modes {
                cc_feature: 0,
                multi_gpu_mode: 1,
                ..production
            },
            Some(Fault::Simulation) => Modes {
                environment: 1,
                ..production
            },
            _ => production,
        }
    }

    /// How many GPUs there are, as far as the library says.
    pub(crate) fn count(&mut self) -> u32 {
        self.counted += 1;
        let changes = self.has(Fault::CountChanges) && self.counted > 1;
        1 + u32::from(changes || self.two())
    }

    /// How many can be asked for.
    pub(crate) fn devices(&self) -> u32 {
        1 + u32::from(self.has(Fault::CountChanges) || self.two())
    }

    fn two(&self) -> bool {
        self.has(Fault::TwoGpus) || self.has(Fault::EqualSerials)
    }

    /// Whose keys the present call is about.
    fn label(&self) -> String {
        let label = &self.settings.label;
        let other = self.has(Fault::Exchanged) && self.reported > 0;
        match self.asked {
            2.. if !self.has(Fault::EqualSerials) => format!("{label}, the second"),
            _ if other => format!("{label}, exchanged"),
            _ => label.clone(),
        }
    }

    pub(crate) fn ready(&self) -> u32 {
        match self.has(Fault::ReadyDoesNotStick) {
            true => 0,
            false => self.ready,
        }
    }

    /// `nvmlSystemSetConfComputeGpusReadyState`; `is_root` is of the caller.
    pub(crate) fn set_ready(&mut self, wanted: u32, is_root: bool) -> Result<(), Return> {
        if !is_root {
            return Err(NO_PERMISSION);
        }
        if self.latched || wanted > 1 {
            return Err(INVALID_ARGUMENT);
        }
        self.latched = self.ready == 1 && wanted == 0;
        self.ready = wanted;
        Ok(())
    }

    /// The key rotation's threshold can only be set before the GPU is ready.
    pub(crate) fn set_attacker_advantage(
        &mut self,
        wanted: u64,
        is_root: bool,
    ) -> Result<(), Return> {
        match (is_root, self.ready, wanted) {
            _ if self.has(Fault::NoKeyRotation) => Err(NOT_SUPPORTED),
            (false, ..) => Err(NO_PERMISSION),
            (true, 0, 50..=65) if self.has(Fault::KeyRotationIgnored) => Ok(()),
            (true, 0, 50..=65) => {
                self.attacker_advantage = wanted;
                Ok(())
            }
            (true, 0, _) => Err(INVALID_ARGUMENT),
            _ => Err(INVALID_STATE),
        }
    }

    /// PEM of the attestation chain.
    pub(crate) fn chain(&self) -> Result<Vec<u8>, Return> {
        evidence::chain(&self.settings, &self.label()).ok_or(UNKNOWN)
    }

    /// A report, and the length that the library gives for it.
    pub(crate) fn report(&mut self, nonce: [u8; 32]) -> Result<(Vec<u8>, u32), Return> {
        match self.settings.fault {
            Some(Fault::Abort) => std::process::abort(),
            Some(Fault::Hang) => loop {
                std::thread::sleep(std::time::Duration::from_secs(3600));
            },
            Some(Fault::Lost) => return Err(GPU_LOST),
            Some(Fault::LostLater) if self.reported > 0 => return Err(GPU_LOST),
            _ => {}
        }
        let report = evidence::report(&self.settings, &self.label(), nonce).ok_or(NOT_FOUND)?;
        let length = match self.settings.fault {
            Some(Fault::Oversize) => 0x2001,
            Some(Fault::Empty) => 0,
            _ => u32::try_from(report.len()).map_err(|_| UNKNOWN)?,
        };
        self.reported += 1;
        Ok((report, length))
    }
}
