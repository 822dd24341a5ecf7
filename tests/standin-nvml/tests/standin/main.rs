//! The GPU helper against the stand-in, in a process of its own, and outside readers of the stand-in.

#[cfg(test)]
mod conformance;
#[cfg(test)]
#[path = "../../src/fault.rs"]
mod fault;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod replay;
