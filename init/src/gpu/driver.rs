//! What the kernel says of NVIDIA's driver: its version, and the numbers of its device nodes.
//!
//! Spec: the driver's own files below `/proc/driver/nvidia` as `nvidia-modprobe` reads them; `/proc/devices` (proc(5)).
//! Nodes are made here because there is no udev, and the setuid program that the libraries would call is not in the image.

use std::path::Path;

use super::{GpuError, hardware};
use crate::directory;
use crate::root::Node;

/// Minor number of the control node.
const CONTROL_MINOR: u64 = 255;

/// The version of the loaded module, as in `550.144.03`.
pub(super) fn version() -> Result<String, GpuError> {
    let path = format!("{}/version", hardware::DRIVER);
    match std::fs::read_to_string(&path) {
        Ok(text) => version_in(&text).ok_or(GpuError::VersionFile),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(GpuError::NoDriver),
        Err(source) => Err(GpuError::File { path, source }),
    }
}

/// Every node of the driver: control, then each GPU, then unified memory where its module is loaded.
pub(crate) fn nodes() -> Result<Vec<Node>, GpuError> {
    let numbers = read(hardware::NUMBERS)?;
    let gpus = format!("{}/gpus", hardware::DRIVER);
    let names = directory::names(Path::new(&gpus));
    let names = names.map_err(|source| GpuError::File {
        path: gpus.clone(),
        source,
    })?;
    let texts: Result<Vec<String>, _> = names
        .iter()
        .map(|name| read(&format!("{gpus}/{name}/information")))
        .collect();
    nodes_of(&numbers, &texts?).ok_or(GpuError::Numbers)
}

fn read(path: &str) -> Result<String, GpuError> {
    std::fs::read_to_string(path).map_err(|source| GpuError::File {
        path: path.to_owned(),
        source,
    })
}

/// The version in `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.144.03  Release Build ...`.
fn version_in(text: &str) -> Option<String> {
    let line = text.lines().next()?.strip_prefix("NVRM version:")?;
    let is_version = |word: &&str| {
        let mut numbers = word.split('.');
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        word.contains('.') && numbers.all(number)
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// `None` where a number is missing.
fn nodes_of(numbers: &str, gpus: &[String]) -> Option<Vec<Node>> {
    let node = |name: String, major, minor| Node { name, major, minor };
    let frontend = major(numbers, "nvidia-frontend").or_else(|| major(numbers, "nvidia"))?;
    let mut nodes = vec![node("nvidiactl".to_owned(), frontend, CONTROL_MINOR)];
    for information in gpus {
        let minor = minor(information)?;
        nodes.push(node(format!("nvidia{minor}"), frontend, minor));
    }
    if let Some(memory) = major(numbers, "nvidia-uvm") {
        nodes.push(node("nvidia-uvm".to_owned(), memory, 0));
        nodes.push(node("nvidia-uvm-tools".to_owned(), memory, 1));
    }
    Some(nodes)
}

/// The major number of a character device.
fn major(numbers: &str, wanted: &str) -> Option<u64> {
    let characters = numbers.split("Block devices:").next()?;
    let pairs = characters
        .lines()
        .filter_map(|line| line.trim().split_once(' '));
    let mut found = pairs.filter(|(_, name)| *name == wanted);
    found.next()?.0.parse().ok()
}

fn minor(information: &str) -> Option<u64> {
    let mut lines = information.lines();
    let number = lines.find_map(|line| line.strip_prefix("Device Minor:"))?;
    number.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Forms from NVIDIA/open-gpu-kernel-modules (nv-procfs.c) and proc(5).
    const VERSION: &str =
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.144.03  Release Build  (builder@host)  Mon Dec 30 17:44:08 UTC 2024
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
";
    const NUMBERS: &str = "Character devices:
  1 mem
195 nvidia
195 nvidia-modeset
234 nvidia-uvm
235 nvidia-caps

Block devices:
195 nvidia-frontend
";
    const INFORMATION: &str = "Model: \t\t NVIDIA H100 PCIe
IRQ:   \t\t 51
Device Minor: \t 0
GPU Excluded:\t No
";

    #[test]
    fn version_is_the_word_of_numbers() {
        assert_eq!(version_in(VERSION).as_deref(), Some("550.144.03"));
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  590.12  Fri\n";
        assert_eq!(version_in(closed).as_deref(), Some("590.12"));
        for wrong in ["", "NVRM version: none\n", "version: 550.144.03\n"] {
            assert_eq!(version_in(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nodes_have_the_numbers_of_character_devices() {
        let nodes = nodes_of(NUMBERS, &[INFORMATION.to_owned()]).unwrap();
        let shown: Vec<String> = nodes
            .iter()
            .map(|node| format!("{} {}:{}", node.name, node.major, node.minor))
            .collect();
        let wanted = [
            "nvidiactl 195:255",
            "nvidia0 195:0",
            "nvidia-uvm 234:0",
            "nvidia-uvm-tools 234:1",
        ];
        assert_eq!(shown, wanted);
        let older = NUMBERS.replace("195 nvidia\n", "195 nvidia-frontend\n");
        assert_eq!(nodes_of(&older, &[]).unwrap().len(), 3);
        assert_eq!(nodes_of("Character devices:\n  1 mem\n", &[]), None);
        assert_eq!(nodes_of(NUMBERS, &["Model: x\n".to_owned()]), None);
    }
}
