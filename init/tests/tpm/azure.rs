//! A software TPM provisioned as Azure provisions a vTPM: an RSA key at handle `0x81000003`, a report in NV index
//! `0x01400001`. `tpm2-tools` does the provisioning; the report is any bytes, since PID 1 does not judge it, and no
//! longer than 2048 bytes, the most that this TPM takes.

use std::path::Path;
use std::process::Command;

use cloister_evidence::azure::AzureEvidence;
use cloister_evidence::binding::{Mode, binding};
use cloister_evidence::bundle::CpuKind;
use cloister_evidence::log::{boot_events, predict_pcr15};
use cloister_evidence::tpm::Quote;
use cloister_init::tee::{Tee, Vtpm};

use crate::swtpm::Swtpm;

/// Runs one of `tpm2-tools` against the TPM in `state`.
fn tool(state: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(arguments[0])
        .args(&arguments[1..])
        .current_dir(state)
        .env("TPM2TOOLS_TCTI", "swtpm:path=tpm")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    output.stdout
}

/// Makes key and report.
fn provision(state: &Path, report: &[u8]) {
    let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
    tool(
        state,
        &words(
            "tpm2_createprimary -C o -G rsa2048:rsassa-sha256:null -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign -c ak.ctx",
        ),
    );
    tool(state, &words("tpm2_evictcontrol -C o -c ak.ctx 0x81000003"));
    tool(
        state,
        &words("tpm2_readpublic -c 0x81000003 -f der -o ak.der"),
    );
    std::fs::write(state.join("report"), report).unwrap();
    let size = report.len().to_string();
    let attributes = "ownerread|ownerwrite|authread|authwrite";
    let define = [
        "tpm2_nvdefine",
        "0x01400001",
        "-C",
        "o",
        "-s",
        &size,
        "-a",
        attributes,
    ];
    tool(state, &define);
    tool(state, &words("tpm2_nvwrite 0x01400001 -C o -i report"));
}

#[test]
fn evidence_is_signed_by_the_key_of_the_report_which_goes_with_it() {
    let Some(swtpm) = Swtpm::start() else { return };
    drop(swtpm.connect());
    let report: Vec<u8> = (0..2048u32).map(|at| at.to_le_bytes()[0]).collect();
    provision(swtpm.state(), &report);
    let mut tee = Vtpm::new(swtpm.connect()).unwrap();
    let events = boot_events(b"configuration", "none", "root").unwrap();
    for event in &events {
        tee.extend(event).unwrap();
    }
    let mode = Mode::Leaf {
        not_before: 1,
        not_after: 2,
    };
    let report_data = binding(&mode, &[7; 32], b"devices", b"log").report_data();
    let section = tee.evidence(&report_data).unwrap();
    assert_eq!(section.kind, CpuKind::Azure);
    let evidence = AzureEvidence::decode(&section.value).unwrap();
    assert_eq!(evidence.hcl_report, report);
    assert_eq!(evidence.pcrs.get(15), Some(&predict_pcr15(&events)));
    let quote = Quote::parse(&evidence.attest).unwrap();
    assert_eq!(quote.extra_data, report_data.qualifying_data());
    assert_eq!(quote.pcr_digest, evidence.pcrs.digest());

    // TPMT_SIGNATURE: RSASSA (0014), SHA-256 (000b), TPM2B of 256 bytes.
    let (head, signature) = evidence.signature.split_at(6);
    assert_eq!(head, [0, 0x14, 0, 0x0b, 1, 0]);
    let state = swtpm.state();
    std::fs::write(state.join("attest"), &evidence.attest).unwrap();
    std::fs::write(state.join("signature"), signature).unwrap();
    let verify = [
        "openssl", "dgst", "-sha256", "-keyform", "der", "-verify", "ak.der",
    ];
    let said = tool(
        state,
        &[&verify[..], &["-signature", "signature", "attest"]].concat(),
    );
    assert_eq!(said, b"Verified OK\n");
}
