//! A library with the calls of NVIDIA's `libnvidia-ml.so.1`, so that the loader, the helper and PID 1 can be tested where there is no GPU.
//!
//! It is never part of an image but a test's: `cloister build` refuses every file that exports [`standin_nvml_marker`]. It plays
//! recordings, or makes reports under a test's root, and breaks as it is told. Files: `settings` (what it is told), `fault` (what can be wrong),
//! `driver` (state and semantics), `evidence` (reports), this one (the C interface); `helper` is a program
//! of its own, for tests.
//! Spec: NVML API reference; `nvml.h` of driver branch 595. Not covered: everything but confidential computing, and names.

#![expect(unsafe_code, reason = "a C interface is made of raw pointers")]

mod driver;
mod evidence;
mod fault;
mod settings;

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::PathBuf;

use driver::{ARGUMENT_VERSION, Driver, INVALID_ARGUMENT, Return, SUCCESS, UNINITIALIZED, with};

/// `nvmlConfComputeSystemCaps_t`.
#[repr(C)]
#[derive(Debug)]
pub struct Capabilities {
    cpu_caps: c_uint,
    gpus_caps: c_uint,
}

/// `nvmlConfComputeSystemState_t`.
#[repr(C)]
#[derive(Debug)]
pub struct State {
    environment: c_uint,
    cc_feature: c_uint,
    dev_tools_mode: c_uint,
}

/// `nvmlSystemConfComputeSettings_t`.
#[repr(C)]
#[derive(Debug)]
pub struct Settings {
    version: c_uint,
    environment: c_uint,
    cc_feature: c_uint,
    dev_tools_mode: c_uint,
    multi_gpu_mode: c_uint,
}

/// `nvmlConfComputeMemSizeInfo_t`.
#[repr(C)]
#[derive(Debug)]
pub struct MemorySizes {
    protected: c_ulonglong,
    unprotected: c_ulonglong,
}

