//! Differential tests against the `sev` crate, an outside implementation.

use proptest::prelude::*;
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use sev::parser::ByteParser;
use sha2::{Digest as _, Sha256};

use super::{launched, *};

const MODELS: [(CpuType, &str); 12] = [
    (CpuType::Epyc, "EPYC"),
    (CpuType::EpycV1, "EPYC-v1"),
    (CpuType::EpycIBPB, "EPYC-IBPB"),
    (CpuType::EpycV4, "EPYC-v4"),
    (CpuType::EpycRomeV3, "EPYC-Rome-v3"),
    (CpuType::EpycMilan, "EPYC-Milan"),
    (CpuType::EpycGenoaV1, "EPYC-Genoa-v1"),
    (CpuType::EpycRome, "EPYC-Rome"),
    (CpuType::EpycMilanV2, "EPYC-Milan-v2"),
    (CpuType::EpycGenoa, "EPYC-Genoa"),
    (CpuType::EpycTurin, "EPYC-Turin"),
    (CpuType::EpycTurinV2, "EPYC-Turin-v2"),
];

struct Direct {
    kernel: Vec<u8>,
    initrd: Option<Vec<u8>>,
    command_line: String,
}

fn by_sev(
    image: &[u8],
    direct: Option<&Direct>,
    cpu: CpuType,
    features: u64,
    vcpus: u32,
    vmm: VMMType,
) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let digest = snp_calc_launch_digest(SnpMeasurementArgs {
        vcpus,
        vcpu_type: cpu,
        ovmf_file: put("ovmf", image),
        guest_features: GuestFeatures::from_bytes(&features.to_le_bytes()).unwrap(),
        kernel_file: direct.map(|direct| put("kernel", &direct.kernel)),
        initrd_file: direct.and_then(|d| d.initrd.as_ref().map(|bytes| put("initrd", bytes))),
        append: direct.map(|direct| direct.command_line.as_str()),
        ovmf_hash_str: None,
        vmm_type: Some(vmm),
    });
    digest
        .map(|digest| digest.get_hex_ld())
        .map_err(|error| error.to_string())
}

fn hashes(direct: &Direct) -> KernelHashes {
    let hash = |bytes: &Vec<u8>| Sha256::digest(bytes).into();
    let initrd = direct.initrd.as_ref().map(hash);
    KernelHashes::new(hash(&direct.kernel), initrd, direct.command_line.as_bytes())
}

fn sections() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    let memory = (
        0_u32..0x8000,
        0_u32..20,
        prop::sample::select(vec![1_u32, 4]),
    )
        .prop_map(|(gpa, pages, kind)| (gpa << 12, pages << 12, kind));
    let single = (0_u32..0x8000, prop::sample::select(vec![2_u32, 3]))
        .prop_map(|(gpa, kind)| (gpa << 12, 0x1000, kind));
    prop::collection::vec(prop_oneof![memory, single], 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Command lines of any kind: `sev` trims them, so it is asked for the same digest as of the trimmed one here.
    #[test]
    fn launch_digest_equals_the_sev_crate(
        mut sections in sections(),
        place in 0_usize..8,
        pages in 1_usize..4,
        table in 0_u32..=(0x1000 - 176),
        kernel in prop::collection::vec(any::<u8>(), 0..100),
        initrd in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        command_line in "[^\0]{0,40}",
        direct in any::<bool>(),
        ap_reset in 1_u32..,
        (model, features, vcpus) in (0_usize..MODELS.len(), any::<u64>(), 1_u32..20),
    ) {
        sections.insert(place.min(sections.len()), (0x810000, 0x1000, 0x10));
        let image = image(pages, Some(ap_reset), Some(0x810000 + table), &sections);
        let direct = direct.then_some(Direct { kernel, initrd, command_line });
        let firmware = Ovmf::from_image(&image).unwrap();
        let (cpu, name) = MODELS[model];
        let wanted = by_sev(&image, direct.as_ref(), cpu, features, vcpus, VMMType::QEMU);
        let trimmed = direct.map(|direct| Direct {
            command_line: direct.command_line.trim().to_owned(),
            ..direct
        });
        let inputs = LaunchInputs {
            kernel: trimmed.as_ref().map(hashes),
            vcpu: name.parse().unwrap(),
            sev_features: features,
            ..inputs(&firmware)
        };
        prop_assert_eq!(Ok(launched(&inputs, vcpus).unwrap().to_string()), wanted);
    }

    #[test]
    fn ovmf_never_panics_on_damaged_images(
        damage in prop::collection::vec((0_usize..1024, any::<u8>()), 0..20),
        cut in 0_usize..4096,
    ) {
        let mut image = image(1, Some(1), Some(0x810000), &FULL);
        for (offset, byte) in damage {
            let at = image.len() - 1 - offset;
            image[at] = byte;
        }
        drop(Ovmf::from_image(&image));
        drop(Ovmf::from_tables(&image[cut..], LaunchDigest([0; 48])));
    }
}

/// The differences that `docs/measurement-snp.md` lists; each is decided there.
#[test]
fn launch_digest_differs_from_the_sev_crate_where_the_documentation_says() {
    let cpu = CpuType::EpycV4;
    let with = |ap_reset, sections: &[_]| image(1, ap_reset, Some(0x810c00), sections);
    let own = |image: &[u8], host, command_line: Option<&str>, vcpus| {
        let firmware = Ovmf::from_image(image).unwrap();
        let kernel = command_line
            .map(|text| KernelHashes::new(Sha256::digest(b"k").into(), None, text.as_bytes()));
        let host = HostProfile::named(host).unwrap();
        let inputs = LaunchInputs {
            kernel,
            host,
            ..inputs(&firmware)
        };
        launched(&inputs, vcpus).map(|digest| digest.to_string())
    };
    let spaced = Direct {
        kernel: b"k".to_vec(),
        initrd: None,
        command_line: "quiet ".to_owned(),
    };
    let good = with(Some(0x80b004), &FULL);
    let sev = |image, direct, vcpus, vmm| by_sev(image, direct, cpu, 1, vcpus, vmm);
    // White space at the ends of the command line.
    let spaced = sev(&good, Some(&spaced), 1, VMMType::QEMU).unwrap();
    assert_eq!(own(&good, "qemu", Some("quiet"), 1), Ok(spaced.clone()));
    assert_ne!(own(&good, "qemu", Some("quiet "), 1), Ok(spaced));
    // RDX on EC2 since 2026.
    let ec2 = sev(&good, None, 1, VMMType::EC2).unwrap();
    assert_ne!(own(&good, "ec2", None, 1), Ok(ec2));
    // Sections of unknown type.
    let unknown = with(Some(1), &[FULL[1], (0x900000, 0x1000, 0x77)]);
    assert!(sev(&unknown, None, 1, VMMType::QEMU).is_err());
    assert!(own(&unknown, "qemu", None, 1).is_ok());
    // No AP reset address: `sev` leaves the other vCPUs out.
    let silent = with(Some(0), &FULL);
    let one = sev(&silent, None, 1, VMMType::QEMU);
    assert_eq!(sev(&silent, None, 2, VMMType::QEMU), one);
    assert_eq!(own(&silent, "qemu", None, 1).ok(), one.ok());
    assert_eq!(
        own(&silent, "qemu", None, 2),
        Err(LaunchError::NoApReset { found: 2 })
    );
}
