//! OVMF tables, the launch of whatever they ask for, and the search for a verifier in firmware volumes.
#![no_main]

use std::collections::BTreeSet;

use cloister_measure::snp::{
    GuestPolicy, HOSTS, KernelHashes, LaunchDigest, LaunchInputs, Ovmf, VcpuSignature,
    check_enforcement, launch_digests, transcript,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = check_enforcement(data);
    let _ = check_enforcement(&mended(data.to_vec()));
    let _ = check_enforcement(&mended(volume(data)));
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(policy) = text.parse::<GuestPolicy>() {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        if let Ok(signature) = text.parse::<VcpuSignature>() {
            assert_eq!(signature.to_string().parse(), Ok(signature));
        }
    }
    let _ = Ovmf::from_image(data);
    let Ok(firmware) = Ovmf::from_tables(data, LaunchDigest([0; 48])) else {
        return;
    };
    // Hashing many pages finds nothing new and takes long.
    if firmware
        .sections()
        .iter()
        .map(|section| u64::from(section.size))
        .sum::<u64>()
        > 1 << 20
    {
        return;
    }
    for host in HOSTS {
        for kernel in [None, Some(KernelHashes::new([0; 32], None, b""))] {
            let vcpu = VcpuSignature(0x80_0f12);
            let inputs = LaunchInputs {
                firmware: &firmware,
                kernel,
                host,
                vcpu,
                sev_features: 1,
            };
            let digests = launch_digests(&inputs, &BTreeSet::from([1, 2]));
            let account = transcript(&inputs, 2);
            assert_eq!(digests.is_ok(), account.is_ok());
        }
    }
});

/// A volume with one file, whose sections are `data`. Its checksums are still to be mended.
fn volume(data: &[u8]) -> Vec<u8> {
    let length = (72 + 24 + data.len()) as u64;
    let mut bytes = [0; 16].to_vec();
    bytes.extend([
        0x78, 0xe5, 0x8c, 0x8c, 0x3d, 0x8a, 0x1c, 0x4f, 0x99, 0x35, 0x89, 0x61, 0x85, 0xc3, 0x2d,
        0xd3,
    ]); // FFS2
    bytes.extend(length.to_le_bytes());
    bytes.extend(b"_FVH\xff\xfe\x04\x00\x48\x00\0\0\0\0\0\x02");
    bytes.resize(72, 0);
    bytes.extend([0x5a; 16]);
    bytes.extend([0, 0xaa, 0x07, 0]);
    bytes.extend(&((24 + data.len()) as u32).to_le_bytes()[..3]);
    bytes.push(0xf8);
    bytes.extend(data);
    bytes
}

/// Sets the checksums of all volumes in `bytes` that are not packed, and of their files: they would stop every edit.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    let starts: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, four)| four == b"_FVH")
        .filter_map(|(at, _)| at.checked_sub(40))
        .collect();
    for start in starts {
        let Some(header) = bytes.get(start + 48..start + 50) else {
            continue;
        };
        let files = start + usize::from(u16::from_le_bytes([header[0], header[1]]));
        if let Some(header) = bytes
            .get_mut(start..files)
            .filter(|header| header.len() >= 56)
        {
            header[50..52].fill(0);
            let sum = header.chunks_exact(2).fold(0_u16, |sum, word| {
                sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
            });
            header[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
        }
        let mut file = files;
        while let Some(header) = bytes
            .get_mut(file..file + 24)
            .filter(|header| header.iter().any(|byte| *byte != 0xff))
        {
            header[16] = 0;
            let sum = header
                .iter()
                .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            header[16] = sum
                .wrapping_sub(header[17])
                .wrapping_sub(header[23])
                .wrapping_neg();
            let size = u32::from_le_bytes([header[20], header[21], header[22], 0]) as usize;
            file = file
                .saturating_add(size.max(24))
                .saturating_sub(start)
                .next_multiple_of(8)
                + start;
        }
    }
    bytes
}
