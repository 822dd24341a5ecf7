//! What hardware will measure, computed from bytes before anything boots.
//!
//! | module | from | to |
//! | --- | --- | --- |
//! | [`snp`] | firmware, hashes of kernel, initrd and command line, vCPUs | SEV-SNP launch digest |
//! | [`mod@igvm`] | an IGVM file | SEV-SNP launch digest under both rules for zero pages |
//! | [`azure`] | an HCL report | the hardware report and claims inside |
//! | [`tdx`] | firmware; kernel, initrd and command line of a direct boot | MRTD, RTMR1, RTMR2 |
//! | [`pe`] | a PE image | sections, Authenticode digest |
//! | [`gpt`] | the start of a disk | the partition table as firmware measures it |
//! | [`uki`] | a unified kernel image booted from disk | PCR 4, 5, 8, 9, 11 to 15, RTMR1, RTMR2 |
//! | [`eventlog`] | a TCG2 or CCEL event log | events, replayed registers, what is wrong with it |
//! | [`explain`] | transcripts, logs, a launch digest nobody expected | where they part, what inputs would give it |
//! | [`reference`](mod@reference) | the above | the reference-value file that verifiers read |
//!
//! Every prediction comes with a [`transcript`]: the ordered list of what was hashed into which
//! register, so that a difference can be explained and not only seen.
//!
//! The crate does no I/O, owns no clock and no randomness, and does not panic on any input.

#![forbid(unsafe_code)]

pub mod azure;
pub mod digest;
pub mod eventlog;
pub mod explain;
pub mod gpt;
pub mod igvm;
mod ovmf_table;
pub mod pcr;
pub mod pe;
pub mod reference;
pub mod snp;
pub mod tdx;
pub mod transcript;
pub mod uki;

#[cfg(test)]
mod vectors;

pub use digest::{Bank, Digest};