/// `nvmlMemory_t`.
#[repr(C)]
#[derive(Debug)]
pub struct Memory {
    total: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

/// `nvmlMemory_v2_t`.
#[repr(C)]
#[derive(Debug)]
pub struct MemoryV2 {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

/// `nvmlConfComputeGpuCertificate_t`.
#[repr(C)]
#[derive(Debug)]
pub struct Certificate {
    chain_size: c_uint,
    attestation_chain_size: c_uint,
    chain: [u8; 0x1000],
    attestation_chain: [u8; 0x1400],
}

/// `nvmlConfComputeGpuAttestationReport_t`.
#[repr(C)]
#[derive(Debug)]
pub struct AttestationReport {
    is_cec_report_present: c_uint,
    report_size: c_uint,
    cec_report_size: c_uint,
    nonce: [u8; 0x20],
    report: [u8; 0x2000],
    cec_report: [u8; 0x1000],
}

/// `nvmlConfComputeSetKeyRotationThresholdInfo_t` and its counterpart for reading.
#[repr(C)]
#[derive(Debug)]
pub struct KeyRotation {
    version: c_uint,
    attacker_advantage: c_ulonglong,
}

const SETTINGS_VERSION: c_uint = 0x0100_0014;
const MEMORY_VERSION: c_uint = 0x0200_0028;
const KEY_ROTATION_VERSION: c_uint = 0x0100_0010;
/// Memory of the made-up GPU, in KiB: 80 GiB.
const MEMORY_KIB: c_ulonglong = 80 << 20;

const _: () = {
    assert!(size_of::<Capabilities>() == 8);
    assert!(size_of::<State>() == 12);
    assert!(size_of::<Settings>() == 20);
    assert!(size_of::<MemorySizes>() == 16);
    assert!(size_of::<Memory>() == 24);
    assert!(size_of::<MemoryV2>() == 40);
    assert!(size_of::<Certificate>() == 9224);
    assert!(size_of::<AttestationReport>() == 12332);
    assert!(size_of::<KeyRotation>() == 16);
};

/// The mark of the stand-in: nothing that exports it comes into an image.
#[unsafe(no_mangle)]
pub extern "C" fn standin_nvml_marker() -> c_int {
    1
}

#[repr(C)]
struct Place {
    file: *const c_char,
    base: *mut c_void,
    name: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, place: *mut Place) -> c_int;
    safe fn geteuid() -> c_uint;
}

/// An address of this library that no exported name leads to.
static HERE: u8 = 0;

/// Where this library was loaded from.
fn own_path() -> Option<PathBuf> {
    let mut place = Place {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        name: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    // SAFETY: the address is one of this library, and the place is a live value of the layout of `Dl_info`.
    let found = unsafe { dladdr((&raw const HERE).cast(), &raw mut place) };
    if found == 0 || place.file.is_null() {
        return None;
    }
    // SAFETY: dladdr gave a string that lives as long as the library.
    let file = unsafe { CStr::from_ptr(place.file) };
    Some(file.to_str().ok()?.into())
}

/// Runs `fill` on what `into` points to.
fn into<T>(
    name: &str,
    into: *mut T,
    fill: impl FnOnce(&mut Driver, &mut T) -> Result<(), Return>,
) -> Return {
    with(name, |driver| {
        // SAFETY: a caller of NVML gives NULL or a pointer to a value of this type that nobody else uses.
        let value = unsafe { into.as_mut() }.ok_or(INVALID_ARGUMENT)?;
        fill(driver, value)
    })
}

/// The same for a call about a device.
fn of_device<T>(
    name: &str,
    device: *mut c_void,
    value: *mut T,
    fill: impl FnOnce(&mut Driver, &mut T) -> Result<(), Return>,
) -> Return {
    into(name, value, |driver, value| {
        let number = device as usize;
        let last = usize::try_from(driver.devices()).map_err(|_| INVALID_ARGUMENT)?;
        match (1..=last).contains(&number) {
            true => {
                driver.asked = number;
                fill(driver, value)
            }
            false => Err(INVALID_ARGUMENT),
        }
    })
}

/// The same for a call that writes text.
fn text_of_device(
    name: &str,
    device: *mut c_void,
    (buffer, length): (*mut c_char, c_uint),
    text: impl FnOnce(&Driver) -> String,
) -> Return {
    with(name, |driver| {
        let last = usize::try_from(driver.devices()).map_err(|_| INVALID_ARGUMENT)?;
        match (1..=last).contains(&(device as usize)) {
            true => write_text(&text(driver), buffer, length),
            false => Err(INVALID_ARGUMENT),
        }
    })
}

/// Writes text with its NUL into a buffer of `length` bytes.
fn write_text(text: &str, buffer: *mut c_char, length: c_uint) -> Result<(), Return> {
    const INSUFFICIENT_SIZE: Return = 7;
    let room = usize::try_from(length).map_err(|_| INVALID_ARGUMENT)?;
    if buffer.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    if text.len() >= room {
        return Err(INSUFFICIENT_SIZE);
    }
    // SAFETY: a caller of NVML says how long its buffer is, and the text with its NUL is no longer.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

/// Reads a wanted length of bytes into an array, the rest of which stays.
fn fill(array: &mut [u8], bytes: &[u8]) {
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// Starts.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Return {
    own_path().map_or(driver::UNKNOWN, |path| driver::initialise(&path))
}

/// Starts.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit() -> Return {
    nvmlInit_v2()
}

/// Starts, whatever the flags.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_: c_uint) -> Return {
    nvmlInit_v2()
}

/// Ends.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Return {
    with("nvmlShutdown", |driver| {
        driver.shutdown();
        Ok(())
    })
}

/// Says what a number means.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: Return) -> *const c_char {
    let text = match code {
        SUCCESS => c"Success",
        UNINITIALIZED => c"Uninitialized",
        INVALID_ARGUMENT => c"Invalid Argument",
        driver::NO_PERMISSION => c"Insufficient Permissions",
        ARGUMENT_VERSION => c"Argument version mismatch",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

/// Driver version.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetDriverVersion(buffer: *mut c_char, length: c_uint) -> Return {
    with("nvmlSystemGetDriverVersion", |driver| {
        write_text(&driver.version(), buffer, length)
    })
}

