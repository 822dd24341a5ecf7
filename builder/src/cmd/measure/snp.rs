//! `cloister measure snp`: SEV-SNP launch digests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use cloister_measure::snp::{
    HostProfile, KernelHashes, LaunchDigest, LaunchInputs, Ovmf, VcpuSignature, launch_digests,
    transcript,
};
use serde_json::{Value, json};

use super::error::{MeasureError, hash, read};
use super::{explained, print, print_json};
use crate::cmd::{CommandError, Context};

/// Compute the SEV-SNP launch digest of a guest on QEMU or a cloud
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Firmware image, whole
    #[arg(long, value_name = "FILE")]
    ovmf: PathBuf,
    /// Kernel of a direct boot with kernel-hashes; without it firmware boots from disk
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// SHA-256 of the kernel, instead of the file
    #[arg(long, value_name = "HEX", conflicts_with = "kernel", value_parser = sha256)]
    kernel_sha256: Option<[u8; 32]>,
    /// Initrd of a direct boot; hashed in constant memory
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// SHA-256 of the initrd, instead of the file
    #[arg(long, value_name = "HEX", conflicts_with = "initrd", value_parser = sha256)]
    initrd_sha256: Option<[u8; 32]>,
    /// Kernel command line, exactly as given to `-append`; white space counts
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,
    /// Numbers of vCPUs; many cost no more than the largest
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1")]
    vcpus: Vec<u32>,
    /// QEMU vCPU models (`EPYC-v4`) or signatures (`0xa10f10`)
    #[arg(
        long,
        value_name = "MODEL,...",
        value_delimiter = ',',
        default_value = "EPYC-v4"
    )]
    vcpu_model: Vec<String>,
    /// `SEV_FEATURES` of the guest: `0x1` is SNP only, `0x21` adds debug swap
    #[arg(long, value_name = "HEX", default_value = "0x1", value_parser = features)]
    sev_features: u64,
    /// Host profile: `qemu`, `qemu-before-6.9`, `ec2` or `gce`
    #[arg(long, value_name = "NAME", default_value = "qemu")]
    host: String,
    /// Explain each digest step by step
    #[arg(long)]
    transcript: bool,
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let host = HostProfile::named(&args.host).map_err(MeasureError::from)?;
    if args.kernel.is_none() && args.kernel_sha256.is_none() {
        refuse_without_kernel(args)?;
    }
    let (firmware, kernel) = inputs(args)?;
    let mut rows = Vec::new();
    for model in &args.vcpu_model {
        let vcpu: VcpuSignature = model.parse().map_err(MeasureError::from)?;
        let sev_features = args.sev_features;
        let inputs = LaunchInputs {
            firmware: &firmware,
            kernel,
            host,
            vcpu,
            sev_features,
        };
        rows.extend(measure(args, ctx, model, &inputs)?);
    }
    if ctx.json {
        print_json(&json!({
            "host": host.name,
            "launch-digests": rows,
            "sev-features": args.sev_features,
        }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Computes and prints the digests of one vCPU model; gives them back as JSON.
fn measure(
    args: &Args,
    ctx: &Context,
    model: &str,
    inputs: &LaunchInputs<'_>,
) -> Result<Vec<Value>, MeasureError> {
    let failed = |source| MeasureError::Launch {
        path: args.ovmf.clone(),
        source,
    };
    let counts: BTreeSet<u32> = args.vcpus.iter().copied().collect();
    let mut rows = Vec::new();
    for (vcpus, digest) in launch_digests(inputs, &counts).map_err(failed)? {
        let mut row = row(model, vcpus, digest);
        if args.transcript {
            let account = transcript(inputs, vcpus).map_err(failed)?;
            if let (true, Some(row)) = (ctx.json, row.as_object_mut()) {
                row.insert("transcript".to_owned(), json!(account));
            }
            print(&explained(!ctx.json, &account))?;
        }
        if !ctx.json {
            print(&format!("{digest}  {model} x{vcpus}\n"))?;
        }
        rows.push(row);
    }
    Ok(rows)
}

fn row(model: &str, vcpus: u32, digest: LaunchDigest) -> Value {
    json!({"digest": digest.to_string(), "vcpu-model": model, "vcpus": vcpus})
}

fn refuse_without_kernel(args: &Args) -> Result<(), CommandError> {
    let given = [
        (args.initrd.is_some(), "--initrd"),
        (args.initrd_sha256.is_some(), "--initrd-sha256"),
        (!args.append.is_empty(), "--append"),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, option)) => {
            let error = anyhow::anyhow!("`{option}` without `--kernel` would not be measured");
            Err(CommandError::new(error).with_hint("add `--kernel FILE`"))
        }
        None => Ok(()),
    }
}

/// Reads and hashes the files: firmware and kernel beside the initrd, which is the largest.
fn inputs(args: &Args) -> Result<(Ovmf, Option<KernelHashes>), MeasureError> {
    let file_hash = |path: &Option<PathBuf>, given| match path {
        Some(path) => hash(path).map(Some),
        None => Ok(given),
    };
    thread::scope(|scope| {
        let others = scope.spawn(|| {
            let kernel = file_hash(&args.kernel, args.kernel_sha256)?;
            Ok::<_, MeasureError>((firmware(&args.ovmf)?, kernel))
        });
        let initrd = file_hash(&args.initrd, args.initrd_sha256);
        let (firmware, kernel) = match others.join() {
            Ok(others) => others?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let initrd = initrd?;
        let append = args.append.as_bytes();
        Ok((
            firmware,
            kernel.map(|kernel| KernelHashes::new(kernel, initrd, append)),
        ))
    })
}

/// Reads and measures a firmware image.
pub(super) fn firmware(path: &Path) -> Result<Ovmf, MeasureError> {
    let failed = |source| MeasureError::Firmware {
        path: path.to_owned(),
        source,
    };
    Ovmf::from_image(&read(path)?).map_err(failed)
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|error| format!("not a SHA-256: {error}"))?;
    Ok(hash)
}

fn features(text: &str) -> Result<u64, String> {
    let digits = text
        .strip_prefix("0x")
        .ok_or("wanted hex digits after `0x`")?;
    u64::from_str_radix(digits, 16).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let line = ["snp", "--ovmf", "f"].iter().chain(words);
        Line::try_parse_from(line).map(|line| line.args)
    }

    #[test]
    fn lists_and_numbers_are_parsed() {
        let words = [
            "--vcpus",
            "1,2,64",
            "--vcpu-model",
            "EPYC-v4,0xa10f10",
            "--sev-features",
            "0x21",
        ];
        let args = parse(&words).unwrap();
        assert_eq!((args.vcpus, args.sev_features), (vec![1, 2, 64], 0x21));
        assert_eq!(args.vcpu_model, ["EPYC-v4", "0xa10f10"]);
        assert!(parse(&["--sev-features", "33"]).is_err());
        assert!(parse(&["--kernel-sha256", "abcd"]).is_err());
        assert!(parse(&["--kernel", "k", "--kernel-sha256", &"ab".repeat(32)]).is_err());
    }

    #[test]
    fn inputs_of_a_direct_boot_need_a_kernel() {
        let args = parse(&["--append", "-x"]).unwrap();
        assert!(refuse_without_kernel(&args).is_err());
        assert!(refuse_without_kernel(&parse(&[]).unwrap()).is_ok());
    }
}
