//! The guest configuration and the kernel command line: one value, one encoding.
#![no_main]

use cloister_evidence::guest::{CommandLine, GuestConfiguration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(configuration) = GuestConfiguration::parse(data) {
        assert_eq!(configuration.encode(), data);
    }
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(line) = CommandLine::parse(text) {
        let again = CommandLine::parse(&line.encode());
        assert_eq!(again.map(|again| again.encode()), Ok(line.encode()));
    }
});
