//! Processor lines, as AMD's keys and TCB layouts divide them.

use core::fmt;

use serde::Deserialize;

/// A line with its own ARK. Bergamo and Siena are Genoa to AMD's key server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Product {
    /// Zen 3, family 0x19.
    Milan,
    /// Zen 4 and 4c, family 0x19.
    Genoa,
    /// Zen 5 and 5c, family 0x1A.
    Turin,
}

impl Product {
    /// All that have roots.
    pub const ALL: [Product; 3] = [Product::Milan, Product::Genoa, Product::Turin];

    /// The line of a processor by CPUID family and model (both with the extended parts added), as report v3 and later
    /// carry them. Venice (0x1A, 0x50 and up) has no public roots yet and is not known.
    pub fn from_cpuid(family: u8, model: u8) -> Option<Product> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Product::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Product::Genoa),
            (0x1a, 0x00..=0x11) => Some(Product::Turin),
            _ => None,
        }
    }

    /// The line that a certificate's productName extension names: `Milan-B0`, `Genoa`.
    pub(super) fn from_name(name: &str) -> Option<Product> {
        let line = name.split_once('-').map_or(name, |(line, _)| line);
        Self::ALL.into_iter().find(|product| product.name() == line)
    }

    /// AMD's name.
    pub fn name(self) -> &'static str {
        match self {
            Product::Milan => "Milan",
            Product::Genoa => "Genoa",
            Product::Turin => "Turin",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
