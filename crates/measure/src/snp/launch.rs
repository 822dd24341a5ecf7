//! From inputs to launch digests, and the account of the way there.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::gctx::{Contents, Gctx, LaunchDigest, PageType, contents};
use super::hashes::{KernelHashes, PADDED_SIZE};
use super::host::{HostProfile, VcpuSignature};
use super::ovmf::{Ovmf, Section, SectionKind};
use super::vmsa::{PAGE_SIZE, Vcpu, vmsa_page};
use crate::digest::Digest;
use crate::transcript::{Register, Step, Transcript};

/// vCPUs counted at most; KVM's own limit.
pub const MAX_VCPUS: u32 = 4096;
/// Reset vector of the boot vCPU.
const RESET_EIP: u32 = 0xffff_fff0;

/// Everything a launch digest depends on but the number of vCPUs.
#[derive(Debug, Clone, Copy)]
pub struct LaunchInputs<'a> {
    /// The firmware.
    pub firmware: &'a Ovmf,
    /// Hashes for direct boot (`kernel-hashes=on`); `None` when firmware boots from disk.
    pub kernel: Option<KernelHashes>,
    /// The virtual machine monitor.
    pub host: &'a HostProfile,
    /// CPUID signature of the vCPU model; without effect unless [`HostProfile::measures_vcpu_model`].
    pub vcpu: VcpuSignature,
    /// `SEV_FEATURES`; 1 is SNP and nothing else.
    pub sev_features: u64,
}

/// Why there is no launch digest for these inputs.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LaunchError {
    /// A guest has 1 to [`MAX_VCPUS`] vCPUs.
    #[error("{found} vCPUs: wanted 1 to {MAX_VCPUS}")]
    VcpuCount {
        /// The count given.
        found: u32,
    },
    /// A kernel is given, but this firmware would start any kernel.
    #[error("firmware has no SNP_KERNEL_HASHES section, so the kernel cannot be measured")]
    NoKernelHashes,
    /// Hash page and hash-table entry contradict each other; firmware would not find the hashes.
    #[error(
        "firmware looks for kernel hashes at {wanted:#x}, but its SNP_KERNEL_HASHES section is at {found:#x}"
    )]
    HashTableElsewhere {
        /// Address of the section.
        found: u32,
        /// Address in the GUID table, 0 for none.
        wanted: u32,
    },
    /// More than one vCPU, but firmware has no code for them.
    #[error("firmware has no AP reset address, so a guest can have 1 vCPU only, not {found}")]
    NoApReset {
        /// The count given.
        found: u32,
    },
}

/// Computes the launch digest for each of `counts` vCPUs; the price is that of the largest count.
///
/// # Errors
/// See [`LaunchError`].
pub fn launch_digests(
    inputs: &LaunchInputs<'_>,
    counts: &BTreeSet<u32>,
) -> Result<BTreeMap<u32, LaunchDigest>, LaunchError> {
    let mut digests = BTreeMap::new();
    let Some(&most) = counts.last() else {
        return Ok(digests);
    };
    launch(
        inputs,
        counts.first().copied().unwrap_or(most),
        most,
        &mut |event| {
            if let Event::Vcpus(count, digest) = event
                && counts.contains(&count)
            {
                digests.insert(count, digest);
            }
        },
    )?;
    Ok(digests)
}

/// Returns the account of the launch with `vcpus` vCPUs; runs of pages that carry no contents are one step.
///
/// # Errors
/// See [`LaunchError`].
pub fn transcript(inputs: &LaunchInputs<'_>, vcpus: u32) -> Result<Transcript, LaunchError> {
    let seed = inputs.firmware.seed().into();
    let mut steps = vec![step(
        "NORMAL pages up to 4 GiB".into(),
        "firmware".into(),
        seed,
        seed,
    )];
    launch(inputs, vcpus, vcpus, &mut |event| {
        if let Event::Run {
            what,
            input,
            contents,
            digest,
        } = event
        {
            steps.push(step(what, input, Digest::Sha384(contents), digest.into()));
        }
    })?;
    Ok(Transcript { steps })
}

fn step(what: String, input: String, digest: Digest, value: Digest) -> Step {
    Step {
        register: Register::LaunchDigest,
        what,
        input,
        digest,
        value,
    }
}

/// What the launch tells as it goes.
enum Event {
    /// Pages of one kind were added; `contents` is that of the last page.
    Run {
        what: String,
        input: String,
        contents: Contents,
        digest: LaunchDigest,
    },
    /// The digest a guest with so many vCPUs has.
    Vcpus(u32, LaunchDigest),
}

