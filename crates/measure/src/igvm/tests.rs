mod hostile;

use igvm::measurement::generate_snp_measurement;
use igvm::snp_defs::SevVmsa;
use igvm::{Arch, IgvmRevision};
use igvm_defs::{
    IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SNP_ID_BLOCK_SIGNATURE, IGVM_VHS_SUPPORTED_PLATFORM,
    IgvmPageDataFlags, IgvmPageDataType,
};
use proptest::prelude::*;
use zerocopy::FromZeros;

use super::*;
use crate::transcript::Register;

const SNP: u32 = 1;
const VMSA_GPA: u64 = 0xffff_ffff_f000;
const NORMAL: &str = "84854efa9c16e215d522042b242ebb8f9b47ceed544c0d4e9b62c0032853300da29623703cd4842126a941f457bbe0c2";
const NATIVE: &str = "29ad9fad81bbffa32a86f9450af8d219580885dfc472f3e93afb31373da7b7c3e9068eb18b29d8809397109b4d06144d";
const ID_KEY: &str = "1b70d3593d979e4183f0fab63618fe08b62f3faa3c6f352823df85304f4347bc7f47a964b542c2e8ae6271035b4f5e19";
const AUTHOR_KEY: &str = "249297df85fe9b932c47044d9a44734bdc7ac58b2f7ae301cdb697018aff444b7b2d5253a381d9fca04268719dbdf422";

fn platform(platform_type: IgvmPlatformType, compatibility_mask: u32) -> IgvmPlatformHeader {
    IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
        compatibility_mask,
        highest_vtl: 0,
        platform_type,
        platform_version: 1,
        shared_gpa_boundary: 0,
    })
}

fn page(
    gpa: u64,
    data: &[u8],
    flags: IgvmPageDataFlags,
    data_type: IgvmPageDataType,
) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::PageData {
        gpa,
        compatibility_mask: SNP,
        flags,
        data_type,
        data: data.to_vec(),
    }
}

fn normal(gpa: u64, data: &[u8]) -> IgvmDirectiveHeader {
    page(
        gpa,
        data,
        IgvmPageDataFlags::new(),
        IgvmPageDataType::NORMAL,
    )
}

fn vmsa(gpa: u64, cr0: u64) -> IgvmDirectiveHeader {
    let mut vmsa = SevVmsa::new_box_zeroed().unwrap();
    vmsa.cr0 = cr0;
    IgvmDirectiveHeader::SnpVpContext {
        gpa,
        compatibility_mask: SNP,
        vp_index: 0,
        vmsa,
    }
}

fn area(index: u32, number_of_bytes: u64) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::ParameterArea {
        number_of_bytes,
        parameter_area_index: index,
        initial_data: vec![],
    }
}

fn insert(index: u32, gpa: u64) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
        gpa,
        compatibility_mask: SNP,
        parameter_area_index: index,
    })
}

fn id_block(ld: [u8; 48], author: bool) -> IgvmDirectiveHeader {
    let key = |fill| {
        Box::new(IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY {
            curve: 2,
            reserved: 9,
            qx: [fill; 72],
            qy: [fill + 1; 72],
        })
    };
    let signature = || Box::new(IGVM_VHS_SNP_ID_BLOCK_SIGNATURE::new_zeroed());
    IgvmDirectiveHeader::SnpIdBlock {
        compatibility_mask: SNP,
        author_key_enabled: author.into(),
        reserved: [0; 3],
        ld,
        family_id: [3; 16],
        image_id: [4; 16],
        version: 1,
        guest_svn: 7,
        id_key_algorithm: 1,
        author_key_algorithm: 1,
        id_key_signature: signature(),
        id_public_key: key(1),
        author_key_signature: signature(),
        author_public_key: key(5),
    }
}

fn policy() -> IgvmInitializationHeader {
    IgvmInitializationHeader::GuestPolicy {
        policy: 0x30000,
        compatibility_mask: SNP,
    }
}

fn serialized(platforms: Vec<IgvmPlatformHeader>, directives: Vec<IgvmDirectiveHeader>) -> Vec<u8> {
    let file = IgvmFile::new(IgvmRevision::V1, platforms, vec![policy()], directives).unwrap();
    let mut bytes = Vec::new();
    file.serialize(&mut bytes).unwrap();
    bytes
}

fn file(directives: Vec<IgvmDirectiveHeader>) -> Vec<u8> {
    serialized(vec![platform(IgvmPlatformType::SEV_SNP, SNP)], directives)
}

