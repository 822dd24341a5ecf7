//! The steps one by one: what each compares, and with what.

use super::{Appraisal, Cause, Device, Expected, Finding, Mismatch, Outcome, Step};
use crate::chain::{Chain, ChainError, Model, instant};
use crate::golden::{GoldenValues, Hex, Pair};
use crate::report::{Feature, GPU_BLOCKS, Report, ReportError, Status};
use crate::signature::Verify;

/// The measurement of NVDEC0, which exists only while NVDEC0 is enabled.
const NVDEC0_INDEX: u8 = 35;

/// The steps made so far, and what checks signatures.
pub(super) struct Steps {
    findings: Vec<Finding>,
    verify: Verify,
}

impl Steps {
    pub(super) fn new(verify: Verify) -> Self {
        Self {
            findings: Vec::new(),
            verify,
        }
    }

    fn take(&mut self, step: Step, wanted: impl Into<String>, outcome: Result<String, Cause>) {
        self.push(
            step,
            wanted.into(),
            match outcome {
                Ok(found) => Outcome::Passed(found),
                Err(cause) => Outcome::Refused(cause),
            },
        );
    }

    fn push(&mut self, step: Step, wanted: String, outcome: Outcome) {
        self.findings.push(Finding {
            step,
            wanted,
            outcome,
        });
    }

