//! Kernel modules: the measured list of uncompressed files, loaded in its order.
//!
//! Arguments are fixed here: a driver takes many that weaken it, and nobody else may choose any. The command line cannot, for words
//! such as `nvidia.NVreg_...` are refused there.

use std::ffi::CStr;
use std::fs::File;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// A module that did not load.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct ModuleError {
    path: String,
    source: std::io::Error,
}

/// Loads `modules` in order. One that is loaded already is fine.
///
/// # Errors
/// The first [`ModuleError`]. A module whose hardware is absent (`ENODEV`) is none: one image
/// serves several platforms, and the stage that needs the hardware says so.
pub fn load(modules: &[String]) -> Result<(), ModuleError> {
    for path in modules {
        let refused = |source| ModuleError {
            path: path.clone(),
            source,
        };
        let file = File::open(path).map_err(refused)?;
        match finit_module(&file, arguments(path), ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {}
            Err(errno) => return Err(refused(errno.into())),
        }
    }
    Ok(())
}

/// Device nodes are made here, by nobody else; one GPU has no links to others. Source: NVIDIA/open-gpu-kernel-modules, `nv-reg.h`.
const NVIDIA: &CStr = c"NVreg_ModifyDeviceFiles=0 NVreg_NvLinkDisable=1";

/// What a module is loaded with. Paths are `/cloister/modules/NN-NAME.ko`.
fn arguments(path: &str) -> &'static CStr {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.trim_start_matches(|c: char| c.is_ascii_digit());
    match name {
        "-nvidia.ko" => NVIDIA,
        _ => c"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_for_the_gpus_driver_alone() {
        assert_eq!(arguments("/cloister/modules/07-nvidia.ko"), NVIDIA);
        for other in ["07-nvidia-uvm.ko", "00-virtio_blk.ko", "07-xnvidia.ko"] {
            assert_eq!(arguments(&format!("/cloister/modules/{other}")), c"");
        }
    }

    #[test]
    fn load_names_the_missing_module() {
        let error = load(&["/absent.ko".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/absent.ko: No such file or directory (os error 2)"
        );
    }
}
