//! Certificates of others: real ones at real times, and made-up ones with everything right but one thing.

#[cfg(test)]
mod ccc;
#[cfg(test)]
mod leaf;
#[cfg(test)]
mod parsers;
#[cfg(test)]
mod privasys;
#[cfg(test)]
mod vectors;
