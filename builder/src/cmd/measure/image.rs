//! `cloister measure image`: compute the values of a built image again and compare them with its reference values.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cloister_measure::reference::{Class, LaunchDigestEntry, LaunchPolicy, ReferenceValues};
use cloister_measure::snp::{
    HostProfile, KernelHashes, LaunchInputs, Ovmf, VcpuSignature, launch_digests,
};
use serde_json::{Value, json};

use super::error::MeasureError;
use super::files::{Format, list, read, read_large, sha256};
use super::{boot_log, launch, print, print_json, uki};
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
        references = list(&args.image.join("measurements"), "json")?;
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
        print_json(&document(&rows))?;
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
        let prediction = uki::predicted(&path, &read_large(&path, Format::PE)?, values.bank)?;
        let named =
            |(index, value): (u32, cloister_measure::Digest)| (format!("pcr{index}"), value);
        computed = prediction.pcrs.into_iter().map(named).collect();
        let log = boot_log::pcr15(
            &read_large(&image.join("initrd"), Format::ZSTD)?,
            values.bank,
        );
        computed.extend(log.map(|log| ("pcr15".to_owned(), log.value())));
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
    let firmware = list(&image.join("firmware"), "fd")?.into_iter().next();
    let path = firmware.unwrap_or_else(|| image.join("firmware/OVMF.amdsev.fd"));
    let firmware = launch::verifying_firmware(&path)?;
    let command_line = read(&image.join("cmdline"))?;
    let command_line = command_line.strip_suffix(b"\n").unwrap_or(&command_line);
    let initrd = sha256(&image.join("initrd"))?;
    let kernel = KernelHashes::new(sha256(&image.join("kernel"))?, Some(initrd), command_line);
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

fn document(rows: &[Row]) -> Value {
    rows.iter().map(as_json).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cloister_measure::reference::{Register, SCHEMA_VERSION};
    use cloister_measure::{Bank, Digest};

    use super::*;

    /// Made-up UKI of the fuzz targets and firmware of the test vectors, which are valid.
    fn seed(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fuzz/seeds")
            .join(name)
    }

    /// An image directory with reference values that fit.
    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        put(
            "firmware/any.fd",
            &read(&seed("../../vectors/snp/enforcing.fd")).unwrap(),
        );
        put("uki.efi", &read(&seed("uki/plain")).unwrap());
        put("kernel", b"kernel");
        put("initrd", b"initrd");
        put("cmdline", b"quiet\n");
        let uki = dir.path().join("uki.efi");
        let pcrs = uki::predicted(&uki, &read(&uki).unwrap(), Bank::Sha256)
            .unwrap()
            .pcrs;
        let mut registers: BTreeMap<String, Register> = pcrs
            .into_iter()
            .map(|(index, value)| (format!("pcr{index}"), Register::single(Class::Image, value)))
            .collect();
        let log = Register::single(Class::Image, Digest::zero(Bank::Sha256));
        registers.insert("pcr15".to_owned(), log);
        let mut values = ReferenceValues {
            bank: Bank::Sha256,
            confidential: true,
            gpu: None,
            inputs: BTreeMap::new(),
            launch_digests: vec![LaunchDigestEntry {
                digest: Digest::zero(Bank::Sha384),
                vcpu_model: "EPYC-v4".to_owned(),
                vcpus: 2,
            }],
            launch_policy: Some(LaunchPolicy {
                guest_policy: 0x30000,
                host: "qemu".to_owned(),
                id_key_digest: None,
                sev_features: 1,
                vmpl: 0,
            }),
            platform: "test".to_owned(),
            recipe: "test".to_owned(),
            registers,
            schema_version: SCHEMA_VERSION,
            unpredicted: BTreeMap::new(),
        };
        let rows = launches(dir.path(), &values, values.launch_policy.as_ref().unwrap()).unwrap();
        values.launch_digests[0].digest = rows[0].found.as_ref().unwrap().parse().unwrap();
        put(
            "measurements/test.json",
            values.to_json().unwrap().as_bytes(),
        );
        dir
    }

    fn outcomes(dir: &Path) -> BTreeMap<String, &'static str> {
        let rows = compare(dir, &dir.join("measurements/test.json")).unwrap();
        rows.iter()
            .map(|row| (row.name.clone(), row.outcome()))
            .collect()
    }

    #[test]
    fn compare_finds_every_value_the_same_in_an_untouched_image() {
        let dir = image();
        let outcomes = outcomes(dir.path());
        assert_eq!(outcomes.len(), 7);
        assert_eq!(outcomes["pcr15"], "not computed");
        assert_eq!(
            outcomes
                .values()
                .filter(|outcome| **outcome == "same")
                .count(),
            6
        );
    }

    #[test]
    fn json_of_a_changed_initrd_is_as_documented() {
        let dir = image();
        std::fs::write(dir.path().join("initrd"), b"other").unwrap();
        let rows = compare(dir.path(), &dir.path().join("measurements/test.json")).unwrap();
        insta::assert_snapshot!(format!("{:#}", document(&rows)));
    }

    #[test]
    fn compare_names_the_values_that_a_changed_file_changes() {
        let dir = image();
        std::fs::write(dir.path().join("initrd"), b"other").unwrap();
        let differs = |dir: &Path| -> Vec<String> {
            let outcomes = outcomes(dir).into_iter();
            outcomes
                .filter(|(_, outcome)| *outcome == "DIFFERS")
                .map(|(name, _)| name)
                .collect()
        };
        assert_eq!(differs(dir.path()), ["launch digest EPYC-v4 x2"]);
        let dir = image();
        std::fs::copy(seed("uki/osrel"), dir.path().join("uki.efi")).unwrap();
        assert_eq!(differs(dir.path()), ["pcr11", "pcr4", "pcr9"]);
    }
}
