//! RTMR1 and RTMR2 of a direct boot against values of an independent program.

use super::*;

const INITRD_DIGEST: Digest = Digest::Sha384([7; 48]);

fn boot<'a>(
    kernel: &'a [u8],
    initrd: Option<Initrd>,
    command_line: &'a str,
    memory: u64,
) -> DirectBoot<'a> {
    DirectBoot {
        kernel,
        initrd,
        command_line,
        memory,
    }
}

#[test]
fn direct_boot_equals_the_independent_values() {
    let expected = expected();
    let rows = expected["direct"].as_array().unwrap();
    let mut compared = 0;
    for row in rows {
        let kernel = read(row["kernel"].as_str().unwrap());
        let size = u32::try_from(row["initrd-size"].as_u64().unwrap()).unwrap();
        let initrd = (size > 0).then(|| Initrd {
            size,
            digest: digest(&row["initrd-sha384"]),
        });
        let memory = row["memory-mib"].as_u64().unwrap() << 20;
        let boot = boot(&kernel, initrd, row["cmdline"].as_str().unwrap(), memory);
        let mut transcript = Transcript::default();
        for image in KernelImage::ALL {
            let found = boot.rtmr1(image, &mut transcript).unwrap();
            assert_eq!(
                found,
                digest(&row["rtmr1"][image.name()]),
                "{row} {}",
                image.name()
            );
            compared += 1;
        }
        assert_eq!(
            boot.rtmr2(&mut transcript),
            Ok(digest(&row["rtmr2"])),
            "{row}"
        );
        assert_eq!(transcript.of(&Register::Rtmr(1)).count(), 10);
    }
    assert_eq!((rows.len(), compared), (10, 20));
}

#[test]
fn initrd_moves_with_memory_until_there_is_enough() {
    let kernel = read("tdx-kernel-modern.bin");
    let address = |mebibytes: u64| {
        let initrd = Initrd {
            size: 0x10_0000,
            digest: INITRD_DIGEST,
        };
        let patched = boot(&kernel, Some(initrd), "", mebibytes << 20)
            .patched_kernel()
            .unwrap();
        u32::from_le_bytes(*patched[0x218..].first_chunk().unwrap())
    };
    assert_eq!(address(2048), 0x7fed_7000);
    assert_eq!(
        [address(2816), address(4096), address(1 << 20)],
        [0x7fed_7000; 3]
    );
    assert_eq!(address(2815), 0xafdd_7000);
}

#[test]
fn kernels_that_qemu_treats_otherwise_are_refused() {
    let good = read("tdx-kernel-modern.bin");
    let changed = |at: usize, byte: u8| {
        let mut kernel = good.clone();
        kernel[at] = byte;
        boot(&kernel, None, "", 1 << 30)
            .rtmr1(KernelImage::Patched, &mut Transcript::default())
            .unwrap_err()
    };
    let field = |error| match error {
        DirectBootError::SetupHeader { what, found, .. } => (what, found),
        other => panic!("{other}"),
    };
    assert_eq!(field(changed(0x202, b'X')), ("magic", 0x5372_6458));
    assert_eq!(field(changed(0x207, 1)), ("protocol", 0x10f));
    assert_eq!(field(changed(0x211, 0x80)), ("load flags", 0x80));
    assert!(matches!(changed(0, 0), DirectBootError::Pe(_)));
    for cut in 0..good.len() {
        let boot = boot(&good[..cut], None, "", 1 << 30);
        assert!(
            boot.rtmr1(KernelImage::Patched, &mut Transcript::default())
                .is_err(),
            "{cut}"
        );
    }
}

#[test]
fn what_qemu_refuses_gives_no_register() {
    let kernel = read("tdx-kernel-modern.bin");
    let initrd = |size| {
        Some(Initrd {
            size,
            digest: INITRD_DIGEST,
        })
    };
    let refused = boot(&kernel, initrd(0x1000_0000), "", 0x1000_0000).patched_kernel();
    let limit = 0x1000_0000 - 0x2_8000 - 1;
    assert_eq!(
        refused,
        Err(DirectBootError::Initrd {
            size: 0x1000_0000,
            limit,
            memory: 0x1000_0000
        })
    );
    for memory in [0, 1, 0x2_8000, 0x2_8001] {
        assert!(
            boot(&kernel, initrd(1), "", memory)
                .patched_kernel()
                .is_err()
        );
    }
    for word in ["", "x", "65536", "-1", "+1", "0x", "09", "1,2"] {
        let line = format!("quiet vga={word} x");
        let wanted = DirectBootError::VideoMode {
            word: word.to_owned(),
        };
        assert_eq!(
            boot(&kernel, None, &line, 1 << 30).patched_kernel(),
            Err(wanted)
        );
    }
    let nul = boot(&kernel, None, "a\0b", 1 << 30).rtmr2(&mut Transcript::default());
    assert_eq!(nul, Err(DirectBootError::Nul));
}
