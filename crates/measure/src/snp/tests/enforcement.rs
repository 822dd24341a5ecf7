//! Firmware that verifies, firmware that does not, and damaged firmware. `tests/it` asks the program about the real ones.

use super::volumes::*;
use super::*;
use crate::vectors;

const VERIFIER: &[&str] = &ENTRIES;

fn pe(names: &[&str]) -> Vec<u8> {
    section(0x10, &executable(70_000, names))
}

fn driver(inside: Vec<u8>) -> Vec<u8> {
    file(0x07, &[inside])
}

/// As OVMF is built: a volume, in it a packed section, in that a volume, in that drivers.
fn ovmf(drivers: &[Vec<u8>]) -> Vec<u8> {
    let inner = section(0x17, &volume(FFS2, drivers));
    let outer = file(0x0b, &[packed(&[section(0x19, &[0; 5]), inner])]);
    let variables = volume("fff12b8d-7696-4c8b-a985-2747075b4f50", &[]);
    [
        vec![0xff; 4096],
        variables,
        vec![0; 24],
        volume(FFS2, &[outer]),
    ]
    .concat()
}

fn not_enforced(executables: usize) -> Result<(), EnforcementError> {
    Err(EnforcementError::NotEnforced { executables })
}

#[test]
fn enforcement_is_found_wherever_the_verifier_may_be() {
    let plain = volume(FFS2, &[driver(pe(&[])), driver(pe(VERIFIER))]);
    let deep = volume(FFS3, &[file(0x0b, &[section(0x17, &plain)])]);
    let stored = section(0x01, &[&[0; 5][..], &pe(VERIFIER)].concat());
    let crc = guided("fc1bcdb0-7d31-49aa-936a-a4600d9dd083", 1, &pe(VERIFIER));
    let signed = guided("0f9d89e8-9259-4f76-a5af-0c89e34023df", 2, &pe(VERIFIER));
    let te = section(0x12, &executable(200, VERIFIER));
    let mut count = 0;
    for (image, what) in [
        (plain, "bare"),
        (deep, "in a volume in a volume"),
        (ovmf(&[driver(pe(&[])), driver(pe(VERIFIER))]), "packed"),
        (ovmf(&[driver(packed(&[pe(VERIFIER)]))]), "packed twice"),
        (volume(FFS2, &[driver(stored)]), "stored"),
        (volume(FFS2, &[driver(crc)]), "with CRC-32"),
        (volume(FFS2, &[driver(signed)]), "readable as it is"),
        (volume(FFS2, &[driver(te)]), "terse executable"),
    ] {
        assert_eq!(check_enforcement(&image), Ok(()), "{what}");
        count += 1;
    }
    assert_eq!(count, 8);
}

/// The verifier's GUIDs count in one executable that firmware can find, nowhere else.
#[test]
fn enforcement_is_refused_without_one_whole_verifier() {
    let split = [driver(pe(&ENTRIES[..2])), driver(pe(&ENTRIES[1..]))];
    let raw = file(0x02, &[section(0x19, &executable(100, VERIFIER))]);
    let mut deleted = driver(pe(VERIFIER));
    deleted[23] = 0xe8;
    let padding = file(0xf0, &[pe(VERIFIER)]);
    let mut image = ovmf(&[driver(pe(&[]))]);
    image.extend_from_slice(&executable(100, VERIFIER));
    for (image, wanted) in [
        (ovmf(&split), 2),
        (ovmf(&[raw]), 0),
        (ovmf(&[deleted]), 0),
        (ovmf(&[padding]), 0),
        (image, 1),
        (ovmf(&[]), 0),
        (vec![0; 8192], 0),
        (vec![], 0),
    ] {
        assert_eq!(check_enforcement(&image), not_enforced(wanted));
    }
    let said = not_enforced(7).unwrap_err().to_string();
    assert!(
        said.contains("would boot any kernel, initrd and command line"),
        "{said}"
    );
}

#[test]
fn enforcement_finds_a_verifier_across_the_edge_of_a_chunk() {
    for size in (32 << 10) - 20..(32 << 10) + 60 {
        let image = volume(FFS2, &[driver(section(0x10, &executable(size, VERIFIER)))]);
        assert_eq!(check_enforcement(&image), Ok(()), "{size}");
    }
}

#[test]
fn enforcement_names_a_section_that_cannot_be_opened() {
    let tiano = section(0x01, &[&[0, 1, 0, 0, 1][..], &[7; 60]].concat());
    let Err(EnforcementError::Closed {
        executables,
        place,
        how,
    }) = check_enforcement(&ovmf(&[driver(pe(&[])), driver(tiano)]))
    else {
        panic!("accepted");
    };
    assert_eq!((executables, how.as_str()), (1, "compression type 0x1"));
    assert_eq!(place.offsets().len(), 2);
    let brotli = guided("3d532050-5cda-4fd0-879e-0f7f630d5afb", 1, &[1; 60]);
    let error = check_enforcement(&volume(FFS2, &[driver(brotli)])).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("section at 0x60"), "{said}");
    assert!(
        said.contains("3d532050-5cda-4fd0-879e-0f7f630d5afb"),
        "{said}"
    );
}

