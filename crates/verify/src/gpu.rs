//! Appraisal of a GPU's evidence as a verdict: the steps of `cloister-gpu` under their stable names.
//!
//! The verdict is about the GPU alone. That it is the one that serves a guest, only the guest's own evidence can say.
//! Left out: reading RIMs, which is XML; golden values are an argument.

use cloister_evidence::devices::{Devices, GpuEvidence};
use cloister_gpu::signature::{Encoding, Point};
use cloister_gpu::{Appraisal, Cause, Expected, GoldenValues, Outcome, RootKey, Step};
use cloister_measure::reference::GpuReference;

use crate::Verdict;
use crate::checks::{Checks, Rule, rules};
use crate::signature::{PublicKey, Scheme};
use crate::verdict::{Mismatch, Mode, Subject, Trust};

/// The name of the platform in verdicts.
const PLATFORM: &str = "nvidia-gpu";

rules! {
    EVIDENCE "gpu-evidence" "a guest that must have a GPU must show what it says of itself"
    GOLDEN "gpu-golden-values" "without golden values nothing a GPU measures can be judged"
    LEAF "gpu-leaf" "the GPU's report must belong to the key that the CPU's evidence is about"
    RIM "gpu-rim" "golden values of manifests count only where NVIDIA signed them and every certificate is valid at the time"
    FORMAT "gpu-report-format" "the report must be one SPDM 1.1 response behind its request and the chain five certificates, both strict, nothing behind them"
    MODEL "gpu-model" "the device must be a GH100 (H100): other chips and switches measure other things"
    CHAIN "gpu-chain" "the chain must hold from the leaf to the pinned root of NVIDIA's devices"
    VALIDITY "gpu-validity" "every certificate must be valid at the time of the appraisal"
    FWID "gpu-fwid" "the leaf's key must belong to the firmware that reports"
    NONCE "gpu-nonce" "the report must answer the verifier's own request; anything else is a replay"
    DRIVER "gpu-driver-version" "golden values must exist for the driver"
    VBIOS "gpu-vbios-version" "golden values must exist for the VBIOS with this driver"
    SIGNATURE "gpu-signature" "request and response must be signed by the leaf's key"
    FEATURE "gpu-feature-flag" "one GPU for one guest: other modes have other peers on the bus"
    PROTECTED_PCIE "gpu-protected-pcie" "protected PCIe is for several GPUs and switches, which are not judged"
    MEASUREMENTS "gpu-measurements" "every measurement that NVIDIA's reference values pin must be one of them; developer tools show here alone"
}

/// The rules, in the order in which they are made.
const RULES: &[&Rule] = &[
    &FORMAT,
    &MODEL,
    &CHAIN,
    &VALIDITY,
    &FWID,
    &NONCE,
    &DRIVER,
    &VBIOS,
    &SIGNATURE,
    &FEATURE,
    &PROTECTED_PCIE,
    &MEASUREMENTS,
];

/// Appraises the device section of a guest whose reference values name a GPU: it must be there, and hold for the nonce of the leaf.
pub(crate) fn appraise_section(
    section: Option<&[u8]>,
    nonce: Option<[u8; 32]>,
    wanted: &GpuReference,
    roots: &[RootKey],
    at: u64,
) -> Verdict {
    let mut checks = Checks::default();
    let evidence = match section.map(Devices::decode) {
        Some(Ok(Devices::H100(evidence))) => Ok(evidence),
        Some(Ok(_)) => Err("a section without a GPU".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("no bundle".to_owned()),
    };
    let evidence = checks.take(&EVIDENCE, "evidence of one H100", evidence);
    let golden = GoldenValues::from_value(&wanted.golden_values);
    let golden = checks.take(&GOLDEN, "golden values in the reference values", golden);
    let nonce = checks.take(
        &LEAF,
        "a leaf that names the GPU's nonce",
        nonce.ok_or("no leaf that can be read"),
    );
    let mut verdict = match (&evidence, &golden, &nonce) {
        (Some(GpuEvidence { report, chain }), Some(golden), Some(nonce)) => {
            let expected = Expected {
                nonce,
                driver: None,
                vbios: None,
                golden: Some(golden),
                roots,
                at,
            };
            appraise(report, chain, &expected)
        }
        _ => Verdict::new(&subject(at), Checks::default().finish(RULES)),
    };
    verdict.checks.splice(0..0, checks.finish(&[]));
    verdict
}

/// [`appraise`] with golden values of RIMs, which somebody else has verified: `rims` names those that hold, or says what is wrong, and
/// then there are no golden values.
pub fn appraise_with_rims(
    report: &[u8],
    chain: &[u8],
    rims: Result<(GoldenValues, String), String>,
    expected: &Expected<'_>,
) -> Verdict {
    let wanted = "RIMs of NVIDIA's, valid at the time";
    let mut checks = Checks::default();
    let golden = match rims {
        Ok((golden, found)) => {
            checks.require(&RIM, true, wanted, found);
            Some(golden)
        }
        Err(found) => {
            checks.require(&RIM, false, wanted, found);
            None
        }
    };
    let expected = Expected {
        golden: golden.as_ref(),
        ..*expected
    };
    let of_rims = Verdict::new(&subject(expected.at), checks.finish(&[]));
    of_rims.and(appraise(report, chain, &expected))
}

/// Appraises a report with the chain of the GPU that made it. Without golden values the verdict is `collateral-missing` at best.
pub fn appraise(report: &[u8], chain: &[u8], expected: &Expected<'_>) -> Verdict {
    let appraisal = cloister_gpu::appraise(report, chain, expected, signed);
    let mut checks = Checks::default();
    for finding in appraisal.findings() {
        let rule = rule(finding.step);
        match &finding.outcome {
            Outcome::Passed(found) => {
                checks.require(rule, true, finding.wanted.as_str(), found.as_str());
            }
            Outcome::Refused(Cause::NoGoldenValues { wanted }) => checks.missing(rule, wanted),
            Outcome::Refused(cause) => {
                checks.require(rule, false, finding.wanted.as_str(), cause.to_string());
            }
            Outcome::NotApplicable(reason) => checks.skip(rule.name, false, rule.meaning, reason),
            // Listed as skipped and required by `finish`.
            Outcome::NotMade => {}
        }
    }
    let mut verdict = Verdict::new(&subject(expected.at), checks.finish(RULES));
    verdict.mismatches = mismatches(&appraisal);
    verdict
}

/// Whether the holder of `key` signed `message`.
fn signed(key: &Point, encoding: Encoding, message: &[u8], signature: &[u8]) -> bool {
    let scheme = match encoding {
        Encoding::Fixed => Scheme::EcdsaSha384,
        Encoding::Der => Scheme::EcdsaSha384Der,
    };
    let key = PublicKey::P384(*key);
    key.verify(scheme, message, signature).is_ok()
}

fn subject(at: u64) -> Subject<'static> {
    Subject {
        mode: Mode::Evidence,
        platform: PLATFORM,
        recipe: None,
        confidential: false,
        trust: Trust::Hardware,
        at: Some(at),
    }
}

