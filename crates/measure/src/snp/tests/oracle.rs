//! Differential tests against the `sev` crate, an outside implementation.

use proptest::prelude::*;
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use sev::parser::ByteParser;
use sha2::{Digest as _, Sha256};

use super::firmware::{RESET, Tables};
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

#[derive(Debug, Clone)]
struct Direct {
    kernel: Vec<u8>,
    initrd: Option<Vec<u8>>,
    command_line: String,
}

/// A launch that differs in nothing but its host.
#[derive(Clone, Copy)]
struct Launch<'a> {
    image: &'a [u8],
    /// Digest of the image's pages, where it is not to be computed from them.
    pages: Option<LaunchDigest>,
    direct: Option<&'a Direct>,
    vcpu: (CpuType, &'a str),
    features: u64,
    vcpus: u32,
}

impl Launch<'_> {
    fn by_sev(&self, vmm: VMMType) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let initrd = self.direct.and_then(|direct| direct.initrd.as_ref());
        let pages = self.pages.map(|digest| digest.to_string());
        let launch = || {
            snp_calc_launch_digest(SnpMeasurementArgs {
                vcpus: self.vcpus,
                vcpu_type: self.vcpu.0,
                ovmf_file: put("ovmf", self.image),
                guest_features: GuestFeatures::from_bytes(&self.features.to_le_bytes()).unwrap(),
                kernel_file: self.direct.map(|direct| put("kernel", &direct.kernel)),
                initrd_file: initrd.map(|bytes| put("initrd", bytes)),
                append: self.direct.map(|direct| direct.command_line.as_str()),
                ovmf_hash_str: pages.as_deref(),
                vmm_type: Some(vmm),
            })
        };
        // It asserts where it could refuse.
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(launch));
        said.ok()?.ok().map(|digest| digest.get_hex_ld())
    }

    fn here(&self, host: &HostProfile) -> Result<String, String> {
        let firmware = match self.pages {
            Some(pages) => Ovmf::from_tables(self.image, pages),
            None => Ovmf::from_image(self.image),
        };
        let firmware = firmware.map_err(|error| error.to_string())?;
        let inputs = LaunchInputs {
            firmware: &firmware,
            kernel: self.direct.map(hashes),
            host,
            vcpu: self.vcpu.1.parse().unwrap(),
            sev_features: self.features,
        };
        let digest = launched(&inputs, self.vcpus).map_err(|error| error.to_string())?;
        Ok(digest.to_string())
    }
}

/// EC2 as `sev` has it: RDX was 0 before 2026.
fn ec2_of_sev() -> HostProfile {
    HostProfile {
        name: "ec2 of sev 8.0.0",
        rdx: Some(0),
        ..*HostProfile::named("ec2").unwrap()
    }
}

fn hashes(direct: &Direct) -> KernelHashes {
    let hash = |bytes: &Vec<u8>| Sha256::digest(bytes).into();
    let initrd = direct.initrd.as_ref().map(hash);
    KernelHashes::new(hash(&direct.kernel), initrd, direct.command_line.as_bytes())
}

/// Sections of any order and place; at most one page where `sev` takes one whatever the size.
fn sections() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    let memory = (0_u32..0x80000, 0_u32..20, prop::sample::select(vec![1, 4]));
    let memory = memory.prop_map(|(gpa, pages, kind)| (gpa << 12, pages << 12, kind));
    let single = (0_u32..0x80000, prop::sample::select(vec![2, 3, 0x10]));
    let single = single.prop_map(|(gpa, kind)| (gpa << 12, 0x1000, kind));
    prop::collection::vec(prop_oneof![memory, single], 0..8)
}

/// Tables in any order with entries that nobody knows, and where in the first hash page the table of hashes is.
fn tables() -> impl Strategy<Value = Tables> {
    let unknown = (any::<u128>(), prop::collection::vec(any::<u8>(), 0..40));
    let unknown =
        unknown.prop_map(|(name, data)| (crate::ovmf_table::guid_text(name.to_le_bytes()), data));
    let unknown = prop::collection::vec(unknown, 0..3);
    let place = 0_u32..=(0x1000 - 176);
    (
        sections(),
        1_u32..,
        place,
        unknown,
        400_usize..3000,
        any::<prop::sample::Index>(),
    )
        .prop_map(|(sections, ap_reset, place, unknown, gap, shift)| {
            let page = sections.iter().find(|(_, _, kind)| *kind == 0x10);
            let table = page.map_or(0, |(gpa, _, _)| gpa + place);
            let mut tables = Tables::new(Some(ap_reset), Some(table), &sections);
            tables.entries.extend(unknown);
            let shift = shift.index(tables.entries.len());
            tables.entries.rotate_left(shift);
            Tables { gap, ..tables }
        })
}