/// A launch with every kind of page. `tests/vectors/igvm.py` lists the same pages.
fn everything() -> Vec<IgvmDirectiveHeader> {
    let flags = IgvmPageDataFlags::new();
    vec![
        normal(0x10_0000, &[0xaa; 4096]),
        normal(0x10_1000, &[0xbb; 4096]),
        normal(0x10_2000, &[]),
        page(
            0x20_0000,
            &[1; 4096],
            flags.with_unmeasured(true),
            IgvmPageDataType::NORMAL,
        ),
        page(
            0x20_1000,
            &[2; 4096],
            flags.with_shared(true),
            IgvmPageDataType::NORMAL,
        ),
        page(0x20_2000, &[], flags, IgvmPageDataType::SECRETS),
        page(0x20_3000, &[3; 4096], flags, IgvmPageDataType::CPUID_DATA),
        page(0x20_4000, &[], flags, IgvmPageDataType::CPUID_XF),
        area(0, 0x3000),
        insert(0, 0x30_0000),
        vmsa(VMSA_GPA, 0x31),
    ]
}

/// Origin: `tests/vectors/igvm.py`, an independent program.
#[test]
fn launch_digests_under_both_rules_equal_the_independent_values() {
    let igvm = Igvm::parse(&file(everything())).unwrap();
    for (rule, wanted) in [(ZeroPages::Normal, NORMAL), (ZeroPages::Native, NATIVE)] {
        assert_eq!(igvm.launch_digest(rule).to_string(), wanted, "{rule}");
        let transcript = igvm.transcript(rule);
        assert_eq!(
            transcript
                .of(&Register::LaunchDigest)
                .last()
                .unwrap()
                .value
                .to_string(),
            wanted
        );
    }
    let transcript = igvm.transcript(ZeroPages::Normal);
    let what: Vec<&str> = transcript
        .steps
        .iter()
        .map(|step| step.what.as_str())
        .collect();
    assert_eq!(what[0], "NORMAL pages 0x100000 to 0x103000");
    assert_eq!(what[4], "UNMEASURED pages 0x300000 to 0x303000");
    assert_eq!(
        (igvm.policy(), igvm.kvm_findings()),
        (Some(0x30000), vec![])
    );
}

#[test]
fn transcripts_of_the_two_rules_part_at_the_first_page_without_data() {
    let igvm = Igvm::parse(&file(everything())).unwrap();
    let (normal, native) = (
        igvm.transcript(ZeroPages::Normal),
        igvm.transcript(ZeroPages::Native),
    );
    let (_, step) = normal
        .first_difference(&native, &Register::LaunchDigest)
        .unwrap();
    assert_eq!(step.unwrap().what, "NORMAL pages 0x100000 to 0x102000");
    assert_eq!(native.steps[1].what, "ZERO pages 0x102000 to 0x103000");
}

#[test]
fn kvm_findings_name_what_kvm_changes() {
    let findings = |directives| Igvm::parse(&file(directives)).unwrap().kvm_findings();
    let data = || normal(0x1000, &[1; 4096]);
    assert_eq!(findings(vec![data(), vmsa(VMSA_GPA, 0x30)]), []);
    assert_eq!(findings(vec![data()]), [KvmFinding::VmsaCount { found: 0 }]);
    let two = vec![data(), vmsa(VMSA_GPA, 0x31), vmsa(0x5000, 0x10)];
    let wanted = [
        KvmFinding::VmsaAddress { found: 0x5000 },
        KvmFinding::Cr0 { found: 0x10 },
        KvmFinding::VmsaCount { found: 2 },
    ];
    assert_eq!(findings(two), wanted);
    assert_eq!(
        findings(vec![vmsa(VMSA_GPA, 0x31), data()]),
        [KvmFinding::VmsaNotLast]
    );
    assert_eq!(
        findings(vec![area(0, 4096), vmsa(VMSA_GPA, 0x31), insert(0, 0)]),
        [KvmFinding::VmsaNotLast]
    );
}

/// Origin of the key digests: `tests/vectors/igvm.py`.
#[test]
fn id_block_gives_its_facts_and_the_key_digests_of_the_report() {
    let mut directives = everything();
    assert_eq!(
        Igvm::parse(&file(directives.clone())).unwrap().id_block(),
        None
    );
    directives.push(id_block([9; 48], false));
    let block = Igvm::parse(&file(directives.clone()))
        .unwrap()
        .id_block()
        .unwrap();
    assert_eq!(
        (block.launch_digest, block.version, block.guest_svn),
        (Digest::Sha384([9; 48]), 1, 7)
    );
    assert_eq!((block.family_id, block.image_id), ([3; 16], [4; 16]));
    assert_eq!(
        (
            block.id_key_digest.to_string().as_str(),
            block.author_key_digest
        ),
        (ID_KEY, None)
    );
    directives.push(id_block([9; 48], true));
    let block = Igvm::parse(&file(directives)).unwrap().id_block().unwrap();
    assert_eq!(block.author_key_digest.unwrap().to_string(), AUTHOR_KEY);
}

