//! Chooses between KVM and software emulation.
//!
//! `/dev/kvm` can be opened on machines whose guests then hang, so KVM counts only if the processor says that it can
//! virtualise and a firmware of five instructions really runs to its end.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// KVM where it really works, software emulation otherwise
    Auto,
    /// Software emulation
    Tcg,
    /// KVM, without asking whether it works
    Kvm,
}

/// What QEMU is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// Software emulation, one thread per vCPU.
    Tcg,
    /// Hardware virtualisation.
    Kvm,
}

/// Port of QEMU's `isa-debug-exit` device in the probe.
const EXIT_PORT: u8 = 0xf4;
/// Value the probe writes; QEMU exits with twice it plus one.
const EXIT_VALUE: u8 = 0x10;
/// How long the probe may take before its guest counts as hung.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

impl Accelerator {
    /// Value of QEMU's `-accel`.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Accelerator::Tcg => "tcg,thread=multi",
            Accelerator::Kvm => "kvm",
        }
    }

    /// Value of QEMU's `-cpu`.
    ///
    /// QEMU 7.2's emulation of `cmpxchg16b` damages the flags register now and then, so it is left out.
    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Accelerator::Tcg => "max,-cx16",
            Accelerator::Kvm => "host",
        }
    }

    /// Variables that QEMU is started with.
    ///
    /// QEMU emulates the guest's fused multiply-add by the C library's `fmaf`. Where the library does that with the
    /// processor's own instruction among QEMU's SSE code, some machines take 150 ns for each, and a model in the guest
    /// takes twice the time it takes with the library's other implementation; the results are the same to the bit.
    pub(crate) fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Accelerator::Tcg => &[("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-FMA,-FMA4")],
            Accelerator::Kvm => &[],
        }
    }

    /// How many vCPUs a guest gets that asks for none in particular.
    ///
    /// QEMU 7.2 with a thread for each emulated vCPU sometimes runs stale code after the guest's kernel has patched
    /// itself (`Oops: int3` in `sched_clock_cpu` before PID 1: 2 of 5 boots in one run of docs/benchmarks.md).
    pub(crate) fn cpus(self) -> u32 {
        match self {
            Accelerator::Tcg => 1,
            Accelerator::Kvm => 2,
        }
    }

    /// Settles `choice`; the second value says why, for people.
    pub(crate) fn choose(choice: Choice, qemu: &Path, scratch: &Path) -> (Accelerator, String) {
        match choice {
            Choice::Tcg => (Accelerator::Tcg, "as asked".to_owned()),
            Choice::Kvm => (Accelerator::Kvm, "as asked".to_owned()),
            Choice::Auto => match kvm_defect(qemu, scratch) {
                None => (Accelerator::Kvm, "a probe ran in it".to_owned()),
                Some(defect) => (Accelerator::Tcg, defect),
            },
        }
    }
}

/// Why KVM cannot be used here, if so.
fn kvm_defect(qemu: &Path, scratch: &Path) -> Option<String> {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Some(format!("/dev/kvm cannot be opened: {error}"));
    }
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !virtualises(&information) {
        return Some("/dev/kvm opens, but the processor has neither `svm` nor `vmx`".to_owned());
    }
    probe(qemu, scratch).err()
}

/// Whether `information`, the text of `/proc/cpuinfo`, names an extension that runs guests.
fn virtualises(information: &str) -> bool {
    information
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "svm" || flag == "vmx")
}

/// Runs a firmware under KVM that does nothing but tell QEMU to exit.
fn probe(qemu: &Path, scratch: &Path) -> Result<(), String> {
    let firmware = scratch.join("kvm-probe.bin");
    write_probe(&firmware).map_err(|error| format!("the KVM probe cannot be written: {error}"))?;
    let child = Command::new(qemu)
        .args(["-accel", "kvm", "-machine", "pc", "-nodefaults"])
        .args(["-display", "none", "-m", "16", "-bios"])
        .arg(&firmware)
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the KVM probe cannot be started: {error}"))?;
    let wanted = i32::from(EXIT_VALUE) * 2 + 1;
    match wait_at_most(child, PROBE_LIMIT) {
        Some(status) if status.code() == Some(wanted) => Ok(()),
        Some(status) => Err(format!("a probe under KVM failed: {status}")),
        None => Err("a probe under KVM hung".to_owned()),
    }
}

/// Writes 64 KiB that hold, at the reset vector, `mov al, VALUE; out PORT, al; hlt`.
fn write_probe(path: &Path) -> std::io::Result<()> {
    const RESET_VECTOR: usize = 0xfff0;
    const SIZE: usize = 0x1_0000;
    let code = [0xb0, EXIT_VALUE, 0xe6, EXIT_PORT, 0xf4];
    let mut image = vec![0; RESET_VECTOR];
    image.extend_from_slice(&code);
    image.resize(SIZE, 0);
    File::create(path)?.write_all(&image)
}

/// Waits for `child`; after `limit` it is killed and `None` returned.
fn wait_at_most(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => break,
        }
    }
    child.kill().ok();
    child.wait().ok();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtualises_reads_flags_only() {
        assert!(virtualises("model name : svm\nflags : fpu svm sse\n"));
        assert!(virtualises("flags\t\t: fpu vmx"));
        assert!(!virtualises("model name : vmx svm\nflags : fpu svm_lock\n"));
    }

    #[test]
    fn choose_keeps_what_was_asked_for() {
        let nowhere = Path::new("/nonexistent");
        let (tcg, _) = Accelerator::choose(Choice::Tcg, nowhere, nowhere);
        let (kvm, _) = Accelerator::choose(Choice::Kvm, nowhere, nowhere);
        assert_eq!((tcg, kvm), (Accelerator::Tcg, Accelerator::Kvm));
    }

    #[test]
    fn wait_at_most_kills_a_child_that_hangs() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let start = Instant::now();
        assert_eq!(wait_at_most(child, Duration::from_millis(50)), None);
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
