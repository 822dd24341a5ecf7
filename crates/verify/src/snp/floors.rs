//! TCB floors: the lowest firmware levels without a known way around SNP, with date and reason of each line.
//!
//! Levels are held against COMMITTED_TCB and LAUNCH_TCB, never against REPORTED_TCB alone, which the host chooses.
//! Microcode levels count per stepping, so that a line names the CPUIDs it is for. A policy may set its own floors
//! ([`super::Policy::tcb_floor`]), which then replace the lines of that product.
//!
//! Known and not asked for by default, because clouds still ran Genoa at SNP 23 and microcode 0x54 in February 2026: SNP 27 on
//! Milan and Genoa (AMD-SB-3020, CVE-2025-0033, RMPocalypse), microcode 0x56 on Genoa B1 (AMD-SB-3027, CVE-2025-29943, StackWarp).
//! A policy should name them where the fleet has them. No firmware fixes Battering RAM or TEE.fail.

use core::ops::RangeInclusive;

use super::report::Cpuid;
use super::{Product, Tcb};

/// One line: what a processor must have, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// The product line.
    pub product: Product,
    /// Models and stepping that it is for; `None` for all of the line.
    pub cpuid: Option<(RangeInclusive<u8>, u8)>,
    /// The levels.
    pub tcb: Tcb,
    /// Date of the bulletin, or of the source that gives the level.
    pub since: &'static str,
    /// Bulletin and weakness.
    pub reason: &'static str,
}

/// EntrySign: microcode of anybody's could be loaded, and with it a forged launch.
const ENTRYSIGN: &str =
    "AMD-SB-3019, CVE-2024-56161 (EntrySign): microcode signatures could be forged";
const ENTRYSIGN_DATE: &str = "2025-02-03";

const NONE: Tcb = Tcb {
    fmc: 0,
    bootloader: 0,
    tee: 0,
    snp: 0,
    microcode: 0,
};

const fn entrysign(
    product: Product,
    cpuid: Option<(RangeInclusive<u8>, u8)>,
    snp: u8,
    microcode: u8,
) -> Floor {
    Floor {
        product,
        cpuid,
        tcb: Tcb {
            snp,
            microcode,
            ..NONE
        },
        since: ENTRYSIGN_DATE,
        reason: ENTRYSIGN,
    }
}

/// Every line.
pub const FLOORS: [Floor; 8] = [
    // The SNP firmware that refuses the old microcode loader.
    entrysign(Product::Milan, None, 24, 0),
    entrysign(Product::Genoa, None, 23, 0),
    // Milan B1: patch 0x0A0011DB. Milan-X B2: 0x0A001244.
    entrysign(Product::Milan, Some((0x00..=0x0f, 1)), 24, 0xdb),
    entrysign(Product::Milan, Some((0x00..=0x0f, 2)), 24, 0x44),
    // Genoa B1: patch 0x0A101154. Genoa-X B2: 0x0A10124F.
    entrysign(Product::Genoa, Some((0x10..=0x1f, 1)), 23, 0x54),
    entrysign(Product::Genoa, Some((0x10..=0x1f, 2)), 23, 0x4f),
    // Bergamo and Siena A2: patch 0x0AA00219.
    entrysign(Product::Genoa, Some((0xa0..=0xaf, 2)), 23, 0x19),
    Floor {
        product: Product::Turin,
        cpuid: None,
        tcb: Tcb { snp: 4, ..NONE },
        since: "2026-04-16",
        reason: "AMD-SB-3023, CVE-2025-48514: SNP firmware below level 4, as Linux's ccp driver has it",
    },
];

/// The lines for one processor; without CPUID (report version 2) those for all of its line.
pub fn floors(product: Product, cpuid: Option<Cpuid>) -> impl Iterator<Item = &'static Floor> {
    FLOORS.iter().filter(move |floor| {
        let applies = match (&floor.cpuid, cpuid) {
            (None, _) => true,
            (Some((models, stepping)), Some(cpuid)) => {
                models.contains(&cpuid.model) && *stepping == cpuid.stepping
            }
            (Some(_), None) => false,
        };
        floor.product == product && applies
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels by processor, typed from the bulletins that the lines name.
    #[test]
    fn a_processor_has_the_lines_of_its_model_and_stepping() {
        let cpuid = |model, stepping| {
            Some(Cpuid {
                family: 0x19,
                model,
                stepping,
            })
        };
        let cases = [
            (Product::Milan, None, (24, 0)),
            (Product::Milan, cpuid(0x01, 1), (24, 0xdb)),
            (Product::Milan, cpuid(0x01, 2), (24, 0x44)),
            (Product::Milan, cpuid(0x01, 0), (24, 0)),
            (Product::Milan, cpuid(0x10, 1), (24, 0)),
            (Product::Genoa, None, (23, 0)),
            (Product::Genoa, cpuid(0x11, 1), (23, 0x54)),
            (Product::Genoa, cpuid(0x11, 2), (23, 0x4f)),
            (Product::Genoa, cpuid(0xa0, 2), (23, 0x19)),
            (Product::Genoa, cpuid(0xa0, 1), (23, 0)),
            (Product::Genoa, cpuid(0x00, 1), (23, 0)),
            (Product::Turin, cpuid(0x02, 1), (4, 0)),
        ];
        for (product, cpuid, wanted) in cases {
            let lines: Vec<&Floor> = floors(product, cpuid).collect();
            let highest = |level: fn(&Tcb) -> u8| {
                let levels = lines.iter().map(|floor| level(&floor.tcb));
                levels.max().unwrap()
            };
            let found = (highest(|tcb| tcb.snp), highest(|tcb| tcb.microcode));
            assert_eq!(found, wanted, "{product:?} {cpuid:?}");
        }
        assert_eq!(FLOORS.len(), 8);
    }
}
