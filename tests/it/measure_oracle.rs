//! Launch digests of the demo against `sev-snp-measure`, an independent implementation.

use std::process::Command;

use crate::images;
use crate::program::{repository, said};

#[test]
fn launch_digests_equal_those_of_sev_snp_measure() {
    let out = &images::demo().out;
    let text = std::fs::read(out.join("measurements/qemu-snp.json")).expect("reference values");
    let reference =
        cloister_measure::reference::ReferenceValues::from_json(&text).expect("reference values");
    let tool = repository().join("target/venv/bin/sev-snp-measure");
    assert!(
        tool.is_file(),
        "no {}: run scripts/test.sh once",
        tool.display()
    );
    let command_line = std::fs::read_to_string(out.join("cmdline")).expect("command line");
    let models = ["EPYC-v4", "EPYC-Milan-v2", "EPYC-Genoa"];
    for (model, vcpus) in models
        .into_iter()
        .flat_map(|model| [1, 2, 64].map(|vcpus| (model, vcpus)))
    {
        let output = Command::new(&tool)
            .args([
                "--mode",
                "snp",
                "--vcpu-type",
                model,
                "--vcpus",
                &vcpus.to_string(),
            ])
            .arg("--ovmf")
            .arg(out.join("firmware/OVMF.amdsev.fd"))
            .arg("--kernel")
            .arg(out.join("kernel"))
            .arg("--initrd")
            .arg(out.join("initrd"))
            .args([
                "--append",
                command_line.trim_end_matches(['\n', '\0']),
                "--guest-features",
                "0x1",
            ])
            .output()
            .expect("sev-snp-measure starts");
        let oracle = said(output);
        assert_eq!(oracle.code, 0, "{oracle:#?}");
        let own = reference
            .launch_digest(model, vcpus)
            .unwrap_or_else(|| panic!("no value for {model}, {vcpus}"));
        assert_eq!(
            oracle.stdout.trim(),
            own.to_string(),
            "{model}, {vcpus} vCPUs"
        );
        println!("{model} {vcpus} {own}");
    }
}
