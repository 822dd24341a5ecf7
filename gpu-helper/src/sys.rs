//! NVIDIA's management library: loading it, and its calls with their structures.
//!
//! The one fence of unsafe code of this crate. Structures and numbers: NVML API reference, "Confidential Computing APIs"; `nvml.h` of driver
//! branch 595. The library is NVIDIA's, closed, and measured with the image: that its functions have these types is its
//! word. Sizes that it returns are not believed: every slice is bounded by the array that it is of.

use core::ffi::{c_char, c_uint, c_ulonglong};
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::record::{Cause, Failure};

/// `nvmlReturn_t`.
type Return = c_uint;
/// `nvmlDevice_t`.
type Handle = *mut core::ffi::c_void;

const SUCCESS: Return = 0;
/// Buffers of `nvmlSystemGetDriverVersion`, `nvmlDeviceGetUUID` and `nvmlDeviceGetVbiosVersion`, in bytes.
const DRIVER: usize = 80;
const UUID: usize = 96;
const VBIOS: usize = 32;

/// `nvmlConfComputeSystemCaps_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capabilities {
    pub(crate) cpu_caps: c_uint,
    pub(crate) gpus_caps: c_uint,
}

/// `nvmlSystemConfComputeSettings_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    version: c_uint,
    pub(crate) environment: c_uint,
    pub(crate) cc_feature: c_uint,
    pub(crate) dev_tools_mode: c_uint,
    pub(crate) multi_gpu_mode: c_uint,
}

/// `nvmlConfComputeGpuCertificate_t`.
#[repr(C)]
struct Certificate {
    chain_size: c_uint,
    attestation_chain_size: c_uint,
    chain: [u8; 0x1000],
    attestation_chain: [u8; 0x1400],
}

/// `nvmlConfComputeGpuAttestationReport_t`.
#[repr(C)]
struct AttestationReport {
    is_cec_report_present: c_uint,
    report_size: c_uint,
    cec_report_size: c_uint,
    nonce: [u8; 0x20],
    report: [u8; 0x2000],
    cec_report: [u8; 0x1000],
}

/// `nvmlConfComputeSetKeyRotationThresholdInfo_t`, and the same of `Get`, whose number is called `attackerAdvantage`.
#[repr(C)]
struct KeyRotation {
    version: c_uint,
    attacker_advantage: c_ulonglong,
}

/// Size of the threshold, and 1 for the version of the structure.
const KEY_ROTATION_VERSION: c_uint = 0x0100_0010;

/// Size of the settings, and 1 for the version of the structure, as the library wants it.
const SETTINGS_VERSION: c_uint = 0x0100_0014;

const _: () = {
    assert!(size_of::<Capabilities>() == 8);
    assert!(size_of::<Settings>() == 20);
    assert!(size_of::<KeyRotation>() == 16);
    assert!(size_of::<Certificate>() == 9224);
    assert!(size_of::<AttestationReport>() == 12332);
};

/// The library, loaded and initialised.
#[derive(Debug)]
pub(crate) struct Nvml(Library);

/// Calls `$name` of the library `$nvml` as a function of `$type` with `$argument`s.
macro_rules! call {
    ($nvml:expr, $name:literal, $type:ty, $($argument:expr),*) => {{
        // SAFETY: NVML documents this type for this name; the symbol lives as long as the library, which is borrowed.
        let symbol = unsafe { $nvml.0.get::<$type>(concat!($name, "\0").as_bytes()) };
        let function = symbol.map_err(|_| failed($name, Cause::Symbol))?;
        // SAFETY: every pointer among the arguments is to a live value of the type that the function documents, or a handle of it.
        let code = unsafe { function($($argument),*) };
        match code {
            SUCCESS => Ok(()),
            code => Err(failed($name, Cause::Code(code))),
        }
    }};
}

