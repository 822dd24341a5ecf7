mod enforcement;
mod firmware;
mod id_block;
mod oracle;
mod own;
mod volumes;

use std::collections::BTreeSet;

use firmware::image;

use super::*;
use crate::transcript::Register;

fn inputs(firmware: &Ovmf) -> LaunchInputs<'_> {
    let host = HostProfile::named("qemu").unwrap();
    LaunchInputs {
        firmware,
        kernel: None,
        host,
        vcpu: VcpuSignature(0x800f12),
        sev_features: 1,
    }
}

fn launched(inputs: &LaunchInputs<'_>, vcpus: u32) -> Result<LaunchDigest, LaunchError> {
    launch_digests(inputs, &BTreeSet::from([vcpus])).map(|digests| digests[&vcpus])
}

const FULL: [(u32, u32, u32); 5] = [
    (0x800000, 0x9000, 1),
    (0x80d000, 0x1000, 2),
    (0x80e000, 0x1000, 3),
    (0x80f000, 0, 4),
    (0x810000, 0x1000, 16),
];

#[test]
fn launch_digests_are_the_same_alone_and_in_one_chain() {
    let firmware = Ovmf::from_image(&image(4, Some(0x80b004), Some(0x810c00), &FULL)).unwrap();
    let inputs = inputs(&firmware);
    let counts = BTreeSet::from([1, 2, 3, 64, 240]);
    let together = launch_digests(&inputs, &counts).unwrap();
    assert_eq!(together.keys().copied().collect::<BTreeSet<_>>(), counts);
    for (count, digest) in together {
        assert_eq!(launched(&inputs, count), Ok(digest));
    }
    assert_eq!(launch_digests(&inputs, &BTreeSet::new()).unwrap().len(), 0);
}

#[test]
fn transcript_ends_with_the_launch_digest() {
    let firmware = Ovmf::from_image(&image(4, Some(0x80b004), Some(0x810c00), &FULL)).unwrap();
    let mut inputs = inputs(&firmware);
    inputs.kernel = Some(KernelHashes::new([1; 32], None, b"quiet"));
    let transcript = transcript(&inputs, 3).unwrap();
    assert_eq!(transcript.steps.len(), 1 + FULL.len() + 3);
    assert_eq!(
        transcript.steps.last().unwrap().value,
        launched(&inputs, 3).unwrap().into()
    );
    let mut other = inputs;
    other.kernel = Some(KernelHashes::new([1; 32], None, b"quiet "));
    let other = super::transcript(&other, 3).unwrap();
    let (step, _) = transcript
        .first_difference(&other, &Register::LaunchDigest)
        .unwrap();
    assert_eq!(step.unwrap().input, "SEV metadata SNP_KERNEL_HASHES");
}

#[test]
fn launch_refuses_a_kernel_that_firmware_would_not_check() {
    let kernel = Some(KernelHashes::new([1; 32], None, b""));
    let try_with = |hash_table, sections: &[(u32, u32, u32)]| {
        let firmware = Ovmf::from_image(&image(1, Some(0x80b004), hash_table, sections)).unwrap();
        let mut inputs = inputs(&firmware);
        inputs.kernel = kernel;
        launched(&inputs, 1).map(drop)
    };
    assert_eq!(try_with(Some(0x810c00), &FULL), Ok(()));
    assert_eq!(
        try_with(Some(0x810c00), &FULL[..4]),
        Err(LaunchError::NoKernelHashes)
    );
    assert_eq!(
        try_with(None, &FULL),
        Err(LaunchError::HashTableElsewhere {
            found: 0x810000,
            wanted: 0
        })
    );
    assert_eq!(
        try_with(Some(0x811000), &FULL),
        Err(LaunchError::HashTableElsewhere {
            found: 0x810000,
            wanted: 0x811000
        })
    );
    assert_eq!(
        try_with(Some(0x810f60), &FULL),
        Err(LaunchError::HashTableElsewhere {
            found: 0x810000,
            wanted: 0x810f60
        })
    );
}

#[test]
fn launch_refuses_counts_that_no_guest_has() {
    for (ap_reset, vcpus, wanted) in [
        (Some(0x80b004), 0, LaunchError::VcpuCount { found: 0 }),
        (Some(0x80b004), 4097, LaunchError::VcpuCount { found: 4097 }),
        (None, 2, LaunchError::NoApReset { found: 2 }),
        (Some(0), 3, LaunchError::NoApReset { found: 3 }),
    ] {
        let firmware = Ovmf::from_image(&image(1, ap_reset, None, &FULL)).unwrap();
        assert_eq!(launched(&inputs(&firmware), vcpus), Err(wanted));
        assert!(vcpus == 0 || launched(&inputs(&firmware), 1).is_ok());
    }
}

#[test]
fn ovmf_names_what_is_wrong_with_an_image() {
    let good = image(1, Some(1), None, &FULL);
    let parse = |bytes: &[u8]| Ovmf::from_image(bytes).unwrap_err();
    assert_eq!(parse(&good[..4095]), OvmfError::Size { found: 4095 });
    assert_eq!(parse(&[0; 4096]), OvmfError::NoTable);
    assert_eq!(parse(&[]), OvmfError::Size { found: 0 });
    let sections = |sections| parse(&image(1, None, None, sections));
    assert_eq!(
        sections(&[(0x1000, 0x1001, 1)]),
        OvmfError::SectionRange {
            index: 0,
            gpa: 0x1000,
            size: 0x1001
        }
    );
    assert_eq!(
        sections(&[(0, 0x1000, 1), (0xffff_f000, 0x1000, 1)]),
        OvmfError::SectionRange {
            index: 1,
            gpa: 0xffff_f000,
            size: 0x1000
        }
    );
    let mut version = good.clone();
    let at = version
        .windows(4)
        .position(|bytes| bytes == b"ASEV")
        .unwrap();
    version[at + 8] = 2;
    let wanted = OvmfError::Metadata {
        what: "version",
        found: 2,
        wanted: 1,
    };
    assert_eq!(parse(&version), wanted);
    // A length that covers all sections but a byte.
    let mut length = good.clone();
    length[at + 4] = 16 + 12 * 5 - 1;
    let wanted = OvmfError::Metadata {
        what: "length",
        found: 75,
        wanted: 76,
    };
    assert_eq!(parse(&length), wanted);
    version[at..at + 4].copy_from_slice(b"ASEW");
    assert!(matches!(
        parse(&version),
        OvmfError::Metadata {
            what: "signature",
            ..
        }
    ));
}

#[test]
fn vcpu_signature_takes_models_of_any_version_and_plain_hex() {
    for (name, wanted) in [
        ("EPYC", 0x800f12),
        ("EPYC-v4", 0x800f12),
        ("EPYC-IBPB", 0x800f12),
        ("EPYC-Milan-v2", 0xa00f11),
        ("EPYC-Genoa", 0xa10f10),
        ("0xB00F20", 0xb00f20),
    ] {
        assert_eq!(name.parse(), Ok(VcpuSignature(wanted)), "{name}");
    }
    for name in [
        "",
        "epyc",
        "EPYC-v",
        "EPYC-vx",
        "host",
        "0x",
        "0x+1",
        "0x100000000",
    ] {
        let wanted = UnknownVcpuModel {
            name: name.to_owned(),
        };
        assert_eq!(name.parse::<VcpuSignature>(), Err(wanted));
    }
    let error = HostProfile::named("xen").unwrap_err().to_string();
    assert_eq!(
        error,
        "unknown host `xen`: wanted qemu, qemu-before-6.9, ec2, gce, gce-genoa"
    );
}
