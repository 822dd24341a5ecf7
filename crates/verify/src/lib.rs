//! Appraisal: evidence, reference values, policy and time in, a verdict out.
//!
//! The crate is pure: no files, no network, no clock, no randomness, no panic on any input. A
//! [`Verdict`] lists every check, also those that passed and those that could not be made; a
//! required check that was skipped counts as failed. Nothing is accepted without reference values
//! that pin the image.
//!
//! Specs: `docs/evidence-format.md` (what is checked), `docs/threat-model.md` (why).
//!
//! | module | holds |
//! |---|---|
//! | [`verdict`] | the result, its text and its JSON |
//! | [`policy`] | what a verifier may demand beyond the format |
//! | [`signature`] | public keys and the signatures they made |
//! | [`x509`] | certificates and revocation lists of other parties |
//! | [`azure`] | appraisal of evidence from confidential VMs on Azure |
//! | [`certificate`] | the checks of the leaf certificate |
//! | [`cert`] | certificates of others that carry evidence |
//! | [`cmw`] | conceptual message wrappers of others |
//! | [`collateral`] | what vendors publish beside the evidence |
//! | [`layers`] | appraisal of leaf and session, of each platform that has bundles |
//! | [`snp`] | appraisal of SEV-SNP reports |
//! | [`tdx`] | appraisal of TD quotes |
//! | [`tpm`] | appraisal of TPM quotes, for a leaf, for a session and by themselves |

#![forbid(unsafe_code)]

pub mod azure;
pub mod cert;
pub mod certificate;
mod checks;
pub mod cmw;
pub mod collateral;
pub mod google;
pub mod gpu;
pub mod layers;
pub mod policy;
pub mod signature;
pub mod snp;
pub mod tdx;
pub mod tpm;
pub mod verdict;
pub mod x509;

pub use policy::Policy;
pub use verdict::{Check, Clock, Conclusion, Mode, Outcome, Trust, Verdict};
