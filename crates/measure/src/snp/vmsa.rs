//! A vCPU's first registers: one measured 4 KiB save area (VMSA) for each vCPU.
//!
//! Spec: AMD APM volume 2, table B-4 (offsets). The values are those of the x86 reset state as each host sets
//! them; see [`HostProfile`].

use super::host::{HostProfile, VcpuSignature};

/// Size of a page in bytes.
pub const PAGE_SIZE: usize = 4096;

/// What decides a VMSA beside the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vcpu {
    /// Whether this is the boot vCPU.
    pub boot: bool,
    /// First instruction: `0xffff_fff0` for the boot vCPU, the firmware's reset address for others.
    pub eip: u32,
    /// CPUID signature of the vCPU model.
    pub signature: VcpuSignature,
    /// `SEV_FEATURES`: bit 0 SNP active, bit 5 debug swap, ...
    pub sev_features: u64,
}

/// A segment register: selector, attributes, limit, base.
struct Segment(u16, u16, u32, u64);

/// Returns the VMSA page of `vcpu` on `host`.
pub fn vmsa_page(host: &HostProfile, vcpu: &Vcpu) -> [u8; PAGE_SIZE] {
    let mut page = Page([0; PAGE_SIZE]);
    let data = Segment(0, 0x93, 0xffff, 0);
    let cs_attributes = if vcpu.boot { host.cs[0] } else { host.cs[1] };
    let cs_base = u64::from(vcpu.eip & 0xffff_0000);
    let segments = [
        (0x00, &data),                                            // ES
        (0x10, &Segment(0xf000, cs_attributes, 0xffff, cs_base)), // CS
        (0x20, &Segment(0, host.ss, 0xffff, 0)),                  // SS
        (0x30, &data),                                            // DS
        (0x40, &data),                                            // FS
        (0x50, &data),                                            // GS
        (0x60, &Segment(0, 0, 0xffff, 0)),                        // GDTR
        (0x70, &Segment(0, 0x82, 0xffff, 0)),                     // LDTR
        (0x80, &Segment(0, 0, 0xffff, 0)),                        // IDTR
        (0x90, &Segment(0, host.tr, 0xffff, 0)),                  // TR
    ];
    for (offset, Segment(selector, attributes, limit, base)) in segments {
        page.put(offset, &selector.to_le_bytes());
        page.put(offset + 2, &attributes.to_le_bytes());
        page.put(offset + 4, &limit.to_le_bytes());
        page.put(offset + 8, &base.to_le_bytes());
    }
    let rdx = host.rdx.unwrap_or(u64::from(vcpu.signature.0));
    let registers: [(usize, u64); 13] = [
        (0x0d0, 0x1000),                       // EFER: SVME
        (0x148, 0x40),                         // CR4: MCE
        (0x158, 0x10),                         // CR0: ET
        (0x160, 0x400),                        // DR7
        (0x168, 0xffff_0ff0),                  // DR6
        (0x170, 0x2),                          // RFLAGS
        (0x178, u64::from(vcpu.eip & 0xffff)), // RIP
        (0x268, host.g_pat),                   // PAT
        (0x310, rdx),                          // RDX
        (0x3b0, vcpu.sev_features),            // SEV_FEATURES
        (0x3e8, 1),                            // XCR0
        (0x408, u64::from(host.mxcsr)),        // MXCSR, then zero FTW and FSW
        (0x410, u64::from(host.x87_fcw)),      // FCW, then zero FOP, FDS, FCS
    ];
    for (offset, value) in registers {
        page.put(offset, &value.to_le_bytes());
    }
    page.0
}

struct Page([u8; PAGE_SIZE]);

impl Page {
    /// Writes `bytes` at `offset`; every caller writes inside the page.
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        let place = self.0.get_mut(offset..offset.saturating_add(bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }
}
