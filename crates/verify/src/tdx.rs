//! Appraisal of TD quotes.
//!
//! Specs: Intel TDX DCAP Quoting Library API (quote), PCS API version 4 (collateral), TDX Module ABI (attributes); [`rules`] lists
//! every step, every verdict lists all of them. Left out: body type 4 (TDX 1.5 extended), certification data other than
//! type 5 (chain in the quote), and fetching, which is for the caller: collateral is an argument.

mod chain;
mod dcap;
mod guest;
mod image;
mod intel;
mod policy;
mod quote;
pub(crate) mod rules;
mod standing;

use cloister_measure::reference::ReferenceValues;

use crate::Verdict;
use crate::checks::{Checks, Rule};
use crate::collateral::{TCB_INFO, TdxCollateral};
use crate::verdict::{Mode, Subject, Trust};
use crate::x509::X509;

pub use dcap::{PckCa, Platform, PlatformError, platform};
pub use intel::{INTEL, Roots};
pub use policy::{Policy, TcbStatus};
pub use quote::{Body, Body15, Endorsement, MAX_BYTES, Quote, QuoteError};

/// The name of the platform in verdicts without reference values.
const PLATFORM: &str = "tdx";
/// TEE type of TDX.
const TDX: u32 = 0x81;
/// Attestation key type of ECDSA P-256.
const ECDSA_P256: u16 = 2;
/// Intel's UUID as vendor of the quoting enclave.
const INTEL_QE: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// What the quote is held against beside the policy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// Registers of a build. They pin what the firmware booted.
    pub reference: Option<&'a ReferenceValues>,
    /// MRTD, which pins the firmware; without it, and without launch digests in the reference values, nothing is accepted.
    pub mrtd: Option<[u8; 48]>,
    /// The event log (CCEL), to be replayed.
    pub event_log: Option<&'a [u8]>,
    /// Google's endorsement of the firmware.
    pub endorsed: Option<Endorsed<'a>>,
    /// All of REPORTDATA; without it nothing is accepted.
    pub report_data: Option<[u8; 64]>,
    /// Judge authenticity, validity and TCB status alone, and say so in the verdict.
    pub signature_only: bool,
}

/// Google's endorsement of the firmware of a VM on Compute Engine, see [`crate::google`].
#[derive(Debug, Clone, Copy)]
pub struct Endorsed<'a> {
    /// `VMLaunchEndorsement`.
    pub endorsement: &'a [u8],
    /// Certificate of Google's root: whoever gives it says whom to trust about the firmware.
    pub root: &'a X509,
}

/// What a TD quote that a certificate carries is held against; the certificate's form says what REPORTDATA must be.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// Collateral of Intel.
    pub collateral: Option<&'a TdxCollateral>,
    /// Registers of a build.
    pub reference: Option<&'a ReferenceValues>,
    /// MRTD; without it, and without launch digests in the reference values, nothing is accepted.
    pub mrtd: Option<[u8; 48]>,
    /// Table `tdx` of the policy.
    pub policy: &'a Policy,
    /// [`INTEL`] outside of tests.
    pub roots: &'a Roots<'a>,
}

/// Appraises a quote, which zeros may follow.
///
/// `roots` are [`INTEL`] outside of tests; `at` is in seconds since the Unix epoch.
pub fn appraise(
    quote: &[u8],
    collateral: Option<&TdxCollateral>,
    expected: &Expected<'_>,
    policy: &Policy,
    roots: &Roots<'_>,
    at: u64,
) -> Verdict {
    let mut checks = Checks::default();
    let parsed = genuine(quote, collateral, policy, roots, at, &mut checks);
    let guest = [rules::GUEST, rules::EXPECTED];
    if expected.signature_only {
        let reason = "not asked for: this verdict is about authenticity, validity and TCB alone";
        for rule in guest.into_iter().flatten() {
            checks.skip(rule.name, false, rule.meaning, reason);
        }
    } else if let Some(parsed) = &parsed {
        guest::appraise(&parsed.body, policy, &mut checks);
        image::appraise(&parsed.body, expected, at, &mut checks);
    }
    let subject = Subject {
        mode: match expected.signature_only {
            true => Mode::SignatureOnly,
            false => Mode::Evidence,
        },
        platform: expected
            .reference
            .map_or(PLATFORM, |reference| &reference.platform),
        recipe: expected
            .reference
            .map(|reference| reference.recipe.as_str()),
        confidential: !expected.signature_only,
        trust: Trust::Hardware,
        at: Some(at),
    };
    let rules: Vec<&Rule> = [rules::PLATFORM, rules::GUEST, rules::EXPECTED].concat();
    Verdict::new(&subject, checks.finish(&rules))
}

