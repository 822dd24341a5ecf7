//! The edge of the hardware: where a GPU and its driver show, and whose GPUs are trusted.
//!
//! The tests that boot a guest on a machine without a GPU replace this one file in a copy of the sources. Whatever else they
//! run is the product's.

use cloister_gpu::RootKey;

/// PCI vendor number of NVIDIA, as in sysfs.
pub(super) const VENDOR: &str = "0x10de";

/// The kernel's list of device numbers.
pub(super) const NUMBERS: &str = "/proc/devices";

/// What the driver says of itself.
pub(super) const DRIVER: &str = "/proc/driver/nvidia";

/// The keys that a GPU's certificates may end in.
pub(super) fn roots() -> [RootKey; 1] {
    [RootKey::nvidia()]
}
