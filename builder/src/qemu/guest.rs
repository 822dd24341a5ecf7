//! A running guest: QEMU, swtpm and their temporary directory.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::firmware::FirmwareMissing;
use super::{Accelerator, Choice, Machine, firmware};
use crate::platform::Platform;

/// The programs, found through the search path.
const QEMU: &str = "qemu-system-x86_64";
const SWTPM: &str = "swtpm";
/// How long swtpm may take to open its socket.
const TPM_LIMIT: Duration = Duration::from_secs(10);

/// A guest could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QemuError {
    /// A program is not installed.
    #[error("program `{program}` is not installed")]
    ProgramMissing {
        /// Its name.
        program: &'static str,
    },
    /// A program did not start.
    #[error("program `{program}` cannot be started")]
    Spawn {
        /// Its name.
        program: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// swtpm ended or did not open its socket.
    #[error("swtpm did not open its socket: {reason}")]
    Tpm {
        /// What happened instead.
        reason: String,
    },
    /// No firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareMissing),
    /// The disk image does not exist.
    #[error("disk image `{}` does not exist", path.display())]
    DiskMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The port on 127.0.0.1 cannot be used.
    #[error("port {port} on 127.0.0.1 cannot be used")]
    Port {
        /// The port asked for.
        port: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The temporary directory or a file in it.
    #[error("temporary files of the guest")]
    Temporary(#[source] io::Error),
}

impl crate::cmd::Hinted for QemuError {
    fn hint(&self) -> Option<String> {
        match self {
            QemuError::ProgramMissing { .. } | QemuError::Firmware(_) => Some(
                "install the packages `qemu-system-x86`, `ovmf` and `swtpm` (Debian, Ubuntu)"
                    .to_owned(),
            ),
            QemuError::DiskMissing { .. } => Some("run `cloister build` first".to_owned()),
            QemuError::Port { .. } => Some("choose another one with `--port`".to_owned()),
            _ => None,
        }
    }
}

/// What a guest is started from.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Raw disk image.
    pub(crate) disk: PathBuf,
    /// Accelerator asked for.
    pub(crate) choice: Choice,
    /// Memory in MiB.
    pub(crate) memory_mib: u32,
    /// Number of vCPUs; the accelerator's default if `None`.
    pub(crate) cpus: Option<u32>,
    /// The processor in QEMU's words; the accelerator's default if `None`.
    pub(crate) cpu: Option<String>,
    /// Port on 127.0.0.1; 0 takes a free one.
    pub(crate) host_port: u16,
    /// Port the guest listens on.
    pub(crate) guest_port: u16,
}

/// A running guest. Dropping it kills both processes and removes their files.
#[derive(Debug)]
pub(crate) struct Guest {
    qemu: Child,
    tpm: Child,
    host_port: u16,
    accelerator: String,
    // Last, so that it goes after the processes that use it.
    _scratch: TempDir,
}

impl Guest {
    /// Starts swtpm with fresh state, then QEMU; the console goes to standard output.
    pub(crate) async fn start(request: &Request, platform: &Platform) -> Result<Guest, QemuError> {
        if !request.disk.is_file() {
            let path = request.disk.clone();
            return Err(QemuError::DiskMissing { path });
        }
        let found = firmware::find(&platform.firmware)?;
        let scratch = tempfile::Builder::new()
            .prefix("cloister-boot-")
            .tempdir()
            .map_err(QemuError::Temporary)?;
        let variables = scratch.path().join("variables.fd");
        copy_writable(&found.variables, &variables).map_err(QemuError::Temporary)?;
        let host_port = usable_port(request.host_port)?;
        let (accelerator, why) =
            Accelerator::choose(request.choice, Path::new(QEMU), scratch.path());
        let socket = scratch.path().join("tpm.sock");
        let tpm = start_tpm(scratch.path(), &socket).await?;
        let machine = Machine {
            accelerator,
            memory_mib: request.memory_mib,
            cpus: request.cpus.unwrap_or(accelerator.cpus()),
            cpu: request.cpu.clone(),
            disk: request.disk.clone(),
            firmware_code: found.code,
            firmware_variables: variables,
            tpm_socket: socket,
            host_port,
            guest_port: request.guest_port,
        };
        let mut command = Command::new(QEMU);
        command.args(machine.arguments());
        command.envs(accelerator.environment().iter().copied());
        let qemu = spawn(QEMU, &mut command)?;
        Ok(Guest {
            qemu,
            tpm,
            host_port,
            accelerator: format!("{} ({why})", accelerator.argument()),
            _scratch: scratch,
        })
    }

    /// Port on 127.0.0.1 that leads to the guest.
    pub(crate) fn host_port(&self) -> u16 {
        self.host_port
    }

    /// The accelerator and why it was chosen, for people.
    pub(crate) fn accelerator(&self) -> &str {
        &self.accelerator
    }

    /// Waits until the guest has ended. May be cancelled and called again.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.qemu.wait().await
    }

    /// Kills both processes, waits for them and removes the files.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        self.qemu.kill().await?;
        self.tpm.kill().await
    }
}

/// Copies a template that may be read-only.
fn copy_writable(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::write(to, std::fs::read(from)?)
}

/// `wanted` if it can be bound now, or a free port for 0.
fn usable_port(wanted: u16) -> Result<u16, QemuError> {
    let bound = std::net::TcpListener::bind(("127.0.0.1", wanted))
        .and_then(|listener| listener.local_addr())
        .map_err(|source| QemuError::Port {
            port: wanted,
            source,
        })?;
    Ok(bound.port())
}

/// Starts swtpm and waits for its socket.
async fn start_tpm(state: &Path, socket: &Path) -> Result<Child, QemuError> {
    let mut command = Command::new(SWTPM);
    command
        .args(["socket", "--tpm2", "--terminate", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", socket.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped()); // it tells of ordinary things, so it is heard only when it fails
    let mut child = spawn(SWTPM, &mut command)?;
    let ready = async {
        loop {
            if socket.exists() {
                return Ok(());
            }
            match child.try_wait() {
                Ok(Some(status)) => return Err(last_words(&mut child, status).await),
                Ok(None) => sleep(Duration::from_millis(10)).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    };
    match timeout(TPM_LIMIT, ready).await {
        Ok(Ok(())) => Ok(child),
        Ok(Err(reason)) => Err(QemuError::Tpm { reason }),
        Err(_) => Err(QemuError::Tpm {
            reason: format!("nothing after {} s", TPM_LIMIT.as_secs()),
        }),
    }
}

/// How a program ended, and what it said.
async fn last_words(child: &mut Child, status: ExitStatus) -> String {
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).await.ok();
    }
    format!("it ended with {status}: {}", said.trim())
}

fn spawn(program: &'static str, command: &mut Command) -> Result<Child, QemuError> {
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => QemuError::ProgramMissing { program },
            _ => QemuError::Spawn { program, source },
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::Hinted as _;

    #[test]
    fn usable_port_refuses_a_taken_one() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = usable_port(port).unwrap_err();
        assert!(error.to_string().contains(&port.to_string()));
        assert!(error.hint().unwrap().contains("--port"));
        assert_ne!(usable_port(0).unwrap(), 0);
    }

    #[test]
    fn a_missing_program_is_named_with_the_packages() {
        let error = spawn(QEMU, &mut Command::new("/nonexistent/qemu")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "program `qemu-system-x86_64` is not installed"
        );
        assert!(error.hint().unwrap().contains("qemu-system-x86"));
    }
}