fn rule(step: Step) -> &'static Rule {
    match step {
        Step::Structure => &FORMAT,
        Step::Model => &MODEL,
        Step::Chain => &CHAIN,
        Step::Validity => &VALIDITY,
        Step::Fwid => &FWID,
        Step::Nonce => &NONCE,
        Step::Driver => &DRIVER,
        Step::Vbios => &VBIOS,
        Step::Signature => &SIGNATURE,
        Step::FeatureFlag => &FEATURE,
        Step::ProtectedPcie => &PROTECTED_PCIE,
        Step::Measurements => &MEASUREMENTS,
    }
}

fn mismatches(appraisal: &Appraisal) -> Vec<Mismatch> {
    let all = appraisal.mismatches().iter();
    all.map(|mismatch| Mismatch {
        index: mismatch.index,
        wanted: mismatch.wanted.iter().map(hex::encode).collect(),
        found: hex::encode(mismatch.found),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_gpu::{Chain, Report, signature};
    use cloister_test_pki::gpu;

    /// AWS-LC here and what PID 1 has must say the same of every signature, whole and with any byte of it changed.
    #[test]
    fn signed_agrees_with_the_check_of_pid_1() {
        let device = gpu::Gpu::new("a GPU").unwrap();
        let report = gpu::Report::new([7; 32], "550.144.03", [0x96, 0, 0x9f, 0, 1]);
        let report = device.report(&report).unwrap();
        let chain = Chain::parse(device.chain_pem().unwrap().as_bytes()).unwrap();
        assert!(Report::parse(&report).is_ok());
        let key = chain.leaf_key();
        let (message, fixed) = report.split_at(report.len() - 96);
        let integer = |bytes: &[u8]| {
            let mut value: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
            if value[0] > 0x7f {
                value.insert(0, 0);
            }
            [&[2, u8::try_from(value.len()).unwrap()], value.as_slice()].concat()
        };
        let body = [integer(&fixed[..48]), integer(&fixed[48..])].concat();
        let der = [&[0x30, u8::try_from(body.len()).unwrap()], body.as_slice()].concat();
        for (encoding, signature) in [(Encoding::Fixed, fixed), (Encoding::Der, &der)] {
            assert!(signed(key, encoding, message, signature));
            let agree = |key: &Point, message: &[u8], changed: &[u8]| {
                let found = signed(key, encoding, message, changed);
                assert_eq!(found, signature::verify(key, encoding, message, changed));
                assert!(!found, "{changed:?}");
            };
            for at in 0..signature.len() {
                let mut changed = signature.to_vec();
                changed[at] ^= 1;
                agree(key, message, &changed);
                agree(key, message, &signature[..at]);
            }
            agree(key, message, &[signature, &[0]].concat());
            agree(key, &message[1..], signature);
            for at in 0..key.len() {
                let mut changed = *key;
                changed[at] ^= 1;
                agree(&changed, message, signature);
            }
        }
    }
}
