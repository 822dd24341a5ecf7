//! Evidence of NVIDIA GPUs: attestation report and certificate chain in, an appraisal out.
//!
//! The crate is pure: no files, no network, no clock, no randomness, no panic on any input. Trust roots, golden values,
//! nonce and time are arguments. It is made for two callers: PID 1 of the guest, which needs one named cause to power off on
//! ([`Appraisal::into_result`]), and `crates/verify`, which lists every check in a verdict. No XML is read here: golden values
//! come from RIMs whose signatures somebody else has checked.
//!
//! Specs: DMTF DSP0274 1.1 (`GET_MEASUREMENTS`, `MEASUREMENTS`), RFC 5280, TCG DICE (FWID); NVIDIA's own fields as its published
//! verifiers read them. What the checks prove and what they do not: `docs/gpu.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`report`] | request, response, measurements, opaque fields |
//! | [`chain`] | the five certificates of a device |
//! | [`golden`] | what a driver and a VBIOS must measure |
//! | [`signature`] | the one kind of signature, and who checks it |
//! | [`appraise`] | every check in order, and what follows |

#![forbid(unsafe_code)]

pub mod appraise;
pub mod chain;
pub mod golden;
pub mod report;
pub mod signature;

#[cfg(test)]
mod tests;

pub use appraise::{Appraisal, Cause, Expected, Mismatch, Outcome, Refusal, Step, appraise};
pub use chain::{Chain, Model, RootKey};
pub use golden::GoldenValues;
pub use report::Report;

/// A SHA-384 digest.
pub type Digest = [u8; 48];