fn direct() -> impl Strategy<Value = Direct> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    (bytes(), prop::option::of(bytes()), "[^\0]{0,40}").prop_map(
        |(kernel, initrd, command_line)| Direct {
            kernel,
            initrd,
            command_line,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Tables, files, command lines, models, features and counts of any kind, on QEMU and EC2. `sev` trims command lines, so
    /// it is asked for the same digest as of the trimmed one here. Firmware without a hash page boots from disk.
    #[test]
    fn launch_digest_equals_the_sev_crate(
        tables in tables(),
        pages in 1_usize..4,
        direct in prop::option::of(direct()),
        model in prop::sample::select(MODELS.to_vec()),
        features in any::<u64>(),
        vcpus in 1_u32..20,
    ) {
        let hash_page = tables.sections.iter().any(|(_, _, kind)| *kind == 0x10);
        let direct = direct.filter(|_| hash_page);
        let trimmed = direct.clone().map(|direct| Direct {
            command_line: direct.command_line.trim().to_owned(),
            ..direct
        });
        let image = tables.image(pages);
        let launch = Launch { image: &image, pages: None, direct: direct.as_ref(), vcpu: model, features, vcpus };
        let trimmed = Launch { direct: trimmed.as_ref(), ..launch };
        let qemu = HostProfile::named("qemu").unwrap();
        prop_assert_eq!(trimmed.here(qemu).ok(), launch.by_sev(VMMType::QEMU));
        prop_assert!(trimmed.here(qemu).is_ok());
        prop_assert_eq!(trimmed.here(&ec2_of_sev()).ok(), launch.by_sev(VMMType::EC2));
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

const MEMORY: (u32, u32, u32) = (0x800000, 0x2000, 1);
const HASH_PAGE: (u32, u32, u32) = (0x810000, 0x1000, 0x10);

fn with(sections: &[(u32, u32, u32)]) -> Tables {
    Tables::new(Some(0x80b004), Some(0x810c00), sections)
}

/// Digest of firmware pages that are the same for all tables, so that tables alone decide.
const PAGES: LaunchDigest = LaunchDigest([0x5a; 48]);

fn plain<'a>(image: &'a [u8], direct: Option<&'a Direct>, vcpus: u32) -> Launch<'a> {
    Launch {
        image,
        pages: Some(PAGES),
        direct,
        vcpu: (CpuType::EpycV4, "EPYC-v4"),
        features: 1,
        vcpus,
    }
}

/// The differences in tables that `docs/measurement-snp.md` lists, where each is decided. What is right is what `sev` says of
/// tables that say the same in a way that it understands.
#[test]
fn launch_digest_differs_from_the_sev_crate_in_the_tables_that_the_documentation_names() {
    let two_pages = |kind| (0x80d000, 0x2000, kind);
    let both = |kind| [(0x80d000, 0x1000, kind), (0x80e000, 0x1000, kind)];
    let mut twice = with(&[MEMORY]);
    let farther = (RESET.to_owned(), 0x1000_u32.to_le_bytes().to_vec());
    twice.entries.insert(0, farther);
    let cases = [
        (
            "two pages of secrets",
            with(&[two_pages(2)]),
            with(&both(2)),
        ),
        ("two pages of CPUID", with(&[two_pages(3)]), with(&both(3))),
        (
            "no page of secrets",
            with(&[MEMORY, (0x80d000, 0, 2)]),
            with(&[MEMORY]),
        ),
        (
            "no page of CPUID",
            with(&[MEMORY, (0x80d000, 0, 3)]),
            with(&[MEMORY]),
        ),
        (
            "unknown type",
            with(&[(0x900000, 0x1000, 0x77)]),
            with(&[(0x900000, 0x1000, 1)]),
        ),
        (
            "type above a byte",
            with(&[(0x900000, 0x1000, 0x102)]),
            with(&[(0x900000, 0x1000, 1)]),
        ),
        ("entry twice", twice, with(&[MEMORY])),
    ];
    let qemu = HostProfile::named("qemu").unwrap();
    for (what, tables, same) in cases {
        let (image, same) = (tables.image(1), same.image(1));
        let (launch, same) = (plain(&image, None, 2), plain(&same, None, 2));
        let right = same.by_sev(VMMType::QEMU).unwrap();
        assert_eq!(launch.here(qemu), Ok(right.clone()), "{what}");
        assert_ne!(launch.by_sev(VMMType::QEMU), Some(right), "{what}");
    }
}

/// The same for what is refused here or there.
#[test]
fn launch_is_refused_otherwise_than_by_the_sev_crate_where_the_documentation_says() {
    let kernel = Direct {
        kernel: b"k".to_vec(),
        initrd: None,
        command_line: "quiet".to_owned(),
    };
    let kernel = Some(&kernel);
    let elsewhere = Tables::new(Some(1), Some(0x999c00), &[HASH_PAGE]);
    let unaligned = with(&[(0x800001, 0x1000, 2)]);
    let silent = Tables::new(Some(0), None, &[MEMORY]);
    let no_reset = Tables::new(None, None, &[MEMORY]);
    let large = with(&[(0x810000, 0x2000, 0x10)]);
    let refused = |text: &str| Err(text.to_owned());
    let found = |tables: &Tables, direct, vcpus| {
        let image = tables.image(1);
        let launch = plain(&image, direct, vcpus);
        let here = launch.here(HostProfile::named("qemu").unwrap());
        (
            launch.by_sev(VMMType::QEMU),
            here.map_err(|error| error.chars().take(30).collect()),
        )
    };
    let (sev, here) = found(&elsewhere, kernel, 1);
    assert_eq!(
        (sev.is_some(), here),
        (true, refused("firmware looks for kernel hash"))
    );
    let (sev, here) = found(&unaligned, None, 1);
    assert_eq!(
        (sev.is_some(), here),
        (true, refused("SEV metadata section 0 at 0x80"))
    );
    for vcpus in [0, 4097] {
        let (sev, here) = found(&silent, None, vcpus);
        assert_eq!((sev.is_some(), here.is_err()), (true, true), "{vcpus}");
    }
    // `sev` leaves the vCPUs out that have nowhere to start.
    let (one, same) = found(&silent, None, 1);
    assert_eq!(Ok(one.clone().unwrap()), same);
    let (sev, here) = found(&silent, None, 2);
    assert_eq!(
        (sev, here),
        (one.clone(), refused("firmware has no AP reset addre"))
    );
    let (sev, here) = found(&no_reset, None, 1);
    assert_eq!((sev, here.is_ok()), (None, true));
    let (sev, here) = found(&large, kernel, 1);
    assert_eq!((sev, here.is_ok()), (None, true));
}

/// White space and hosts, which are no matter of tables.
#[test]
fn launch_digest_differs_from_the_sev_crate_in_white_space_and_on_ec2() {
    let direct = |text: &str| Direct {
        kernel: b"k".to_vec(),
        initrd: None,
        command_line: text.to_owned(),
    };
    let (plain_line, spaced) = (direct("quiet"), direct("quiet "));
    let image = with(&[MEMORY, HASH_PAGE]).image(1);
    let launch = |direct| plain(&image, Some(direct), 1);
    let qemu = HostProfile::named("qemu").unwrap();
    let trimmed = launch(&spaced).by_sev(VMMType::QEMU).unwrap();
    assert_eq!(launch(&plain_line).here(qemu), Ok(trimmed.clone()));
    assert_ne!(launch(&spaced).here(qemu), Ok(trimmed));
    let ec2 = HostProfile::named("ec2").unwrap();
    let sev = launch(&plain_line).by_sev(VMMType::EC2);
    assert_ne!(launch(&plain_line).here(ec2).ok(), sev);
    assert_eq!(launch(&plain_line).here(&ec2_of_sev()).ok(), sev);
    // Other vCPUs that start where the first does: `sev` takes them for the first.
    let image = Tables::new(Some(0xffff_fff0), None, &[MEMORY]).image(1);
    let launch = plain(&image, None, 2);
    assert_ne!(launch.here(&ec2_of_sev()).ok(), launch.by_sev(VMMType::EC2));
}
