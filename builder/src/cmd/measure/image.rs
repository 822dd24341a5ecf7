//! `cloister measure image`: compute the values of a built image again and compare them with its reference values.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_measure::reference::{Class, LaunchDigestEntry, LaunchPolicy, ReferenceValues};
use cloister_measure::snp::{
    HostProfile, KernelHashes, LaunchInputs, Ovmf, VcpuSignature, launch_digests,
};
use serde_json::{Value, json};

use super::error::{MeasureError, files, hash, read};
use super::{print, print_json, snp, uki};
use crate::cmd::{CommandError, Context, DIFFERENT};

/// Compute the values of a built image again and compare them with its `measurements/`
///
/// Ends with exit code 1 when a value differs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory that `cloister build` wrote
    #[arg(value_name = "DIR")]
    image: PathBuf,
    /// Reference values to compare with [default: every `DIR/measurements/*.json`]
    #[arg(long, value_name = "FILE")]
    expect: Vec<PathBuf>,
}

/// One value, computed and compared.
struct Row {
    platform: String,
    name: String,
    found: Option<String>,
    wanted: Vec<String>,
}

impl Row {
    fn outcome(&self) -> &'static str {
        match &self.found {
            None => "not computed",
            Some(found) if self.wanted.contains(found) => "same",
            Some(_) => "DIFFERS",
        }
    }
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let mut references = args.expect.clone();
    if references.is_empty() {
        references = files(&args.image.join("measurements"), "json")?;
    }
    if references.is_empty() {
        return Err(MeasureError::NoMeasurements {
            path: args.image.clone(),
        }
        .into());
    }
    let mut rows = Vec::new();
    for path in &references {
        rows.extend(compare(&args.image, path)?);
    }
    if ctx.json {
        print_json(&Value::Array(rows.iter().map(as_json).collect()))?;
    } else {
        print(&rows.iter().map(as_text).collect::<String>())?;
    }
    let differs = rows.iter().any(|row| row.outcome() == "DIFFERS");
    Ok(if differs {
        ExitCode::from(DIFFERENT)
    } else {
        ExitCode::SUCCESS
    })
}

/// Computes everything that one reference-value file lists.
fn compare(image: &Path, path: &Path) -> Result<Vec<Row>, MeasureError> {
    let failed = |source| MeasureError::Reference {
        path: path.to_owned(),
        source,
    };
    let values = ReferenceValues::from_json(&read(path)?).map_err(failed)?;
    let mut rows = registers(image, &values)?;
    if let Some(policy) = &values.launch_policy {
        rows.extend(launches(image, &values, policy)?);
    }
    Ok(rows)
}

fn registers(image: &Path, values: &ReferenceValues) -> Result<Vec<Row>, MeasureError> {
    let mut computed = std::collections::BTreeMap::new();
    if values
        .registers
        .values()
        .any(|register| register.class == Class::Image)
    {
        let path = image.join("uki.efi");
        let prediction = uki::predicted(&path, &read(&path)?, values.bank)?;
        let named =
            |(index, value): (u32, cloister_measure::Digest)| (format!("pcr{index}"), value);
        computed = prediction.pcrs.into_iter().map(named).collect();
    }
    let row = |(name, register): (&String, &cloister_measure::reference::Register)| Row {
        platform: values.platform.clone(),
        name: name.clone(),
        found: computed.get(name).map(ToString::to_string),
        wanted: register.values.iter().map(ToString::to_string).collect(),
    };
    Ok(values.registers.iter().map(row).collect())
}

fn launches(
    image: &Path,
    values: &ReferenceValues,
    policy: &LaunchPolicy,
) -> Result<Vec<Row>, MeasureError> {
    let host = HostProfile::named(&policy.host)?;
    let firmware = files(&image.join("firmware"), "fd")?.into_iter().next();
    let path = firmware.unwrap_or_else(|| image.join("firmware/OVMF.amdsev.fd"));
    let firmware = snp::firmware(&path)?;
    let command_line = read(&image.join("cmdline"))?;
    let command_line = command_line.strip_suffix(b"\n").unwrap_or(&command_line);
    let initrd = hash(&image.join("initrd"))?;
    let kernel = KernelHashes::new(hash(&image.join("kernel"))?, Some(initrd), command_line);
    let mut rows = Vec::new();
    for entry in &values.launch_digests {
        let digest = launch(&firmware, kernel, host, policy, entry).map_err(|source| {
            MeasureError::Launch {
                path: path.clone(),
                source,
            }
        })?;
        rows.push(Row {
            platform: values.platform.clone(),
            name: format!("launch digest {} x{}", entry.vcpu_model, entry.vcpus),
            found: digest,
            wanted: vec![entry.digest.to_string()],
        });
    }
    Ok(rows)
}

/// Computes one listed launch digest; `None` for a vCPU model that is not known here.
fn launch(
    firmware: &Ovmf,
    kernel: KernelHashes,
    host: &HostProfile,
    policy: &LaunchPolicy,
    entry: &LaunchDigestEntry,
) -> Result<Option<String>, cloister_measure::snp::LaunchError> {
    let Ok(vcpu) = entry.vcpu_model.parse::<VcpuSignature>() else {
        return Ok(None);
    };
    let sev_features = policy.sev_features;
    let inputs = LaunchInputs {
        firmware,
        kernel: Some(kernel),
        host,
        vcpu,
        sev_features,
    };
    let digests = launch_digests(&inputs, &BTreeSet::from([entry.vcpus]))?;
    Ok(digests.get(&entry.vcpus).map(ToString::to_string))
}

fn as_json(row: &Row) -> Value {
    let Row {
        platform,
        name,
        found,
        wanted,
    } = row;
    let outcome = row.outcome().to_lowercase();
    json!({"platform": platform, "name": name, "outcome": outcome, "found": found, "wanted": wanted})
}

fn as_text(row: &Row) -> String {
    let Row {
        platform,
        name,
        found,
        wanted,
    } = row;
    let outcome = row.outcome();
    let found = found.as_deref().unwrap_or_default();
    match outcome {
        "DIFFERS" => format!(
            "{platform} {name}: {outcome}\n  found  {found}\n  wanted {}\n",
            wanted.join(", ")
        ),
        _ => format!("{platform} {name}: {outcome} {found}\n"),
    }
}
