//! The TPM commands against a real software TPM.

#[cfg(test)]
mod azure;
#[cfg(test)]
mod swtpm;
