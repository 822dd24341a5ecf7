//! SEV-SNP launch digest: what the secure processor will report as MEASUREMENT.
//!
//! The chain on QEMU is the firmware image, the pages of its SEV metadata in file order, then one VMSA per vCPU
//! ([`launch`](fn@launch_digests)). Kernel, initrd and command line enter through one page of hashes
//! that the firmware checks. vCPUs come last, so the digests for many counts share one chain.
//!
//! Spec: AMD 56860 (SEV-SNP Firmware ABI), `SNP_LAUNCH_UPDATE`; AMD APM volume 2, table B-4 (VMSA).
//! Source for the order: QEMU `target/i386/sev.c`.
//! Whether firmware that carries a hash page compares the hashes is a question of its own: [`check_enforcement`], to be asked
//! before a digest with a kernel is computed.
//! Not covered: SVSM and IGVM launches.

mod enforcement;
pub(crate) mod gctx;
mod hashes;
mod host;
mod id_block;
mod launch;
mod ovmf;
mod policy;
mod vmsa;
mod volume;

pub use enforcement::{EnforcementError, check_enforcement};
pub use gctx::{LaunchDigest, PageType};
pub use hashes::KernelHashes;
pub use host::{HOSTS, HostProfile, UnknownHost, UnknownVcpuModel, VcpuSignature};
pub use id_block::{ID_AUTH_SIZE, ID_BLOCK_SIZE, ID_KEY_SIZE, IdAuth, IdBlock, IdKey, IdSignature};
pub use launch::{LaunchError, LaunchInputs, MAX_VCPUS, launch_digests, transcript};
pub use ovmf::{Ovmf, OvmfError, Section, SectionKind};
pub use policy::{GuestPolicy, PolicyError};
pub use vmsa::{PAGE_SIZE, Vcpu, vmsa_page};
pub use volume::{Place, VolumeError};

#[cfg(test)]
mod tests;
