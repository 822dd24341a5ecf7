//! Tests of the verifier against whole evidence.
//!
//! | module | holds |
//! |---|---|
//! | `gpu` | both of a guest with a GPU |
//! | `leaf` | leaf certificates and their bundles, genuine and tampered |
//! | `registers` | what is said of each register, and logs that fit the registers and nothing else |
//! | `session` | session bundles: batches, relay, tampering |
//! | `support` | a guest whose TPM is a key of the test |
//! | `swtpm` | the same with quotes of a real software TPM |

#[cfg(test)]
mod gpu;
#[cfg(test)]
mod leaf;
#[cfg(test)]
mod registers;
#[cfg(test)]
mod session;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swtpm;
#[cfg(test)]
#[path = "../tpm/swtpm.rs"]
mod tpm;
