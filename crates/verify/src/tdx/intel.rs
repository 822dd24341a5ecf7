//! Intel's key: the SGX Root CA is the one trust anchor of every TDX verdict.
//!
//! The certificate is Intel's, as its certification service gives it and as the `dcap-qvl` crate 0.7.1 carries it; a test
//! holds it against the roots inside real quotes. SHA-256 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3.

/// The roots of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots<'a> {
    /// Intel SGX Root CA, DER. It ends the chains of PCK, TCB info and QE identity.
    pub root: &'a [u8],
}

/// Intel's own root.
pub const INTEL: Roots<'static> = Roots {
    root: include_bytes!("intel/sgx-root-ca.der"),
};