impl Nvml {
    /// Loads the library at `path` and initialises it.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        // SAFETY: the initialisers of the library run; it is the one of the measured image.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|_| failed(&path.to_string_lossy(), Cause::Library))?;
        let nvml = Self(library);
        call!(nvml, "nvmlInit_v2", unsafe extern "C" fn() -> Return,)?;
        Ok(nvml)
    }

    pub(crate) fn driver_version(&self) -> Result<String, Failure> {
        type Call = unsafe extern "C" fn(*mut c_char, c_uint) -> Return;
        const NAME: &str = "nvmlSystemGetDriverVersion";
        let mut buffer = [0; DRIVER];
        call!(
            self,
            "nvmlSystemGetDriverVersion",
            Call,
            buffer.as_mut_ptr().cast(),
            80
        )?;
        text(NAME, &buffer)
    }

    pub(crate) fn capabilities(&self) -> Result<Capabilities, Failure> {
        type Call = unsafe extern "C" fn(*mut Capabilities) -> Return;
        let mut capabilities = Capabilities::default();
        let into = &raw mut capabilities;
        call!(self, "nvmlSystemGetConfComputeCapabilities", Call, into)?;
        Ok(capabilities)
    }

    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        type Call = unsafe extern "C" fn(*mut Settings) -> Return;
        let mut settings = Settings {
            version: SETTINGS_VERSION,
            environment: 0,
            cc_feature: 0,
            dev_tools_mode: 0,
            multi_gpu_mode: 0,
        };
        let into = &raw mut settings;
        call!(self, "nvmlSystemGetConfComputeSettings", Call, into)?;
        Ok(settings)
    }

    pub(crate) fn ready(&self) -> Result<u32, Failure> {
        type Call = unsafe extern "C" fn(*mut c_uint) -> Return;
        let mut ready = 0;
        let into = &raw mut ready;
        call!(self, "nvmlSystemGetConfComputeGpusReadyState", Call, into)?;
        Ok(ready)
    }

    /// Sets the ready state to 1.
    pub(crate) fn set_ready(&self) -> Result<(), Failure> {
        type Call = unsafe extern "C" fn(c_uint) -> Return;
        call!(self, "nvmlSystemSetConfComputeGpusReadyState", Call, 1)
    }

    /// Sets `maxAttackerAdvantage`, at which the driver takes a new key.
    pub(crate) fn set_attacker_advantage(&self, advantage: u64) -> Result<(), Failure> {
        type Call = unsafe extern "C" fn(*mut KeyRotation) -> Return;
        let mut threshold = KeyRotation {
            version: KEY_ROTATION_VERSION,
            attacker_advantage: advantage,
        };
        let from = &raw mut threshold;
        call!(
            self,
            "nvmlSystemSetConfComputeKeyRotationThresholdInfo",
            Call,
            from
        )
    }

    /// `attackerAdvantage`.
    pub(crate) fn attacker_advantage(&self) -> Result<u64, Failure> {
        type Call = unsafe extern "C" fn(*mut KeyRotation) -> Return;
        let mut threshold = KeyRotation {
            version: KEY_ROTATION_VERSION,
            attacker_advantage: 0,
        };
        let into = &raw mut threshold;
        call!(
            self,
            "nvmlSystemGetConfComputeKeyRotationThresholdInfo",
            Call,
            into
        )?;
        Ok(threshold.attacker_advantage)
    }

    pub(crate) fn count(&self) -> Result<u32, Failure> {
        type Call = unsafe extern "C" fn(*mut c_uint) -> Return;
        let mut count = 0;
        let into = &raw mut count;
        call!(self, "nvmlDeviceGetCount_v2", Call, into)?;
        Ok(count)
    }

    /// The device of this number.
    pub(crate) fn device(&self, number: u32) -> Result<Device<'_>, Failure> {
        type Call = unsafe extern "C" fn(c_uint, *mut Handle) -> Return;
        let mut handle: Handle = core::ptr::null_mut();
        let into = &raw mut handle;
        call!(self, "nvmlDeviceGetHandleByIndex_v2", Call, number, into)?;
        Ok(Device { nvml: self, handle })
    }
}

/// A device of the library.
#[derive(Debug)]
pub(crate) struct Device<'n> {
    nvml: &'n Nvml,
    handle: Handle,
}

