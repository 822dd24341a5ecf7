//! AMD's keys: the ARK of each product line is the one trust anchor of every SNP verdict.
//!
//! The certificates are AMD's, as its key server gives them for `Milan`, `Genoa` and `Turin` (`vcek` and `vlek`, each
//! `cert_chain`). ARK and ASK are byte for byte those that the `sev` crate 8.0.0 carries; a test compares them. The
//! SHA-256 of each stands in that test. The ASVKs are signed by the same pinned ARKs, which the tests check too.

/// Certificates of one product line, DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root<'a> {
    /// AMD Root Key: self-signed. Its public key is what is trusted.
    pub ark: &'a [u8],
    /// AMD SEV Key, which issues VCEKs. Trusted for nothing by itself: the ARK must have signed it.
    pub ask: &'a [u8],
    /// The same for VLEKs.
    pub asvk: &'a [u8],
}

/// The roots of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots<'a> {
    /// Milan.
    pub milan: Root<'a>,
    /// Genoa, Bergamo and Siena.
    pub genoa: Root<'a>,
    /// Turin.
    pub turin: Root<'a>,
}

impl<'a> Roots<'a> {
    /// The root of a product line.
    pub fn root(&self, product: super::Product) -> &Root<'a> {
        match product {
            super::Product::Milan => &self.milan,
            super::Product::Genoa => &self.genoa,
            super::Product::Turin => &self.turin,
        }
    }
}

/// AMD's own roots.
pub const AMD: Roots<'static> = Roots {
    milan: Root {
        ark: include_bytes!("amd/milan-ark.der"),
        ask: include_bytes!("amd/milan-ask.der"),
        asvk: include_bytes!("amd/milan-asvk.der"),
    },
    genoa: Root {
        ark: include_bytes!("amd/genoa-ark.der"),
        ask: include_bytes!("amd/genoa-ask.der"),
        asvk: include_bytes!("amd/genoa-asvk.der"),
    },
    turin: Root {
        ark: include_bytes!("amd/turin-ark.der"),
        ask: include_bytes!("amd/turin-ask.der"),
        asvk: include_bytes!("amd/turin-asvk.der"),
    },
};
