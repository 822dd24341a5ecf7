//! A guest that must have an H100, on a machine that has a made-up one: evidence, ready, canary, serving; and every fault that must
//! end it.

mod machine;

use std::path::Path;

use cloister_gpu::RootKey;
use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::MICROSOFT;
use cloister_verify::layers::{self, Expected};
use cloister_verify::policy::PolicyFile;
use cloister_verify::{Policy, Verdict};
use machine::{Bus, Machine, boot, image, image_of_another_answer};

use crate::azure::{failed, validity};
use crate::guest;
use crate::peer::{Connection, Peer};
use crate::program::{scratch, succeed};

const NONCE: [u8; 32] = [7; 32];

const SET_READY: &str = "nvmlSystemSetConfComputeGpusReadyState(1) 0";
const SET_ROTATION: &str = "nvmlSystemSetConfComputeKeyRotationThresholdInfo 0";
const REPORT: &str = "nvmlDeviceGetConfComputeGpuAttestationReport 0";

#[test]
fn a_guest_with_a_gpu_serves_after_evidence_ready_and_canary() {
    let Some(image) = image() else { return };
    let machine = boot(image, Bus::One, "none");
    machine.serves();
    let text = machine.guest.text();
    let place = |wanted: &str| {
        let found = text.lines().position(|line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("no `{wanted}`:\n{text}"))
    };
    let order = [
        "cloister-init: gpu: ok",
        "cloister-init: gpu: H100 in confidential mode, driver 550.144.03, VBIOS 96.00.5E.00.03",
        REPORT,
        SET_ROTATION,
        SET_READY,
        "cloister-init: attest: ok",
        "cloister-init: serving on port",
        "cloister-init: canary: ok",
    ];
    let places = order.map(place);
    assert!(places.is_sorted(), "{places:?}:\n{text}");
    let calls = machine::calls(&text);
    let sets = calls.iter().filter(|call| call.contains("SetConfCompute"));
    let sets: Vec<&str> = sets.map(String::as_str).collect();
    assert_eq!(sets, [SET_ROTATION, SET_READY]);
    verdicts(&machine, &image.reference(), &image.expected());
    let mut peer = Peer::connect(machine.guest.port);
    let devices = peer.ask("GET", "/devices", b"");
    let devices: Vec<String> = serde_json::from_slice(&devices.body).expect("names");
    for node in ["nvidiactl", "nvidia64"] {
        assert!(devices.iter().any(|name| name == node), "{devices:?}");
    }
    new_evidence(&machine, &image.reference());
}

/// Evidence of the GPU that answers the client's own nonce: once a minute, and for the session alone that asked.
fn new_evidence(machine: &Machine, reference: &ReferenceValues) {
    let reports = || {
        let calls = machine::calls(&machine.guest.text());
        calls.iter().filter(|call| *call == REPORT).count()
    };
    let before = reports();
    let mut peer = Peer::connect(machine.guest.port);
    let answer = peer.new_gpu(&NONCE);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(reports(), before + 1);
    // Serialised, and not twice in a minute, whoever asks.
    let refused = Peer::connect(machine.guest.port).new_gpu(&[8; 32]);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(reports(), before + 1);
    let shown = Connection {
        leaf_bundle: peer.leaf_bundle(),
        exporter: peer.exporter(&NONCE),
        session_bundle: answer.body,
        leaf: peer.leaf,
    };
    let made_up = [RootKey(machine::root())];
    let verdict = judge_new(&shown, &NONCE, reference, &made_up);
    assert!(verdict.accepted, "{verdict}");
    // It is not the leaf's evidence, and that of the leaf is not it.
    let [leaf, session] = judge(&shown, reference, &made_up);
    assert!(leaf.accepted, "{leaf}");
    assert_eq!(failed(&session), ["gpu-nonce"], "{session}");
    let old = Connection::to(machine.guest.port, &NONCE);
    let verdict = judge_new(&old, &NONCE, reference, &made_up);
    assert_eq!(failed(&verdict), ["gpu-nonce"], "{verdict}");
    let verdict = judge_new(&shown, &[8; 32], reference, &made_up);
    assert!(failed(&verdict).contains(&"gpu-nonce"), "{verdict}");
}

