//! A made-up Intel.

use std::sync::OnceLock;

use cloister_test_pki::tdx::Intel;

/// The keys, made once.
pub(crate) fn intel() -> &'static Intel {
    static INTEL: OnceLock<Intel> = OnceLock::new();
    INTEL.get_or_init(|| Intel::new().unwrap())
}
