//! A real software TPM, driven with `tpm2-tools`.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// What an attestation key must be.
pub(crate) const AK: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";

/// A running swtpm; ended on drop.
pub(crate) struct SoftwareTpm {
    directory: TempDir,
    process: Child,
}

impl SoftwareTpm {
    /// Starts one; `None`, in words, when the programs are not installed.
    pub(crate) fn start() -> Option<Self> {
        if !installed("swtpm") || !installed("tpm2_quote") {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must have swtpm and tpm2-tools"
            );
            println!("skipped: swtpm or tpm2-tools is not installed");
            return None;
        }
        let directory = TempDir::new().unwrap();
        let path = directory.path().display();
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={path}")])
            .args(["--server", &format!("type=unixio,path={path}/sock")])
            .args(["--ctrl", &format!("type=unixio,path={path}/sock.ctrl")])
            .stdout(Stdio::null())
            .stderr(Stdio::null()) // a line for each command
            .spawn()
            .unwrap();
        let tpm = Self { directory, process };
        for _ in 0..100 {
            if tpm.directory.path().join("sock.ctrl").exists() {
                return Some(tpm);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("swtpm did not start");
    }

    /// Runs a tool and its arguments, separated by spaces, in the directory of the TPM.
    pub(crate) fn run(&self, command: &str) {
        let words: Vec<&str> = command.split(' ').collect();
        let socket = self.directory.path().join("sock");
        let output = Command::new(words[0])
            .args(&words[1..])
            .current_dir(self.directory.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", socket.display()))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
    }

    /// A file in the directory of the TPM.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file that a tool wrote.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Makes an attestation key `ak.ctx` with its `TPM2B_PUBLIC` in `ak.pub`.
    pub(crate) fn create_ak(&self, algorithm: &str) {
        self.run(&format!(
            "tpm2_createprimary -C o -g sha256 -G {algorithm} -a {AK} -c ak.ctx"
        ));
        self.run("tpm2_readpublic -c ak.ctx -f tss -o ak.pub");
        self.run("tpm2_flushcontext -t"); // there is no resource manager
    }

    /// Quotes `selection` with the key: files `attest`, `signature` and `pcrs`.
    pub(crate) fn quote(&self, key: &str, selection: &str, nonce: &[u8]) {
        let nonce = hex::encode(nonce);
        self.run(&format!(
            "tpm2_quote -c {key} -l {selection} -g sha256 -q {nonce} -m attest -s signature -o pcrs"
        ));
        self.run("tpm2_flushcontext -t");
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn installed(program: &str) -> bool {
    let quiet = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok()
}
