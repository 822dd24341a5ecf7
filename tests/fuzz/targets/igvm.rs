//! IGVM files: edits of a genuine one, with lengths and checksum mended so that the `igvm` crate goes on.
//! The first byte chooses what is done with the rest.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_measure::igvm::{Igvm, ZeroPages};
use libfuzzer_sys::fuzz_target;

/// With the first byte that a seed has.
const GENUINE: &[u8] = include_bytes!("../seeds/igvm/launch");

/// Puts total size and CRC-32 right.
fn mend(bytes: &mut [u8]) {
    let number = |bytes: &[u8], at| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    if bytes.len() < 32 {
        return;
    }
    let total = bytes.len() as u32;
    bytes[16..20].copy_from_slice(&total.to_le_bytes());
    bytes[20..24].fill(0);
    let end = u64::from(number(bytes, 8)) + u64::from(number(bytes, 12));
    let end = end.min(bytes.len() as u64) as usize;
    let mut crc = u32::MAX;
    for byte in &bytes[..end] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    bytes[20..24].copy_from_slice(&(!crc).to_le_bytes());
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let mut bytes = if what % 2 == 0 {
        edits::edit(&GENUINE[1..], rest)
    } else {
        rest.to_vec()
    };
    if what % 4 < 3 {
        mend(&mut bytes);
    }
    let Ok(igvm) = Igvm::parse(&bytes) else {
        return;
    };
    // Hashing many pages finds nothing new and takes long.
    if igvm.page_count() > 2048 {
        return;
    }
    for rule in ZeroPages::ALL {
        let account = igvm.transcript(rule);
        let last = account.steps.last().map(|step| step.value);
        assert!(last.is_none_or(|value| value == igvm.launch_digest(rule).into()));
    }
    drop((igvm.policy(), igvm.id_block(), igvm.kvm_findings()));
});