    pub(super) fn structure(
        &mut self,
        (report, chain): &(Result<Report<'_>, ReportError>, Result<Chain, ChainError>),
        length: usize,
    ) {
        let outcome = match (report, chain) {
            (Err(error), _) => Err(error.clone().into()),
            (_, Err(error)) => Err(error.clone().into()),
            (Ok(report), Ok(_)) => Ok(shape(report, length)),
        };
        let wanted = "an SPDM 1.1 report and five certificates";
        self.take(Step::Structure, wanted, outcome);
    }

    /// What the certificates say by themselves.
    pub(super) fn chain(
        &mut self,
        report: Option<&Report<'_>>,
        chain: Option<&Chain>,
        expected: &Expected<'_>,
    ) {
        let Some(chain) = chain else {
            return;
        };
        let outcome = model(chain, report);
        self.take(Step::Model, "GH100 with 64 measurement blocks", outcome);
        let root = "five certificates under a pinned root";
        let outcome = chain
            .verify(expected.roots, self.verify)
            .map_err(Cause::from);
        self.take(
            Step::Chain,
            root,
            outcome.map(|()| chain.names().join(" < ")),
        );
        let at = instant(expected.at);
        let outcome = chain.valid_at(expected.at).map_err(Cause::from);
        let wanted = format!("a chain that is valid at {at}");
        self.take(Step::Validity, wanted, outcome.map(|()| until(chain)));
        if let Some(report) = report {
            self.fwid(report, chain);
        }
    }

    fn fwid(&mut self, report: &Report<'_>, chain: &Chain) {
        let leaf = chain.fwid();
        let wanted = match &leaf {
            Ok(leaf) => format!("firmware {}", hex::encode(leaf)),
            Err(_) => "firmware that the leaf names".to_owned(),
        };
        let outcome = match (leaf, report.opaque.fwid) {
            (Err(error), _) => Outcome::Refused(error.into()),
            (Ok(_), None) => {
                Outcome::NotApplicable("the report has no FWID: drivers before 550 do not write it")
            }
            (Ok(leaf), Some(report)) if leaf != report => {
                Outcome::Refused(Cause::Fwid { leaf, report })
            }
            (Ok(leaf), Some(_)) => Outcome::Passed(format!("firmware {}", hex::encode(leaf))),
        };
        self.push(Step::Fwid, wanted, outcome);
    }

    /// What the report says.
    pub(super) fn report(
        &mut self,
        report: &Report<'_>,
        chain: Option<&Chain>,
        expected: &Expected<'_>,
    ) {
        let found = report.nonce;
        let outcome = match found == *expected.nonce {
            true => Ok(hex::encode(found)),
            false => Err(Cause::Nonce { found }),
        };
        self.take(Step::Nonce, hex::encode(expected.nonce), outcome);
        self.versions(report, expected);
        if let Some(chain) = chain {
            let outcome = match report.signed_by(chain.leaf_key(), self.verify) {
                true => Ok("signed by the leaf".to_owned()),
                false => Err(Cause::Signature),
            };
            let wanted = "a signature of the leaf over request and response";
            self.take(Step::Signature, wanted, outcome);
        }
        self.mode(report);
        let outcome = measurements(report, expected.golden);
        self.take(Step::Measurements, "the golden values", outcome);
    }

    fn versions(&mut self, report: &Report<'_>, expected: &Expected<'_>) {
        let (driver, vbios) = (&report.opaque.driver, &report.opaque.vbios);
        let known = |fits: &dyn Fn(&Pair) -> bool| {
            let golden = expected.golden;
            golden.map(|golden| golden.pairs().iter().any(fits))
        };
        let of_driver = |pair: &Pair| Some(pair.driver()) == driver.as_deref();
        let of_both = |pair: &Pair| of_driver(pair) && Some(pair.vbios()) == vbios.as_deref();
        let outcome = version(
            driver.as_deref(),
            expected.driver,
            known(&of_driver),
            report.driver_rim(),
        );
        self.take(Step::Driver, wanted(expected.driver, "driver"), outcome);
        let outcome = version(
            vbios.as_deref(),
            expected.vbios,
            known(&of_both),
            report.vbios_rim(),
        );
        self.take(
            Step::Vbios,
            wanted(expected.vbios, "VBIOS with this driver"),
            outcome,
        );
    }

    /// One GPU for one guest, not behind protected PCIe.
    fn mode(&mut self, report: &Report<'_>) {
        let wanted = Feature::SinglePassthrough.to_string();
        let outcome = match report.opaque.feature {
            Some(Feature::SinglePassthrough) => Outcome::Passed(wanted.clone()),
            Some(found) => Outcome::Refused(Cause::Feature { found }),
            None => Outcome::NotApplicable(
                "the report has no FEATURE_FLAG: older drivers do not write it",
            ),
        };
        self.push(Step::FeatureFlag, wanted, outcome);
        let wanted = Status::Disabled.to_string();
        let outcome = match report.opaque.protected_pcie {
            Some(Status::Disabled) => Outcome::Passed(wanted.clone()),
            Some(Status::Enabled) => Outcome::Refused(Cause::ProtectedPcie),
            None => Outcome::NotApplicable(
                "the report has no PROTECTED_PCIE_STATUS: drivers before 550 do not write it",
            ),
        };
        self.push(Step::ProtectedPcie, wanted, outcome);
    }

    /// Fills in what was not made, in order.
    pub(super) fn finish(
        mut self,
        report: Option<&Report<'_>>,
        chain: Option<&Chain>,
    ) -> Appraisal {
        for step in Step::ALL {
            if !self.findings.iter().any(|finding| finding.step == step) {
                self.push(step, String::new(), Outcome::NotMade);
            }
        }
        self.findings.sort_by_key(|finding| finding.step);
        Appraisal {
            findings: self.findings,
            device: device(report, chain),
        }
    }
}

fn device(report: Option<&Report<'_>>, chain: Option<&Chain>) -> Option<Device> {
    let (report, chain) = (report?, chain?);
    Some(Device {
        serial: chain.device().to_vec(),
        leaf_serial: chain.leaf_serial().to_vec(),
        driver: report.opaque.driver.clone()?,
        vbios: report.opaque.vbios.clone()?,
    })
}

fn shape(report: &Report<'_>, length: usize) -> String {
    let unknown: Vec<String> = report
        .unknown()
        .map(|field| field.kind.to_string())
        .collect();
    let unknown = match unknown.is_empty() {
        true => String::new(),
        false => format!(", of which not known: {}", unknown.join(", ")),
    };
    let (blocks, fields) = (report.measurements.len(), report.fields.len());
    format!("{length} bytes, {blocks} blocks, {fields} opaque fields{unknown}")
}

fn model(chain: &Chain, report: Option<&Report<'_>>) -> Result<String, Cause> {
    let found = chain.model();
    let blocks = report.map_or(GPU_BLOCKS, |report| report.measurements.len());
    match found {
        Model::Gh100 if blocks == GPU_BLOCKS => Ok(found.to_string()),
        Model::Gh100 => Err(Cause::Blocks { found: blocks }),
        _ => Err(Cause::Model { found }),
    }
}

fn until(chain: &Chain) -> String {
    let (from, to) = chain.validity();
    format!("valid from {} to {}", instant(from), instant(to))
}

/// A version must be the one that runs, where that is given, and one that golden values know; `known` is `None` without any, and `rim`
/// names the RIM that would give them.
fn version(
    found: Option<&str>,
    wanted: Option<&str>,
    known: Option<bool>,
    rim: Option<String>,
) -> Result<String, Cause> {
    let found = found.ok_or(Cause::NoVersion)?.to_owned();
    if let Some(wanted) = wanted
        && !wanted.eq_ignore_ascii_case(&found)
    {
        return Err(Cause::Version {
            wanted: wanted.to_owned(),
            found,
        });
    }
    match known {
        Some(true) => Ok(found),
        Some(false) => Err(Cause::Unknown { found }),
        None => Err(Cause::NoGoldenValues {
            wanted: rim.unwrap_or_default(),
        }),
    }
}

fn wanted(version: Option<&str>, what: &str) -> String {
    match version {
        Some(version) => format!("{version}, with golden values"),
        None => format!("a {what} that golden values know"),
    }
}

/// Compares every golden value; index 35 is left out where NVDEC0 is disabled, and nothing else ever is.
fn measurements(report: &Report<'_>, golden: Option<&GoldenValues>) -> Result<String, Cause> {
    let golden = golden.ok_or_else(|| Cause::NoGoldenValues {
        wanted: "golden-values".to_owned(),
    })?;
    let (driver, vbios) = (
        report.opaque.driver.as_deref(),
        report.opaque.vbios.as_deref(),
    );
    let (driver, vbios) = (
        driver.ok_or(Cause::NoVersion)?,
        vbios.ok_or(Cause::NoVersion)?,
    );
    let pair = golden.pair(driver, vbios).ok_or_else(|| Cause::Unknown {
        found: format!("{driver} with VBIOS {vbios}"),
    })?;
    let skipped = report.opaque.nvdec0 == Some(Status::Disabled);
    let (compared, mismatches) = compare(report, pair, skipped);
    if !mismatches.is_empty() {
        return Err(Cause::Measurements {
            mismatches,
            compared,
        });
    }
    let left = if skipped {
        ", 35 left out: NVDEC0 is disabled"
    } else {
        ""
    };
    Ok(format!("{compared} measurements match{left}"))
}

/// How many were compared, and which differ.
fn compare(report: &Report<'_>, pair: &Pair, skipped: bool) -> (usize, Vec<Mismatch>) {
    let values = pair.values();
    let compared = values
        .into_iter()
        .filter(|(index, _)| !(skipped && *index == NVDEC0_INDEX));
    let mut count = 0;
    let mut mismatches = Vec::new();
    for (index, wanted) in compared {
        count += 1;
        // A report with fewer blocks than golden values measured nothing there.
        let found = report.measurements.get(usize::from(index));
        let found = found.copied().unwrap_or([0; 48]);
        if !wanted.contains(&Hex(found)) {
            mismatches.push(Mismatch {
                index,
                wanted: wanted.iter().map(|digest| digest.0).collect(),
                found,
            });
        }
    }
    (count, mismatches)
}
