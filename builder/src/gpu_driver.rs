//! The version triple of NVIDIA's driver: kernel module, firmware and libraries work together only in one version.
//!
//! Versions are taken from names (`libnvidia-ml.so.VERSION`, `nvidia/VERSION/gsp_ga10x.bin`) and from `version` of the module's `.modinfo`.
//! What is not in the image, and a module that names no version, is not judged: the guest asks the running driver.

use std::fmt::Write as _;

use thiserror::Error;

use crate::modules;
use crate::tree::{Content, Module, Tree, TreePath, show};

/// File name of the management library up to the version.
const LIBRARY: &str = "libnvidia-ml.so.";
/// Firmware of the chip's system processor.
const FIRMWARE: &str = "gsp_ga10x.bin";
/// Endings of firmware and modules that the kernel takes compressed.
const COMPRESSED: [&str; 4] = ["", ".xz", ".zst", ".gz"];

/// A part of the driver that the image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The file.
    path: String,
    /// Its version, or why it has none.
    found: String,
}

/// Parts that are not of the recipe's driver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the recipe's driver is {wanted}, and the image has {}", listed(parts))]
pub(crate) struct DriverError {
    /// Version in the recipe.
    wanted: String,
    /// All parts that differ.
    parts: Vec<Part>,
}

fn listed(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{comma}`{}` of {}", part.path, part.found);
    }
    text
}

/// Compares every part of the driver in the root and among the initrd's modules with the version that the recipe names.
pub(crate) fn check(tree: &Tree, modules: &[Module], wanted: &str) -> Result<(), DriverError> {
    let entries = tree.iter().filter(|(_, entry)| !entry.is_directory());
    let files = entries.filter_map(|(path, entry)| {
        let found = named(path).or_else(|| {
            let name = path.file_name();
            is_module(name).then_some(())?;
            module(name, entry.content()?)
        })?;
        let path = path.absolute();
        Some(Part { path, found })
    });
    let loaded = modules.iter().filter_map(|file| {
        let name = file.file_name.as_bytes();
        is_module(name).then_some(())?;
        Some(Part {
            path: format!("{} (initrd)", file.file_name),
            found: module(name, &file.content)?,
        })
    });
    let parts = files.chain(loaded).filter(|part| part.found != wanted);
    let parts: Vec<Part> = parts.collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(DriverError {
        wanted: wanted.to_owned(),
        parts,
    })
}

/// The version that stands in the path of a library or firmware.
fn named(path: &TreePath) -> Option<String> {
    let mut above = path.components().rev();
    let name = above.next()?;
    if let Some(version) = name.strip_prefix(LIBRARY.as_bytes()) {
        // `libnvidia-ml.so.1` is the name that programs load, whatever the version; what is no number is another file's name.
        let numbers = version.iter().all(|b| b.is_ascii_digit() || *b == b'.');
        return (numbers && version.contains(&b'.')).then(|| show(version));
    }
    let ending = name.strip_prefix(FIRMWARE.as_bytes())?;
    let (version, folder) = (above.next()?, above.next()?);
    let whole = COMPRESSED.iter().any(|known| known.as_bytes() == ending);
    (whole && folder == b"nvidia").then(|| show(version))
}

fn is_module(name: &[u8]) -> bool {
    let ending = name.strip_prefix(b"nvidia.ko");
    ending.is_some_and(|ending| COMPRESSED.iter().any(|known| known.as_bytes() == ending))
}

/// The version that a module names, or in words that it cannot be read.
fn module(name: &[u8], content: &Content) -> Option<String> {
    match modules::version(name, content) {
        Ok(version) => version,
        Err(error) => Some(format!("no version: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::tree::{Entry, Origin, path};

    const WANTED: &str = "550.144.03";

    /// An ELF file with a `.modinfo` section, as the host's compiler makes it.
    fn module_file(modinfo: &str) -> Vec<u8> {
        let scratch = tempfile::tempdir().unwrap();
        let (source, out) = (scratch.path().join("m.c"), scratch.path().join("m.ko"));
        let text = format!(
            "__attribute__((section(\".modinfo\"), used)) static const char info[] = \"{modinfo}\";"
        );
        std::fs::write(&source, text).unwrap();
        let mut cc = Command::new("cc");
        cc.arg("-c").arg("-o").arg(&out).arg(&source);
        assert!(cc.status().unwrap().success());
        std::fs::read(out).unwrap()
    }

    fn tree(files: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree::new();
        for (name, bytes) in files {
            let content = Content::new(bytes.to_vec());
            let entry = Entry::file(0o644, content, Origin::Effect("test"));
            tree.insert(path(name), entry);
        }
        tree
    }

    #[test]
    fn parts_of_one_version_are_accepted() {
        let module = module_file("license=NVIDIA\\0version=550.144.03\\0");
        let same = tree(&[
            ("usr/lib/libnvidia-ml.so.550.144.03", b""),
            ("usr/lib/libnvidia-ml.so.1", b""),
            ("usr/lib/libnvidia-ml.so.1.conf", b""),
            ("usr/lib/firmware/nvidia/550.144.03/gsp_ga10x.bin", b""),
            ("usr/lib/firmware/nvidia/535.1/gsp_tu10x.bin", b""),
            ("usr/lib/firmware/other/535.1/gsp_ga10x.bin", b""),
            ("usr/lib/modules/6.12/nvidia.ko", &module),
            ("usr/lib/modules/6.12/nvidia-uvm.ko", b"x"),
        ]);
        assert_eq!(check(&same, &[], WANTED), Ok(()));
        // A module that names none, and an image without a driver.
        let silent = module_file("license=NVIDIA\\0");
        assert_eq!(
            check(&tree(&[("m/nvidia.ko", &silent)]), &[], WANTED),
            Ok(())
        );
        assert_eq!(check(&Tree::new(), &[], WANTED), Ok(()));
    }

    #[test]
    fn each_difference_is_named() {
        let other = module_file("version=535.216.01\\0srcversion=1\\0");
        let files = tree(&[
            ("lib/firmware/nvidia/550.90.07/gsp_ga10x.bin.xz", b""),
            ("lib/modules/6.12/nvidia.ko", &other),
            ("lib/modules/6.13/nvidia.ko", b"x"),
            ("usr/lib/libnvidia-ml.so.550.144.03", b""),
            ("usr/lib/libnvidia-ml.so.580.95.05", b""),
        ]);
        let loaded = Module {
            name: "nvidia".to_owned(),
            file_name: "nvidia.ko".to_owned(),
            content: Content::new(other.clone()),
            origin: Origin::Effect("test"),
        };
        let part = |path: &str, found: &str| Part {
            path: path.to_owned(),
            found: found.to_owned(),
        };
        let parts = vec![
            part(
                "/lib/firmware/nvidia/550.90.07/gsp_ga10x.bin.xz",
                "550.90.07",
            ),
            part("/lib/modules/6.12/nvidia.ko", "535.216.01"),
            part(
                "/lib/modules/6.13/nvidia.ko",
                "no version: it is not an ELF file",
            ),
            part("/usr/lib/libnvidia-ml.so.580.95.05", "580.95.05"),
            part("nvidia.ko (initrd)", "535.216.01"),
        ];
        let wanted = WANTED.to_owned();
        let error = check(&files, &[loaded], WANTED).unwrap_err();
        assert_eq!(error, DriverError { wanted, parts });
        let said = error.to_string();
        assert!(
            said.starts_with("the recipe's driver is 550.144.03, and the image has `/lib/firmware"),
            "{said}"
        );
    }
}
