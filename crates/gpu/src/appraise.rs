//! Every check of a GPU's evidence, in order, and what follows.
//!
//! Nothing stops early: each step that can be made is made, so that a verdict lists all that is wrong. PID 1 takes
//! [`Appraisal::into_result`], which names the first step that was refused. Meanings: `docs/gpu.md`.
//! Not covered: revocation; whether the driver's own word (NVML) about the mode is right; whether this GPU is the one that is
//! wired to this machine, which only the measured image can say.

mod steps;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::Digest;
use crate::chain::{Chain, ChainError, FwidError, LinkError, Model, RootKey, ValidityError};
use crate::golden::GoldenValues;
use crate::report::{Feature, NONCE, Report, ReportError};
use crate::signature::Verify;
use steps::Steps;

/// What evidence is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The nonce that the GPU was asked with.
    pub nonce: &'a [u8; NONCE],
    /// The driver that is known to run, where the caller knows it.
    pub driver: Option<&'a str>,
    /// The VBIOS that is known to run, where the caller knows it.
    pub vbios: Option<&'a str>,
    /// Golden values; without them nothing is ever accepted.
    pub golden: Option<&'a GoldenValues>,
    /// Keys that a chain may end in: [`RootKey::nvidia`].
    pub roots: &'a [RootKey],
    /// The time, in seconds since the Unix epoch.
    pub at: u64,
}

/// The steps, in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Report and chain can be read.
    Structure,
    /// The device is a GH100.
    Model,
    /// The chain holds and ends in a pinned root.
    Chain,
    /// The chain is valid at the time.
    Validity,
    /// The leaf's key belongs to the firmware of the report.
    Fwid,
    /// The report answers this request.
    Nonce,
    /// The driver is the one that runs, or one that golden values know.
    Driver,
    /// The VBIOS is the one that runs, or one that golden values know with this driver.
    Vbios,
    /// The leaf's key signed request and response.
    Signature,
    /// One GPU for one guest.
    FeatureFlag,
    /// Not behind protected PCIe.
    ProtectedPcie,
    /// Every golden value is met.
    Measurements,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 12] = [
        Step::Structure,
        Step::Model,
        Step::Chain,
        Step::Validity,
        Step::Fwid,
        Step::Nonce,
        Step::Driver,
        Step::Vbios,
        Step::Signature,
        Step::FeatureFlag,
        Step::ProtectedPcie,
        Step::Measurements,
    ];

    /// Stable name, as verdicts and logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Structure => "gpu-report-format",
            Step::Model => "gpu-model",
            Step::Chain => "gpu-chain",
            Step::Validity => "gpu-validity",
            Step::Fwid => "gpu-fwid",
            Step::Nonce => "gpu-nonce",
            Step::Driver => "gpu-driver-version",
            Step::Vbios => "gpu-vbios-version",
            Step::Signature => "gpu-signature",
            Step::FeatureFlag => "gpu-feature-flag",
            Step::ProtectedPcie => "gpu-protected-pcie",
            Step::Measurements => "gpu-measurements",
        }
    }
}

/// A measurement that is none of its golden values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Index of the RIM.
    pub index: u8,
    /// What it may be.
    pub wanted: BTreeSet<Digest>,
    /// What the GPU measured.
    pub found: Digest,
}

