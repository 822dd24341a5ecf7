//! A software TPM of its own for one guest.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `swtpm`; ends with the value, or with QEMU.
#[derive(Debug)]
pub(crate) struct SoftwareTpm {
    process: Child,
    state: PathBuf,
}

impl SoftwareTpm {
    /// Starts one over the state in a folder, and waits for its socket `tpm.ctrl`.
    pub(crate) fn start(state: &Path, arguments: &[&str]) -> Self {
        let control = state.join("tpm.ctrl");
        fs::remove_file(&control).ok();
        let folder = state.display();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--tpmstate", &format!("dir={folder}")])
            .args(["--ctrl", &format!("type=unixio,path={folder}/tpm.ctrl")])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm starts");
        let tpm = Self {
            process,
            state: state.to_owned(),
        };
        let start = Instant::now();
        while !control.exists() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "swtpm has no socket"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        tpm
    }

    /// The words that give it to QEMU.
    pub(crate) fn device(&self) -> Vec<OsString> {
        let mut socket = OsString::from("socket,id=tpm,path=");
        socket.push(self.state.join("tpm.ctrl"));
        let device = [
            "-tpmdev",
            "emulator,id=tpm0,chardev=tpm",
            "-device",
            "tpm-crb,tpmdev=tpm0",
        ];
        let words = ["-chardev".into(), socket].into_iter();
        words.chain(device.map(OsString::from)).collect()
    }

    /// Runs one of `tpm2-tools` in the folder of the state.
    pub(crate) fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().expect("a program"))
            .args(words)
            .current_dir(&self.state)
            .env("TPM2TOOLS_TCTI", "swtpm:path=tpm")
            .output()
            .expect("tpm2-tools are installed");
        assert!(output.status.success(), "{line}: {output:?}");
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
