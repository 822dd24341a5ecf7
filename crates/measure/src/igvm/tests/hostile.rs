//! Files that would make the `igvm` crate panic, and files damaged at every byte.

use super::*;

/// Bytes of the fixed header of format version 1.
const FIXED: usize = 24;

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize
}

/// CRC-32 of the fixed header with a checksum of 0, and of the variable headers, as the format has it.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let total = u32::try_from(bytes.len()).unwrap();
    bytes[16..20].copy_from_slice(&total.to_le_bytes());
    bytes[20..24].fill(0);
    let end = number(&bytes, 8)
        .saturating_add(number(&bytes, 12))
        .min(bytes.len());
    let mut crc = u32::MAX;
    for byte in &bytes[..end] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    bytes[20..24].copy_from_slice(&(!crc).to_le_bytes());
    bytes
}

fn small() -> Vec<u8> {
    file(vec![
        normal(0x1000, &[5; 4096]),
        area(0, 4096),
        insert(0, 0x3000),
        vmsa(VMSA_GPA, 0x31),
        id_block([1; 48], true),
    ])
}

/// Where the headers of a type start, the header's own 8 bytes included.
fn header(bytes: &[u8], kind: usize) -> usize {
    let (mut at, end) = (FIXED, FIXED + number(bytes, 12));
    while at < end {
        if number(bytes, at) == kind {
            return at;
        }
        at += 8 + number(bytes, at + 4).next_multiple_of(8);
    }
    panic!("no header {kind:#x}")
}

/// Overwrites a field of the first header of a type and seals the file again.
fn changed(bytes: &[u8], kind: usize, field: usize, value: &[u8]) -> IgvmError {
    let mut bytes = bytes.to_vec();
    let at = header(&bytes, kind) + 8 + field;
    bytes[at..at + value.len()].copy_from_slice(value);
    Igvm::parse(&sealed(bytes)).unwrap_err()
}

