//! TCB_VERSION: security patch levels of a platform's firmware, in AMD's two layouts.
//!
//! Spec: AMD 56860, TCB_VERSION; AMD 57230 for the names of the levels.

use core::fmt;

use serde::Deserialize;
use thiserror::Error;

use super::Product;

/// Security patch levels. A component that the product does not have is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tcb {
    /// FMC, from Turin on.
    pub fmc: u8,
    /// PSP boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode, lowest of all cores.
    pub microcode: u8,
}

/// Reserved bytes of a TCB_VERSION are not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{name} has reserved bytes that are not zero: {raw:016x}")]
pub struct TcbError {
    /// Field of the report.
    pub name: &'static str,
    /// The field as a little-endian number.
    pub raw: u64,
}

impl Tcb {
    /// Takes a field of the report apart, in the layout of `product`.
    ///
    /// # Errors
    /// [`TcbError`] when reserved bytes are not zero.
    pub fn parse(name: &'static str, raw: [u8; 8], product: Product) -> Result<Self, TcbError> {
        let (tcb, reserved) = match product {
            Product::Milan | Product::Genoa => {
                let [bootloader, tee, a, b, c, d, snp, microcode] = raw;
                let tcb = Tcb {
                    fmc: 0,
                    bootloader,
                    tee,
                    snp,
                    microcode,
                };
                (tcb, [a, b, c, d])
            }
            Product::Turin => {
                let [fmc, bootloader, tee, snp, a, b, c, microcode] = raw;
                let tcb = Tcb {
                    fmc,
                    bootloader,
                    tee,
                    snp,
                    microcode,
                };
                (tcb, [a, b, c, 0])
            }
        };
        if reserved != [0; 4] {
            let raw = u64::from_le_bytes(raw);
            return Err(TcbError { name, raw });
        }
        Ok(tcb)
    }

    /// Whether no component is below that of `floor`.
    pub fn reaches(&self, floor: &Tcb) -> bool {
        self.fmc >= floor.fmc
            && self.bootloader >= floor.bootloader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tcb {
            fmc,
            bootloader,
            tee,
            snp,
            microcode,
        } = self;
        write!(
            f,
            "fmc {fmc} bootloader {bootloader} tee {tee} snp {snp} microcode {microcode}"
        )
    }
}
