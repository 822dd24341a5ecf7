//! TDX metadata with both page orders, direct boot of whatever is a kernel, RTMR0 of whatever is a log.
//! The first byte chooses: bytes as they are, or edits of genuine ones.
#![no_main]

#[path = "../edits.rs"]
mod edits;

use cloister_measure::digest::Bank;
use cloister_measure::eventlog::EventLog;
use cloister_measure::tdx::{
    DirectBoot, Initrd, KernelImage, PageOrder, Tdvf, rtmr0_events, rtmr0_transcript,
};
use cloister_measure::transcript::Transcript;
use libfuzzer_sys::fuzz_target;

const FIRMWARE: [&[u8]; 2] = [
    include_bytes!("../../vectors/tdx-ovmf-like.fd"),
    include_bytes!("../../vectors/tdx-mixed.fd"),
];
const KERNEL: &[u8] = include_bytes!("../../vectors/tdx-kernel-modern.bin");

fn firmware(image: &[u8]) {
    let Ok(firmware) = Tdvf::from_image(image) else {
        return;
    };
    // Hashing many pages finds nothing new and takes long.
    if firmware
        .sections()
        .iter()
        .map(|section| section.size)
        .sum::<u64>()
        > 1 << 20
    {
        return;
    }
    for order in PageOrder::ALL {
        let account = firmware.transcript(order);
        assert_eq!(
            account.steps.last().map(|step| step.value),
            Some(firmware.mrtd(order))
        );
    }
}

fn kernel(kernel: &[u8], size: u8) {
    let digest = Bank::Sha384.hash(&[]);
    let initrd = (size > 0).then_some(Initrd {
        size: u32::from(size) << 20,
        digest,
    });
    let command_line = String::from_utf8_lossy(kernel.get(..32).unwrap_or_default()).into_owned();
    let boot = DirectBoot {
        kernel,
        initrd,
        command_line: &command_line,
        memory: u64::from(size) << 24,
    };
    for image in KernelImage::ALL {
        let _ = boot.rtmr1(image, &mut Transcript::default());
    }
    let _ = boot.rtmr2(&mut Transcript::default());
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    match what % 6 {
        0 => firmware(rest),
        1 => firmware(&edits::edit(FIRMWARE[0], rest)),
        2 => firmware(&edits::edit(FIRMWARE[1], rest)),
        3 => kernel(rest, what / 6),
        4 => kernel(&edits::edit(KERNEL, rest), what / 6),
        _ => {
            let Ok(log) = EventLog::parse(rest) else {
                return;
            };
            if let Ok(events) = rtmr0_events(&log) {
                assert_eq!(rtmr0_transcript(&events).steps.len(), events.len());
            }
        }
    }
});
