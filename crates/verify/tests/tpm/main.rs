//! TPM quotes by themselves: real ones, ones of a software TPM, and made ones with every mistake.

#[cfg(test)]
mod checks;
#[cfg(test)]
mod key;
#[cfg(test)]
mod list;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod swtpm;
#[cfg(test)]
mod vectors;
