//! `cloister measure snp`: SEV-SNP launch digests.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use cloister_measure::snp::{
    HostProfile, KernelHashes, LaunchDigest, LaunchInputs, Section, SectionKind, VcpuSignature,
    launch_digests, transcript,
};
use serde_json::{Value, json};

use super::error::MeasureError;
use super::launch::{self, DirectBoot, Firmware};
use super::numbers::{number, number32, vcpus};
use super::{explained, print, print_json};
use crate::cmd::{CommandError, Context};

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  cloister measure snp --firmware OVMF.amdsev.fd --kernel vmlinuz --initrd initrd \\
      --cmdline 'console=ttyS0' --vcpus 1-8 --vcpu-model EPYC-v4
  # without the files; the tables are the last 4 KiB of the firmware
  cloister measure snp --firmware tables.bin --firmware-digest HEX --kernel sha256:HEX \\
      --initrd sha256:HEX --cmdline 'console=ttyS0' --vcpus 4 --vcpu-model EPYC-v4
  # the digest of the firmware, for the line above
  cloister measure snp --json --firmware OVMF.amdsev.fd --vcpus 1 --vcpu-model EPYC-v4
";

/// Compute the SEV-SNP launch digest of a guest on QEMU or a cloud
///
/// Prints one digest a line, with more than one number of vCPUs as `N DIGEST`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    firmware: Firmware,
    #[command(flatten)]
    boot: DirectBoot,
    /// Numbers of vCPUs and ranges of them, each from 1 to 4096; many cost no more than the largest
    #[arg(long, value_name = "N|N-N,...", value_delimiter = ',', required = true, value_parser = vcpus)]
    vcpus: Vec<RangeInclusive<u32>>,
    /// QEMU's vCPU model, such as `EPYC-v4`; not the host's CPU
    #[arg(long, value_name = "NAME", conflicts_with = "vcpu_signature")]
    vcpu_model: Option<String>,
    /// CPUID signature of the vCPU model, such as `0xa10f10`
    #[arg(long, value_name = "N", value_parser = number32)]
    vcpu_signature: Option<u32>,
    /// `SEV_FEATURES` of the guest: `0x1` is SNP only, `0x21` adds debug swap
    #[arg(long, value_name = "N", default_value = "0x1", value_parser = number)]
    guest_features: u64,
    /// What the host adds: `qemu`, `qemu-before-6.9`, `ec2`, `gce` or `gce-genoa`; the clouds need no vCPU model
    #[arg(long, value_name = "NAME", default_value = "qemu")]
    host_profile: String,
    /// Explain the digest of the largest number of vCPUs step by step
    #[arg(long)]
    transcript: bool,
}

impl Args {
    /// Every number of vCPUs that was asked for, in that order.
    fn counts(&self) -> impl Iterator<Item = u32> + '_ {
        self.vcpus.iter().cloned().flatten()
    }
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let measured = measure(args, ctx.jobs)?;
    if ctx.json {
        print_json(&measured.json(args))?;
        return Ok(ExitCode::SUCCESS);
    }
    eprint!("{}", measured.remarks());
    let account = measured.account.clone().unwrap_or_default();
    print(&(explained(args.transcript, &account) + &measured.lines(args)))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the firmware was found to verify the kernel.
const CHECKED: &str = "checked";
const NOT_CHECKED: &str = "not checked";
const NOT_NEEDED: &str = "not needed";

/// Digests, and what there is to say about them.
struct Measured {
    digests: BTreeMap<u32, LaunchDigest>,
    account: Option<cloister_measure::transcript::Transcript>,
    firmware_digest: LaunchDigest,
    kernel: Option<KernelHashes>,
    vcpu: Option<VcpuSignature>,
    enforcement: &'static str,
    unknown: Vec<Section>,
    notes: Vec<String>,
}

impl Measured {
    /// One digest a line, in the order asked for.
    fn lines(&self, args: &Args) -> String {
        let several = args.counts().nth(1).is_some();
        let line = |count| match (self.digests.get(&count), several) {
            (Some(digest), true) => format!("{count} {digest}\n"),
            (Some(digest), false) => format!("{digest}\n"),
            (None, _) => String::new(),
        };
        args.counts().map(line).collect()
    }

    /// What a reader must know beside the digests.
    fn remarks(&self) -> String {
        let enforcement = match self.enforcement {
            NOT_CHECKED => format!("enforcement: {NOT_CHECKED}\n"),
            _ => String::new(),
        };
        let notes = self.notes.iter().map(|note| format!("note: {note}\n"));
        enforcement + &notes.collect::<String>()
    }

