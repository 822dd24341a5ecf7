//! SEV-SNP launch digest: what the secure processor will report as MEASUREMENT.
//!
//! The chain on QEMU is the firmware image, the pages of its SEV metadata in file order, then one VMSA per vCPU
//! ([`launch`](fn@launch_digests)). Kernel, initrd and command line enter through one page of hashes
//! that the firmware checks. vCPUs come last, so the digests for many counts share one chain.
//!
//! Spec: AMD 56860 (SEV-SNP Firmware ABI), `SNP_LAUNCH_UPDATE`; AMD APM volume 2, table B-4 (VMSA).
//! Source for the order: QEMU `target/i386/sev.c`.
//! Not covered: SVSM and IGVM launches, ID blocks, whether firmware that carries a hash page really
//! compares the hashes (plain OVMF builds since 2025-09 carry it and do not; use the `AmdSev` build).

pub(crate) mod gctx;
mod hashes;
mod host;
mod launch;
mod ovmf;
mod vmsa;

pub use gctx::{LaunchDigest, PageType};
pub use hashes::KernelHashes;
pub use host::{HOSTS, HostProfile, UnknownHost, UnknownVcpuModel, VcpuSignature};
pub use launch::{LaunchError, LaunchInputs, MAX_VCPUS, launch_digests, transcript};
pub use ovmf::{Ovmf, OvmfError, Section, SectionKind};
pub use vmsa::{PAGE_SIZE, Vcpu, vmsa_page};

#[cfg(test)]
mod tests;
