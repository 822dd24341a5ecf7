//! Recordings: a report comes back for its own nonce, or for every nonce where the configuration says so, and never patched.

use std::fs;
use std::path::{Path, PathBuf};

use cloister_gpu_helper::record::{Cause, Evidence, Failure, Record, Request};

use crate::machine::Machine;

/// Recordings of the shared vectors that are hex with PEM beside it; `None`, said in words, where there are no vectors.
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
fn a_recording_comes_back_for_its_nonce_alone() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("a-545-complete");
    let text = fs::read_to_string(folder.join("attestationReport.txt")).expect("a report");
    let report = hex::decode(text.trim()).expect("hex");
    let chain = fs::read(folder.join("gpuAkCertChain.txt")).expect("a chain");
    // Origin: `expected.json` of the vectors, NVIDIA's own parse.
    let mut nonce = [0; 32];
    hex::decode_to_slice(
        "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e",
        &mut nonce,
    )
    .expect("hex");
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
