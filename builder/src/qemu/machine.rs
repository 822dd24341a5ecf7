//! The virtual machine as QEMU's command line.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::Accelerator;

/// What the guest gets.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// How it is run.
    pub(crate) accelerator: Accelerator,
    /// Memory in MiB.
    pub(crate) memory_mib: u32,
    /// Number of vCPUs.
    pub(crate) cpus: u32,
    /// The processor in QEMU's words; the accelerator's default if `None`.
    pub(crate) cpu: Option<String>,
    /// Raw disk image, opened read-only.
    pub(crate) disk: PathBuf,
    /// OVMF code, opened read-only.
    pub(crate) firmware_code: PathBuf,
    /// The guest's own copy of OVMF's variable store.
    pub(crate) firmware_variables: PathBuf,
    /// Control socket of swtpm.
    pub(crate) tpm_socket: PathBuf,
    /// Port on 127.0.0.1 that leads to `guest_port`.
    pub(crate) host_port: u16,
    /// Port the guest listens on.
    pub(crate) guest_port: u16,
}

impl Machine {
    /// Arguments for `qemu-system-x86_64`; the serial console is on standard output.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["-machine", "q35", "-nodefaults", "-no-user-config"]
            .into_iter()
            .chain(["-display", "none", "-no-reboot", "-serial", "stdio"])
            .map(OsString::from)
            .collect();
        let mut pair = |name: &str, value: OsString| {
            arguments.push(name.into());
            arguments.push(value);
        };
        pair("-accel", self.accelerator.argument().into());
        let cpu = self.cpu.as_deref().unwrap_or(self.accelerator.cpu());
        pair("-cpu", cpu.into());
        pair("-smp", self.cpus.to_string().into());
        pair("-m", self.memory_mib.to_string().into());
        let flash = "if=pflash,format=raw";
        pair(
            "-drive",
            with_file(&format!("{flash},readonly=on,file="), &self.firmware_code),
        );
        pair(
            "-drive",
            with_file(&format!("{flash},file="), &self.firmware_variables),
        );
        pair(
            "-chardev",
            with_file("socket,id=tpm,path=", &self.tpm_socket),
        );
        pair("-tpmdev", "emulator,id=tpm0,chardev=tpm".into());
        pair("-device", "tpm-crb,tpmdev=tpm0".into());
        pair(
            "-drive",
            with_file("if=none,id=disk,format=raw,readonly=on,file=", &self.disk),
        );
        pair("-device", "virtio-blk-pci,drive=disk,bootindex=0".into());
        let (host, guest) = (self.host_port, self.guest_port);
        pair(
            "-netdev",
            format!("user,id=net,hostfwd=tcp:127.0.0.1:{host}-:{guest}").into(),
        );
        pair("-device", "virtio-net-pci,netdev=net,romfile=".into());
        pair("-object", "rng-random,id=rng,filename=/dev/urandom".into());
        pair("-device", "virtio-rng-pci,rng=rng".into());
        arguments
    }
}

/// `prefix` and `path` as one argument; QEMU wants a comma in a value doubled.
fn with_file(prefix: &str, path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut bytes = prefix.as_bytes().to_vec();
    for byte in OsStr::as_bytes(path.as_os_str()) {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_open_the_disk_read_only_and_double_commas() {
        let mut machine = Machine {
            accelerator: Accelerator::Tcg,
            memory_mib: 1024,
            cpus: 2,
            cpu: None,
            disk: "/a,b/disk.raw".into(),
            firmware_code: "/code".into(),
            firmware_variables: "/vars".into(),
            tpm_socket: "/tpm".into(),
            host_port: 8443,
            guest_port: 443,
        };
        let arguments = machine.arguments();
        let has = |wanted: &str| arguments.iter().any(|a| a == wanted);
        assert!(has(
            "if=none,id=disk,format=raw,readonly=on,file=/a,,b/disk.raw"
        ));
        assert!(has("user,id=net,hostfwd=tcp:127.0.0.1:8443-:443"));
        assert!(has("max,-cx16"));
        machine.cpu = Some("EPYC-v4".to_owned());
        assert!(machine.arguments().iter().any(|a| a == "EPYC-v4"));
    }
}
