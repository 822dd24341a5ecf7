//! Kernel modules: the measured list of uncompressed files, loaded in its order.
//!
//! Arguments are fixed here: a driver takes many that weaken it, and nobody else may choose any. The command line cannot, for words
//! such as `nvidia.NVreg_...` are refused there.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};

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
/// The first [`ModuleError`]. A module whose hardware is absent (`ENODEV`) is none, and neither is one that needs such a module:
/// one image serves several platforms, and the stage that needs the hardware says so.
pub fn load(modules: &[String]) -> Result<(), ModuleError> {
    load_with(modules, |file, path| {
        finit_module(file, arguments(path), ModuleInitFlags::empty())
    })
}

fn load_with(
    modules: &[String],
    insert: impl Fn(&File, &str) -> Result<(), Errno>,
) -> Result<(), ModuleError> {
    let mut absent = BTreeSet::new();
    for path in modules {
        let refused = |source| ModuleError {
            path: path.clone(),
            source,
        };
        let file = File::open(path).map_err(refused)?;
        match insert(&file, path) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(Errno::ENODEV) => {
                absent.insert(name(path));
            }
            // A symbol that no loaded module has.
            Err(Errno::ENOENT) if needs(file, &absent).map_err(refused)? => {
                absent.insert(name(path));
            }
            Err(errno) => return Err(refused(errno.into())),
        }
    }
    Ok(())
}

/// Whether a module's `depends=` names one of `absent`. Source: Linux, `scripts/mod/modpost.c`.
fn needs(mut file: File, absent: &BTreeSet<String>) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let mut entries = bytes.split(|byte| *byte == 0);
    let depends = entries.find_map(|entry| entry.strip_prefix(b"depends="));
    let names = String::from_utf8_lossy(depends.unwrap_or_default()).replace('-', "_");
    Ok(names.split(',').any(|name| absent.contains(name)))
}

/// A module's name as other modules give it: paths are `/cloister/modules/NN-NAME.ko`.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    let file = file.trim_start_matches(|c: char| c.is_ascii_digit());
    let file = file.strip_prefix('-').unwrap_or(file);
    file.strip_suffix(".ko").unwrap_or(file).replace('-', "_")
}

/// Device nodes are made here, by nobody else; one GPU has no links to others. Source: NVIDIA/open-gpu-kernel-modules, `nv-reg.h`.
const NVIDIA: &CStr = c"NVreg_ModifyDeviceFiles=0 NVreg_NvLinkDisable=1";

/// What a module is loaded with.
fn arguments(path: &str) -> &'static CStr {
    match name(path).as_str() {
        "nvidia" => NVIDIA,
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
    fn modules_that_need_absent_ones_are_absent_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, depends: &str| {
            let path = folder.path().join(name);
            let text = format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0");
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let bus = file("00-hv_vmbus.ko", "");
        let scsi = file("01-scsi-transport.ko", "");
        let storage = file("02-hv-storvsc.ko", "scsi-transport,hv_vmbus");
        let above = file("03-above.ko", "hv_storvsc");
        let other = file("04-other.ko", "scsi_transport");
        let insert = |missing: &'static [(&str, Errno)]| {
            move |_: &File, path: &str| {
                let found = missing.iter().find(|(name, _)| path.ends_with(name));
                found.map_or(Ok(()), |(_, errno)| Err(*errno))
            }
        };
        let all = [bus, scsi, storage, above, other];
        let absent: &[_] = &[
            ("hv_vmbus.ko", Errno::ENODEV),
            ("hv-storvsc.ko", Errno::ENOENT),
            ("above.ko", Errno::ENOENT),
        ];
        load_with(&all, insert(absent)).unwrap();
        // The same error of a module that needs none of them, and of one where nothing is absent.
        for refused in [
            &[("hv_vmbus.ko", Errno::ENODEV), ("other.ko", Errno::ENOENT)][..],
            &[("above.ko", Errno::ENOENT)],
            &[
                ("hv_vmbus.ko", Errno::ENODEV),
                ("hv-storvsc.ko", Errno::EINVAL),
            ],
        ] {
            let error = load_with(&all, insert(refused)).unwrap_err();
            let (name, _) = refused.last().unwrap();
            assert!(error.path.ends_with(name), "{error}");
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
