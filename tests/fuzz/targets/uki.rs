//! PE images, UKIs made of them, and the partition table of the disk they lie on.
#![no_main]

use cloister_measure::Bank;
use cloister_measure::gpt;
use cloister_measure::pe::Pe;
use cloister_measure::uki::{predict, survey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(pe) = Pe::parse(data) {
        let _ = pe.authenticode(Bank::Sha256);
        for section in pe
            .sections()
            .iter()
            .filter(|section| section.virtual_size() < 1 << 16)
        {
            if let Ok(contents) = section.contents() {
                assert_eq!(contents.len(), section.virtual_size());
            }
        }
    }
    if let Ok(event) = gpt::event(data) {
        assert!(event.len() >= 100 && event.len() <= data.len());
    }
    // Images are fuzzed as their own disks: both are headers at fixed places.
    let surveyed = survey(data, Some(data), Bank::Sha384);
    if let (Ok(predicted), Ok(surveyed)) = (predict(data, Bank::Sha384), surveyed) {
        for (index, value) in &predicted.pcrs {
            assert_eq!(surveyed.pcrs.get(index), Some(&vec![*value]));
        }
    }
});
