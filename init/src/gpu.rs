//! The GPU stage: no GPU at all, or one H100 that proves itself before it works.
//!
//! ```text
//! PCI bus -> driver -> golden values -> nodes, held open -> helper: mode -> [leaf] -> evidence, judged -> ready -> evidence for later leaves
//! ```
//!
//! Everything is judged here, on bytes: the helper, which loads NVIDIA's library, only moves them. The GPU works (its ready state is
//! set, once, for there is no way back) only after its evidence held for a nonce that names the guest's TLS key. Any failure powers off,
//! under the name of its cause ([`GpuError`]). Order and meaning: `docs/gpu.md`.
//! Not covered: turning the confidential mode on, which only the host can.

mod confined;
mod driver;
mod error;
mod hardware;
mod helper;
mod judge;
mod pci;

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use cloister_evidence::bundle::CpuKind;
use cloister_evidence::devices::Devices;
use cloister_evidence::guest::{GOLDEN_VALUES_PATH, GpuPolicy};
use cloister_gpu::GoldenValues;
use cloister_gpu_helper::record::{Record, Request};
use nix::unistd::Pid;
use sha2::{Digest as _, Sha256};

use crate::mount::ROOT;
use crate::root::{self, Node};
use judge::{Probed, Verified};

pub use confined::main;
pub(crate) use driver::nodes;
pub use error::GpuError;
pub use helper::Helper;

/// Where the kernel is told to look for firmware.
const FIRMWARE_PATH: &str = "/sys/module/firmware_class/parameters/path";
/// Firmware below the verity root.
const FIRMWARE: &str = "usr/lib/firmware";

/// For the library to initialise: the adapter and its encrypted session come up.
const PROBE_PATIENCE: Duration = Duration::from_secs(120);
/// For certificates and report.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(30);
/// For the ready state.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// Between two reports for leaves, and between two for clients: a report that fails is the end of the guest, so nobody may ask for many.
const INTERVAL: Duration = Duration::from_secs(60);

/// What the stage found.
#[derive(Debug)]
pub enum Gpu {
    /// No GPU, as the configuration says.
    None,
    /// One H100 in the right mode.
    H100(Box<H100>),
}

/// One H100: probed, and ready as soon as its first evidence holds.
#[derive(Debug)]
pub struct H100 {
    helper: Helper,
    probed: Probed,
    golden: GoldenValues,
    /// When evidence for a leaf was last asked for; never before the first leaf.
    asked: Option<Instant>,
    /// When a client last asked for evidence. Apart from the other, so that no client can keep a leaf from being made.
    asked_by_client: Option<Instant>,
    /// Serial number of the device whose evidence made it ready.
    serial: Option<Vec<u8>>,
    /// The last client that closes the device tears its session down, and with it the ready state.
    _held: Vec<File>,
}

/// Why there is no evidence at this moment, and nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSoon;

/// Compares the hardware with the policy, and starts the helper where there must be a GPU.
///
/// # Errors
/// [`GpuError`].
pub fn check(policy: &GpuPolicy) -> Result<Gpu, GpuError> {
    let found = pci::devices(Path::new("/sys"))?;
    match policy {
        GpuPolicy::None => none(&found),
        GpuPolicy::H100 { golden_sha256 } => {
            one(&found)?;
            let module = driver::version()?;
            let golden = golden(Path::new(GOLDEN_VALUES_PATH), golden_sha256)?;
            if !golden.pairs().iter().any(|pair| pair.driver() == module) {
                return Err(GpuError::UnknownDriver { found: module });
            }
            let held = hold()?;
            let helper = confined::spawn()?;
            Ok(Gpu::H100(Box::new(H100::new(
                helper, &module, golden, held,
            )?)))
        }
    }
}

fn none(found: &pci::Found) -> Result<Gpu, GpuError> {
    match found.gpus.iter().chain(&found.others).next() {
        Some(address) => Err(GpuError::Unexpected(address.clone())),
        None => Ok(Gpu::None),
    }
}

fn one(found: &pci::Found) -> Result<(), GpuError> {
    if let Some(address) = found.others.first() {
        return Err(GpuError::Foreign(address.clone()));
    }
    match found.gpus.len() {
        1 => Ok(()),
        _ => Err(GpuError::Count {
            found: found.gpus.clone(),
        }),
    }
}

