//! Appraisal of SEV-SNP attestation reports.
//!
//! Specs: AMD 56860 (report, guest policy), AMD 57230 (VCEK and VLEK certificates); `docs/threat-model.md` for what no
//! report shows. Every step is a check of its own ([`rules`]), every verdict lists all of them.
//! Left out: the event log of the guest, and anything inside HCL reports, which is for the platform that carries them.

mod amd;
mod chain;
mod floors;
mod guest;
mod kbs;
mod policy;
mod product;
mod report;
pub(crate) mod rules;
mod table;
mod tcb;
mod vek;

use cloister_measure::reference::ReferenceValues;

use crate::Verdict;
use crate::checks::{Checks, Rule};
use crate::signature::Scheme;
use crate::verdict::{Mode, Subject, Trust};
use crate::x509::X509;

pub use amd::{AMD, Root, Roots};
pub use chain::Endorsements;
pub use floors::{FLOORS, Floor, floors};
pub use kbs::{KbsError, KbsEvidence};
pub use policy::{Abi, GuestDemand, PlatformFeature, Policy, SigningKey};
pub use product::Product;
pub use report::{Cpuid, FirmwareVersion, LENGTH, Report, ReportError, SIGNED};
pub use table::{Table, TableError};
pub use tcb::{Tcb, TcbError};
pub use vek::{Vek, VekError};

/// The name of the platform in verdicts without reference values.
const PLATFORM: &str = "snp";
const NOTHING: &str = "nothing to compare with";

/// What pins the image.
#[derive(Debug, Clone, Copy)]
pub enum Image<'a> {
    /// Launch digests and launch policy of a build.
    Reference(&'a ReferenceValues),
    /// One launch digest.
    Measurement([u8; 48]),
}

/// What the report is held against beside the policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// The image; without it nothing is accepted.
    pub image: Option<Image<'a>>,
    /// All of REPORT_DATA; without it nothing is accepted: any report of the image would fit.
    pub report_data: Option<[u8; 64]>,
    /// Judge authenticity, validity and TCB status alone, and say so in the verdict.
    pub signature_only: bool,
}

/// Appraises a report, 1184 bytes as the firmware gave them.
///
/// `roots` are [`AMD`] outside of tests; `at` is in seconds since the Unix epoch.
pub fn appraise(
    report: &[u8],
    endorsements: &Endorsements<'_>,
    expected: &Expected<'_>,
    policy: &Policy,
    roots: &Roots<'_>,
    at: u64,
) -> Verdict {
    let mut checks = Checks::default();
    if expected.signature_only {
        platform(report, endorsements, policy, roots, at, &mut checks);
        let reason = "not asked for: this verdict is about authenticity, validity and TCB alone";
        for rule in [rules::GUEST, rules::EXPECTED].into_iter().flatten() {
            checks.skip(rule.name, false, rule.meaning, reason);
        }
    } else if let Some(report) = check(report, endorsements, policy, roots, at, &mut checks) {
        held_against(&report, expected, &mut checks);
    }
    let recipe = match expected.image {
        Some(Image::Reference(reference)) => Some(reference),
        _ => None,
    };
    let subject = Subject {
        mode: match expected.signature_only {
            true => Mode::SignatureOnly,
            false => Mode::Evidence,
        },
        platform: recipe.map_or(PLATFORM, |reference| &reference.platform),
        recipe: recipe.map(|reference| reference.recipe.as_str()),
        confidential: !expected.signature_only,
        trust: Trust::Hardware,
        at: Some(at),
    };
    let rules: Vec<&Rule> = [rules::PLATFORM, rules::GUEST, rules::EXPECTED].concat();
    Verdict::new(&subject, checks.finish(&rules))
}

/// Makes the checks of a report inside other evidence: platform and guest ([`rules::PLATFORM`], [`rules::GUEST`]), but not image
/// and REPORT_DATA, which the caller knows. Gives the report when it parses; whether it is genuine stands in `checks`.
pub(crate) fn check(
    report: &[u8],
    endorsements: &Endorsements<'_>,
    policy: &Policy,
    roots: &Roots<'_>,
    at: u64,
    checks: &mut Checks,
) -> Option<Report> {
    let report = platform(report, endorsements, policy, roots, at, checks)?;
    guest::appraise(&report, policy, checks);
    Some(report)
}

