//! What KVM changes about a launch, so that the digest of the file is not that of the guest.
//!
//! Source: coconut-svsm `tools/igvmmeasure` (`--check-kvm`); Linux `arch/x86/kvm/svm/sev.c`. Beyond `igvmmeasure`, page
//! data behind the VMSA is reported too, not only parameters.

use igvm::IgvmDirectiveHeader;
use thiserror::Error;

use super::Igvm;

/// Where KVM puts every VMSA (`INITIAL_VMSA_GPA`).
const VMSA_GPA: u64 = 0xffff_ffff_f000;
/// CR0 as KVM sets it, in real and in protected mode.
const CR0: [u64; 2] = [0x30, 0x31];

/// A reason why KVM launches another guest than the file says.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvmFinding {
    /// QEMU sets the registers of the first processor only, and KVM measures one VMSA for each.
    #[error(
        "the file has {found} VMSAs, and QEMU on KVM takes exactly one, for the first processor"
    )]
    VmsaCount {
        /// How many there are.
        found: usize,
    },
    /// KVM has a place of its own for the VMSA.
    #[error("the VMSA is at {found:#x}, and KVM always puts it at {VMSA_GPA:#x}")]
    VmsaAddress {
        /// Its address in the file.
        found: u64,
    },
    /// KVM writes CR0 before it measures the VMSA.
    #[error(
        "CR0 in the VMSA is {found:#x}, and KVM makes it 0x30 (real mode) or 0x31 (protected mode)"
    )]
    Cr0 {
        /// Its value in the file.
        found: u64,
    },
    /// KVM measures the VMSA when the launch ends, whatever the file's order.
    #[error("pages follow the VMSA, and KVM measures the VMSA last")]
    VmsaNotLast,
}

impl Igvm {
    /// Returns why KVM would report another digest than [`Igvm::launch_digest`]; nothing when it would not.
    pub fn kvm_findings(&self) -> Vec<KvmFinding> {
        let (mut findings, mut count, mut late) = (Vec::new(), 0_usize, false);
        for directive in self.directives() {
            match directive {
                IgvmDirectiveHeader::SnpVpContext { gpa, vmsa, .. } => {
                    count += 1;
                    if *gpa != VMSA_GPA {
                        findings.push(KvmFinding::VmsaAddress { found: *gpa });
                    }
                    if !CR0.contains(&vmsa.cr0) {
                        findings.push(KvmFinding::Cr0 { found: vmsa.cr0 });
                    }
                }
                IgvmDirectiveHeader::PageData { flags, .. } => late |= count > 0 && !flags.shared(),
                IgvmDirectiveHeader::ParameterInsert(_) => late |= count > 0,
                _ => {}
            }
        }
        if count != 1 {
            findings.push(KvmFinding::VmsaCount { found: count });
        }
        if late {
            findings.push(KvmFinding::VmsaNotLast);
        }
        findings
    }
}