/// The golden values of the image, if they are those of the configuration.
fn golden(path: &Path, sha256: &[u8; 32]) -> Result<GoldenValues, GpuError> {
    let bytes = std::fs::read(path).map_err(|source| GpuError::File {
        path: path.display().to_string(),
        source,
    })?;
    let found: [u8; 32] = Sha256::digest(&bytes).into();
    if found != *sha256 {
        return Err(GpuError::GoldenDigest {
            wanted: hex::encode(sha256),
            found: hex::encode(found),
        });
    }
    Ok(GoldenValues::from_json(&bytes)?)
}

/// Makes the device nodes and opens each GPU's, so that the driver brings the adapter up and keeps it.
fn hold() -> Result<Vec<File>, GpuError> {
    let file = |path: &str, source| GpuError::File {
        path: path.to_owned(),
        source,
    };
    // Before the adapter comes up: that is when the kernel asks for its firmware.
    let firmware = format!("{ROOT}/{FIRMWARE}");
    std::fs::write(FIRMWARE_PATH, firmware).map_err(|source| file(FIRMWARE_PATH, source))?;
    let nodes = driver::nodes()?;
    root::make_nodes(Path::new("/dev"), &nodes)?;
    let is_gpu = |node: &&Node| {
        let number = node.name.strip_prefix("nvidia").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let open = |node: &Node| {
        let path = format!("/dev/{}", node.name);
        let opened = File::options().read(true).write(true).open(&path);
        opened.map_err(|source| file(&path, source))
    };
    nodes.iter().filter(is_gpu).map(open).collect()
}

impl H100 {
    /// Asks `helper` for the GPU's mode and judges it; `held` are the open devices.
    ///
    /// # Errors
    /// [`GpuError`].
    pub fn new(
        mut helper: Helper,
        module: &str,
        golden: GoldenValues,
        held: Vec<File>,
    ) -> Result<Self, GpuError> {
        let Record::Probe(probe) = helper.ask(Request::Probe, PROBE_PATIENCE)? else {
            return Err(GpuError::Unasked);
        };
        let probed = judge::probe(&probe, module)?;
        Ok(Self {
            helper,
            probed,
            golden,
            asked: None,
            asked_by_client: None,
            serial: None,
            _held: held,
        })
    }

    /// Evidence for `nonce`, judged; the first that holds makes the GPU ready.
    fn evidence(&mut self, nonce: &[u8; 32]) -> Result<Devices, GpuError> {
        let request = Request::Evidence { nonce: *nonce };
        let Record::Evidence(evidence) = self.helper.ask(request, EVIDENCE_PATIENCE)? else {
            return Err(GpuError::Unasked);
        };
        let roots = hardware::roots();
        let verified = self
            .probed
            .evidence(evidence, nonce, &self.golden, &roots)?;
        match &self.serial {
            None => self.set_ready(&verified)?,
            Some(serial) if *serial == verified.device.serial => {}
            Some(_) => return Err(GpuError::OtherDevice),
        }
        self.serial = Some(verified.device.serial);
        Ok(verified.devices)
    }

    /// Sets the threshold for key rotation, which only a GPU takes that is not ready.
    fn set_key_rotation(&mut self) -> Result<(), GpuError> {
        let request = Request::KeyRotation {
            attacker_advantage: judge::ATTACKER_ADVANTAGE,
        };
        match self.helper.ask(request, READY_PATIENCE)? {
            Record::KeyRotation(found) => self.probed.key_rotation(found),
            _ => Err(GpuError::Unasked),
        }
    }

    /// Sets the ready state, for which there must be a verdict, and reads it back.
    fn set_ready(&mut self, _: &Verified) -> Result<(), GpuError> {
        self.set_key_rotation()?;
        let answer = self.helper.ask(Request::Ready, READY_PATIENCE);
        match answer.map_err(latched)? {
            Record::Ready {
                before: 0,
                after: 1,
            } => Ok(()),
            Record::Ready { before: 0, after } => Err(GpuError::NotReady(after)),
            Record::Ready { .. } => Err(GpuError::ReadyAlready),
            _ => Err(GpuError::Unasked),
        }
    }
}

fn is_recent(asked: Option<Instant>) -> bool {
    asked.is_some_and(|asked| asked.elapsed() < INTERVAL)
}

/// The driver's way to say that it will never become ready.
fn latched(error: GpuError) -> GpuError {
    use cloister_gpu_helper::record::Cause;
    match &error {
        GpuError::Call(failure)
            if failure.cause == Cause::Code(2) && failure.call.contains("SetConfCompute") =>
        {
            GpuError::Latched
        }
        _ => error,
    }
}

impl Gpu {
    /// Whether the driver sees the CPU that the guest's own evidence is of.
    ///
    /// # Errors
    /// [`GpuError::Cpu`].
    pub fn fits(&self, cpu: CpuKind) -> Result<(), GpuError> {
        match self {
            Self::None => Ok(()),
            Self::H100(gpu) => gpu.probed.fits(cpu),
        }
    }

    /// The device section for a leaf whose nonce this is.
    ///
    /// # Errors
    /// [`GpuError`], after which the guest must end.
    pub fn devices(&mut self, nonce: &[u8; 32]) -> Result<Result<Devices, TooSoon>, GpuError> {
        match self {
            Self::None => Ok(Ok(Devices::None)),
            Self::H100(gpu) if is_recent(gpu.asked) => Ok(Err(TooSoon)),
            Self::H100(gpu) => {
                gpu.asked = Some(Instant::now());
                gpu.evidence(nonce).map(Ok)
            }
        }
    }

    /// The device section for one session, at a client's request; `None` without a GPU, or before it is ready.
    ///
    /// # Errors
    /// [`GpuError`], after which the guest must end.
    pub fn session_devices(
        &mut self,
        nonce: &[u8; 32],
    ) -> Result<Option<Result<Devices, TooSoon>>, GpuError> {
        match self {
            Self::H100(gpu) if gpu.serial.is_some() => {
                if is_recent(gpu.asked_by_client) {
                    return Ok(Some(Err(TooSoon)));
                }
                gpu.asked_by_client = Some(Instant::now());
                gpu.evidence(nonce).map(Ok).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The helper's process, which must not end.
    #[must_use]
    pub fn helper(&self) -> Option<Pid> {
        match self {
            Self::None => None,
            Self::H100(gpu) => Some(gpu.helper.pid()),
        }
    }
}

impl std::fmt::Display for Gpu {
    /// For the console.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::H100(gpu) => {
                let Probed { driver, vbios, .. } = &gpu.probed;
                write!(
                    f,
                    "H100 in confidential mode, driver {driver}, VBIOS {vbios}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(gpus: &[&str], others: &[&str]) -> pci::Found {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        pci::Found {
            gpus: owned(gpus),
            others: owned(others),
        }
    }

    #[test]
    fn the_bus_must_be_as_the_configuration_says() {
        assert!(none(&found(&[], &[])).is_ok());
        assert!(one(&found(&["0000:00:02.0"], &[])).is_ok());
        let refused = |outcome: Result<(), GpuError>| outcome.unwrap_err().to_string();
        for unexpected in [found(&["0000:00:02.0"], &[]), found(&[], &["0000:00:02.0"])] {
            assert_eq!(
                refused(none(&unexpected).map(drop)),
                "the configuration says `gpu none`, but PCI device 0000:00:02.0 is NVIDIA's"
            );
        }
        let cases = [
            (found(&[], &[]), "0 GPUs on the PCI bus, wanted 1"),
            (
                found(&["a", "b"], &[]),
                "2 GPUs on the PCI bus, wanted 1: a, b",
            ),
            (
                found(&["a"], &["s"]),
                "PCI device s is NVIDIA's and no GPU: a GPU behind a switch cannot be judged",
            ),
        ];
        for (found, wanted) in cases {
            assert_eq!(refused(one(&found)), wanted);
        }
    }

    #[test]
    fn golden_values_must_be_those_of_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("golden");
        let absent = golden(&path, &[0; 32]).unwrap_err();
        assert!(matches!(absent, GpuError::File { .. }));
        std::fs::write(&path, b"{}").unwrap();
        let other = golden(&path, &[0; 32]).unwrap_err();
        assert!(matches!(other, GpuError::GoldenDigest { .. }));
        let named = golden(&path, &Sha256::digest(b"{}").into()).unwrap_err();
        assert!(matches!(named, GpuError::Golden(_)));
    }
}
