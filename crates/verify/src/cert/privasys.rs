//! The timestamp mode of Privasys: raw hardware evidence in a certificate that an operator's authority signs.
//!
//! Spec: Privasys documentation of RA-TLS and of its object identifiers. REPORT_DATA is the SHA-512 of SHA-256(SubjectPublicKeyInfo),
//! notBefore as `YYYY-MM-DDTHH:MMZ` and, where there is GPU evidence, its SHA-256. It covers neither notAfter nor the other
//! extensions (workload, model, environment): those are the word of whoever signed. No public sample exists.
//! Left out: the challenge mode, which needs another TLS.

use sha2::{Digest as _, Sha256, Sha512};
use x509_cert::der::DateTime;

use super::pgae::Envelope;
use super::{Leaf, leaf, rules};
use crate::checks::{Checks, Rule};
use crate::snp::{self, Endorsements, Image, LENGTH, Policy, Roots, Table};
use crate::verdict::{Mode, Subject, Trust, instant};
use crate::x509::X509;
use crate::{Verdict, tdx};

/// Raw SNP report, also with its certificate table.
pub const SNP: &str = "1.3.6.1.4.1.65230.4.1";
/// Raw TDX quote.
pub const TDX: &str = "1.2.840.113741.1.5.5.1.6";
/// GPU evidence, [`Envelope`].
pub const GPU: &str = "1.3.6.1.4.1.65230.5.1";
/// `production` or `dev`.
pub const ENVIRONMENT: &str = "1.3.6.1.4.1.65230.2.8";
/// Longest age of a certificate, in seconds.
pub const MAX_AGE: u64 = 24 * 60 * 60;

const PLATFORM: &str = "privasys";

/// What the certificate is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The image of an SNP report; without it none is accepted.
    pub image: Option<Image<'a>>,
    /// Given beside the certificate; the table behind the report comes on top.
    pub endorsements: Endorsements<'a>,
    /// Table `snp` of the policy.
    pub policy: &'a Policy,
    /// [`crate::snp::AMD`] outside of tests.
    pub roots: &'a Roots<'a>,
    /// For a TDX quote.
    pub tdx: tdx::Carried<'a>,
}

/// Appraises a certificate; `at` is in seconds since the Unix epoch.
///
/// GPU evidence is only read: the check `gpu-evidence` says so, and a verdict is about the machine without its GPU.
pub fn appraise(leaf: &Leaf<'_>, expected: &Expected<'_>, at: u64) -> Verdict {
    let mut checks = Checks::default();
    let opened = leaf.open(at, &mut checks);
    let hardware = opened.as_ref().map(|certificate| {
        let hardware = hardware(certificate, &mut checks);
        environment(certificate, &mut checks);
        let gpu = gpu(certificate, &mut checks);
        age(certificate, at, &mut checks);
        let wanted = report_data(certificate, gpu);
        match hardware {
            Hardware::Snp(value) => snp(value, &wanted, expected, at, &mut checks),
            Hardware::Tdx(value) => {
                if let Some(quote) = tdx::carried(value, &expected.tdx, at, &mut checks) {
                    checks.equal(&rules::BINDING, &wanted, &quote.body.report_data);
                }
            }
            Hardware::None => {}
        }
        hardware
    });
    let mut rules: Vec<&Rule> = [rules::LEAF, rules::PRIVASYS].concat();
    match hardware {
        Some(Hardware::Snp(_)) => {
            rules.extend([snp::rules::PLATFORM, snp::rules::GUEST].concat());
            rules.extend([&snp::rules::GUEST_POLICY, &snp::rules::MEASUREMENT]);
        }
        Some(Hardware::Tdx(_)) => rules.extend(tdx::carried_rules()),
        Some(Hardware::None) | None => {}
    }
    let reference = match (hardware, expected.image) {
        (Some(Hardware::Tdx(_)), _) => expected.tdx.reference,
        (_, Some(Image::Reference(reference))) => Some(reference),
        _ => None,
    };
    let subject = Subject {
        mode: Mode::Evidence,
        platform: PLATFORM,
        recipe: reference.map(|reference| reference.recipe.as_str()),
        confidential: true,
        trust: Trust::Hardware,
        at: Some(at),
    };
    Verdict::new(&subject, checks.finish(&rules))
}

/// The raw evidence.
#[derive(Clone, Copy)]
enum Hardware<'c> {
    Snp(&'c [u8]),
    Tdx(&'c [u8]),
    None,
}

fn hardware<'c>(certificate: &'c X509, checks: &mut Checks) -> Hardware<'c> {
    let snp = leaf::extension(certificate, SNP);
    let tdx = leaf::extension(certificate, TDX);
    let (passed, found, hardware) = match (snp, tdx) {
        (Some(value), None) => (true, "an SNP report", Hardware::Snp(value)),
        (None, Some(value)) => (true, "a TDX quote", Hardware::Tdx(value)),
        (None, None) => (false, "neither", Hardware::None),
        (Some(_), Some(_)) => (false, "both", Hardware::None),
    };
    let wanted = "an SNP report or a TDX quote";
    checks.require(&rules::EXTENSION, passed, wanted, found);
    hardware
}

