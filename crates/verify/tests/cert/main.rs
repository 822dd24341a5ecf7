//! Certificates of others: made-up ones with everything right but one thing, and real ones with every byte changed. Real ones as they are
//! stand in `tests/vectors`.

#[cfg(test)]
mod ccc;
#[cfg(test)]
#[path = "../vectors/folder.rs"]
mod folder;
#[cfg(test)]
#[path = "../tdx/intel.rs"]
mod intel;
#[cfg(test)]
mod leaf;
#[cfg(test)]
mod parsers;
#[cfg(test)]
mod privasys;
#[cfg(test)]
#[path = "../tdx/published.rs"]
mod published;
#[cfg(test)]
mod td;
#[cfg(test)]
mod vectors;