/// The checks of processor, firmware and signature.
fn platform(
    input: &[u8],
    endorsements: &Endorsements<'_>,
    policy: &Policy,
    roots: &Roots<'_>,
    at: u64,
    checks: &mut Checks,
) -> Option<Report> {
    let wanted = "a report of 1184 bytes, version 2, 3 or 5";
    let report = checks.take(&rules::FORMAT, wanted, Report::parse(input))?;
    version(&report, policy, checks);
    let kind = signing_key(&report, policy, checks);
    guest::listed(&rules::CHIP_ID, &policy.chip_ids, &report.chip_id, checks);
    let vek = chain::read(endorsements, policy, checks);
    let product = product(&report, vek.as_ref().map(|(vek, _)| vek), checks);
    let Some(product) = product else {
        return Some(report);
    };
    allowed(product, policy, checks);
    let reported = levels(&report, product, policy, checks);
    let (Some(kind), Some((vek, behind))) = (kind, vek) else {
        return Some(report);
    };
    let signer = (kind, product);
    let root = roots.root(product);
    let followed = chain::follow(&vek, &behind, endorsements.chain, root, signer);
    let wanted = format!("a chain to the pinned ARK of {product}");
    if let Some(chain) = checks.take(&rules::VEK_CHAIN, &wanted, followed) {
        chain::validity(&vek, &chain, at, checks);
        chain::revocation(&chain, endorsements.crls, policy.require_crl, at, checks);
    }
    extensions(&report, &vek, signer, reported, policy, checks);
    signature(&report, &vek, checks);
    Some(report)
}

fn version(report: &Report, policy: &Policy, checks: &mut Checks) {
    let passed = policy.report_versions.contains(&report.version);
    let wanted = policy.report_versions.iter().map(u32::to_string);
    let wanted = wanted.collect::<Vec<_>>().join(" or ");
    let found = report.version.to_string();
    checks.require(&rules::REPORT_VERSION, passed, wanted, found);
}

fn signing_key(report: &Report, policy: &Policy, checks: &mut Checks) -> Option<SigningKey> {
    let (kind, found) = match report.signing_key() {
        0 => (Some(SigningKey::Vcek), "vcek".to_owned()),
        1 => (Some(SigningKey::Vlek), "vlek".to_owned()),
        7 => (None, "none: the report is not signed".to_owned()),
        other => (None, format!("{other}, which has no meaning")),
    };
    let passed = kind.is_some_and(|kind| policy.signing_keys.contains(&kind));
    let wanted = policy.signing_keys.iter().map(|kind| kind.name());
    let wanted = wanted.collect::<Vec<_>>().join(" or ");
    checks.require(&rules::SIGNING_KEY, passed, wanted, found);
    kind
}

/// The line by CPUID; a report of version 2 has none, and its key's certificate names the line, which the chain then confirms.
fn product(report: &Report, vek: Option<&X509>, checks: &mut Checks) -> Option<Product> {
    let wanted = "Milan, Genoa or Turin";
    let (product, found) = match (report.cpuid, vek) {
        (Some(cpuid), _) => {
            let Cpuid {
                family,
                model,
                stepping,
            } = cpuid;
            let product = Product::from_cpuid(family, model);
            let name = product.map_or("unknown", Product::name);
            (
                product,
                format!("{name}: family {family:#x} model {model:#x} stepping {stepping}"),
            )
        }
        (None, Some(vek)) => {
            let product = Product::ALL
                .into_iter()
                .find(|product| Vek::parse(vek, *product).is_ok());
            let name = product.map_or("unknown", Product::name);
            (product, format!("{name}, by the certificate of the key"))
        }
        (None, None) => {
            for rule in rules::OF_PRODUCT {
                checks.missing(rule, "vcek");
            }
            return None;
        }
    };
    checks.require(&rules::PRODUCT, product.is_some(), wanted, found);
    product
}

fn allowed(product: Product, policy: &Policy, checks: &mut Checks) {
    let passed = policy.products.contains(&product);
    let wanted = policy.products.iter().map(|product| product.name());
    let wanted = wanted.collect::<Vec<_>>().join(" or ");
    checks.require(&rules::PRODUCT_ALLOWED, passed, wanted, product.name());
}

