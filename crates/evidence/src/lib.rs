//! Evidence of a Cloister guest: the wire format and the one binding function ("cloister-ra/1").
//!
//! The guest encodes with this crate and the verifier decodes with it; `docs/evidence-format.md` is
//! the normative description. Everything here turns bytes into values and back: no files, no network,
//! no clock, no randomness. Decoders are strict: what they accept re-encodes to the same bytes.
//!
//! | module | holds |
//! |---|---|
//! | [`binding`] | the 64 bytes that tie evidence to a TLS key, a freshness value and a session |
//! | [`batch`] | Merkle tree that lets many sessions share one hardware report |
//! | [`bundle`] | the CMW collection that carries the evidence, and the X.509 extension value |
//! | [`guest`] | the measured guest configuration and the kernel command line |
//! | [`log`] | Cloister's event log and what it makes of PCR 15 |
//! | [`devices`] | the device section (no GPU yet) |
//! | [`tpm`] | TPM 2.0 structures of a quote |
//! | [`azure`] | the same beside an HCL report |

#![forbid(unsafe_code)]

pub mod azure;
pub mod batch;
pub mod binding;
pub mod bundle;
mod cbor;
pub mod devices;
mod frame;
pub mod guest;
pub mod log;
pub mod tpm;

pub use cbor::CborError;
