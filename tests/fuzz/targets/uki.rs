//! PE images, and UKIs made of them.
#![no_main]

use cloister_measure::Bank;
use cloister_measure::pe::Pe;
use cloister_measure::uki::predict;
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
    let _ = predict(data, Bank::Sha384);
});
