//! Kernel modules: the measured list of uncompressed files, loaded in its order.

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
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {}
            Err(errno) => return Err(refused(errno.into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_names_the_missing_module() {
        let error = load(&["/absent.ko".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/absent.ko: No such file or directory (os error 2)"
        );
    }
}
