//! `cloister measure azure`: the hardware report and claims inside an HCL report, and whose each value is.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_measure::azure::{HclError, HclReport, SnpFacts, TdxFacts, TeeReport};
use serde_json::{Value, json};
use thiserror::Error;

use super::files::read;
use super::{print, print_json};
use crate::cmd::{CommandError, Context, Hinted};

/// Shown below the options.
const EXAMPLES: &str = "\
Examples:
  # on the VM, and then anywhere
  tpm2_nvread -C o 0x01400001 > report
  cloister measure azure --evidence report
";

/// Show what an Azure HCL report says, and whose each value is
///
/// Checks that REPORT_DATA is the hash of the claims; the signature of the hardware is not checked here.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Contents of vTPM NV index `0x01400001`
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
}

#[derive(Debug, Error)]
#[error("cannot read HCL report `{}`", path.display())]
struct ReportError {
    path: PathBuf,
    source: HclError,
}

impl Hinted for ReportError {
    fn hint(&self) -> Option<String> {
        let hint = match self.source {
            HclError::NotBound { .. } => {
                "the claims were changed, or the report is of another moment"
            }
            _ => "on the VM, `tpm2_nvread -C o 0x01400001` writes the report",
        };
        Some(hint.to_owned())
    }
}

/// One value: name, value, and whose it is.
type Row = (&'static str, String, &'static str);

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let failed = |source| ReportError {
        path: args.evidence.clone(),
        source,
    };
    let report = HclReport::parse(&read(&args.evidence)?).map_err(failed)?;
    if ctx.json {
        print_json(&as_json(&report))?;
    } else {
        let line =
            |(name, value, whose): &Row| format!("{name} {}\n    {whose}\n", value.escape_debug());
        print(&values(&report).1.iter().map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(report: &HclReport) -> Value {
    let (platform, rows) = values(report);
    let values: Vec<Value> = rows
        .iter()
        .map(|(name, value, whose)| json!({"name": name, "value": value, "whose": whose}))
        .collect();
    json!({
        "claims-digest": report.claims_digest,
        "platform": platform,
        "request-version": report.request_version,
        "values": values,
        "version": report.version,
    })
}

/// Names the platform, and lists what its report and the claims say.
fn values(report: &HclReport) -> (&'static str, Vec<Row>) {
    let (platform, mut rows) = match &report.report {
        TeeReport::Snp(facts) => ("azure-snp", snp(facts)),
        TeeReport::Tdx(facts) => ("azure-tdx", tdx(facts)),
    };
    rows.extend(claims(report));
    (platform, rows)
}

const PARAVISOR: &str =
    "Microsoft's paravisor (with UEFI and vTPM), never your image: an allow-list that goes stale";

fn snp(facts: &SnpFacts) -> Vec<Row> {
    vec![
        ("measurement", facts.measurement.to_string(), PARAVISOR),
        (
            "id-key-digest",
            facts.id_key_digest.to_string(),
            "Microsoft's signing key: pin it",
        ),
        (
            "author-key-digest",
            facts.author_key_digest.to_string(),
            "zeros: Microsoft uses no author key",
        ),
        (
            "guest-svn",
            facts.guest_svn.to_string(),
            "Microsoft's paravisor version: pin the lowest that is allowed",
        ),
        (
            "policy",
            format!("{:#x}", facts.policy),
            "fixed at launch, not in the measurement: pin it",
        ),
        (
            "vmpl",
            facts.vmpl.to_string(),
            "0: the paravisor asked for the report, not the guest",
        ),
        (
            "family-id",
            hex::encode(facts.family_id),
            "from Microsoft's ID block",
        ),
        (
            "image-id",
            hex::encode(facts.image_id),
            "from Microsoft's ID block",
        ),
        (
            "host-data",
            hex::encode(facts.host_data),
            "the host's, not part of any check",
        ),
        (
            "report-data",
            hex::encode(facts.report_data),
            "hash of the claims below, checked",
        ),
    ]
}

fn tdx(facts: &TdxFacts) -> Vec<Row> {
    let [config_id, owner, owner_config] = facts.config;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = facts.rtmrs;
    let run_time = "the paravisor's own boot, not that of your image, which the vTPM's PCRs record";
    vec![
        ("mrtd", facts.mrtd.to_string(), PARAVISOR),
        (
            "attributes",
            format!("{:#x}", facts.attributes),
            "fixed at launch; bit 0, debugging, must be 0",
        ),
        ("mrconfigid", config_id.to_string(), "the host's"),
        ("mrowner", owner.to_string(), "the host's"),
        ("mrownerconfig", owner_config.to_string(), "the host's"),
        ("rtmr0", rtmr0.to_string(), run_time),
        ("rtmr1", rtmr1.to_string(), run_time),
        ("rtmr2", rtmr2.to_string(), run_time),
        ("rtmr3", rtmr3.to_string(), run_time),
        (
            "report-data",
            hex::encode(facts.report_data),
            "hash of the claims below, checked",
        ),
    ]
}

fn claims(report: &HclReport) -> Vec<Row> {
    let claims = &report.claims;
    let configuration = &claims.vm_configuration;
    let key = claims
        .attestation_key()
        .map_or(String::new(), |key| key.n.clone());
    vec![
        (
            "ak-modulus",
            key,
            "the vTPM's attestation key: it signs the quote over your image's PCRs 4, 9, 11, 12, 13",
        ),
        (
            "secure-boot",
            configuration.secure_boot.to_string(),
            "the host's setting, claimed by the paravisor",
        ),
        (
            "console-enabled",
            configuration.console_enabled.to_string(),
            "the host's setting, claimed by the paravisor",
        ),
        (
            "tpm-enabled",
            configuration.tpm_enabled.to_string(),
            "the host's setting, claimed by the paravisor",
        ),
        (
            "vm-unique-id",
            configuration.vm_unique_id.clone(),
            "the host's name for the VM",
        ),
        (
            "user-data",
            hex::encode(&claims.user_data),
            "the guest's, from NV index 0x01400002: put the binding here",
        ),
    ]
}

#[cfg(test)]
mod tests;