/// Version of the library.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetNVMLVersion(buffer: *mut c_char, length: c_uint) -> Return {
    with("nvmlSystemGetNVMLVersion", |driver| {
        write_text(&format!("12.{}", driver.version()), buffer, length)
    })
}

/// How many GPUs there are.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> Return {
    into("nvmlDeviceGetCount", count, |driver, count| {
        *count = driver.count();
        Ok(())
    })
}

/// How many GPUs there are.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetCount(count: *mut c_uint) -> Return {
    nvmlDeviceGetCount_v2(count)
}

/// The GPU of a number from 0 on.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut *mut c_void) -> Return {
    into("nvmlDeviceGetHandleByIndex", device, |driver, device| {
        if index >= driver.devices() {
            return Err(INVALID_ARGUMENT);
        }
        let number = usize::try_from(index).map_err(|_| INVALID_ARGUMENT)?;
        *device = std::ptr::without_provenance_mut(number + 1);
        Ok(())
    })
}

/// The GPU of a number from 0 on.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetHandleByIndex(index: c_uint, device: *mut *mut c_void) -> Return {
    nvmlDeviceGetHandleByIndex_v2(index, device)
}

/// Unique name.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetUUID(
    device: *mut c_void,
    buffer: *mut c_char,
    length: c_uint,
) -> Return {
    text_of_device("nvmlDeviceGetUUID", device, (buffer, length), |_| {
        format!("GPU-00000000-0000-0000-0000-{:012}", device as usize)
    })
}

/// VBIOS version.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetVbiosVersion(
    device: *mut c_void,
    buffer: *mut c_char,
    length: c_uint,
) -> Return {
    text_of_device(
        "nvmlDeviceGetVbiosVersion",
        device,
        (buffer, length),
        Driver::vbios,
    )
}

/// Name of the product.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetName(
    device: *mut c_void,
    buffer: *mut c_char,
    length: c_uint,
) -> Return {
    text_of_device("nvmlDeviceGetName", device, (buffer, length), |_| {
        "Stand-in for a GPU".to_owned()
    })
}

/// 9 for Hopper, 10 for Blackwell.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetArchitecture(device: *mut c_void, into: *mut c_uint) -> Return {
    of_device("nvmlDeviceGetArchitecture", device, into, |driver, into| {
        *into = driver.architecture();
        Ok(())
    })
}

/// Number of the board.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetBoardId(device: *mut c_void, board: *mut c_uint) -> Return {
    of_device("nvmlDeviceGetBoardId", device, board, |_, board| {
        *board = 1;
        Ok(())
    })
}

/// Memory in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo(device: *mut c_void, memory: *mut Memory) -> Return {
    of_device("nvmlDeviceGetMemoryInfo", device, memory, |_, memory| {
        all_free(memory);
        Ok(())
    })
}

/// Memory in bytes, with what the driver keeps.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo_v2(device: *mut c_void, memory: *mut MemoryV2) -> Return {
    of_device("nvmlDeviceGetMemoryInfo_v2", device, memory, |_, memory| {
        if memory.version != MEMORY_VERSION {
            return Err(ARGUMENT_VERSION);
        }
        memory.total = MEMORY_KIB << 10;
        memory.reserved = 0;
        memory.free = memory.total;
        memory.used = 0;
        Ok(())
    })
}

/// Memory in KiB, protected and not.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetConfComputeMemSizeInfo(
    device: *mut c_void,
    sizes: *mut MemorySizes,
) -> Return {
    let name = "nvmlDeviceGetConfComputeMemSizeInfo";
    of_device(name, device, sizes, |_, sizes| {
        sizes.protected = MEMORY_KIB;
        sizes.unprotected = 0;
        Ok(())
    })
}

/// Does nothing, as the driver does.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceSetConfComputeUnprotectedMemSize(
    _: *mut c_void,
    _: c_ulonglong,
) -> Return {
    with("nvmlDeviceSetConfComputeUnprotectedMemSize", |_| {
        root().then_some(()).ok_or(driver::NO_PERMISSION)
    })
}

/// Protected memory in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetConfComputeProtectedMemoryUsage(
    device: *mut c_void,
    memory: *mut Memory,
) -> Return {
    let name = "nvmlDeviceGetConfComputeProtectedMemoryUsage";
    of_device(name, device, memory, |_, memory| {
        all_free(memory);
        Ok(())
    })
}

