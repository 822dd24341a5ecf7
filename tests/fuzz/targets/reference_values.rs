//! Reference-value files: what is read is written the same way again.
#![no_main]

use cloister_measure::reference::ReferenceValues;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(values) = ReferenceValues::from_json(data) {
        let text = values
            .to_json()
            .expect("values that were read can be written");
        let again = ReferenceValues::from_json(text.as_bytes());
        assert_eq!(again.as_ref(), Ok(&values));
        assert_eq!(again.and_then(|again| again.to_json()), Ok(text));
    }
});