impl Device<'_> {
    pub(crate) fn uuid(&self) -> Result<String, Failure> {
        type Call = unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> Return;
        let mut buffer = [0; UUID];
        let into = buffer.as_mut_ptr().cast();
        call!(self.nvml, "nvmlDeviceGetUUID", Call, self.handle, into, 96)?;
        text("nvmlDeviceGetUUID", &buffer)
    }

    pub(crate) fn vbios(&self) -> Result<String, Failure> {
        type Call = unsafe extern "C" fn(Handle, *mut c_char, c_uint) -> Return;
        let mut buffer = [0; VBIOS];
        let into = buffer.as_mut_ptr().cast();
        let handle = self.handle;
        call!(
            self.nvml,
            "nvmlDeviceGetVbiosVersion",
            Call,
            handle,
            into,
            32
        )?;
        text("nvmlDeviceGetVbiosVersion", &buffer)
    }

    pub(crate) fn architecture(&self) -> Result<u32, Failure> {
        type Call = unsafe extern "C" fn(Handle, *mut c_uint) -> Return;
        let mut architecture = 0;
        let into = &raw mut architecture;
        let handle = self.handle;
        call!(self.nvml, "nvmlDeviceGetArchitecture", Call, handle, into)?;
        Ok(architecture)
    }

    /// `attestationCertChain`.
    pub(crate) fn chain(&self) -> Result<Vec<u8>, Failure> {
        type Call = unsafe extern "C" fn(Handle, *mut Certificate) -> Return;
        const NAME: &str = "nvmlDeviceGetConfComputeGpuCertificate";
        let mut certificate = Certificate {
            chain_size: 0,
            attestation_chain_size: 0,
            chain: [0; 0x1000],
            attestation_chain: [0; 0x1400],
        };
        let into = &raw mut certificate;
        call!(
            self.nvml,
            "nvmlDeviceGetConfComputeGpuCertificate",
            Call,
            self.handle,
            into
        )?;
        let Certificate {
            attestation_chain,
            attestation_chain_size,
            ..
        } = &certificate;
        bounded(NAME, attestation_chain, *attestation_chain_size)
    }

    /// `attestationReport` for this nonce.
    pub(crate) fn report(&self, nonce: &[u8; 32]) -> Result<Vec<u8>, Failure> {
        type Call = unsafe extern "C" fn(Handle, *mut AttestationReport) -> Return;
        const NAME: &str = "nvmlDeviceGetConfComputeGpuAttestationReport";
        let mut report = AttestationReport {
            is_cec_report_present: 0,
            report_size: 0,
            cec_report_size: 0,
            nonce: *nonce,
            report: [0; 0x2000],
            cec_report: [0; 0x1000],
        };
        let into = &raw mut report;
        call!(
            self.nvml,
            "nvmlDeviceGetConfComputeGpuAttestationReport",
            Call,
            self.handle,
            into
        )?;
        bounded(NAME, &report.report, report.report_size)
    }
}

fn failed(call: &str, cause: Cause) -> Failure {
    Failure {
        call: call.to_owned(),
        cause,
    }
}

/// The first bytes of an array, if it has that many.
fn bounded(call: &str, array: &[u8], size: c_uint) -> Result<Vec<u8>, Failure> {
    let bytes = usize::try_from(size)
        .ok()
        .and_then(|size| array.get(..size));
    match bytes {
        Some(bytes) => Ok(bytes.to_vec()),
        None => Err(failed(call, Cause::Size(size))),
    }
}

/// ASCII up to the first NUL.
fn text(call: &str, buffer: &[u8]) -> Result<String, Failure> {
    let text = buffer
        .iter()
        .position(|byte| *byte == 0)
        .and_then(|end| buffer.get(..end));
    let text = text.filter(|text| text.is_ascii());
    let text = text.and_then(|text| core::str::from_utf8(text).ok());
    match text {
        Some(text) => Ok(text.to_owned()),
        None => Err(failed(call, Cause::Text)),
    }
}
