//! The shared vectors under `snp/`; their origin is in the README beside them.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{launched, *};
use crate::digest::Digest;
use crate::vectors;

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap()
}

fn digest48(text: &str) -> LaunchDigest {
    let Ok(Digest::Sha384(bytes)) = text.parse() else {
        panic!("{text}")
    };
    LaunchDigest(bytes)
}

fn hash32(text: &str) -> [u8; 32] {
    let Ok(Digest::Sha256(bytes)) = text.parse() else {
        panic!("{text}")
    };
    bytes
}

/// Firmware by its name in the vectors: tables from the last 4 KiB, digest of its pages as recorded.
fn from_tables(directory: &Path, name: &str) -> Ovmf {
    let metadata = vectors::json(directory, "snp/firmware-metadata.json");
    let tail = std::fs::read(directory.join(format!("snp/{name}.tables4k.bin"))).unwrap();
    Ovmf::from_tables(&tail, digest48(text(&metadata[name], "ovmf_hash_seed"))).unwrap()
}

fn host(row: &Value) -> &'static HostProfile {
    HostProfile::named(&text(row, "vmm").to_lowercase()).unwrap()
}

fn with<'a>(firmware: &'a Ovmf, row: &Value, kernel: Option<KernelHashes>) -> LaunchInputs<'a> {
    let signature = VcpuSignature(u32::try_from(number(row, "vcpu_sig")).unwrap());
    let sev_features = number(row, "guest_features");
    LaunchInputs {
        firmware,
        kernel,
        host: host(row),
        vcpu: signature,
        sev_features,
    }
}

/// Origin: sev-snp-measure 0.0.13; QEMU rows also sev 8.0.0.
#[test]
fn launch_digests_equal_the_debian_amdsev_vectors() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let file = vectors::json(&directory, "snp/launch-digests-debian-amdsev.json");
    let firmware = from_tables(&directory, text(&file, "firmware"));
    let kernel = KernelHashes::new(
        hash32(text(&file["kernel"], "sha256")),
        Some(hash32(text(&file["initrd"], "sha256"))),
        text(&file, "cmdline").as_bytes(),
    );
    let rows = file["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 151);
    assert_eq!(
        rows.iter().filter(|row| text(row, "vmm") == "QEMU").count(),
        51
    );
    for row in rows {
        let kernel = row["kernel"].as_bool().unwrap().then_some(kernel);
        let vcpus = u32::try_from(number(row, "vcpus")).unwrap();
        let found = launched(&with(&firmware, row, kernel), vcpus);
        assert_eq!(found, Ok(digest48(text(row, "launch_digest"))), "{row}");
        let model = text(row, "vcpu_type").parse::<VcpuSignature>().unwrap();
        assert_eq!(u64::from(model.0), number(row, "vcpu_sig"));
    }
}

/// Origin: typed from the research notes: run of sev-snp-measure 0.0.13 and sev 8.0.0 with Debian ovmf-amdsev 2026.08+ds-2
/// (sha256 3e4fd0b3...), kernel 6.12.107-1 cloud, 64 MiB zero initrd, `console=ttyS0 loglevel=7`, EPYC-v4, features 1.
/// The seed is that firmware's `sev-snp-measure --mode snp:ovmf-hash`.
#[test]
fn launch_digests_equal_the_typed_debian_facts() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let firmware = from_tables(&directory, "debian-ovmf-amdsev-2026.08+ds-2");
    let mut inputs = inputs(&firmware);
    inputs.kernel = Some(KernelHashes::new(
        hash32("d1bc2c60a78ae6979736d081bc3c90e45ace6baf414f767dff588e319d3492bd"),
        Some(hash32(
            "3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351",
        )),
        b"console=ttyS0 loglevel=7",
    ));
    for (vcpus, wanted) in [
        (
            1,
            "8886b41a4745fb9dc792b35abf7621e11c64cb815a6f4ead63732bce47701a6aee2c1a8143654283f3361c6d61dcef82",
        ),
        (
            64,
            "73c20e0090c4474d44a4bcf55395e52ed2ccddd5b57fb859f32d437154c6c8cac2c0ad7b325e66611fb3f7327d80bd85",
        ),
    ] {
        assert_eq!(launched(&inputs, vcpus), Ok(digest48(wanted)));
    }
}