fn damage(image: &[u8]) -> VolumeError {
    match check_enforcement(image) {
        Err(EnforcementError::Volume(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn volume_refuses_sizes_that_lie() {
    let size = |error: VolumeError| match error {
        VolumeError::Size {
            place, what, size, ..
        } => (place.offsets().to_vec(), what, size),
        other => panic!("{other}"),
    };
    let good = volume(FFS2, &[driver(pe(&[]))]);
    let mut longer = good.clone();
    longer[32..40].copy_from_slice(&(good.len() as u64 + 1).to_le_bytes());
    sum_volume(&mut longer);
    assert_eq!(
        size(damage(&longer)),
        (vec![0], "volume", good.len() as u64 + 1)
    );
    for (length, section_size) in [(0_u8, 0_u64), (3, 3)] {
        let mut small = good.clone();
        small[96..99].copy_from_slice(&[length, 0, 0]);
        assert_eq!(size(damage(&small)), (vec![96], "section", section_size));
    }
    let mut large = good.clone();
    large[96..99].copy_from_slice(&[0xfe, 0xff, 0xff]);
    assert_eq!(size(damage(&large)), (vec![96], "section", 0xff_fffe));
    let mut outside = good.clone();
    outside[52..54].copy_from_slice(&60_000_u16.to_le_bytes());
    sum_volume(&mut outside);
    let outside = outside[..50_000.min(good.len())].to_vec();
    assert!(matches!(
        damage(&outside),
        VolumeError::Size { what: "volume", .. }
    ));
    let mut file = good.clone();
    file[72 + 20] = file[72 + 20].wrapping_add(1);
    assert!(matches!(
        damage(&file),
        VolumeError::Header { what: "file", .. }
    ));
    let nested = volume(FFS2, &[driver(section(0x17, &[0; 60]))]);
    assert!(matches!(
        damage(&nested),
        VolumeError::Size { what: "volume", .. }
    ));
}

#[test]
fn volume_bounds_depth_and_what_it_unpacks() {
    let mut deep = pe(VERIFIER);
    for _ in 0..9 {
        deep = section(0x01, &[&[0; 5][..], &deep].concat());
    }
    assert!(matches!(
        damage(&volume(FFS2, &[driver(deep)])),
        VolumeError::Depth { .. }
    ));
    let mut thrice = pe(VERIFIER);
    for _ in 0..3 {
        thrice = packed(&[thrice]);
    }
    let error = damage(&volume(FFS2, &[driver(thrice)]));
    assert!(matches!(error, VolumeError::Depth { ref place } if place.offsets().len() == 3));
    // A bomb: 40 MiB of zeros twice, in a few KiB.
    let zeros = section(0x19, &vec![0; 0xff_fff0]);
    let bomb = packed(&[zeros.clone(), zeros.clone(), zeros]);
    assert!(bomb.len() < 20_000);
    let error = damage(&volume(FFS2, &[driver(bomb.clone()), driver(bomb)]));
    assert!(matches!(error, VolumeError::Unpacked { .. }), "{error}");
}

#[test]
fn volume_says_where_packed_bytes_are_damaged() {
    let mut bytes = lzma(&pe(VERIFIER));
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    let error = damage(&volume(FFS2, &[driver(guided(LZMA, 1, &bytes))]));
    let VolumeError::Unpack { place, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(place.offsets()[0], 72 + 24 + 24);
    for bytes in [&[0xff; 13][..], &[0x5d; 4], &[]] {
        let error = check_enforcement(&volume(FFS2, &[driver(guided(LZMA, 1, bytes))]));
        assert!(
            matches!(error, Err(EnforcementError::Volume(_))),
            "{error:?}"
        );
    }
}

/// Cut anywhere, or with any one byte changed, firmware gives an answer; cut firmware never passes before the
/// verifier's last byte.
#[test]
fn enforcement_survives_every_cut_and_every_changed_byte() {
    let small = section(0x10, &executable(100, VERIFIER));
    let image = ovmf(&[driver(small)])[4096..].to_vec();
    assert_eq!(check_enforcement(&image), Ok(()));
    let mut refused = 0;
    for cut in 0..image.len() - 64 {
        refused += usize::from(check_enforcement(&image[..cut]).is_err());
    }
    assert_eq!(refused, image.len() - 64);
    for at in 0..image.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut image = image.clone();
            image[at] ^= flip;
            drop(check_enforcement(&image));
        }
    }
}

/// The tables-only vectors carry no code: nothing to find, and no error but that.
#[test]
fn enforcement_is_not_found_in_tables_alone() {
    let Some(directory) = vectors::directory() else {
        return;
    };
    for name in [
        "synthetic-a-amdsev-like.bin",
        "debian-ovmf-amdsev-2026.08+ds-2.tables4k.bin",
    ] {
        let image = std::fs::read(directory.join("snp").join(name)).unwrap();
        assert_eq!(check_enforcement(&image), not_enforced(0), "{name}");
    }
}

/// Origin: edk2 `OvmfPkg/AmdSev` links the verifier, other builds of OVMF the one that compares nothing.
#[test]
fn firmware_of_debian_is_told_apart() {
    let file =
        |package, name: &str| vectors::debian_file(package, &format!("usr/share/ovmf/{name}"));
    let plain = file("ovmf-generic", "OVMF.fd");
    let (Some(plain), Some(amdsev)) = (plain, file("ovmf-amdsev", "OVMF.amdsev.fd")) else {
        println!("skipped: no firmware of Debian; set CLOISTER_DEBIAN_FILES");
        return;
    };
    let refused = check_enforcement(&plain).unwrap_err();
    assert!(
        matches!(
            refused,
            EnforcementError::NotEnforced { executables: 100.. }
        ),
        "{refused}"
    );
    assert_eq!(check_enforcement(&amdsev), Ok(()));
}
