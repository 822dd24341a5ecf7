//! What the host decides: initial registers and page types that differ between virtual machine monitors, as data.
//!
//! Sources: virtee/sev-snp-measure `vmsa.py`, `guest.py` @ 8f2b337 and its pull requests 48, 49 (x87 and SSE defaults follow
//! the host kernel), 56 (GCE), 60 (EC2); google/gce-tcb-verifier `sev/ld_from_ovmf.go` @ 74582c0.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::gctx::PageType;

/// A virtual machine monitor, with the host kernel where that matters.
#[derive(Debug, PartialEq, Eq)]
pub struct HostProfile {
    /// Name in commands and reference values.
    pub name: &'static str,
    /// What it describes, in one line.
    pub summary: &'static str,
    /// Attributes of CS for the boot vCPU and for the others.
    pub(super) cs: [u16; 2],
    /// Attributes of SS.
    pub(super) ss: u16,
    /// Attributes of TR.
    pub(super) tr: u16,
    /// PAT.
    pub(super) g_pat: u64,
    /// RDX; `None` for the vCPU signature.
    pub(super) rdx: Option<u64>,
    /// MXCSR.
    pub(super) mxcsr: u32,
    /// x87 control word.
    pub(super) x87_fcw: u16,
    /// How pages of metadata type 1 (`SEC_MEM`) enter.
    pub(super) sec_mem: PageType,
    /// Whether CPUID pages enter after all others.
    pub(super) cpuid_last: bool,
    /// Guest physical address under which every VMSA is measured: the last page of the address space the host assumes.
    pub(super) vmsa_gpa: u64,
}

const STANDARD_PAT: u64 = 0x0007_0406_0007_0406;
/// Last page of 48 bits: what KVM uses on every CPU (Linux `arch/x86/kvm/svm/sev.c`, `INITIAL_VMSA_GPA`).
const VMSA_GPA_48: u64 = 0xffff_ffff_f000;
/// Last page of 52 bits.
const VMSA_GPA_52: u64 = 0x000f_ffff_ffff_f000;

const GCE: HostProfile = HostProfile {
    name: "gce",
    summary: "Google Compute Engine on Milan (N2D), VMSA at the end of 48 bits",
    g_pat: 0x0007_0106,
    rdx: Some(0x600),
    mxcsr: 0,
    x87_fcw: 0,
    sec_mem: PageType::Unmeasured,
    ..QEMU
};

const QEMU: HostProfile = HostProfile {
    name: "qemu",
    summary: "QEMU on KVM of Linux 6.9 or later",
    cs: [0x9b, 0x9b],
    ss: 0x93,
    tr: 0x8b,
    g_pat: STANDARD_PAT,
    rdx: None,
    mxcsr: 0x1f80,
    x87_fcw: 0x37f,
    sec_mem: PageType::Zero,
    cpuid_last: false,
    vmsa_gpa: VMSA_GPA_48,
};

/// Every known host. `ec2` and `gce` follow sev-snp-measure 0.0.13. `gce-genoa` has the address that gce-tcb-verifier derives
/// from the CPU's 52 address bits, where sev-snp-measure has 48 for every CPU: no report from such a machine was at hand.
pub const HOSTS: [&HostProfile; 5] = [
    &QEMU,
    &HostProfile {
        name: "qemu-before-6.9",
        summary: "QEMU on KVM before Linux 6.9, which left MXCSR and the x87 control word zero",
        mxcsr: 0,
        x87_fcw: 0,
        ..QEMU
    },
    &HostProfile {
        name: "ec2",
        summary: "Amazon EC2, as of 2026",
        cs: [0x9a, 0x9b],
        ss: 0x92,
        tr: 0x83,
        rdx: Some(0x600),
        mxcsr: 0,
        x87_fcw: 0,
        cpuid_last: true,
        ..QEMU
    },
    &GCE,
    &HostProfile {
        name: "gce-genoa",
        summary: "Google Compute Engine on Genoa (C3D), VMSA at the end of 52 bits; not confirmed by a report",
        vmsa_gpa: VMSA_GPA_52,
        ..GCE
    },
];

/// A name that is no host profile.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("unknown host `{name}`: wanted {}", HOSTS.map(|host| host.name).join(", "))]
pub struct UnknownHost {
    /// The name.
    pub name: String,
}

impl HostProfile {
    /// Returns the profile called `name`.
    ///
    /// # Errors
    /// [`UnknownHost`], which lists the known names.
    pub fn named(name: &str) -> Result<&'static HostProfile, UnknownHost> {
        let found = HOSTS.into_iter().find(|host| host.name == name);
        found.ok_or_else(|| UnknownHost {
            name: name.to_owned(),
        })
    }

    /// Returns whether the launch digest depends on the vCPU model.
    pub fn measures_vcpu_model(&self) -> bool {
        self.rdx.is_none()
    }
}

/// CPUID `Fn0000_0001_EAX` of the vCPU: family, model and stepping of the *model QEMU emulates*, not of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct VcpuSignature(pub u32);

/// QEMU's AMD models; every version (`-v1`, `-v2`, ...) of a model has one signature.
/// Source: QEMU `target/i386/cpu.c`.
const MODELS: [(&str, u32); 6] = [
    ("EPYC", 0x80_0f12),
    ("EPYC-IBPB", 0x80_0f12),
    ("EPYC-Rome", 0x83_0f10),
    ("EPYC-Milan", 0xa0_0f11),
    ("EPYC-Genoa", 0xa1_0f10),
    ("EPYC-Turin", 0xb0_0f00),
];

/// A name that is no vCPU model.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error(
    "unknown vCPU model `{name}`: wanted a signature such as 0xa10f10, or {} (with or without -v1, -v2, ...)",
    MODELS.map(|(model, _)| model).join(", ")
)]
pub struct UnknownVcpuModel {
    /// The name.
    pub name: String,
}

impl FromStr for VcpuSignature {
    type Err = UnknownVcpuModel;

    /// Takes a QEMU model name, or a signature in hex with `0x`.
    fn from_str(name: &str) -> Result<VcpuSignature, UnknownVcpuModel> {
        let unknown = || UnknownVcpuModel {
            name: name.to_owned(),
        };
        if let Some(digits) = name.strip_prefix("0x") {
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let signature = u32::from_str_radix(digits, 16).ok().filter(|_| plain);
            return signature.map(VcpuSignature).ok_or_else(unknown);
        }
        let model = match name.rsplit_once("-v") {
            Some((model, version))
                if !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                model
            }
            _ => name,
        };
        let found = MODELS.into_iter().find(|(known, _)| *known == model);
        found
            .map(|(_, signature)| VcpuSignature(signature))
            .ok_or_else(unknown)
    }
}

impl fmt::Display for VcpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
