//! Intel TDX: what the TDX module measures before a guest runs, and what firmware measures of a direct boot.
//!
//! | register | from | here |
//! | --- | --- | --- |
//! | MRTD | firmware and its TDX metadata, in either page order | [`Tdvf::mrtd`] |
//! | RTMR0 | host, firmware variables, ACPI tables: not computed, but named event by event | [`rtmr0_events`] |
//! | RTMR1, RTMR2 | kernel as QEMU patches it, initrd, command line of a direct boot | [`DirectBoot`] |
//!
//! Spec: Intel TDX Module Base Architecture Specification, section 14.1.1 (MRTD); Intel TDX Virtual Firmware Design
//! Guide, section 11 (metadata). Units: addresses and lengths in bytes, pages of 4 KiB, integers little-endian.
//! Not covered: TD HOBs that old GCE hypervisors measured into MRTD; RTMR3; the UKI path (see [`crate::uki`]).

mod direct;
mod metadata;
mod mrtd;
mod rtmr0;

pub use direct::{DirectBoot, DirectBootError, Initrd, KernelImage};
pub use metadata::{Section, SectionFault, SectionKind, Tdvf, TdvfError};
pub use mrtd::PageOrder;
pub use rtmr0::{Covers, DecidedBy, NoSha384, Rtmr0Event, rtmr0_events, rtmr0_transcript};

pub use crate::ovmf_table::TableError;

#[cfg(test)]
mod tests;
