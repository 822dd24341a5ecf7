//! Every cause for which a guest with a GPU powers off, by a name of its own. What to do about each: `docs/gpu.md`.

use cloister_gpu::golden::GoldenError;
use cloister_gpu_helper::record::{Cause, Failure, RecordError};

use crate::root::RootError;

/// Why the GPU may not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The configuration says that there is none.
    #[error("the configuration says `gpu none`, but PCI device {0} is NVIDIA's")]
    Unexpected(String),
    /// Another number of GPUs than the one that is wanted.
    #[error("{} GPUs on the PCI bus, wanted 1{}", .found.len(), listed(.found))]
    Count {
        /// Their addresses.
        found: Vec<String>,
    },
    /// A switch, or another device of NVIDIA's, beside the GPU.
    #[error("PCI device {0} is NVIDIA's and no GPU: a GPU behind a switch cannot be judged")]
    Foreign(String),
    /// sysfs cannot be read.
    #[error("sysfs: {0}")]
    Sysfs(#[from] std::io::Error),
    /// A file cannot be read, made, opened or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No driver has found a GPU.
    #[error("NVIDIA's driver is not loaded")]
    NoDriver,
    /// The driver's version has another form.
    #[error("the driver's version file does not name a version")]
    VersionFile,
    /// Device numbers of the driver are missing.
    #[error("the driver has no device numbers")]
    Numbers,
    /// A device node cannot be made.
    #[error(transparent)]
    Node(#[from] RootError),
    /// The golden values are not those that the configuration names.
    #[error("golden values have SHA-256 {found}, wanted {wanted}")]
    GoldenDigest {
        /// Of the configuration.
        wanted: String,
        /// Of the file.
        found: String,
    },
    /// The golden values cannot be read.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// No golden values for the driver that is loaded.
    #[error("driver {found} is loaded, for which there are no golden values")]
    UnknownDriver {
        /// Its version.
        found: String,
    },
    /// The helper could not be started, or its pipe failed.
    #[error("GPU helper: {0}")]
    Helper(std::io::Error),
    /// The helper ended.
    #[error("GPU helper ended instead of answering `{request}`")]
    HelperEnded {
        /// The request.
        request: &'static str,
    },
    /// The helper ended while nothing was asked of it.
    #[error("GPU helper ended: {0}")]
    HelperLost(String),
    /// The helper did not answer in time, and was killed.
    #[error("GPU helper did not answer `{request}` in time")]
    HelperLate {
        /// The request.
        request: &'static str,
    },
    /// The helper announced too much.
    #[error("record of {0} bytes from the GPU helper, at most 262144 allowed")]
    RecordLength(usize),
    /// The helper's answer is not a record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The helper answered something else than was asked.
    #[error("the GPU helper's record does not fit the request")]
    Unasked,
    /// A call of the library failed.
    #[error("{}: {}", .0.call, failure(.0))]
    Call(Failure),
    /// Kernel module and library are of different drivers.
    #[error("the library is of driver {library}, the kernel module of {module}")]
    Versions {
        /// Of the module.
        module: String,
        /// Of the library.
        library: String,
    },
    /// NVML sees another number of GPUs than the one that is wanted.
    #[error("the library sees {0} GPUs, wanted 1")]
    Devices(usize),
    /// Another chip.
    #[error("GPU architecture {0}, wanted 9 (Hopper)")]
    Architecture(u32),
    /// Protected PCIe or another mode for several GPUs.
    #[error("multi-GPU mode {0}, wanted 0: one GPU for one guest")]
    MultiGpu(u32),
    /// Developer tools.
    #[error("developer tools are on: the GPU hides nothing")]
    DevTools,
    /// No confidential mode.
    #[error("confidential computing is off in the GPU: the host must set it")]
    ConfidentialOff,
    /// Not the production environment.
    #[error("environment {0} of the GPU, wanted 2 (production)")]
    Environment(u32),
    /// The driver does not think that the machine is confidential as the guest's own evidence says.
    #[error("the driver sees CPU capability {found}, wanted {wanted}")]
    Cpu {
        /// `cpuCaps`.
        found: u32,
        /// What goes with the guest's own evidence.
        wanted: &'static str,
    },
    /// The ready state was set before this guest judged anything.
    #[error("the GPU is ready already: set by developer tools, or by an earlier session")]
    ReadyAlready,
    /// The evidence does not hold.
    #[error(transparent)]
    Evidence(#[from] cloister_gpu::Refusal),
    /// The GPU is not the one that was made ready.
    #[error("evidence of another GPU than the one that was made ready")]
    OtherDevice,
    /// Evidence of another number of devices.
    #[error("evidence of {0} devices, wanted 1")]
    EvidenceCount(usize),
    /// The driver has latched a failure: it refuses to become ready until it is loaded anew.
    #[error("the driver refuses to become ready: it has latched a failure")]
    Latched,
    /// A driver that rotates keys says that it cannot be told when.
    #[error("driver {0} does not take a threshold for key rotation, as drivers from 570 on do")]
    KeyRotation(String),
    /// The threshold for key rotation did not stay.
    #[error("key rotation at attacker advantage {found} after it was set, wanted {wanted}")]
    AttackerAdvantage {
        /// What was set.
        wanted: u64,
        /// What was read back.
        found: u64,
    },
    /// The ready state did not stay.
    #[error("ready state {0} after it was set, wanted 1")]
    NotReady(u32),
}

fn listed(addresses: &[String]) -> String {
    match addresses.is_empty() {
        true => String::new(),
        false => format!(": {}", addresses.join(", ")),
    }
}

fn failure(failure: &Failure) -> String {
    match failure.cause {
        Cause::Start => "GPU helper could not be started".to_owned(),
        Cause::Library => "cannot be loaded".to_owned(),
        Cause::Symbol => "not in the library".to_owned(),
        Cause::Code(code) => format!("error {code} ({})", meaning(code)),
        Cause::Size(size) => format!("{size} bytes, more than there is room for"),
        Cause::Count(count) => format!("{count} GPUs, another number than before"),
        Cause::Text => "text without an end".to_owned(),
    }
}

/// Meanings of `nvmlReturn_t`. Spec: NVML API reference, "Device Enums".
fn meaning(code: u32) -> &'static str {
    match code {
        1 => "uninitialized",
        2 => "invalid argument",
        3 => "not supported",
        4 => "no permission",
        6 => "not found",
        9 => "driver not loaded",
        10 => "timeout",
        13 => "function not found",
        15 => "GPU is lost",
        16 => "reset required",
        17 => "operating system",
        18 => "library and driver are of different versions",
        25 => "argument of another version",
        27 => "not ready",
        28 => "GPU not found",
        29 => "invalid state",
        _ => "see NVML's return codes",
    }
}
