//! The unsafe fence: system calls that neither `std` nor `nix` offers in a safe form.
//!
//! Nothing else of PID 1 contains `unsafe`; the GPU helper has a fence of its own (`gpu-helper/src/sys.rs`). Each function here is safe to call with any
//! arguments; what makes it so stands at its block.

pub(crate) mod capabilities;
pub(crate) mod device_mapper;
pub(crate) mod interface;
pub(crate) mod packet;
