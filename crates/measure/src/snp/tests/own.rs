//! The vectors in `tests/vectors/snp`, made by sev-snp-measure 0.0.13; `make.py` there made the firmware too.

use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{launched, *};
use crate::digest::Digest;
use crate::vectors;

pub(super) fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/snp")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(directory().join(name)).unwrap()
}

fn by_row(firmware: &Ovmf, row: &Value) -> LaunchDigest {
    let hash = |name| Sha256::digest(read(name)).into();
    let initrd = (row["initrd"] == true).then(|| hash("initrd"));
    let kernel = row["cmdline"]
        .as_str()
        .map(|text| KernelHashes::new(hash("kernel"), initrd, text.as_bytes()));
    let inputs = LaunchInputs {
        firmware,
        kernel,
        host: HostProfile::named(row["host"].as_str().unwrap()).unwrap(),
        vcpu: row["vcpu-model"].as_str().unwrap().parse().unwrap(),
        sev_features: row["guest-features"].as_u64().unwrap(),
    };
    launched(
        &inputs,
        u32::try_from(row["vcpus"].as_u64().unwrap()).unwrap(),
    )
    .unwrap()
}

#[test]
fn launch_digests_equal_the_vectors_of_this_repository() {
    let file = vectors::json(&directory(), "launch-digests.json");
    let image = read("enforcing.fd");
    let whole = Ovmf::from_image(&image).unwrap();
    assert_eq!(
        whole.seed().to_string(),
        file["firmware-digest"].as_str().unwrap()
    );
    let tail = Ovmf::from_tables(&image[image.len() - 1000..], whole.seed()).unwrap();
    assert_eq!(tail, whole);
    let rows = file["rows"].as_array().unwrap();
    for row in rows {
        let wanted: Digest = row["digest"].as_str().unwrap().parse().unwrap();
        assert_eq!(Digest::from(by_row(&whole, row)), wanted, "{row}");
    }
    assert_eq!(rows.len(), 36);
}

#[test]
fn enforcement_is_told_apart_in_the_vectors_of_this_repository() {
    assert_eq!(check_enforcement(&read("enforcing.fd")), Ok(()));
    let refused = Err(EnforcementError::NotEnforced { executables: 2 });
    assert_eq!(check_enforcement(&read("not-enforcing.fd")), refused);
}

/// QEMU launches section types that it does not know as zero pages (`target/i386/sev.c`, default branch).
#[test]
fn launch_takes_unknown_sections_as_zero_pages() {
    let firmware = Ovmf::from_image(&read("unknown-section.fd")).unwrap();
    let unknown: Vec<&Section> = firmware.unknown_sections().collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!((unknown[0].gpa, unknown[0].size), (0x900000, 0x2000));
    let account = transcript(&inputs(&firmware), 1).unwrap();
    let step = &account.steps[account.steps.len() - 2];
    assert_eq!(step.what, "ZERO pages 0x900000 to 0x902000");
    assert_eq!(step.input, "SEV metadata unknown type 0x77");
}

#[test]
fn launch_on_genoa_at_google_differs_in_the_place_of_vmsa_pages_alone() {
    let firmware = Ovmf::from_image(&read("enforcing.fd")).unwrap();
    let account = |name| {
        let host = HostProfile::named(name).unwrap();
        assert!(!host.measures_vcpu_model());
        transcript(
            &LaunchInputs {
                host,
                ..inputs(&firmware)
            },
            2,
        )
        .unwrap()
    };
    let (milan, genoa) = (account("gce"), account("gce-genoa"));
    let (left, right) = milan
        .first_difference(&genoa, &Register::LaunchDigest)
        .unwrap();
    assert_eq!(left.unwrap().what, "VMSA page 0xfffffffff000");
    assert_eq!(right.unwrap().what, "VMSA page 0xffffffffff000");
    assert_eq!(left.unwrap().digest, right.unwrap().digest);
}