/// Performs the launch once, up to `most` vCPUs.
fn launch(
    inputs: &LaunchInputs<'_>,
    least: u32,
    most: u32,
    tell: &mut dyn FnMut(Event),
) -> Result<(), LaunchError> {
    if let Some(&found) = [least, most]
        .iter()
        .find(|count| !(1..=MAX_VCPUS).contains(count))
    {
        return Err(LaunchError::VcpuCount { found });
    }
    check_kernel_hashes(inputs)?;
    let mut gctx = Gctx::resume(inputs.firmware.seed());
    let (held, first): (Vec<&Section>, Vec<&Section>) = inputs
        .firmware
        .sections()
        .iter()
        .partition(|section| inputs.host.cpuid_last && section.kind == SectionKind::Cpuid);
    for section in first.into_iter().chain(held) {
        launch_section(inputs, section, &mut gctx, tell);
    }
    launch_vcpus(inputs, most, &mut gctx, tell)
}

fn check_kernel_hashes(inputs: &LaunchInputs<'_>) -> Result<(), LaunchError> {
    if inputs.kernel.is_none() {
        return Ok(());
    }
    let mut sections = inputs.firmware.sections().iter();
    let section = sections
        .find(|section| section.kind == SectionKind::KernelHashes && section.size > 0)
        .ok_or(LaunchError::NoKernelHashes)?;
    let wanted = inputs.firmware.hash_table_address().unwrap_or_default();
    let inside = wanted
        .checked_sub(section.gpa)
        .map(|offset| offset as usize);
    if inside.is_none_or(|offset| offset + PADDED_SIZE > PAGE_SIZE) {
        return Err(LaunchError::HashTableElsewhere {
            found: section.gpa,
            wanted,
        });
    }
    Ok(())
}

fn launch_section(
    inputs: &LaunchInputs<'_>,
    section: &Section,
    gctx: &mut Gctx,
    tell: &mut dyn FnMut(Event),
) {
    let page_type = match (section.kind, &inputs.kernel) {
        (SectionKind::KernelHashes, Some(_)) => PageType::Normal,
        (SectionKind::SecMem, _) => inputs.host.sec_mem,
        (SectionKind::Secrets, _) => PageType::Secrets,
        (SectionKind::Cpuid, _) => PageType::Cpuid,
        _ => PageType::Zero,
    };
    let mut last = [0; 48];
    for (index, gpa) in section.pages().enumerate() {
        last = match &inputs.kernel {
            Some(hashes) if page_type == PageType::Normal => {
                contents(&hash_page(inputs.firmware, hashes, index))
            }
            _ => [0; 48],
        };
        gctx.update(page_type, gpa, &last);
    }
    let what = format!(
        "{page_type} pages {:#x} to {:#x}",
        section.gpa,
        u64::from(section.gpa) + u64::from(section.size)
    );
    let input = format!("SEV metadata {}", section.kind);
    tell(Event::Run {
        what,
        input,
        contents: last,
        digest: gctx.digest(),
    });
}

/// Returns page `index` of the hash section: the table in the first, zeros in further ones.
fn hash_page(firmware: &Ovmf, hashes: &KernelHashes, index: usize) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let base = firmware.hash_table_address().unwrap_or_default() as usize % PAGE_SIZE;
    if let Some(place) = page
        .get_mut(base..base + PADDED_SIZE)
        .filter(|_| index == 0)
    {
        place.copy_from_slice(&hashes.table());
    }
    page
}

fn launch_vcpus(
    inputs: &LaunchInputs<'_>,
    most: u32,
    gctx: &mut Gctx,
    tell: &mut dyn FnMut(Event),
) -> Result<(), LaunchError> {
    let LaunchInputs {
        host,
        vcpu: signature,
        sev_features,
        ..
    } = *inputs;
    let vcpu = |boot, eip| {
        contents(&vmsa_page(
            host,
            &Vcpu {
                boot,
                eip,
                signature,
                sev_features,
            },
        ))
    };
    // QEMU refuses a reset address of zero.
    let ap = inputs.firmware.ap_reset_address().filter(|&eip| eip != 0);
    let ap = ap.map(|eip| vcpu(false, eip));
    for count in 1..=most {
        let vmsa = match (count, ap) {
            (1, _) => vcpu(true, RESET_EIP),
            (_, Some(ap)) => ap,
            (_, None) => return Err(LaunchError::NoApReset { found: most }),
        };
        gctx.update(PageType::Vmsa, host.vmsa_gpa, &vmsa);
        let what = format!("VMSA page {:#x}", host.vmsa_gpa);
        let index = count - 1;
        let input = match host.measures_vcpu_model() {
            true => format!("vCPU {index}, {signature}, SEV_FEATURES {sev_features:#x}"),
            false => format!("vCPU {index}, SEV_FEATURES {sev_features:#x}"),
        };
        tell(Event::Run {
            what,
            input,
            contents: vmsa,
            digest: gctx.digest(),
        });
        tell(Event::Vcpus(count, gctx.digest()));
    }
    Ok(())
}
