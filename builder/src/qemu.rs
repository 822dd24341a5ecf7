//! Boots an image in QEMU with a software TPM and leaves nothing behind.
//!
//! A guest owns its QEMU process, its swtpm process and a temporary directory with the TPM's state; all three go
//! when it is dropped. The disk is opened read-only. Not covered: SEV-SNP hosts.

pub(crate) mod accelerator;
pub(crate) mod firmware;
pub(crate) mod guest;
pub(crate) mod machine;

pub(crate) use accelerator::{Accelerator, Choice};

pub(crate) use machine::Machine;
