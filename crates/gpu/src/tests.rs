//! Made-up GPUs, and the shared GPU vectors, which lie outside the repository: parse, chain, FWID and signature of every recording.
//!
//! `expected.json` is the work of an independent parser, `spdm_parsed_output.json` NVIDIA's own.

mod made;
mod vectors;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The directory `gpu` of the vectors. Without vectors, prints why the test is skipped and returns `None`; with the
/// variable `CI` set, fails.
pub(crate) fn directory() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut candidates = vec![
        workspace.join("../shared/vectors"),
        workspace.join("../../shared/vectors"),
    ];
    candidates.extend(environment("CLOISTER_VECTORS").map(PathBuf::from));
    let mut found = candidates.iter().rev().map(|path| path.join("gpu"));
    let found = found.find(|path| path.is_dir());
    if found.is_none() {
        assert!(environment("CI").is_none(), "no vectors, and CI is set");
        println!("skipped: no GPU vectors; set CLOISTER_VECTORS");
    }
    found
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their vectors by the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// One recording: report and PEM chain.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) report: Vec<u8>,
    pub(crate) chain: Vec<u8>,
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A recording whose report is hex and whose chain is PEM.
fn text(directory: &Path, folder: &str, report: &str, chain: &str) -> Recording {
    let folder_path = directory.join(folder);
    let report = std::fs::read_to_string(folder_path.join(report)).unwrap();
    let report: String = report
        .replace("\\x", "")
        .replace("0x", "")
        .split_whitespace()
        .collect();
    Recording {
        name: folder.to_owned(),
        report: hex::decode(report).unwrap(),
        chain: std::fs::read(folder_path.join(chain)).unwrap(),
    }
}

/// The recordings of a file of JSON evidence.
pub(crate) fn evidence(directory: &Path, file: &str) -> Vec<Recording> {
    let entries = json(&directory.join(file));
    let decode = |entry: &Value, key: &str| STANDARD.decode(entry[key].as_str().unwrap()).unwrap();
    let recording = |(number, entry): (usize, &Value)| Recording {
        name: format!("{file}#{number}"),
        report: decode(entry, "evidence"),
        chain: decode(entry, "certificate"),
    };
    let entries = entries.as_array().unwrap();
    entries.iter().enumerate().map(recording).collect()
}

pub(crate) fn recording_a(directory: &Path) -> Recording {
    let folder = "a-545-complete";
    text(
        directory,
        folder,
        "attestationReport.txt",
        "gpuAkCertChain.txt",
    )
}

pub(crate) fn recording_b(directory: &Path) -> Recording {
    let report = "hopperAttestationReport.txt";
    text(directory, "b-550.90.07", report, "hopperCertChain.txt")
}

pub(crate) fn recording_c(directory: &Path) -> Recording {
    let report = "hopperAttestationReport.txt";
    text(directory, "c-580.159.03", report, "hopperCertChain.txt")
}
