//! SEV-SNP: reports behind a PKI of the tests' own. Real ones are in `tests/vectors`.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod coverage;
#[cfg(test)]
#[path = "../vectors/folder.rs"]
mod folder;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod kbs;
#[cfg(test)]
mod mutation;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod words;
