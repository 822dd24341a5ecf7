//! TPM quotes by themselves: ones of a software TPM, and made ones with every mistake. A real one is in `tests/vectors`.

#[cfg(test)]
mod checks;
#[cfg(test)]
#[path = "../snp/coverage.rs"]
mod coverage;
#[cfg(test)]
mod key;
#[cfg(test)]
mod list;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod swtpm;
#[cfg(test)]
mod tools;