/// The product's own image of the recipe, searched for what only tests may have; the tests' image shows that the search finds it.
#[test]
fn no_product_image_holds_a_test_root_or_the_stand_in() {
    let (Some(recipe), Some(image)) = (machine::recipe(), image()) else {
        return;
    };
    let out = scratch().join("out/gpu-product");
    succeed([
        "build".as_ref(),
        recipe.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    let searched = |out: &Path| {
        let initrd = std::fs::read(out.join("initrd")).expect("initrd");
        let initrd = zstd::decode_all(initrd.as_slice()).expect("initrd");
        let root = std::fs::read(out.join("disk.raw")).expect("disk");
        let has = |wanted: &[u8]| {
            let within = |bytes: &[u8]| memchr::memmem::find(bytes, wanted).is_some();
            within(&initrd) || within(&root)
        };
        // A compiler keeps a key as pieces of 8 bytes or more: any of them counts.
        let key = |key: [u8; 97]| key.chunks_exact(8).any(&has);
        [
            key(RootKey::nvidia().0),
            key(machine::root()),
            has(b"Stand-in for a GPU"),
            has(b"standin_nvml_marker"),
            has(b"stand_in_for_a_test"),
        ]
    };
    assert_eq!(searched(&out), [true, false, false, false, false]);
    assert_eq!(searched(&image.out), [false, true, true, false, true]);
}

#[test]
fn build_refuses_the_stand_in() {
    let Some(said) = machine::build_with_mark() else {
        return;
    };
    assert_eq!(said.code, 2, "{said:#?}");
    for words in ["/opt/gpu/innocent.so", "standin_nvml_marker", "hint: "] {
        assert!(said.stderr.contains(words), "{said:#?}");
    }
}

/// Both layers in one verdict each, CPU and GPU; and all that must make it another.
fn verdicts(machine: &Machine, reference: &ReferenceValues, expected: &Path) {
    let connection = Connection::to(machine.guest.port, &NONCE);
    let made_up = [RootKey(machine::root())];
    for verdict in judge(&connection, reference, &made_up) {
        assert!(verdict.accepted, "{verdict}");
        let checks = verdict.checks.iter();
        let of_gpu = checks.filter(|check| check.name.starts_with("gpu-") && check.required);
        assert_eq!(of_gpu.count(), 15, "{verdict}");
    }
    for verdict in judge(&connection, reference, &[RootKey::nvidia()]) {
        assert_eq!(failed(&verdict), ["gpu-chain"], "{verdict}");
    }
    let mut without = reference.clone();
    without.gpu = None;
    for verdict in judge(&connection, &without, &made_up) {
        assert_eq!(failed(&verdict), ["devices"], "{verdict}");
    }
    // The section of one leaf with the leaf of another guest: the nonce is not its own.
    let other = Connection::to(guest::probe().port, &NONCE);
    let swapped = Connection {
        leaf: other.leaf.clone(),
        ..Connection::to(machine.guest.port, &NONCE)
    };
    let [_, session] = judge(&swapped, reference, &made_up);
    assert!(failed(&session).contains(&"gpu-nonce"), "{session}");
    // A guest without a GPU, where one is wanted.
    for verdict in judge(&other, reference, &made_up) {
        let failed = failed(&verdict);
        assert!(
            failed.contains(&"gpu-evidence") && failed.contains(&"devices"),
            "{verdict}"
        );
    }
    let said = machine.guest.verify(expected);
    assert_eq!(said.code, 1, "{said:#?}");
    let verdict: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    for layer in ["leaf", "session"] {
        let checks = verdict[layer]["checks"].as_array().expect("checks");
        let failed = checks.iter().filter(|check| check["status"] == "fail");
        let names: Vec<_> = failed.map(|check| check["name"].as_str()).collect();
        assert_eq!(names, [Some("gpu-chain")], "{verdict:#}");
    }
}

/// Layer B of a session that had asked for new evidence of the GPU.
fn judge_new(
    shown: &Connection,
    nonce: &[u8; 32],
    reference: &ReferenceValues,
    gpu_roots: &[RootKey],
) -> Verdict {
    let (_, _, now) = validity(&shown.leaf);
    let (leaf, bundle) = (&shown.leaf, &shown.session_bundle);
    expecting(reference, gpu_roots, |expected| {
        layers::appraise_session_with_new_gpu(leaf, nonce, &shown.exporter, bundle, expected, now)
    })
}

/// Both layers of what a connection showed.
fn judge(shown: &Connection, reference: &ReferenceValues, gpu_roots: &[RootKey]) -> [Verdict; 2] {
    let (_, _, now) = validity(&shown.leaf);
    let (leaf, session) = (&shown.leaf, &shown.session_bundle);
    expecting(reference, gpu_roots, |expected| {
        [
            layers::appraise_leaf(leaf, &shown.leaf_bundle, expected, now),
            layers::appraise_session(leaf, &NONCE, &shown.exporter, session, expected, now),
        ]
    })
}

/// Gives `appraise` what a client without policies of its own expects.
fn expecting<T>(
    reference: &ReferenceValues,
    gpu_roots: &[RootKey],
    appraise: impl FnOnce(&Expected<'_>) -> T,
) -> T {
    appraise(&Expected {
        reference,
        policy: &Policy::default(),
        platform: &PolicyFile::default(),
        roots: &MICROSOFT,
        collateral: None,
        gpu_roots,
    })
}

/// What the stand-in does wrong, or the machine is, and the words on which the guest powers off.
const FAULTS: [(Bus, &str, &str); 32] = [
    (Bus::Nothing, "none", "gpu: 0 GPUs on the PCI bus, wanted 1"),
    (Bus::Two, "none", "gpu: 2 GPUs on the PCI bus, wanted 1"),
    (
        Bus::OneAndAnother,
        "none",
        "is NVIDIA's and no GPU: a GPU behind a switch cannot be judged",
    ),
    (
        Bus::One,
        "fault:driver-not-loaded",
        "gpu: nvmlInit_v2: error 9 (driver not loaded)",
    ),
    (
        Bus::One,
        "fault:library-version",
        "gpu: nvmlInit_v2: error 18 (library and driver are of different versions)",
    ),
    (
        Bus::One,
        "fault:other-driver",
        "gpu: the library is of driver 570.86.15, the kernel module of 550.144.03",
    ),
    (
        Bus::One,
        "fault:two-gpus",
        "gpu: the library sees 2 GPUs, wanted 1",
    ),
    (
        Bus::One,
        "fault:blackwell",
        "gpu: GPU architecture 10, wanted 9 (Hopper)",
    ),
    (
        Bus::One,
        "fault:protected-pcie",
        "gpu: multi-GPU mode 1, wanted 0: one GPU for one guest",
    ),
    (
        Bus::One,
        "fault:dev-tools",
        "gpu: developer tools are on: the GPU hides nothing",
    ),
    (
        Bus::One,
        "fault:confidential-off",
        "gpu: confidential computing is off in the GPU: the host must set it",
    ),
    (
        Bus::One,
        "fault:simulation",
        "gpu: environment 1 of the GPU, wanted 2 (production)",
    ),
    (
        Bus::One,
        "fault:ready-already",
        "gpu: the GPU is ready already: set by developer tools, or by an earlier session",
    ),
    (
        Bus::One,
        "fault:count-changes",
        "gpu: nvmlDeviceGetCount_v2: 2 GPUs, another number than before",
    ),
    (
        Bus::One,
        "fault:abort",
        "gpu: GPU helper ended instead of answering `evidence`",
    ),
    (
        Bus::One,
        "fault:hang",
        "gpu: GPU helper did not answer `evidence` in time",
    ),
    (
        Bus::One,
        "fault:lost",
        "gpu: nvmlDeviceGetConfComputeGpuAttestationReport: error 15 (GPU is lost)",
    ),
    (
        Bus::One,
        "fault:oversize",
        "gpu: nvmlDeviceGetConfComputeGpuAttestationReport: 8193 bytes, more than there is room for",
    ),
    (Bus::One, "fault:empty", "gpu: gpu-report-format: "),
    (Bus::One, "fault:trailing", "gpu: gpu-report-format: "),
    (Bus::One, "fault:garbage-chain", "gpu: gpu-report-format: "),
    (Bus::One, "fault:other-root", "gpu: gpu-chain: "),
    (Bus::One, "fault:other-firmware", "gpu: gpu-fwid: "),
    (Bus::One, "fault:stale-nonce", "gpu: gpu-nonce: "),
    (Bus::One, "fault:other-vbios", "gpu: gpu-vbios-version: "),
    (Bus::One, "fault:other-signer", "gpu: gpu-signature: "),
    (
        Bus::One,
        "fault:measurement",
        "gpu: gpu-measurements: wanted the golden values, found 1 of 33 differ, at indices 9",
    ),
    (
        Bus::One,
        "fault:latched",
        "gpu: the driver refuses to become ready: it has latched a failure",
    ),
    (
        Bus::One,
        "fault:equal-serials",
        "gpu: the library sees 2 GPUs, wanted 1",
    ),
    (
        Bus::One,
        "fault:key-rotation-ignored",
        "gpu: key rotation at attacker advantage 62 after it was set, wanted 60",
    ),
    (
        Bus::One,
        "fault:ready-does-not-stick",
        "gpu: ready state 0 after it was set, wanted 1",
    ),
    (Bus::One, "fault:unheard-of", "gpu: nvmlInit_v2: error 999"),
];

/// Faults whose GPU is set ready, or at least asked to be: nothing was wrong before.
const AFTER_THE_VERDICT: [&str; 2] = ["fault:latched", "fault:ready-does-not-stick"];
/// A fault between the verdict and that.
const BEFORE_READY: &str = "fault:key-rotation-ignored";

#[test]
fn every_fault_ends_the_guest_by_its_name_and_before_it_serves() {
    let Some(image) = image() else { return };
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut seen = 0;
        while let Some((bus, fault, wanted)) =
            FAULTS.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            let machine = boot(image, *bus, fault);
            let (last, calls) = machine.refusal();
            assert!(last.contains(wanted), "{bus:?} {fault}: {last}");
            let asked = |of: &str| calls.iter().any(|call| call.contains(of));
            let ready = AFTER_THE_VERDICT.contains(fault);
            assert_eq!(
                (asked("SetConfComputeGpusReady"), asked("SetConfCompute")),
                (ready, ready || *fault == BEFORE_READY),
                "{fault}: {calls:?}"
            );
            seen += 1;
        }
        seen
    };
    let seen: usize = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads
            .map(|thread| thread.join().expect("no fault goes unseen"))
            .iter()
            .sum()
    });
    assert_eq!(seen, FAULTS.len());
}

