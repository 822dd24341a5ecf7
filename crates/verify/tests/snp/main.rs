//! SEV-SNP: real reports with the verdicts of their README, and made ones behind a PKI of the tests' own.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod vectors;