/// The checks of the four TCB fields; gives the reported one.
fn levels(report: &Report, product: Product, policy: &Policy, checks: &mut Checks) -> Option<Tcb> {
    let fields = || -> Result<[Tcb; 4], TcbError> {
        Ok([
            Tcb::parse("REPORTED_TCB", report.reported_tcb, product)?,
            Tcb::parse("COMMITTED_TCB", report.committed_tcb, product)?,
            Tcb::parse("CURRENT_TCB", report.current_tcb, product)?,
            Tcb::parse("LAUNCH_TCB", report.launch_tcb, product)?,
        ])
    };
    let wanted = format!("the layout of {product}");
    let [reported, committed, current, launch] =
        checks.take(&rules::TCB_FORMAT, &wanted, fields())?;
    let ordered = committed.reaches(&reported) && current.reaches(&committed);
    let wanted = "reported <= committed <= current, each component";
    let found = format!("{reported} / {committed} / {current}");
    checks.require(&rules::TCB_ORDER, ordered, wanted, found);
    floor(
        &rules::TCB_FLOOR_COMMITTED,
        &committed,
        report,
        product,
        policy,
        checks,
    );
    floor(
        &rules::TCB_FLOOR_LAUNCH,
        &launch,
        report,
        product,
        policy,
        checks,
    );
    mitigations(report, policy, checks);
    Some(reported)
}

fn floor(
    rule: &Rule,
    found: &Tcb,
    report: &Report,
    product: Product,
    policy: &Policy,
    checks: &mut Checks,
) {
    let (passed, wanted) = match policy.tcb_floor.get(&product) {
        Some(floor) => (found.reaches(floor), format!("{floor} or later (policy)")),
        None => {
            let lines: Vec<&Floor> = floors(product, report.cpuid).collect();
            let failed = lines.iter().find(|line| !found.reaches(&line.tcb));
            let shown = failed.or(lines.last());
            let wanted = shown.map_or("any".to_owned(), |line| {
                format!("{} or later ({}, {})", line.tcb, line.since, line.reason)
            });
            (failed.is_none(), wanted)
        }
    };
    checks.require(rule, passed, wanted, found.to_string());
}

fn mitigations(report: &Report, policy: &Policy, checks: &mut Checks) {
    let wanted = policy.launch_mitigations;
    let vector = report.launch_mit_vector;
    let passed = vector.unwrap_or_default() & wanted == wanted;
    let found = match vector {
        Some(vector) => format!("{vector:#x}"),
        None => format!("none: version {}", report.version),
    };
    let wanted = format!("bits {wanted:#x}");
    checks.require(&rules::MITIGATION_VECTOR, passed, wanted, found);
}

/// The checks of what the certificate says about chip and firmware.
fn extensions(
    report: &Report,
    vek: &X509,
    (kind, product): (SigningKey, Product),
    reported: Option<Tcb>,
    policy: &Policy,
    checks: &mut Checks,
) {
    let wanted = format!("extensions of a {} of {product}", kind.name());
    let parsed = Vek::parse(vek, product).and_then(|vek| vek.of_kind(kind));
    let Some(vek) = checks.take(&rules::VEK_EXTENSIONS, &wanted, parsed) else {
        return;
    };
    cloud(&vek, policy, checks);
    hwid(report, &vek, product, checks);
    if let Some(reported) = reported {
        let found = vek.tcb.to_string();
        checks.require(
            &rules::TCB_VEK,
            vek.tcb == reported,
            reported.to_string(),
            found,
        );
    }
}

fn cloud(vek: &Vek, policy: &Policy, checks: &mut Checks) {
    let rule = &rules::CSP_ID;
    match &vek.csp_id {
        Some(found) if !policy.csp_ids.is_empty() => {
            let passed = policy.csp_ids.contains(found);
            checks.require(rule, passed, policy.csp_ids.join(" or "), found);
        }
        Some(_) => checks.skip(rule.name, false, rule.meaning, "the policy names none"),
        None => checks.skip(rule.name, false, rule.meaning, "a VCEK is no cloud's"),
    }
}

