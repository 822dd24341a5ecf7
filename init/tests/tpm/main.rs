//! The TPM commands against a real software TPM.

#[cfg(test)]
mod swtpm;
