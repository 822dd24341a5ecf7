//! A folder with a stand-in, its configuration and golden values, and helpers that load it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use cloister_gpu::golden::{GoldenValues, Pair, Rim, RimValues};
use cloister_gpu_helper::record::{Record, Request};
use tempfile::TempDir;

pub(crate) const LABEL: &str = "the GPU";
pub(crate) const DRIVER: &str = "550.144.03";
pub(crate) const VBIOS: &str = "96.00.5e.00.03";
const HELPER: &str = env!("CARGO_BIN_EXE_standin-helper");

/// The folder; it goes with the value.
pub(crate) struct Machine(TempDir);

impl Machine {
    /// One whose stand-in makes reports, with further lines of configuration.
    pub(crate) fn made_up(lines: &str) -> Self {
        let machine = Self::told("");
        let golden = machine.path("golden.json");
        fs::write(&golden, golden_values().to_json()).expect("golden values");
        let (golden, record) = (golden.display(), machine.path("record"));
        let record = record.display();
        machine.tell(&format!(
            "label {LABEL}\ndriver {DRIVER}\nvbios {VBIOS}\ngolden {golden}\nrecord {record}\n{lines}\n"
        ));
        machine
    }

    /// One whose stand-in has this configuration and no other.
    pub(crate) fn told(lines: &str) -> Self {
        let machine = Self(TempDir::new().expect("a folder"));
        fs::copy(library(), machine.library()).expect("the stand-in");
        machine.tell(lines);
        machine
    }

    fn tell(&self, lines: &str) {
        fs::write(self.path("libnvidia-ml.so.1.conf"), lines).expect("configuration");
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.path("libnvidia-ml.so.1")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The calls so far: name and result on each line.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("record")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// A helper that has been sent these requests, with its input still open.
    pub(crate) fn helper(&self, requests: &[Request]) -> Child {
        let mut helper = Command::new(HELPER)
            .arg(self.library())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the helper starts");
        let input = helper.stdin.as_mut().expect("an input");
        for request in requests {
            input.write_all(&request.encode()).expect("a request");
        }
        helper
    }

    /// What a helper answers to these requests, and how it ended.
    pub(crate) fn ask(&self, requests: &[Request]) -> (Vec<Record>, Output) {
        let output = self.helper(requests).wait_with_output().expect("an end");
        (records(&output.stdout), output)
    }
}

/// The frames of an output.
pub(crate) fn records(mut output: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((length, rest)) = output.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).expect("a length");
        let (body, rest) = rest.split_at(length);
        records.push(Record::decode(body).expect("a record"));
        output = rest;
    }
    assert_eq!(output, b"", "whole frames");
    records
}

/// The stand-in, built once in a run: nothing links a library of this kind, so that `cargo test` does not build it.
pub(crate) fn library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let target = Path::new(HELPER)
            .ancestors()
            .nth(2)
            .expect("a target directory");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--lib",
                "-p",
                "cloister-standin-nvml",
            ])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo starts");
        assert!(status.success(), "the stand-in is built");
        target.join("debug/libstandin_nvml.so")
    };
    BUILT.get_or_init(build).clone()
}

/// Golden values of the made-up GPU: no RIM, because nothing here reads one.
pub(crate) fn golden_values() -> GoldenValues {
    let rim = |version: &str, indices: &mut dyn Iterator<Item = u8>| RimValues {
        version: version.to_owned(),
        rim: Rim {
            id: version.to_owned(),
            sha256: [0; 32],
            checked_at: 1_790_000_000,
            valid_until: 1_900_000_000,
        },
        values: indices
            .map(|index| (index, vec![[index + 1; 48]]))
            .collect::<BTreeMap<_, _>>(),
    };
    let driver = rim(DRIVER, &mut core::iter::once(7).chain(21..=40));
    let vbios = rim(VBIOS, &mut (0..=6).chain(8..=12));
    let pair = Pair::new(&driver, &vbios).expect("a pair");
    GoldenValues::new(vec![pair]).expect("golden values")
}