fn hwid(report: &Report, vek: &Vek, product: Product, checks: &mut Checks) {
    let rule = &rules::HWID;
    let chip_id = &report.chip_id;
    let Some(hwid) = &vek.hwid else {
        // Only a VLEK gets here without one: `vek-extensions` demands it of a VCEK.
        checks.require(rule, true, "no HWID: a VLEK is of no chip", "no HWID");
        return;
    };
    let found = hex::encode(hwid);
    if *chip_id == [0; 64] {
        checks.require(rule, false, "a CHIP_ID that is not masked", "64 zero bytes");
        return;
    }
    let passed = match product {
        Product::Turin => chip_id
            .split_first_chunk::<{ vek::SHORT_HWID }>()
            .is_some_and(|(id, rest)| {
                id.as_slice() == hwid.as_slice() && rest.iter().all(|byte| *byte == 0)
            }),
        Product::Milan | Product::Genoa => chip_id.as_slice() == hwid.as_slice(),
    };
    checks.require(rule, passed, hex::encode(chip_id), found);
}

fn signature(report: &Report, vek: &X509, checks: &mut Checks) {
    let verified = vek
        .key()
        .verify(Scheme::EcdsaSha384, &report.signed, &report.signature);
    let wanted = "a signature by the certificate's key";
    checks.take(&rules::SIGNATURE, wanted, verified);
}

/// The checks against the image and the purpose of the report.
fn held_against(report: &Report, expected: &Expected<'_>, checks: &mut Checks) {
    image(report, expected.image, checks);
    match expected.report_data {
        Some(wanted) => checks.equal(&rules::REPORT_DATA, &wanted, &report.report_data),
        None => checks.require(&rules::REPORT_DATA, false, "64 bytes", NOTHING),
    };
}

/// The checks against the image ([`rules::GUEST_POLICY`], [`rules::MEASUREMENT`]).
pub(crate) fn image(report: &Report, image: Option<Image<'_>>, checks: &mut Checks) {
    match image {
        None => {
            let rule = &rules::MEASUREMENT;
            checks.require(
                rule,
                false,
                "reference values or one launch digest",
                NOTHING,
            );
            let rule = &rules::GUEST_POLICY;
            checks.skip(rule.name, false, rule.meaning, NOTHING);
        }
        Some(Image::Measurement(wanted)) => {
            checks.equal(&rules::MEASUREMENT, &wanted, &report.measurement);
            let rule = &rules::GUEST_POLICY;
            let reason = "one launch digest says nothing about the guest policy";
            checks.skip(rule.name, false, rule.meaning, reason);
        }
        Some(Image::Reference(reference)) => reference_values(report, reference, checks),
    }
}

fn reference_values(report: &Report, reference: &ReferenceValues, checks: &mut Checks) {
    let digests = &reference.launch_digests;
    let Some(launch) = &reference.launch_policy else {
        let wanted = format!(
            "reference values of `{}` with launch digests",
            reference.platform
        );
        checks.require(&rules::MEASUREMENT, false, wanted, "none");
        return;
    };
    let entry = digests
        .iter()
        .find(|entry| entry.digest.as_bytes() == report.measurement);
    let wanted = format!(
        "one of {} launch digests of `{}`",
        digests.len(),
        reference.recipe
    );
    let found = hex::encode(report.measurement);
    let found = match entry {
        Some(entry) => format!("{found} ({} x {})", entry.vcpus, entry.vcpu_model),
        None => found,
    };
    checks.require(&rules::MEASUREMENT, entry.is_some(), wanted, found);
    let id_key = match &launch.id_key_digest {
        Some(digest) => digest.as_bytes() == report.id_key_digest,
        None => report.id_key_digest == [0; 48],
    };
    let passed = launch.guest_policy == report.policy && launch.vmpl == report.vmpl && id_key;
    let id_wanted = launch
        .id_key_digest
        .map_or("none".to_owned(), |digest| hex::encode(digest.as_bytes()));
    let wanted = format!(
        "policy {:#x}, vmpl {}, ID key {id_wanted}",
        launch.guest_policy, launch.vmpl
    );
    let id_found = hex::encode(report.id_key_digest);
    let found = format!(
        "policy {:#x}, vmpl {}, ID key {id_found}",
        report.policy, report.vmpl
    );
    checks.require(&rules::GUEST_POLICY, passed, wanted, found);
}
