//! SEV-SNP: real reports with the verdicts of their README, and made ones behind a PKI of the tests' own.

mod vectors;