fn fault(error: IgvmError) -> HeaderFault {
    match error {
        IgvmError::Header { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn sealing_is_what_the_crate_does() {
    assert_eq!(sealed(small()), small());
}

#[test]
fn truncated_files_give_no_digest() {
    let bytes = small();
    for length in 0..bytes.len() {
        assert!(Igvm::parse(&bytes[..length]).is_err(), "{length}");
        if length >= FIXED {
            assert!(
                Igvm::parse(&sealed(bytes[..length].to_vec())).is_err(),
                "{length}, sealed"
            );
        }
    }
}

/// Unsealed flips in headers never parse. Sealed ones must not panic; where they parse, both rules give a digest.
#[test]
fn every_flipped_byte_ends_in_words() {
    let bytes = small();
    let data = FIXED + number(&bytes, 12);
    let genuine = Igvm::parse(&bytes)
        .unwrap()
        .launch_digest(ZeroPages::Normal);
    let mut parsed = 0;
    for at in 0..data {
        for bit in [1, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            assert!(Igvm::parse(&flipped).is_err(), "{at}");
            if let Ok(igvm) = Igvm::parse(&sealed(flipped)) {
                parsed += 1;
                let _ = ZeroPages::ALL.map(|rule| igvm.launch_digest(rule));
                drop((igvm.id_block(), igvm.kvm_findings(), igvm.policy()));
            }
        }
    }
    assert!(parsed > 500, "{parsed}");
    for at in (data..bytes.len()).step_by(61) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let found = Igvm::parse(&flipped).map(|igvm| igvm.launch_digest(ZeroPages::Normal));
        assert_ne!(found, Ok(genuine), "{at}");
    }
}

#[test]
fn fixed_headers_that_lie_are_refused() {
    let bytes = small();
    let set = |at: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        match Igvm::parse(&bytes).unwrap_err() {
            IgvmError::Fixed { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(set(0, 0), "magic");
    assert_eq!([set(4, 0), set(4, 3)], ["format version"; 2]);
    assert_eq!(set(16, 7), "total file size");
    assert_eq!([set(8, 0), set(8, u32::MAX)], ["variable header offset"; 2]);
    // In the crate: overflow of the sum, and a split past the end of the file.
    assert_eq!(
        [set(12, u32::MAX), set(12, u32::MAX - 23), set(12, 1 << 20)],
        ["variable header size"; 3]
    );
    assert!(matches!(
        Igvm::parse(&vec![0; MAX_FILE + 1]),
        Err(IgvmError::TooLarge { .. })
    ));
}

#[test]
fn offsets_outside_the_data_are_refused() {
    let bytes = small();
    let outside = |start: u32, size| HeaderFault::Data { start, size };
    // In the crate: underflow of the offset minus the start of the data.
    assert_eq!(
        fault(changed(&bytes, 0x302, 12, &[1, 0, 0, 0])),
        outside(1, 4096)
    );
    assert_eq!(
        fault(changed(&bytes, 0x302, 12, &[0xff; 4])),
        outside(u32::MAX, 4096)
    );
    assert_eq!(
        fault(changed(&bytes, 0x301, 12, &[1, 0, 0, 0])),
        outside(1, 4096)
    );
    assert_eq!(fault(changed(&bytes, 0x304, 12, &[0; 4])), outside(0, 4096));
    let huge = changed(&bytes, 0x301, 0, &(u64::MAX - 4095).to_le_bytes());
    assert_eq!(
        fault(huge),
        HeaderFault::Region {
            gpa: 0,
            size: u64::MAX - 4095
        }
    );
}

#[test]
fn headers_of_unknown_shape_are_refused() {
    let bytes = small();
    let at = header(&bytes, 0x303);
    let with = |offset: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
        fault(Igvm::parse(&sealed(bytes)).unwrap_err())
    };
    assert_eq!(with(0, 0x399), HeaderFault::Unknown);
    assert_eq!(
        with(4, 15),
        HeaderFault::Length {
            found: 15,
            wanted: 16
        }
    );
    let mut longer = bytes.clone();
    let size = u32::try_from(number(&bytes, 12) + 8).unwrap();
    longer[12..16].copy_from_slice(&size.to_le_bytes());
    assert!(matches!(
        Igvm::parse(&sealed(longer)),
        Err(IgvmError::Header { .. })
    ));
}

/// A file for SEV-SNP and VBS, whose relocations and registers matter to VBS only.
fn with_vbs() -> Vec<u8> {
    let region = IgvmInitializationHeader::RelocatableRegion {
        compatibility_mask: 2,
        relocation_alignment: 4096,
        relocation_region_gpa: 0x10_0000,
        relocation_region_size: 4096,
        minimum_relocation_gpa: 0,
        maximum_relocation_gpa: 0x1000_0000,
        is_vtl2: false,
        apply_rip_offset: false,
        apply_gdtr_offset: false,
        vp_index: 0,
        vtl: igvm::hv_defs::Vtl::Vtl0,
    };
    let table = IgvmInitializationHeader::PageTableRelocationRegion {
        compatibility_mask: 2,
        gpa: 0x20_0000,
        size: 4096,
        used_size: 4096,
        vp_index: 0,
        vtl: igvm::hv_defs::Vtl::Vtl0,
    };
    let vbs = igvm::registers::X86Register::Cr0(1);
    let context = IgvmDirectiveHeader::X64VbsVpContext {
        vtl: igvm::hv_defs::Vtl::Vtl0,
        registers: vec![vbs, vbs],
        compatibility_mask: 2,
    };
    let platforms = vec![
        platform(IgvmPlatformType::VSM_ISOLATION, 2),
        platform(IgvmPlatformType::SEV_SNP, SNP),
    ];
    let directives = vec![normal(0, &[1; 4096]), vmsa(VMSA_GPA, 0x31), context];
    let built = IgvmFile::new(IgvmRevision::V1, platforms, vec![region, table], directives);
    let Ok(built) = built else {
        panic!("{built:?}")
    };
    let mut bytes = Vec::new();
    built.serialize(&mut bytes).unwrap();
    bytes
}

/// What matters to other launches must not end this one in a panic.
#[test]
fn headers_of_other_platforms_are_guarded() {
    let bytes = with_vbs();
    let found = Igvm::parse(&bytes);
    assert!(found.is_ok(), "{found:?}");
    assert_eq!(
        fault(changed(&bytes, 0x102, 8, &[0; 8])),
        HeaderFault::Alignment
    );
    assert_eq!(
        fault(changed(&bytes, 0x102, 24, &[0; 8])),
        HeaderFault::Region {
            gpa: 0x10_0000,
            size: 0
        }
    );
    let end = 0xffff_ffff_ffff_f000_u64;
    assert_eq!(
        fault(changed(&bytes, 0x103, 8, &end.to_le_bytes())),
        HeaderFault::Region {
            gpa: end,
            size: 4096
        }
    );
    // The second context is the VBS one.
    let at = header(&bytes, 0x304) + 8 + 24;
    let mut processor = bytes.clone();
    processor[at + 8 + 16] = 1;
    assert_eq!(
        fault(Igvm::parse(&sealed(processor)).unwrap_err()),
        HeaderFault::VbsRegisters
    );
    let place = number(&bytes, at + 8 + 12);
    for (offset, wanted) in [
        (4 + 32, HeaderFault::VbsRegisters),
        (
            3,
            HeaderFault::Data {
                start: u32::try_from(place).unwrap(),
                size: 4 + 32 * 0x0500_0002,
            },
        ),
    ] {
        let mut lied = bytes.clone();
        lied[place + offset] ^= 5;
        assert_eq!(fault(Igvm::parse(&lied).unwrap_err()), wanted);
    }
}
