//! TPM structures of a quote.
#![no_main]

use cloister_evidence::tpm::{AttestationKey, EcdsaSignature, Quote};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(quote) = Quote::parse(data) {
        let banks: usize = quote
            .pcr_select
            .iter()
            .map(|bank| 3 + bank.select.len())
            .sum();
        let sized = quote.qualified_signer.len() + quote.extra_data.len() + quote.pcr_digest.len();
        assert_eq!(data.len(), 41 + banks + sized);
    }
    if let Ok(key) = AttestationKey::parse(data) {
        assert_ne!(key.name(), &key.owner_qualified_name());
    }
    let _ = EcdsaSignature::parse(data);
});
