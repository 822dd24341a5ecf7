//! SEV-SNP: real reports with the verdicts of their README, and made ones behind a PKI of the tests' own.

mod cases;
mod checks;
mod mutation;
mod scene;
mod vectors;
