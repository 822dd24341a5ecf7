//! The GPU stage.
//!
//! The only policy so far is "none": the device section of the evidence says so, and a guest that
//! sees NVIDIA hardware all the same does not start, for nothing here has looked at it.

use std::path::Path;

use cloister_evidence::devices::Devices;
use cloister_evidence::guest::GpuPolicy;

use crate::directory;

/// PCI vendor number of NVIDIA, as in sysfs.
const NVIDIA: &str = "0x10de";

/// Why the stage failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The configuration says that there is none.
    #[error("the configuration says `gpu none`, but PCI device {0} is NVIDIA's")]
    Unexpected(String),
    /// sysfs cannot be read.
    #[error("sysfs: {0}")]
    Sysfs(#[from] std::io::Error),
}

/// Compares the hardware below `sys` (`/sys`) with the policy; returns what the evidence says.
///
/// # Errors
/// [`GpuError`].
pub fn check(sys: &Path, policy: &GpuPolicy) -> Result<Devices, GpuError> {
    match policy {
        GpuPolicy::None => {
            let devices = sys.join("bus/pci/devices");
            for name in directory::names(&devices)? {
                let vendor = std::fs::read_to_string(devices.join(&name).join("vendor"))?;
                if vendor.trim_end() == NVIDIA {
                    return Err(GpuError::Unexpected(name));
                }
            }
            Ok(Devices::None)
        }
        GpuPolicy::H100 { .. } => Err(GpuError::Unexpected("h100".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_refuses_unexpected_nvidia_hardware() {
        let sys = tempfile::tempdir().unwrap();
        let device = |name: &str, vendor: &str| {
            let path = sys.path().join("bus/pci/devices").join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("vendor"), vendor).unwrap();
        };
        assert_eq!(check(sys.path(), &GpuPolicy::None).unwrap(), Devices::None);
        device("0000:00:01.0", "0x1af4\n");
        assert_eq!(check(sys.path(), &GpuPolicy::None).unwrap(), Devices::None);
        device("0000:00:02.0", "0x10de\n");
        let error = check(sys.path(), &GpuPolicy::None).unwrap_err().to_string();
        assert_eq!(
            error,
            "the configuration says `gpu none`, but PCI device 0000:00:02.0 is NVIDIA's"
        );
    }
}
