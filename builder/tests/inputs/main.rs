//! `lock`, `fetch` and `store` of the real program against a small signed archive on this machine.
//!
//! | module | what it is |
//! |---|---|
//! | [`archive`] | a Debian archive and a wheel index, signed by a key made by the test |
//! | [`bench`] | both, and a recipe that uses them |
//! | [`server`] | serves files over HTTP, and misbehaves as told |
//! | [`good`] | what must work: lock, fetch, export, import, two at once, resume, repair, collect |
//! | [`bad`] | what must be refused, with which words |
//! | [`driver`] | sources and headers that kernel modules are compiled from |
//! | [`firmware`] | firmware that Debian ships, measured |
//! | [`wheels`] | locks of Python packages that are imported |
//! | [`real`] | the real archive, where it can be reached |

#[cfg(test)]
mod archive;
#[cfg(test)]
mod bad;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod firmware;
#[cfg(test)]
mod good;
#[cfg(test)]
mod real;
#[cfg(test)]
mod server;
#[cfg(test)]
mod wheels;
