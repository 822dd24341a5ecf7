//! `cloister measure snp`: SEV-SNP launch digests.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use cloister_measure::snp::{
    HostProfile, KernelHashes, LaunchDigest, LaunchInputs, Ovmf, Section, SectionKind,
    VcpuSignature, check_enforcement, launch_digests, transcript,
};
use serde_json::{Value, json};

use super::error::{MeasureError, read_small};
use super::numbers::{Input, launch_digest, number, number32};
use super::{explained, print, print_json};
use crate::cmd::{CommandError, Context};

/// Compute the SEV-SNP launch digest of a guest on QEMU or a cloud
///
/// Prints one digest a line, with more than one number of vCPUs as `N DIGEST`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Firmware image; with `--firmware-digest` its end with the tables is enough
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    /// Launch digest after the firmware's own pages, instead of hashing them; whether firmware verifies a kernel is then
    /// not checked
    #[arg(long, value_name = "HEX", value_parser = launch_digest)]
    firmware_digest: Option<LaunchDigest>,
    /// Kernel of a direct boot with kernel hashes; without it firmware boots from disk
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = OsStringValueParser::new().try_map(Input::parse))]
    kernel: Option<Input>,
    /// Initrd of a direct boot; hashed in constant memory
    #[arg(long, value_name = "FILE|sha256:HEX", value_parser = OsStringValueParser::new().try_map(Input::parse))]
    initrd: Option<Input>,
    /// Kernel command line, exactly as given to `-append`: white space counts
    #[arg(
        long,
        value_name = "STR",
        allow_hyphen_values = true,
        conflicts_with = "cmdline_file"
    )]
    cmdline: Option<OsString>,
    /// File with the kernel command line, byte for byte: a newline at its end counts
    #[arg(long, value_name = "FILE")]
    cmdline_file: Option<PathBuf>,
    /// Numbers of vCPUs; many cost no more than the largest
    #[arg(long, value_name = "N,...", value_delimiter = ',', required = true, value_parser = number32)]
    vcpus: Vec<u32>,
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

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let measured = measure(args)?;
    if ctx.json {
        print_json(&measured.json(args))?;
        return Ok(ExitCode::SUCCESS);
    }
    if measured.enforcement == NOT_CHECKED {
        eprintln!("enforcement: {NOT_CHECKED}");
    }
    for note in &measured.notes {
        eprintln!("note: {note}");
    }
    let account = measured.account.unwrap_or_default();
    let lines: String = args
        .vcpus
        .iter()
        .filter_map(|count| Some((count, measured.digests.get(count)?)))
        .map(|(count, digest)| match args.vcpus.len() {
            1 => format!("{digest}\n"),
            _ => format!("{count} {digest}\n"),
        })
        .collect();
    print(&(explained(args.transcript, &account) + &lines))?;
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
    /// The document of `docs/measurement-snp.md`.
    fn json(&self, args: &Args) -> Value {
        let rows = args.vcpus.iter().filter_map(|count| {
            let digest = self.digests.get(count)?;
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

fn measure(args: &Args) -> Result<Measured, CommandError> {
    let host = HostProfile::named(&args.host_profile).map_err(MeasureError::from)?;
    let vcpu = signature(args, host)?;
    refuse_without_kernel(args)?;
    let (firmware, kernel) = inputs(args)?;
    let inputs = LaunchInputs {
        firmware: &firmware,
        kernel,
        host,
        vcpu: vcpu.unwrap_or(VcpuSignature(0)),
        sev_features: args.guest_features,
    };
    let failed = |source| MeasureError::Launch {
        path: args.firmware.clone(),
        source,
    };
    let counts: BTreeSet<u32> = args.vcpus.iter().copied().collect();
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
        enforcement: match (args.firmware_digest, kernel) {
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

fn refuse_without_kernel(args: &Args) -> Result<(), CommandError> {
    let given = [
        (args.initrd.is_some(), "--initrd"),
        (args.cmdline.is_some(), "--cmdline"),
        (args.cmdline_file.is_some(), "--cmdline-file"),
    ];
    let given = given
        .iter()
        .find(|(given, _)| *given && args.kernel.is_none());
    given.map_or(Ok(()), |(_, option)| {
        let error = anyhow::anyhow!("`{option}` without `--kernel` would not be measured");
        Err(CommandError::new(error).with_hint("add `--kernel FILE`"))
    })
}

/// Reads and hashes the files, each in a thread of its own: the initrd is the largest, and is not to wait.
fn inputs(args: &Args) -> Result<(Ovmf, Option<KernelHashes>), MeasureError> {
    let command_line = command_line(args)?;
    thread::scope(|scope| {
        let firmware = scope.spawn(|| firmware_of(args));
        let kernel = scope.spawn(|| args.kernel.as_ref().map(Input::sha256).transpose());
        let initrd = args.initrd.as_ref().map(Input::sha256).transpose();
        let (firmware, kernel) = (joined(firmware.join())?, joined(kernel.join())?);
        let initrd = initrd?;
        let hashes = kernel.map(|kernel| KernelHashes::new(kernel, initrd, &command_line));
        Ok((firmware, hashes))
    })
}

fn joined<T>(result: thread::Result<Result<T, MeasureError>>) -> Result<T, MeasureError> {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The bytes of the command line. One with a NUL inside cannot be handed to a kernel.
fn command_line(args: &Args) -> Result<Vec<u8>, MeasureError> {
    let Some(path) = &args.cmdline_file else {
        let text = args.cmdline.as_deref().unwrap_or_default();
        return Ok(text.as_bytes().to_vec());
    };
    let bytes = read_small(path)?;
    match bytes.iter().position(|byte| *byte == 0) {
        Some(offset) => Err(MeasureError::Nul {
            path: path.clone(),
            offset,
        }),
        None => Ok(bytes),
    }
}

fn firmware_of(args: &Args) -> Result<Ovmf, MeasureError> {
    match (args.firmware_digest, &args.kernel) {
        (None, None) => firmware(&args.firmware),
        (None, Some(_)) => verifying_firmware(&args.firmware),
        (Some(digest), _) => {
            let failed = |source| MeasureError::Firmware {
                path: args.firmware.clone(),
                source,
            };
            Ovmf::from_tables(&read_small(&args.firmware)?, digest).map_err(failed)
        }
    }
}

fn parse(path: &Path, image: &[u8]) -> Result<Ovmf, MeasureError> {
    Ovmf::from_image(image).map_err(|source| MeasureError::Firmware {
        path: path.to_owned(),
        source,
    })
}

/// Reads and measures a firmware image.
pub(super) fn firmware(path: &Path) -> Result<Ovmf, MeasureError> {
    parse(path, &read_small(path)?)
}

/// Reads and measures a firmware image that is to boot a measured kernel, and refuses one that would boot any.
pub(super) fn verifying_firmware(path: &Path) -> Result<Ovmf, MeasureError> {
    let image = read_small(path)?;
    let firmware = parse(path, &image)?;
    // Without a hash page there is no digest, which the launch says in its own words.
    if firmware.has_hash_page() {
        check_enforcement(&image).map_err(|source| MeasureError::Enforcement {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(firmware)
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