fn environment(certificate: &X509, checks: &mut Checks) {
    let found = leaf::extension(certificate, ENVIRONMENT);
    let shown = match found {
        Some(value) => format!("`{}`", value.escape_ascii()),
        None => "no such extension".to_owned(),
    };
    let passed = found == Some(b"production");
    checks.require(&rules::ENVIRONMENT, passed, "`production`", shown);
}

/// The checks of GPU evidence; gives the SHA-256 of the extension's value.
fn gpu(certificate: &X509, checks: &mut Checks) -> Option<[u8; 32]> {
    let Some(value) = leaf::extension(certificate, GPU) else {
        for rule in [&rules::GPU_ENVELOPE, &rules::GPU_MODE, &rules::GPU_EVIDENCE] {
            checks.skip(
                rule.name,
                false,
                rule.meaning,
                "no GPU evidence in the certificate",
            );
        }
        return None;
    };
    let wanted = "an envelope whose report repeats its nonce";
    let parsed = checks.take(&rules::GPU_ENVELOPE, wanted, Envelope::parse(value));
    if let Some(envelope) = parsed {
        let mode = [envelope.environment, envelope.feature, envelope.devtools];
        let shown = mode.map(|value| value.map_or("none".to_owned(), |value| value.to_string()));
        let passed = mode == [Some(2), Some(1), Some(0)];
        let wanted = "environment 2, feature 1, developer tools 0";
        let [environment, feature, devtools] = shown;
        let found =
            format!("environment {environment}, feature {feature}, developer tools {devtools}");
        checks.require(&rules::GPU_MODE, passed, wanted, found);
    }
    let reason =
        "not made: the CPU commits to these bytes, but the GPU's signature is not judged here";
    let rule = &rules::GPU_EVIDENCE;
    checks.skip(rule.name, false, rule.meaning, reason);
    Some(Sha256::digest(value).into())
}

fn age(certificate: &X509, at: u64, checks: &mut Checks) {
    let (not_before, _) = certificate.validity();
    let whole = not_before % 60 == 0;
    let passed = whole && at.checked_sub(not_before).is_some_and(|age| age <= MAX_AGE);
    let wanted = format!("a whole minute, at most {MAX_AGE} s before {}", instant(at));
    checks.require(&rules::AGE, passed, wanted, instant(not_before));
}

/// What the evidence must commit to.
fn report_data(certificate: &X509, gpu: Option<[u8; 32]>) -> [u8; 64] {
    let (not_before, _) = certificate.validity();
    let mut hash = Sha512::new();
    hash.update(leaf::spki_sha256(certificate));
    hash.update(minute(not_before));
    hash.update(gpu.as_ref().map(<[u8; 32]>::as_slice).unwrap_or_default());
    hash.finalize().into()
}

/// `YYYY-MM-DDTHH:MMZ`; empty for a time without such a form, which no certificate has.
fn minute(seconds: u64) -> String {
    let time = DateTime::from_unix_duration(core::time::Duration::from_secs(seconds));
    time.map_or_else(
        |_| String::new(),
        |time| {
            let (year, month, day) = (time.year(), time.month(), time.day());
            let (hour, minutes) = (time.hour(), time.minutes());
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minutes:02}Z")
        },
    )
}

fn snp(value: &[u8], wanted: &[u8; 64], expected: &Expected<'_>, at: u64, checks: &mut Checks) {
    let Some((report, behind)) = value.split_at_checked(LENGTH) else {
        // Too short: the check `format` says so.
        let none = Endorsements::default();
        snp::check(value, &none, expected.policy, expected.roots, at, checks);
        return;
    };
    let table = match Table::parse(behind) {
        Ok(table) => table,
        Err(error) => {
            let wanted = "a report, and nothing or a certificate table behind it";
            checks.require(&snp::rules::FORMAT, false, wanted, error.to_string());
            return;
        }
    };
    let given = &expected.endorsements;
    let chain = [given.chain, &table.chain].concat();
    let crls = [given.crls, &table.crls].concat();
    let endorsements = Endorsements {
        vek: given.vek.or(table.vek),
        chain: &chain,
        crls: &crls,
    };
    let (policy, roots) = (expected.policy, expected.roots);
    let report = snp::check(report, &endorsements, policy, roots, at, checks);
    if let Some(report) = report {
        snp::image(&report, expected.image, checks);
        checks.equal(&rules::BINDING, wanted, &report.report_data);
    }
}
