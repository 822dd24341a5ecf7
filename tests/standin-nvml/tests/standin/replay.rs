//! Recordings: a report comes back for its own nonce, or for every nonce where the configuration says so, and never patched.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_gpu_helper::record::{Cause, Evidence, Failure, Record, Request};

use crate::machine::Machine;

/// Folder, report in hex, chain in PEM, and the nonce of NVIDIA's own parse: `expected.json` of the vectors.
const RECORDINGS: [(&str, &str, &str, &str); 3] = [
    (
        "a-545-complete",
        "attestationReport.txt",
        "gpuAkCertChain.txt",
        "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e",
    ),
    (
        "b-550.90.07",
        "hopperAttestationReport.txt",
        "hopperCertChain.txt",
        "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb",
    ),
    (
        "c-580.159.03",
        "hopperAttestationReport.txt",
        "hopperCertChain.txt",
        "5bb22e377702d4e1e8215a903ba094826b9ac7f731dee1fe8102958bf2840aca",
    ),
];

/// The shared vectors; `None`, said in words, where there are no vectors.
fn vectors() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = ["../shared/vectors/gpu", "../../shared/vectors/gpu"];
    let found = places.map(|place| workspace.join(place));
    let found = found.into_iter().find(|place| place.is_dir());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no vectors, and CI is set"
        );
        println!("skipped: no vectors of GPUs");
    }
    found
}

#[test]
fn recordings_come_back_for_their_nonces_alone() {
    let Some(vectors) = vectors() else { return };
    for (folder, report, chain, nonce) in RECORDINGS {
        let read = |name: &str| fs::read_to_string(vectors.join(folder).join(name)).expect(name);
        let report = hex::decode(read(report).trim()).expect("hex");
        let mut request = [0; 32];
        hex::decode_to_slice(nonce, &mut request).expect("hex");
        replayed(report, read(chain).into_bytes(), request);
    }
}

/// Asks a stand-in with this recording for its nonce and for another one, in both modes.
fn replayed(report: Vec<u8>, chain: Vec<u8>, nonce: [u8; 32]) {
    let whole = Record::Evidence(vec![Evidence {
        report: report.clone(),
        chain: chain.clone(),
    }]);
    let refused = Record::Failed(Failure {
        call: "nvmlDeviceGetConfComputeGpuAttestationReport".to_owned(),
        cause: Cause::Code(6),
    });
    for (any, other) in [("no", &refused), ("yes", &whole)] {
        let files = tempfile::TempDir::new().expect("a folder");
        let [binary, pem] = ["report", "chain"].map(|name| files.path().join(name));
        fs::write(&binary, &report).expect("report");
        fs::write(&pem, &chain).expect("chain");
        let (binary, pem) = (binary.display(), pem.display());
        let lines = format!(
            "driver 545.00\nvbios 96.00.5e.00.01\nreport {binary}\nchain {pem}\nany-nonce {any}\n"
        );
        let asked = |nonce| [Request::Probe, Request::Evidence { nonce }];
        let machine = Machine::told(&lines);
        assert_eq!(machine.ask(&asked(nonce)).0[1], whole, "{any}");
        assert_eq!(&machine.ask(&asked([1; 32])).0[1], other, "{any}");
    }
}
