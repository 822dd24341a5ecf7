//! Kernel modules: the measured list, loaded in its order.
//!
//! `.ko.xz` and `.ko.zst` go to the kernel as they are (`CONFIG_MODULE_DECOMPRESS`); PID 1 carries
//! no decompressor.

use std::fs::File;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// `MODULE_INIT_COMPRESSED_FILE` of Linux `include/uapi/linux/module.h`.
const COMPRESSED: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

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
        match finit_module(&file, c"", flags(path)) {
            Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {}
            Err(errno) => return Err(refused(errno.into())),
        }
    }
    Ok(())
}

fn flags(path: &str) -> ModuleInitFlags {
    if path.ends_with(".ko") {
        ModuleInitFlags::empty()
    } else {
        COMPRESSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_modules_are_marked_as_such() {
        assert_eq!(flags("/m/a.ko").bits(), 0);
        assert_eq!(flags("/m/a.ko.xz").bits(), 4);
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
