//! Readers of NVML that are not ours, on the stand-in, and the list of what it exports.

use std::path::{Path, PathBuf};
use std::process::Command;

use cloister_gpu_helper::record::Evidence;
use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::DeviceArchitecture;

use crate::faults::{NONCE, judged};
use crate::machine::{DRIVER, Machine, VBIOS, library};

#[test]
fn nvml_wrapper_reads_what_is_configured() {
    let machine = Machine::made_up("");
    let library = machine.library();
    let nvml = Nvml::builder().lib_path(library.as_os_str()).init();
    let nvml = nvml.expect("the library");
    assert_eq!(nvml.sys_driver_version().unwrap(), DRIVER);
    assert_eq!(nvml.device_count().unwrap(), 1);
    let device = nvml.device_by_index(0).expect("a device");
    assert_eq!(device.vbios_version().unwrap(), VBIOS.to_uppercase());
    assert_eq!(device.architecture().unwrap(), DeviceArchitecture::Hopper);
    assert!(device.is_cc_enabled().unwrap());
    assert!(!device.is_cc_dev_mode_enabled().unwrap());
    let report = device.confidential_compute_gpu_attestation_report(NONCE);
    let report = report.expect("a report");
    let certificate = device.confidential_compute_gpu_certificate();
    let certificate = certificate.expect("certificates");
    let evidence = Evidence {
        report: report.attestation_report,
        chain: certificate.attestation_cert_chain,
    };
    assert_eq!(judged(&evidence), "accepted");
}

/// The tests' environment, which `scripts/test.sh` makes; `None`, said in words, where there is none.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    if python.is_file() {
        return Some(python);
    }
    assert!(std::env::var_os("CI").is_none(), "no target/venv");
    println!("skipped: no target/venv; `scripts/test.sh` makes it");
    None
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin");
    folder.join(name)
}

/// Codes are those of `conf_compute_api.c` and `gpu_mgr.c` in NVIDIA/open-gpu-kernel-modules.
#[test]
fn states_change_as_in_the_driver() {
    let Some(python) = python() else { return };
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root may set the ready state");
        return;
    }
    let machine = Machine::made_up("");
    let output = Command::new(python)
        .arg(script("states.py"))
        .arg(machine.library())
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let wanted = [
        "before init 1 1",
        "init 0",
        "null 2 2",
        "settings 0x1000014 0",
        "settings 0x2000014 25",
        "settings 0x14 25",
        "threshold 25 2 0",
        "not root 4 4 0",
        "0 before 1 0 0",
        "1 twice 0 0 1",
        "threshold when ready 29",
        "2 2 1",
        "0 after 1 0 0",
        "latched 2 2 0",
        "shutdown 0 1",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted);
}

/// pynvml is in the tests' environment, which `scripts/test.sh` makes.
#[test]
fn pynvml_reads_what_is_configured() {
    let Some(python) = python() else { return };
    let machine = Machine::made_up("");
    let output = Command::new(python)
        .arg(script("read.py"))
        .env("LD_LIBRARY_PATH", machine.path(""))
        .output()
        .expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<&str> = said.lines().collect();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let wanted = [
        format!("driver {DRIVER}"),
        "count 1".to_owned(),
        format!("vbios {}", VBIOS.to_uppercase()),
        "capabilities 3 1".to_owned(),
        "state 2 1 0".to_owned(),
        "settings 2 1 0 0".to_owned(),
        "ready 0".to_owned(),
        "memory 85899345920".to_owned(),
        "advantage 60".to_owned(),
    ];
    let (values, evidence) = said.split_at(wanted.len());
    assert_eq!(values, wanted);
    let [chain, report] = evidence else {
        panic!("{evidence:?}")
    };
    let bytes = |line: &str, name| hex::decode(line.strip_prefix(name).unwrap()).unwrap();
    let evidence = Evidence {
        report: bytes(report, "report "),
        chain: bytes(chain, "chain "),
    };
    assert_eq!(judged(&evidence), "accepted");
}

#[test]
fn exports_are_those_that_are_documented() {
    const NAMES: &str = "nvmlDeviceGetArchitecture nvmlDeviceGetBoardId
        nvmlDeviceGetConfComputeGpuAttestationReport nvmlDeviceGetConfComputeGpuCertificate
        nvmlDeviceGetConfComputeMemSizeInfo nvmlDeviceGetConfComputeProtectedMemoryUsage
        nvmlDeviceGetCount nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex
        nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetMemoryInfo nvmlDeviceGetMemoryInfo_v2
        nvmlDeviceGetName nvmlDeviceGetUUID nvmlDeviceGetVbiosVersion
        nvmlDeviceSetConfComputeUnprotectedMemSize nvmlErrorString nvmlInit nvmlInitWithFlags
        nvmlInit_v2 nvmlShutdown nvmlSystemGetConfComputeCapabilities
        nvmlSystemGetConfComputeGpusReadyState nvmlSystemGetConfComputeKeyRotationThresholdInfo
        nvmlSystemGetConfComputeSettings nvmlSystemGetConfComputeState nvmlSystemGetDriverVersion
        nvmlSystemGetNVMLVersion nvmlSystemSetConfComputeGpusReadyState
        nvmlSystemSetConfComputeKeyRotationThresholdInfo standin_nvml_marker";
    let bytes = std::fs::read(library()).expect("the library");
    let elf = goblin::elf::Elf::parse(&bytes).expect("ELF");
    assert_eq!(elf.soname, Some("libnvidia-ml.so.1"));
    let exported = elf.dynsyms.iter().filter(|symbol| !symbol.is_import());
    let names = exported.filter_map(|symbol| elf.dynstrtab.get_at(symbol.st_name));
    let mut names: Vec<&str> = names
        .filter(|name| name.starts_with("nvml") || name.starts_with("standin"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, NAMES.split_whitespace().collect::<Vec<_>>());
    assert_eq!(names.len(), 31);
}
