//! TDX: quotes behind a PKI of the tests' own, and real ones against another verifier. Real ones as they are stand in `tests/vectors`.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod checks;
#[cfg(test)]
#[path = "../snp/coverage.rs"]
mod coverage;
#[cfg(test)]
#[path = "../vectors/folder.rs"]
mod folder;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod google;
#[cfg(test)]
mod intel;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod published;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod vectors;
