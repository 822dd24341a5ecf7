//! NVIDIA's devices on the PCI bus, by class: device numbers are too many to list.
//!
//! Spec: PCI Code and ID Assignment Specification, base class 03h: 00h VGA, 02h 3D controller. NVSwitch is class 0680h.

use std::path::Path;

use super::hardware::VENDOR;
use crate::directory;

/// Base class and subclass of a GPU, as sysfs writes a class.
const GPU_CLASSES: [&str; 2] = ["0x0300", "0x0302"];

/// Addresses of NVIDIA's devices, each sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// GPUs.
    pub(super) gpus: Vec<String>,
    /// Switches and whatever else.
    pub(super) others: Vec<String>,
}

/// Reads the bus below `sys` (`/sys`).
///
/// # Errors
/// sysfs.
pub(super) fn devices(sys: &Path) -> std::io::Result<Found> {
    let devices = sys.join("bus/pci/devices");
    let mut found = Found::default();
    for address in directory::names(&devices)? {
        let read = |name| std::fs::read_to_string(devices.join(&address).join(name));
        if read("vendor")?.trim_end() != VENDOR {
            continue;
        }
        let class = read("class")?;
        let is_gpu = GPU_CLASSES.iter().any(|gpu| class.starts_with(gpu));
        match is_gpu {
            true => found.gpus.push(address),
            false => found.others.push(address),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_apart_by_class() {
        let sys = tempfile::tempdir().unwrap();
        let device = |address: &str, vendor: &str, class: &str| {
            let path = sys.path().join("bus/pci/devices").join(address);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("vendor"), format!("{vendor}\n")).unwrap();
            std::fs::write(path.join("class"), format!("{class}\n")).unwrap();
        };
        assert_eq!(devices(sys.path()).unwrap(), Found::default());
        device("0000:00:01.0", "0x1af4", "0x020000");
        device("0000:00:05.0", VENDOR, "0x030200");
        device("0000:00:04.0", VENDOR, "0x030000");
        device("0000:00:06.0", VENDOR, "0x068000");
        device("0000:00:07.0", "0x1234", "0x030000");
        let found = devices(sys.path()).unwrap();
        assert_eq!(found.gpus, ["0000:00:04.0", "0000:00:05.0"]);
        assert_eq!(found.others, ["0000:00:06.0"]);
    }
}
