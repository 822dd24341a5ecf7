//! Every fault of the stand-in: what comes back from the helper, and what the appraisal of PID 1 says of the evidence in it.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use cloister_gpu::signature::verify;
use cloister_gpu::{Chain, Expected, RootKey, appraise};
use cloister_gpu_helper::record::{Evidence, Record, Request};
use cloister_test_pki::gpu::Gpu;

use crate::fault::{Fault, NAMES};
use crate::machine::{DRIVER, LABEL, Machine, VBIOS, golden_values, records};

pub(crate) const NONCE: [u8; 32] = [0x5a; 32];
const ALL: [Request; 3] = [
    Request::Probe,
    Request::Evidence { nonce: NONCE },
    Request::Ready,
];
/// What PID 1 asks before the GPU is ready and after.
const THRESHOLD: Request = Request::KeyRotation {
    attacker_advantage: 60,
};
const SET: &str = "nvmlSystemSetConfComputeGpusReadyState";

/// A record on one line: modes are environment, confidential computing, developer tools, several GPUs.
fn line(record: &Record) -> String {
    match record {
        Record::Probe(probe) => {
            let modes = [
                probe.environment,
                probe.cc_feature,
                probe.dev_tools_mode,
                probe.multi_gpu_mode,
            ];
            let architectures = probe.devices.iter().map(|device| device.architecture);
            let architectures: Vec<u32> = architectures.collect();
            let driver = &probe.driver;
            format!("{driver} {modes:?} {} {architectures:?}", probe.ready)
        }
        Record::Evidence(devices) => {
            let devices: Vec<String> = devices.iter().map(judged).collect();
            devices.join(", ")
        }
        Record::Ready { before, after } => format!("{before} to {after}"),
        Record::KeyRotation(found) => format!("{found:?}"),
        Record::Failed(failure) => format!("{} {:?}", failure.call, failure.cause),
    }
}

/// The step at which the appraisal refuses.
pub(crate) fn judged(evidence: &Evidence) -> String {
    let golden = golden_values();
    let root = Gpu::new(LABEL).expect("a GPU").root().expect("a root");
    let expected = Expected {
        nonce: &NONCE,
        driver: Some(DRIVER),
        vbios: Some(VBIOS),
        golden: Some(&golden),
        roots: &[RootKey(root)],
        at: 1_790_000_000,
    };
    match appraise(&evidence.report, &evidence.chain, &expected, verify).into_result() {
        Ok(_) => "accepted".to_owned(),
        Err(refusal) => format!("{:?}", refusal.step),
    }
}