/// Origin: sev-snp-measure 0.0.13 over random-filled images made for the vectors.
#[test]
fn launch_digests_equal_the_synthetic_vectors() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let file = vectors::json(&directory, "snp/launch-digests-synthetic.json");
    let kernel: [u8; 32] = Sha256::digest(b"synthetic kernel bytes ".repeat(1000)).into();
    let initrd: [u8; 32] = Sha256::digest(b"\0initrd".repeat(777)).into();
    let rows = file["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 117);
    for row in rows {
        let image = std::fs::read(directory.join("snp").join(text(row, "firmware"))).unwrap();
        let firmware = Ovmf::from_image(&image).unwrap();
        let initrd = (row["initrd"].as_str() == Some("i1")).then_some(initrd);
        let command_line = row["cmdline"].as_str().unwrap_or_default();
        let kernel = row["kernel"]
            .as_str()
            .map(|_| KernelHashes::new(kernel, initrd, command_line.as_bytes()));
        let vcpus = u32::try_from(number(row, "vcpus")).unwrap();
        let found = launched(&with(&firmware, row, kernel), vcpus);
        assert_eq!(found, Ok(digest48(text(row, "launch_digest"))), "{row}");
    }
}

/// Origin: sev-snp-measure 0.0.13 on Debian firmware without a hash page.
#[test]
fn launch_digests_equal_the_vectors_of_other_firmware() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let rows = vectors::json(&directory, "snp/launch-digests-other-firmware.json");
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let firmware = from_tables(&directory, text(row, "firmware"));
        let vcpu = text(row, "vcpu_type").parse().unwrap();
        let sev_features = number(row, "guest_features");
        let inputs = LaunchInputs {
            firmware: &firmware,
            kernel: None,
            host: host(row),
            vcpu,
            sev_features,
        };
        let vcpus = u32::try_from(number(row, "vcpus")).unwrap();
        assert_eq!(
            launched(&inputs, vcpus),
            Ok(digest48(text(row, "launch_digest"))),
            "{row}"
        );
        let kernel = Some(KernelHashes::new([0; 32], None, b""));
        let refused = launched(&LaunchInputs { kernel, ..inputs }, vcpus);
        assert_eq!(refused, Err(LaunchError::NoKernelHashes));
    }
}

/// Origin: sev-snp-measure 0.0.13; GCE also gce-tcb-verifier's register list.
#[test]
fn vmsa_pages_equal_the_shared_vectors() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    let file = vectors::json(&directory, "snp/vmsa-pages.json");
    let pages = file["pages"].as_object().unwrap();
    assert_eq!(pages.len(), 6);
    for (name, page) in pages {
        let (host, role) = name.rsplit_once('-').unwrap();
        let boot = role == "bsp";
        let eip = if boot { 0xffff_fff0 } else { 0x80b004 };
        let vcpu = Vcpu {
            boot,
            eip,
            signature: VcpuSignature(0x800f12),
            sev_features: 1,
        };
        let found = vmsa_page(HostProfile::named(&host.to_lowercase()).unwrap(), &vcpu);
        let mut wanted = [0; PAGE_SIZE];
        for run in page["nonzero"].as_array().unwrap() {
            let offset = run[0].as_str().unwrap().trim_start_matches("0x");
            let offset = usize::from_str_radix(offset, 16).unwrap();
            let bytes = hex::decode(run[1].as_str().unwrap()).unwrap();
            wanted[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        let different = (0..PAGE_SIZE).find(|&offset| found[offset] != wanted[offset]);
        assert_eq!(different, None, "{name}");
    }
}