    /// The document of `docs/measurement-snp.md`.
    fn json(&self, args: &Args) -> Value {
        let rows = args.counts().filter_map(|count| {
            let digest = self.digests.get(&count)?;
            Some(json!({"digest": digest.to_string(), "vcpus": count}))
        });
        let kernel = self.kernel.map(|hashes| {
            json!({
                "cmdline": hex::encode(hashes.command_line),
                "initrd": hex::encode(hashes.initrd),
                "kernel": hex::encode(hashes.kernel),
            })
        });
        let unknown = self.unknown.iter().map(|section| {
            let kind = kind(section).map(|kind| format!("{kind:#x}"));
            json!({"gpa": format!("{:#x}", section.gpa), "size": section.size, "type": kind})
        });
        let mut document = json!({
            "enforcement": self.enforcement,
            "firmware-digest": self.firmware_digest.to_string(),
            "guest-features": format!("{:#x}", args.guest_features),
            "host-profile": args.host_profile,
            "kernel-hashes": kernel,
            "launch-digests": rows.collect::<Vec<_>>(),
            "notes": self.notes,
            "schema-version": 1,
            "unknown-sections": unknown.collect::<Vec<_>>(),
            "vcpu-signature": self.vcpu.map(|vcpu| vcpu.to_string()),
        });
        if let (Some(account), Some(document)) = (&self.account, document.as_object_mut()) {
            document.insert("transcript".to_owned(), json!(account));
        }
        document
    }
}

fn measure(args: &Args, jobs: Option<NonZeroUsize>) -> Result<Measured, CommandError> {
    let host = HostProfile::named(&args.host_profile).map_err(MeasureError::from)?;
    let vcpu = signature(args, host)?;
    args.boot.check()?;
    let measured_kernel = args.boot.kernel.is_some();
    let (firmware, kernel) =
        launch::measured(&args.boot, jobs, || args.firmware.read(measured_kernel))?;
    let inputs = LaunchInputs {
        firmware: &firmware,
        kernel,
        host,
        vcpu: vcpu.unwrap_or(VcpuSignature(0)),
        sev_features: args.guest_features,
    };
    let failed = |source| MeasureError::Launch {
        path: args.firmware.path.clone(),
        source,
    };
    let counts: BTreeSet<u32> = args.counts().collect();
    let digests = launch_digests(&inputs, &counts).map_err(failed)?;
    let most = counts.last().copied().filter(|_| args.transcript);
    let account = most.map(|most| transcript(&inputs, most).map_err(failed));
    let unknown: Vec<Section> = firmware.unknown_sections().copied().collect();
    Ok(Measured {
        digests,
        account: account.transpose()?,
        firmware_digest: firmware.seed(),
        kernel,
        vcpu,
        enforcement: match (args.firmware.digest, kernel) {
            (Some(_), _) => NOT_CHECKED,
            (None, Some(_)) => CHECKED,
            (None, None) => NOT_NEEDED,
        },
        notes: unknown.iter().map(unknown_note).collect(),
        unknown,
    })
}

/// The signature of the vCPU model; `None` where the host's profile leaves it out of the digest.
fn signature(args: &Args, host: &HostProfile) -> Result<Option<VcpuSignature>, CommandError> {
    let named = args.vcpu_model.as_ref().map(|name| name.parse());
    let named = named.transpose().map_err(MeasureError::from)?;
    let found = named.or(args.vcpu_signature.map(VcpuSignature));
    if found.is_none() && host.measures_vcpu_model() {
        let error = anyhow::anyhow!(
            "host profile `{}` needs `--vcpu-model` or `--vcpu-signature`",
            host.name
        );
        let hint = "name the model of QEMU's `-cpu`, for example `--vcpu-model EPYC-v4`";
        return Err(CommandError::new(error).with_hint(hint));
    }
    Ok(found.filter(|_| host.measures_vcpu_model()))
}

fn kind(section: &Section) -> Option<u32> {
    match section.kind {
        SectionKind::Unknown(kind) => Some(kind),
        _ => None,
    }
}

fn unknown_note(section: &Section) -> String {
    format!(
        "firmware metadata has a section of {} at {:#x} of {:#x} bytes; it is measured as zero pages, as QEMU launches it",
        section.kind, section.gpa, section.size
    )
}

#[cfg(test)]
mod tests;