/// The checks of [`rules::PLATFORM`] and [`rules::GUEST`], for evidence that carries a quote; gives the quote when it parses.
pub(crate) fn check<'q>(
    quote: &'q [u8],
    collateral: Option<&TdxCollateral>,
    policy: &Policy,
    roots: &Roots<'_>,
    at: u64,
    checks: &mut Checks,
) -> Option<Quote<'q>> {
    let parsed = genuine(quote, collateral, policy, roots, at, checks)?;
    guest::appraise(&parsed.body, policy, checks);
    Some(parsed)
}

/// Every check of a carried quote but the one of REPORTDATA; gives the quote when it parses.
pub(crate) fn carried<'q>(
    quote: &'q [u8],
    expected: &Carried<'_>,
    at: u64,
    checks: &mut Checks,
) -> Option<Quote<'q>> {
    let (policy, roots) = (expected.policy, expected.roots);
    let quote = check(quote, expected.collateral, policy, roots, at, checks)?;
    image::measured(&quote.body, expected.reference, expected.mrtd, checks);
    Some(quote)
}

/// The rules of [`carried`].
pub(crate) fn carried_rules() -> Vec<&'static Rule> {
    [rules::PLATFORM, rules::GUEST, rules::MEASURED].concat()
}

/// The checks of [`rules::PLATFORM`].
fn genuine<'q>(
    quote: &'q [u8],
    collateral: Option<&TdxCollateral>,
    policy: &Policy,
    roots: &Roots<'_>,
    at: u64,
    checks: &mut Checks,
) -> Option<Quote<'q>> {
    let wanted = "a quote of version 4 or 5 with a TDX 1.0 or 1.5 body";
    let parsed = checks.take(&rules::FORMAT, wanted, Quote::parse(quote))?;
    let input = quote.get(..parsed.length).unwrap_or_default();
    authenticity(input, &parsed, collateral, policy, roots, at, checks);
    Some(parsed)
}

/// The checks of signatures, collateral and TCB.
fn authenticity(
    input: &[u8],
    quote: &Quote<'_>,
    collateral: Option<&TdxCollateral>,
    policy: &Policy,
    roots: &Roots<'_>,
    at: u64,
    checks: &mut Checks,
) {
    let genuine = (TDX, ECDSA_P256, INTEL_QE);
    let found = (quote.tee_type, quote.key_type, quote.qe_vendor);
    let tell = |(tee, key, vendor): (u32, u16, [u8; 16])| {
        format!("TEE {tee:#x}, key {key}, vendor {}", hex::encode(vendor))
    };
    let passed = genuine == found;
    if !checks.require(&rules::TEE_TYPE, passed, tell(genuine), tell(found)) {
        return;
    }
    let Some((pck, valid)) = chain::pck(quote.endorsement.pck_chain, roots.root, at, checks) else {
        return;
    };
    let signed = chain::quote(quote, &pck, checks);
    let (signers, documented) = chain::documents(collateral, &pck, checks);
    let root_crl = collateral.and_then(|collateral| collateral.root_crl.as_ref());
    let root_clear = chain::root_crl(root_crl, &pck, &signers, at, checks);
    let pck_crl = collateral.and_then(|collateral| collateral.pck_crl.as_ref());
    let pck_clear = chain::pck_crl(pck_crl, &pck, at, checks);
    let absent = collateral.map_or(Some(TCB_INFO), TdxCollateral::absent);
    if let Some(absent) = absent {
        let waiting = rules::OF_COLLATERAL.into_iter();
        waiting.for_each(|rule| checks.missing(rule, absent));
        return;
    }
    let Some(collateral) = collateral.filter(|_| documented) else {
        return;
    };
    let current = standing::current(collateral, &signers, policy, at, checks);
    if valid && signed && root_clear && pck_clear && current {
        standing::appraise(input, collateral, policy, roots.root, at, checks);
    }
}