/// Fault, then the records of the three requests.
type Row = (Option<Fault>, [&'static str; 3]);

const PROBE: &str = "550.144.03 [2, 1, 0, 0] 0 [9]";
const TWO: &str = "550.144.03 [2, 1, 0, 0] 0 [9, 9]";
const READY: &str = "0 to 1";

/// Every fault.
fn table() -> Vec<Row> {
    [of_the_calls(), of_the_evidence()].concat()
}

fn row(step: &'static str) -> [&'static str; 3] {
    [PROBE, step, READY]
}

/// Those that the library or the first request shows.
fn of_the_calls() -> Vec<Row> {
    const REPORT: &str = "nvmlDeviceGetConfComputeGpuAttestationReport Size(8193)";
    const LOST: &str = "nvmlDeviceGetConfComputeGpuAttestationReport Code(15)";
    const COUNT: &str = "nvmlDeviceGetCount_v2 Count(2)";
    const LATCHED: &str = "nvmlSystemSetConfComputeGpusReadyState Code(2)";
    let probed = |probe| [probe, "accepted", READY];
    vec![
        (None, row("accepted")),
        (Some(Fault::DriverNotLoaded), ["nvmlInit_v2 Code(9)"; 3]),
        (Some(Fault::LibraryVersion), ["nvmlInit_v2 Code(18)"; 3]),
        (Some(Fault::Lost), row(LOST)),
        (Some(Fault::Oversize), row(REPORT)),
        (Some(Fault::CountChanges), row(COUNT)),
        (Some(Fault::TwoGpus), [TWO, "accepted, accepted", READY]),
        (
            Some(Fault::ReadyDoesNotStick),
            [PROBE, "accepted", "0 to 0"],
        ),
        (Some(Fault::Latched), [PROBE, "accepted", LATCHED]),
        (
            Some(Fault::ReadyAlready),
            ["550.144.03 [2, 1, 0, 0] 1 [9]", "accepted", "1 to 1"],
        ),
        (
            Some(Fault::ConfidentialOff),
            probed("550.144.03 [0, 0, 0, 0] 0 [9]"),
        ),
        (
            Some(Fault::DevTools),
            ["550.144.03 [1, 1, 1, 0] 1 [9]", "accepted", "1 to 1"],
        ),
        (
            Some(Fault::ProtectedPcie),
            probed("550.144.03 [2, 0, 0, 1] 0 [9]"),
        ),
        (
            Some(Fault::Simulation),
            probed("550.144.03 [1, 1, 0, 0] 0 [9]"),
        ),
        (
            Some(Fault::Blackwell),
            probed("550.144.03 [2, 1, 0, 0] 0 [10]"),
        ),
        (
            Some(Fault::OtherDriver),
            probed("570.86.15 [2, 1, 0, 0] 0 [9]"),
        ),
    ]
}

/// Those of the evidence, and those that show in later requests (see below).
fn of_the_evidence() -> Vec<Row> {
    vec![
        (Some(Fault::Empty), row("Structure")),
        (Some(Fault::GarbageChain), row("Structure")),
        (Some(Fault::OtherVbios), row("Vbios")),
        (Some(Fault::Measurement), row("Measurements")),
        (Some(Fault::StaleNonce), row("Nonce")),
        (Some(Fault::OtherRoot), row("Chain")),
        (Some(Fault::OtherSigner), row("Signature")),
        (Some(Fault::OtherFirmware), row("Fwid")),
        (Some(Fault::Trailing), row("Structure")),
        (Some(Fault::LostLater), row("accepted")),
        (
            Some(Fault::EqualSerials),
            [TWO, "accepted, accepted", READY],
        ),
        (Some(Fault::Exchanged), row("accepted")),
        (Some(Fault::NoKeyRotation), row("accepted")),
        (Some(Fault::KeyRotationIgnored), row("accepted")),
    ]
}

fn machine(fault: Option<Fault>) -> Machine {
    let name = |fault| {
        let named = NAMES.iter().find(|(_, known)| *known == fault);
        let (name, _) = named.expect("a name");
        assert_eq!(Fault::named(name), Some(fault));
        format!("fault {name}")
    };
    Machine::made_up(&fault.map(name).unwrap_or_default())
}

#[test]
fn every_fault_comes_back_as_its_record() {
    let root = nix::unistd::geteuid().is_root();
    let table = table();
    for (fault, wanted) in &table {
        let machine = machine(*fault);
        let (records, output) = machine.ask(&ALL);
        let mut wanted = wanted.map(str::to_owned);
        if !root && !wanted[2].starts_with("nvmlInit") {
            wanted[2] = format!("{SET} Code(4)");
        }
        let lines: Vec<String> = records.iter().map(line).collect();
        assert_eq!(lines, wanted, "{fault:?}");
        assert!(output.status.success(), "{fault:?}");
    }
    // `hang` and `abort` have no record, and tests of their own.
    assert_eq!(table.len() - 1 + 2, NAMES.len());
}

/// Serial numbers of the devices of a record, each on first sight a letter.
fn serials(records: &[Record]) -> String {
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut letters = String::new();
    let evidence = records.iter().filter_map(|record| match record {
        Record::Evidence(devices) => Some(devices),
        _ => None,
    });
    for device in evidence.flatten() {
        let chain = Chain::parse(&device.chain).expect("a chain");
        let serial = chain.device().to_vec();
        if !seen.contains(&serial) {
            seen.push(serial.clone());
        }
        let place = seen.iter().position(|known| *known == serial);
        letters.push(char::from(
            b'a' + u8::try_from(place.expect("seen")).expect("few"),
        ));
    }
    letters
}

#[test]
fn faults_of_later_calls_come_back_as_their_records() {
    const LOST: &str = "nvmlDeviceGetConfComputeGpuAttestationReport Code(15)";
    let root = nix::unistd::geteuid().is_root();
    let no_permission = "nvmlSystemSetConfComputeKeyRotationThresholdInfo Code(4)";
    let set = if root { "Some(60)" } else { no_permission };
    let ignored = if root { "Some(62)" } else { no_permission };
    let one = "accepted";
    let two = "accepted, accepted";
    // Fault; threshold, evidence, evidence again; whose it is.
    let rows = [
        (None, [set, one, one], "aa"),
        (Some(Fault::LostLater), [set, one, LOST], "a"),
        (Some(Fault::TwoGpus), [set, two, two], "abab"),
        (Some(Fault::EqualSerials), [set, two, two], "aaaa"),
        (Some(Fault::Exchanged), [set, one, one], "ab"),
        (Some(Fault::NoKeyRotation), ["None", one, one], "aa"),
        (Some(Fault::KeyRotationIgnored), [ignored, one, one], "aa"),
    ];
    for (fault, wanted, whose) in rows {
        let requests = [ALL[0], THRESHOLD, ALL[1], ALL[1]];
        let (records, _) = machine(fault).ask(&requests);
        let lines: Vec<String> = records.iter().skip(1).map(line).collect();
        assert_eq!(lines, wanted, "{fault:?}");
        assert_eq!(serials(&records), whose, "{fault:?}");
    }
}

#[test]
fn a_hang_ends_by_the_signal_that_kills() {
    let machine = machine(Some(Fault::Hang));
    let mut helper = machine.helper(&ALL);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(helper.try_wait().expect("a state"), None, "still there");
    helper.kill().expect("a signal");
    let output = helper.wait_with_output().expect("an end");
    assert_eq!(output.status.signal(), Some(9));
    let lines: Vec<String> = records(&output.stdout).iter().map(line).collect();
    assert_eq!(lines, ["550.144.03 [2, 1, 0, 0] 0 [9]"]);
}

#[test]
fn an_abort_in_the_library_ends_the_helper() {
    let (records, output) = machine(Some(Fault::Abort)).ask(&ALL);
    assert_eq!(output.status.signal(), Some(6));
    let lines: Vec<String> = records.iter().map(line).collect();
    assert_eq!(lines, ["550.144.03 [2, 1, 0, 0] 0 [9]"]);
}

#[test]
fn ready_is_set_once_and_only_when_asked_for() {
    let sets = |machine: &Machine| {
        let calls = machine.calls();
        let is_set = |call: &&String| call.starts_with(SET);
        calls.iter().filter(is_set).cloned().collect::<Vec<_>>()
    };
    let machine = Machine::made_up("");
    machine.ask(&ALL[..2]);
    assert_eq!(sets(&machine), [""; 0]);
    let before = machine.calls().len();
    assert!(before > 8, "{before} calls");
    machine.ask(&ALL);
    let code = if nix::unistd::geteuid().is_root() {
        0
    } else {
        4
    };
    assert_eq!(sets(&machine), [format!("{SET}(1) {code}")]);
    let calls = machine.calls();
    let report = "nvmlDeviceGetConfComputeGpuAttestationReport 0";
    let place = |name: &str| calls.iter().rposition(|call| call.starts_with(name));
    assert!(place(SET) > place(report), "{calls:?}");
}

#[test]
fn an_unknown_line_is_no_configuration() {
    let lines = ["mode real", "fault none", "fault", "fault fault:hang"];
    for text in lines {
        let (records, _) = Machine::made_up(text).ask(&ALL[..1]);
        let seen: Vec<String> = records.iter().map(line).collect();
        assert_eq!(seen, ["nvmlInit_v2 Code(999)"], "{text}");
    }
}

#[test]
fn a_fault_from_a_file_counts_only_behind_its_prefix() {
    let rows = [
        ("", "accepted"),
        ("Not Specified\n", "accepted"),
        ("measurement\n", "accepted"),
        ("fault:measurement\n", "Measurements"),
    ];
    for (text, wanted) in rows {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("text");
        let machine = Machine::made_up(&format!("fault-from {}", file.path().display()));
        let (records, _) = machine.ask(&ALL[..2]);
        assert_eq!(line(&records[1]), wanted, "{text}");
    }
}