/// Why a step refuses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The report cannot be read.
    #[error("report: {0}")]
    Report(#[from] ReportError),
    /// The chain cannot be read.
    #[error("chain: {0}")]
    Certificates(#[from] ChainError),
    /// Another device.
    #[error("{found}")]
    Model {
        /// What it is.
        found: Model,
    },
    /// Certificates of a GH100 with a report that no GH100 makes.
    #[error("a report of {found} measurement blocks")]
    Blocks {
        /// How many it has.
        found: usize,
    },
    /// The chain does not hold.
    #[error(transparent)]
    Chain(#[from] LinkError),
    /// The chain is not valid at the time.
    #[error(transparent)]
    Validity(#[from] ValidityError),
    /// The leaf names no firmware.
    #[error(transparent)]
    LeafFwid(#[from] FwidError),
    /// The leaf is of other firmware than the report.
    #[error("report of firmware {}", hex::encode(.report))]
    Fwid {
        /// FWID in the leaf.
        leaf: Digest,
        /// FWID in the report.
        report: Digest,
    },
    /// The answer to another request.
    #[error("{}", hex::encode(.found))]
    Nonce {
        /// The nonce in the report's request.
        found: [u8; NONCE],
    },
    /// The report has no such version.
    #[error("no version in the report")]
    NoVersion,
    /// Another version than the one that runs.
    #[error("version {found}, and {wanted} is said to run")]
    Version {
        /// The version that runs.
        wanted: String,
        /// The version in the report.
        found: String,
    },
    /// A version that golden values do not know.
    #[error("version {found}, for which there are no golden values")]
    Unknown {
        /// The version in the report.
        found: String,
    },
    /// There are no golden values at all: neither good nor bad.
    #[error("no golden values")]
    NoGoldenValues {
        /// What would give them.
        wanted: String,
    },
    /// Not signed by the leaf.
    #[error("a signature that does not verify")]
    Signature,
    /// Another mode than single GPU passthrough.
    #[error("{found}")]
    Feature {
        /// The mode.
        found: Feature,
    },
    /// Behind protected PCIe.
    #[error("protected PCIe (PPCIE) enabled")]
    ProtectedPcie,
    /// Measurements that are none of their golden values.
    #[error("{} of {compared} differ, at indices {}", .mismatches.len(), indices(.mismatches))]
    Measurements {
        /// All of them, by index.
        mismatches: Vec<Mismatch>,
        /// How many were compared.
        compared: usize,
    },
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Found what was wanted; what that was.
    Passed(String),
    /// Refused.
    Refused(Cause),
    /// Nothing to compare in this report; why. Does not refuse.
    NotApplicable(&'static str),
    /// Not made, because an earlier step failed; refuses.
    NotMade,
}

/// A step with what it wanted and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// What was wanted.
    pub wanted: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// A device whose evidence holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Serial number of the BROM certificate: the device, whatever its firmware.
    pub serial: Vec<u8>,
    /// Serial number of the leaf certificate.
    pub leaf_serial: Vec<u8>,
    /// Driver version.
    pub driver: String,
    /// VBIOS version.
    pub vbios: String,
}

/// Why evidence is refused: the first step that was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: wanted {wanted}, found {cause}", .step.name())]
pub struct Refusal {
    /// The step.
    pub step: Step,
    /// What was wanted.
    pub wanted: String,
    /// What was found.
    pub cause: Box<Cause>,
}

/// Every step of one appraisal, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal {
    findings: Vec<Finding>,
    device: Option<Device>,
}

impl Appraisal {
    /// One finding for each of [`Step::ALL`], in order.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The measurements that are none of their golden values, by index.
    pub fn mismatches(&self) -> &[Mismatch] {
        let cause = self
            .findings
            .iter()
            .find_map(|finding| match &finding.outcome {
                Outcome::Refused(Cause::Measurements { mismatches, .. }) => {
                    Some(mismatches.as_slice())
                }
                _ => None,
            });
        cause.unwrap_or_default()
    }

    /// The device when every step passed, or the first step that did not.
    ///
    /// # Errors
    /// The [`Refusal`]. Missing golden values refuse like anything else.
    pub fn into_result(self) -> Result<Device, Refusal> {
        for finding in self.findings {
            if let Outcome::Refused(cause) = finding.outcome {
                return Err(Refusal {
                    step: finding.step,
                    wanted: finding.wanted,
                    cause: Box::new(cause),
                });
            }
        }
        // A step is not made only where an earlier one was refused; without a device there was no report.
        self.device.ok_or(Refusal {
            step: Step::Driver,
            wanted: "a version in the report".to_owned(),
            cause: Box::new(Cause::NoVersion),
        })
    }
}

/// Appraises one report with the chain of the GPU that made it; `verify` checks every signature: [`crate::signature::verify`], or a faster one.
pub fn appraise(report: &[u8], chain: &[u8], expected: &Expected<'_>, verify: Verify) -> Appraisal {
    let parsed = (Report::parse(report), Chain::parse(chain));
    let mut steps = Steps::new(verify);
    steps.structure(&parsed, report.len());
    let (report, chain) = (parsed.0.ok(), parsed.1.ok());
    steps.chain(report.as_ref(), chain.as_ref(), expected);
    if let Some(report) = &report {
        steps.report(report, chain.as_ref(), expected);
    }
    steps.finish(report.as_ref(), chain.as_ref())
}

fn indices(mismatches: &[Mismatch]) -> String {
    let indices: Vec<String> = mismatches
        .iter()
        .map(|mismatch| mismatch.index.to_string())
        .collect();
    indices.join(", ")
}
