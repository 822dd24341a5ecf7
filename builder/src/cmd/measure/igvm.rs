//! `cloister measure igvm`: SEV-SNP launch digests of an IGVM file.

use std::path::PathBuf;
use std::process::ExitCode;

use cloister_measure::igvm::{IdBlock, Igvm, IgvmError, ZeroPages};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::files::{Format, read_large};
use super::{explained, print, print_json};
use crate::cmd::{CommandError, Context, Hinted};

/// Compute the SEV-SNP launch digest of an IGVM file
///
/// The digest is printed under both rules for pages without data: which one holds depends on the host.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The IGVM file
    #[arg(value_name = "FILE")]
    igvm: PathBuf,
    /// Explain each digest step by step
    #[arg(long)]
    transcript: bool,
}

#[derive(Debug, Error)]
#[error("cannot measure IGVM file `{}`", path.display())]
struct FileError {
    path: PathBuf,
    source: IgvmError,
}

impl Hinted for FileError {
    fn hint(&self) -> Option<String> {
        let hint = match self.source {
            IgvmError::NotSnp => "name a file that was built for SEV-SNP",
            IgvmError::Fixed { what: "magic", .. } => {
                "for OVMF without IGVM, use `cloister measure snp`"
            }
            _ => "name an IGVM file for SEV-SNP as its maker publishes it",
        };
        Some(hint.to_owned())
    }
}

/// Runs the subcommand.
pub(super) fn run(args: &Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let failed = |source| FileError {
        path: args.igvm.clone(),
        source,
    };
    let igvm = Igvm::parse(&read_large(&args.igvm, Format::IGVM)?).map_err(failed)?;
    let (findings, block) = (findings(&igvm), id_block(&igvm));
    if ctx.json {
        print_json(&as_json(args, &igvm, &findings, block.as_ref()))?;
    } else {
        print(&as_text(args, &igvm, &findings, block.as_ref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Why KVM launches something else than the file says.
fn findings(igvm: &Igvm) -> Vec<String> {
    let findings = igvm.kvm_findings();
    findings.iter().map(ToString::to_string).collect()
}

/// The ID block, and the name of the rule under which the file has its digest.
fn id_block(igvm: &Igvm) -> Option<(IdBlock, &'static str)> {
    let block = igvm.id_block()?;
    let matches = ZeroPages::ALL
        .into_iter()
        .find(|rule| block.launch_digest == igvm.launch_digest(*rule).into());
    Some((block, matches.map_or("neither", ZeroPages::name)))
}

fn as_json(
    args: &Args,
    igvm: &Igvm,
    findings: &[String],
    block: Option<&(IdBlock, &str)>,
) -> Value {
    let mut digests = Map::new();
    let mut transcripts = Map::new();
    for rule in ZeroPages::ALL {
        digests.insert(
            rule.name().to_owned(),
            json!(igvm.launch_digest(rule).to_string()),
        );
        if args.transcript {
            transcripts.insert(rule.name().to_owned(), json!(igvm.transcript(rule)));
        }
    }
    let block = block.map(|(block, matches)| {
        json!({
            "author-key-digest": block.author_key_digest,
            "family-id": hex::encode(block.family_id),
            "guest-svn": block.guest_svn,
            "id-key-digest": block.id_key_digest,
            "image-id": hex::encode(block.image_id),
            "launch-digest": block.launch_digest,
            "matches": matches,
            "signature": "not checked",
            "version": block.version,
        })
    });
    let mut document = json!({
        "id-block": block,
        "kvm-findings": findings,
        "launch-digest": digests,
        "policy": igvm.policy().map(|policy| format!("{policy:#x}")),
    });
    if let (true, Some(document)) = (args.transcript, document.as_object_mut()) {
        document.insert("transcript".to_owned(), transcripts.into());
    }
    document
}

fn as_text(
    args: &Args,
    igvm: &Igvm,
    findings: &[String],
    block: Option<&(IdBlock, &str)>,
) -> String {
    let mut text = String::new();
    for rule in ZeroPages::ALL {
        if args.transcript {
            text += &explained(true, &igvm.transcript(rule));
        }
        text += &format!("launch-digest {rule} {}\n", igvm.launch_digest(rule));
    }
    match igvm.policy() {
        Some(policy) => text += &format!("policy {policy:#x} (not in the digest)\n"),
        None => text += "policy none in the file: the host chooses it\n",
    }
    for finding in findings {
        text += &format!("kvm {finding}\n");
    }
    if findings.is_empty() {
        text += "kvm launches the file as it is\n";
    }
    if let Some((block, matches)) = block {
        let launch_digest = block.launch_digest;
        text += &format!("id-block launch-digest {launch_digest} ({matches})\n");
        text += &format!(
            "id-block id-key {} guest-svn {}\n",
            block.id_key_digest, block.guest_svn
        );
    }
    text
}

#[cfg(test)]
mod tests;