fn all_free(memory: &mut Memory) {
    memory.total = MEMORY_KIB << 10;
    memory.free = memory.total;
    memory.used = 0;
}

fn root() -> bool {
    geteuid() == 0
}

/// What CPU and GPUs can do: SEV-SNP.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetConfComputeCapabilities(caps: *mut Capabilities) -> Return {
    into("nvmlSystemGetConfComputeCapabilities", caps, |_, caps| {
        caps.cpu_caps = 3;
        caps.gpus_caps = 1;
        Ok(())
    })
}

/// Modes in the older form.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetConfComputeState(state: *mut State) -> Return {
    into("nvmlSystemGetConfComputeState", state, |driver, state| {
        let modes = driver.modes();
        state.environment = modes.environment;
        state.cc_feature = modes.cc_feature;
        state.dev_tools_mode = modes.dev_tools_mode;
        Ok(())
    })
}

/// Modes.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetConfComputeSettings(settings: *mut Settings) -> Return {
    let name = "nvmlSystemGetConfComputeSettings";
    into(name, settings, |driver, settings| {
        if settings.version != SETTINGS_VERSION {
            return Err(ARGUMENT_VERSION);
        }
        let modes = driver.modes();
        settings.environment = modes.environment;
        settings.cc_feature = modes.cc_feature;
        settings.dev_tools_mode = modes.dev_tools_mode;
        settings.multi_gpu_mode = modes.multi_gpu_mode;
        Ok(())
    })
}

/// The ready state.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetConfComputeGpusReadyState(ready: *mut c_uint) -> Return {
    let name = "nvmlSystemGetConfComputeGpusReadyState";
    into(name, ready, |driver, ready| {
        *ready = driver.ready();
        Ok(())
    })
}

/// Sets the ready state.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemSetConfComputeGpusReadyState(ready: c_uint) -> Return {
    let name = format!("nvmlSystemSetConfComputeGpusReadyState({ready})");
    with(&name, |driver| driver.set_ready(ready, root()))
}

/// Certificates of the GPU.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetConfComputeGpuCertificate(
    device: *mut c_void,
    certificate: *mut Certificate,
) -> Return {
    let name = "nvmlDeviceGetConfComputeGpuCertificate";
    of_device(name, device, certificate, |driver, certificate| {
        let chain = driver.chain()?;
        fill(&mut certificate.attestation_chain, &chain);
        certificate.chain_size = 0;
        let size = u32::try_from(chain.len()).map_err(|_| driver::UNKNOWN)?;
        certificate.attestation_chain_size = size;
        Ok(())
    })
}

/// Attestation report of the GPU.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetConfComputeGpuAttestationReport(
    device: *mut c_void,
    report: *mut AttestationReport,
) -> Return {
    let name = "nvmlDeviceGetConfComputeGpuAttestationReport";
    of_device(name, device, report, |driver, report| {
        let (bytes, length) = driver.report(report.nonce)?;
        fill(&mut report.report, &bytes);
        report.report_size = length;
        report.is_cec_report_present = 0;
        report.cec_report_size = 0;
        Ok(())
    })
}

/// Sets the key rotation's threshold.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemSetConfComputeKeyRotationThresholdInfo(
    info: *mut KeyRotation,
) -> Return {
    let name = "nvmlSystemSetConfComputeKeyRotationThresholdInfo";
    into(name, info, |driver, info| match info.version {
        KEY_ROTATION_VERSION => driver.set_attacker_advantage(info.attacker_advantage, root()),
        _ => Err(ARGUMENT_VERSION),
    })
}

/// The key rotation's threshold.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlSystemGetConfComputeKeyRotationThresholdInfo(
    info: *mut KeyRotation,
) -> Return {
    let name = "nvmlSystemGetConfComputeKeyRotationThresholdInfo";
    into(name, info, |driver, info| match info.version {
        KEY_ROTATION_VERSION => {
            info.attacker_advantage = driver.attacker_advantage;
            Ok(())
        }
        _ => Err(ARGUMENT_VERSION),
    })
}