#[test]
fn directives_of_other_platforms_do_not_count() {
    let mut directives = everything();
    let alone = Igvm::parse(&file(directives.clone())).unwrap();
    directives.insert(
        2,
        IgvmDirectiveHeader::PageData {
            gpa: 0x7000,
            compatibility_mask: 2,
            flags: IgvmPageDataFlags::new(),
            data_type: IgvmPageDataType::NORMAL,
            data: vec![7; 4096],
        },
    );
    let platforms = vec![
        platform(IgvmPlatformType::TDX, 2),
        platform(IgvmPlatformType::SEV_SNP, SNP),
    ];
    let both = Igvm::parse(&serialized(platforms, directives)).unwrap();
    for rule in ZeroPages::ALL {
        assert_eq!(both.launch_digest(rule), alone.launch_digest(rule));
    }
    let tdx = serialized(
        vec![platform(IgvmPlatformType::TDX, SNP)],
        vec![normal(0, &[1; 4096])],
    );
    assert_eq!(Igvm::parse(&tdx).unwrap_err(), IgvmError::NotSnp);
}

#[test]
fn large_pages_are_refused() {
    let flags = IgvmPageDataFlags::new().with_is_2mb_page(true);
    let large = file(vec![page(
        0x20_0000,
        &[1; 4096],
        flags,
        IgvmPageDataType::NORMAL,
    )]);
    assert_eq!(
        Igvm::parse(&large).unwrap_err(),
        IgvmError::LargePage { gpa: 0x20_0000 }
    );
}

fn directive() -> impl Strategy<Value = IgvmDirectiveHeader> {
    let types = prop::sample::select(vec![
        IgvmPageDataType::NORMAL,
        IgvmPageDataType::NORMAL,
        IgvmPageDataType::SECRETS,
        IgvmPageDataType::CPUID_DATA,
        IgvmPageDataType::CPUID_XF,
    ]);
    let data = prop::option::of(any::<u8>().prop_map(|byte| vec![byte; 4096]));
    let pages = (0_u64..1 << 40, data, any::<bool>(), any::<bool>(), types).prop_map(
        |(gpa, data, unmeasured, shared, kind)| {
            let flags = IgvmPageDataFlags::new()
                .with_unmeasured(unmeasured)
                .with_shared(shared);
            page(gpa << 12, &data.unwrap_or_default(), flags, kind)
        },
    );
    prop_oneof![4 => pages, 1 => (0_u64..1 << 40, any::<u64>()).prop_map(|(gpa, cr0)| vmsa(gpa << 12, cr0))]
}

proptest! {
    /// The crate's own measurement knows one rule: NORMAL.
    #[test]
    fn launch_digest_equals_that_of_the_crate(
        pages in prop::collection::vec(directive(), 1..20),
        areas in prop::collection::vec((0_u64..9, 0_u64..1 << 40), 0..4),
        second in any::<bool>(),
    ) {
        let mut directives = vec![normal(0, &[1; 4096])];
        for (index, (count, gpa)) in (0..).zip(areas) {
            directives.extend([area(index, count << 12), insert(index, gpa << 12)]);
        }
        directives.extend(pages);
        let revision = if second { IgvmRevision::V2 { arch: Arch::X64, page_size: 4096 } } else { IgvmRevision::V1 };
        let wanted = generate_snp_measurement(&[policy()], &directives, SNP).unwrap();
        let platforms = vec![platform(IgvmPlatformType::SEV_SNP, SNP)];
        let built = IgvmFile::new(revision, platforms, vec![policy()], directives).unwrap();
        let mut bytes = Vec::new();
        built.serialize(&mut bytes).unwrap();
        let found = Igvm::parse(&bytes).unwrap();
        prop_assert_eq!(found.launch_digest(ZeroPages::Normal).0, wanted);
        let last = found.transcript(ZeroPages::Normal).steps.last().map(|step| step.value);
        prop_assert!(last.is_none_or(|value| value == Digest::Sha384(wanted)));
    }
}
