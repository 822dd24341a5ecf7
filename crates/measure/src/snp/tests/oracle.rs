//! Differential tests against the `sev` crate, an outside implementation.

use proptest::prelude::*;
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use sev::parser::ByteParser;
use sha2::{Digest as _, Sha256};

use super::{launched, *};

const MODELS: [(CpuType, &str); 5] = [
    (CpuType::EpycV4, "EPYC-v4"),
    (CpuType::EpycRome, "EPYC-Rome"),
    (CpuType::EpycMilanV2, "EPYC-Milan-v2"),
    (CpuType::EpycGenoa, "EPYC-Genoa"),
    (CpuType::EpycTurin, "EPYC-Turin"),
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
) -> String {
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
        vmm_type: Some(VMMType::QEMU),
    });
    digest.unwrap().get_hex_ld()
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

    /// The command line has no white space at its ends: `sev` trims it, QEMU does not.
    #[test]
    fn launch_digest_equals_the_sev_crate(
        mut sections in sections(),
        place in 0_usize..8,
        pages in 1_usize..4,
        table in 0_u32..=(0x1000 - 176),
        kernel in prop::collection::vec(any::<u8>(), 0..100),
        initrd in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        command_line in "([a-z=]([a-z0-9 =]{0,30}[a-z=])?)?",
        direct in any::<bool>(),
        (model, features, vcpus) in (0_usize..5, any::<u16>(), 1_u32..20),
    ) {
        sections.insert(place.min(sections.len()), (0x810000, 0x1000, 0x10));
        let image = image(pages, Some(0x80b004), Some(0x810000 + table), &sections);
        let direct = direct.then_some(Direct { kernel, initrd, command_line });
        let firmware = Ovmf::from_image(&image).unwrap();
        let (cpu, name) = MODELS[model];
        let inputs = LaunchInputs {
            kernel: direct.as_ref().map(hashes),
            vcpu: name.parse().unwrap(),
            sev_features: u64::from(features),
            ..inputs(&firmware)
        };
        let wanted = by_sev(&image, direct.as_ref(), cpu, u64::from(features), vcpus);
        prop_assert_eq!(launched(&inputs, vcpus).unwrap().to_string(), wanted);
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