#[test]
fn another_answer_than_the_canarys_ends_the_guest() {
    let Some(image) = image_of_another_answer() else {
        return;
    };
    let (last, _) = boot(&image, Bus::One, "none").refusal();
    assert!(
        last.contains("canary: not the answer that is wanted"),
        "{last}"
    );
}

/// What goes wrong only when a client asks for new evidence, and the words on which the guest powers off.
const LATER: [(&str, &str); 2] = [
    (
        "fault:lost-later",
        "gpu: nvmlDeviceGetConfComputeGpuAttestationReport: error 15 (GPU is lost)",
    ),
    (
        "fault:exchanged",
        "gpu: evidence of another GPU than the one that was made ready",
    ),
];

#[test]
fn evidence_that_fails_for_a_client_ends_the_guest() {
    let Some(image) = image() else { return };
    for (fault, wanted) in LATER {
        let machine = boot(image, Bus::One, fault);
        machine.serves();
        let mut peer = Peer::connect(machine.guest.port);
        peer.send_new_gpu(&NONCE);
        let (last, _) = machine.refusal();
        assert!(last.contains(wanted), "{fault}: {last}");
    }
}

#[test]
fn a_driver_of_a_branch_without_key_rotation_need_not_have_it() {
    let Some(image) = image() else { return };
    let machine = boot(image, Bus::One, "fault:no-key-rotation");
    machine.serves();
    let calls = machine::calls(&machine.guest.text());
    let unsupported = "nvmlSystemSetConfComputeKeyRotationThresholdInfo 3";
    let sets = calls.iter().filter(|call| call.contains("SetConfCompute"));
    let sets: Vec<&str> = sets.map(String::as_str).collect();
    assert_eq!(sets, [unsupported, SET_READY]);
}
