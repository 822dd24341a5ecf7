//! OVMF tables, and the launch of whatever they ask for.
#![no_main]

use std::collections::BTreeSet;

use cloister_measure::snp::{
    HOSTS, KernelHashes, LaunchDigest, LaunchInputs, Ovmf, VcpuSignature, launch_digests,
    transcript,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
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
