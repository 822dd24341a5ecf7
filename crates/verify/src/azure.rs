//! Appraisal of evidence from confidential VMs on Azure.
//!
//! The guest there cannot ask the hardware for anything. Microsoft's paravisor did once, and its report commits to claims, which name the key that
//! signs quotes of the vTPM. So the chain is: hardware's report, claims, key, quote, PCR values, image. Everybody in it after the hardware is the
//! paravisor, which is why a verdict says `trust: paravisor`.
//!
//! Specs: `cloister_measure::azure` (HCL report), TCG TPM 2.0 Library (quote), [`crate::snp`] (report of SEV-SNP). Every step is a check of
//! its own ([`rules`]), every verdict lists all of them. On TDX the hardware's report is a TDREPORT, for which a TD quote ([`crate::tdx`]) vouches.

mod ak;
mod evidence;
mod live;
mod paravisor;
mod policy;
mod rules;
mod yaml;

use cloister_evidence::tpm::{PcrValues, Quote};
use cloister_measure::azure::{Claims, ClaimsError, HclError, HclReport, TdxFacts, TeeReport};

use crate::checks::{Checks, Rule};
use crate::collateral::TdxCollateral;
use crate::layers::Bound;
use crate::policy::PolicyFile;
use crate::signature::PublicKey;
use crate::snp;
use crate::tpm::registers::{self, Demand};
use crate::tpm::{self, Ak, quoted};
use crate::verdict::{Mode, Subject, Trust};
use crate::x509::X509;
use crate::{Verdict, checks, tdx};

pub use crate::tpm::Expected;
pub use evidence::{Evidence, EvidenceError, TpmQuote};
pub(crate) use live::{appraise_leaf, appraise_session};
pub use paravisor::{GUEST_POLICY, ID_KEYS, IdKey, MINIMUM_GUEST_SVN};
pub use policy::Policy;
pub use yaml::YamlError;

/// The names of the platforms, also in reference values.
pub(crate) const ON_SNP: &str = "azure-snp";
const ON_TDX: &str = "azure-tdx";

/// What reference values must be for, by the hardware where that is known.
fn demand(platforms: &'static [&'static str]) -> Demand {
    Demand {
        platforms,
        confidential: Some(true),
        registers: &registers::PINNED,
    }
}

/// What the verdict trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots<'a> {
    /// AMD's keys.
    pub amd: snp::Roots<'a>,
    /// Intel's key.
    pub intel: tdx::Roots<'a>,
    /// SHA-256 of the DER of certificates that may stand above an attestation key's.
    pub vtpm: &'a [[u8; 32]],
}

/// The roots outside of tests. Microsoft's is `Azure Virtual TPM Root Certificate Authority 2023`, valid until 2048-06-01, which its page
/// "Trusted Launch FAQ" offers. That page could not be read here: two repositories of different owners carry the same certificate and name the page as
/// its source, and the real certificates of two VMs lead to it. Only its hash is kept: who wants the chain judged gives the certificates.
pub const MICROSOFT: Roots<'static> = Roots {
    amd: snp::AMD,
    intel: tdx::INTEL,
    vtpm: &[[
        0xe6, 0xc5, 0x96, 0xb1, 0x7f, 0x8f, 0xfe, 0xfb, 0xa5, 0xc3, 0x00, 0xf7, 0x14, 0xcf, 0xb1,
        0x26, 0x0c, 0x60, 0x28, 0x70, 0x4e, 0xcf, 0x7b, 0xec, 0xc4, 0xab, 0x50, 0x18, 0xef, 0xb0,
        0x0e, 0x95,
    ]],
};

/// A quote in files of its own, for an HCL report by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteFiles<'a> {
    /// `TPMS_ATTEST`.
    pub attest: &'a [u8],
    /// `TPMT_SIGNATURE`, or the RSA signature as it is.
    pub signature: &'a [u8],
    /// The PCR values as tpm2-tools write them.
    pub pcrs: Option<&'a [u8]>,
}

/// What is given beside the evidence. None of it adds trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Beside<'a> {
    /// A quote, instead of the one in the evidence.
    pub quote: Option<QuoteFiles<'a>>,
    /// VCEK, instead of the one in the evidence: PEM or DER.
    pub vek: Option<&'a [u8]>,
    /// Certificates of AMD's chain, and of the one above the attestation key's: PEM or DER.
    pub certificates: &'a [&'a [u8]],
    /// Revocation lists of AMD: PEM or DER.
    pub crls: &'a [&'a [u8]],
    /// What Intel publishes for the TD quote.
    pub tdx: Option<&'a TdxCollateral>,
    /// The firmware's event log.
    pub event_log: Option<&'a [u8]>,
}

/// Appraises evidence of any shape that [`Evidence::parse`] reads.
///
/// `roots` are [`MICROSOFT`] outside of tests; `at` is in seconds since the Unix epoch.
pub fn appraise(
    input: &[u8],
    beside: &Beside<'_>,
    expected: &Expected<'_>,
    policy: &PolicyFile,
    roots: &Roots<'_>,
    at: u64,
) -> Verdict {
    let case = Case {
        beside,
        expected,
        bound: None,
        policy,
        roots,
        at,
    };
    let mut checks = Checks::default();
    let platform = case.whole(case.evidence(input), &mut checks);
    let reference = expected.reference;
    let platform = platform.or(reference.map(|reference| reference.platform.as_str()));
    let platform = platform.unwrap_or(ON_SNP);
    let rules = match platform {
        ON_TDX => rules::on_tdx(),
        _ => rules::on_snp(),
    };
    let subject = Subject {
        mode: Mode::Evidence,
        platform,
        recipe: reference.map(|reference| reference.recipe.as_str()),
        confidential: true,
        trust: Trust::Paravisor,
        at: Some(at),
    };
    Verdict::new(&subject, checks.finish(&rules))
}

/// What evidence is held against.
struct Case<'a> {
    beside: &'a Beside<'a>,
    expected: &'a Expected<'a>,
    /// The bundle that the evidence is of, which says what stands in place of the nonce.
    bound: Option<&'a Bound>,
    policy: &'a PolicyFile,
    roots: &'a Roots<'a>,
    at: u64,
}

impl Case<'_> {
    /// All checks; gives the platform where the HCL report says which.
    fn whole(
        &self,
        evidence: Result<Evidence, EvidenceError>,
        checks: &mut Checks,
    ) -> Option<&'static str> {
        let wanted = "evidence with an HCL report";
        let evidence = checks.take(&rules::EVIDENCE_FORMAT, wanted, evidence);
        let hcl = evidence.as_ref().and_then(|evidence| hcl(evidence, checks));
        let platforms: &[&str] = match hcl.as_ref().map(|hcl| &hcl.report) {
            None => &[ON_SNP, ON_TDX],
            Some(TeeReport::Snp(_)) => &[ON_SNP],
            Some(TeeReport::Tdx(_)) => &[ON_TDX],
        };
        registers::pinned(self.expected.reference, &demand(platforms), checks);
        let (evidence, hcl) = (evidence?, hcl?);
        self.configuration(&hcl.claims, checks);
        let wanted = "an RSA key";
        let jwk = hcl.claims.attestation_key()?;
        let key = checks.take(&rules::ATTESTATION_KEY, wanted, Ak::from_jwk(jwk));
        let key = key.map(|ak| ak.key);
        self.quote(&evidence, &hcl.claims, key.as_ref(), checks);
        let (given, unread) = self.certificates();
        let above = ak::above(evidence.ak_certificate.as_deref(), &given);
        if let Some(key) = &key {
            let (certificate, roots) = (evidence.ak_certificate.as_deref(), self.roots.vtpm);
            ak::appraise(certificate, &above, key, roots, self.at, checks);
        }
        let mut chain = unread;
        let of_amd = given.iter().filter(|given| !above.contains(given));
        chain.extend(of_amd.map(X509::der));
        self.hardware(&evidence, &hcl, &chain, checks);
        platforms.first().copied()
    }

    /// The evidence, with the quote that was given beside it.
    fn evidence(&self, input: &[u8]) -> Result<Evidence, EvidenceError> {
        let mut evidence = Evidence::parse(input)?;
        if let Some(files) = &self.beside.quote {
            evidence.quote = Some(TpmQuote {
                attest: files.attest.to_vec(),
                signature: files.signature.to_vec(),
                pcrs: files.pcrs.map(PcrValues::from_tools).transpose()?,
            });
        }
        Ok(evidence)
    }

    fn configuration(&self, claims: &Claims, checks: &mut Checks) {
        let (found, policy) = (&claims.vm_configuration, &self.policy.azure);
        let state = |on: bool| if on { "on" } else { "off" };
        let rule = &rules::TPM_ENABLED;
        checks.require(rule, found.tpm_enabled, "on", state(found.tpm_enabled));
        let passed = found.secure_boot || !policy.secure_boot;
        let wanted = if policy.secure_boot {
            "on"
        } else {
            "on or off"
        };
        checks.require(
            &rules::SECURE_BOOT,
            passed,
            wanted,
            state(found.secure_boot),
        );
        let interactive = found.interactive_console_enabled.unwrap_or_default();
        let passed = (policy.console || !found.console_enabled)
            && (policy.interactive_console || !interactive);
        let wanted = match (policy.console, policy.interactive_console) {
            (false, false) => "off, no input",
            (false, true) => "off",
            (true, false) => "on or off, no input",
            (true, true) => "on or off",
        };
        let input = if interactive { ", takes input" } else { "" };
        let seen = format!("{}{input}", state(found.console_enabled));
        checks.require(&rules::CONSOLE, passed, wanted, seen);
        let devices = found.filtered_vpci_devices_allowed.unwrap_or_default();
        let passed = policy.vpci_devices || !devices;
        let wanted = if policy.vpci_devices {
            "let through or not"
        } else {
            "not let through"
        };
        let seen = if devices {
            "let through"
        } else {
            "not let through"
        };
        checks.require(&rules::VPCI_DEVICES, passed, wanted, seen);
    }

    fn quote(
        &self,
        evidence: &Evidence,
        claims: &Claims,
        key: Option<&PublicKey>,
        checks: &mut Checks,
    ) {
        let (rule, wanted) = (&tpm::rules::QUOTE_FORMAT, "one TPMS_ATTEST of a quote");
        let Some(given) = &evidence.quote else {
            checks.require(rule, false, wanted, "no quote in the evidence");
            return;
        };
        let Some(quote) = checks.take(rule, wanted, Quote::parse(&given.attest)) else {
            return;
        };
        if let Some(key) = key {
            let rule = &rules::QUOTE_SIGNATURE;
            quoted::signature(rule, key, &given.attest, &given.signature, checks);
        }
        self.nonce(&quote, checks);
        self.values(given.pcrs.as_ref(), &quote, checks);
        self.user_data(evidence, claims, &quote, checks);
        quoted::clock(&quote.clock_info, checks);
    }

    fn nonce(&self, quote: &Quote, checks: &mut Checks) {
        let Some(bound) = self.bound else {
            quoted::nonce(self.expected.nonce, quote, checks);
            return;
        };
        if let Some(report_data) = bound.report_data {
            let wanted = report_data.qualifying_data();
            checks.equal(&checks::BINDING, &wanted, &quote.extra_data);
        }
    }

    fn values(&self, values: Option<&PcrValues>, quote: &Quote, checks: &mut Checks) {
        let (rule, pcrs) = (&rules::PCR_SELECTION, self.policy.azure.pcrs.as_deref());
        let selected = quoted::selection(rule, pcrs, &quote.pcr_select, checks);
        let Some(values) = values else {
            let (wanted, found) = ("the values of the quoted PCRs", "none");
            checks.require(&checks::PCR_DIGEST, false, wanted, found);
            return;
        };
        let Some(selected) = selected else { return };
        if !quoted::digest(values, &selected, quote, checks) {
            return;
        }
        if let Some(reference) = self.expected.reference {
            registers::compare(values, reference, checks);
        }
        match self.bound {
            Some(bound) => registers::logs(values, &bound.bundle, self.expected.reference, checks),
            None => tpm::event_log(self.beside.event_log, values, checks),
        }
    }

    /// User-data is the nonce and zeros, where the guest wrote any.
    fn user_data(&self, evidence: &Evidence, claims: &Claims, quote: &Quote, checks: &mut Checks) {
        let (rule, found) = (&rules::USER_DATA, &claims.user_data);
        let empty = found.iter().all(|byte| *byte == 0);
        if empty && !evidence.user_data && !self.policy.azure.user_data {
            let reason = "the guest put none into the claims; the quote has the nonce";
            checks.skip(rule.name, false, rule.meaning, reason);
            return;
        }
        let rest = found.strip_prefix(quote.extra_data.as_slice());
        let passed = !empty && rest.is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
        let wanted = format!("{} and zeros", hex::encode(&quote.extra_data));
        checks.require(rule, passed, wanted, hex::encode(found));
    }

    /// The certificates that were given, and the inputs that have none that can be read, for a check to refuse.
    fn certificates(&self) -> (Vec<X509>, Vec<&[u8]>) {
        let (mut read, mut unread) = (Vec::new(), Vec::new());
        for input in self.beside.certificates {
            match X509::read_all(input) {
                Ok(certificates) => read.extend(certificates),
                Err(_) => unread.push(*input),
            }
        }
        (read, unread)
    }

    fn hardware(&self, evidence: &Evidence, hcl: &HclReport, chain: &[&[u8]], checks: &mut Checks) {
        let policy = self.policy;
        if let TeeReport::Tdx(facts) = &hcl.report {
            paravisor::tdx(facts, &policy.azure, checks);
            self.td_quote(evidence, &hcl.hardware_report, facts, checks);
            return;
        }
        let endorsements = snp::Endorsements {
            vek: self.beside.vek.or(evidence.vek.as_deref()),
            chain,
            crls: self.beside.crls,
        };
        let (bytes, amd) = (&hcl.hardware_report, &self.roots.amd);
        let report = snp::check(bytes, &endorsements, &policy.snp, amd, self.at, checks);
        if let Some(report) = report {
            paravisor::snp(&report, &policy.azure, checks);
        }
    }

    fn td_quote(&self, evidence: &Evidence, report: &[u8], facts: &TdxFacts, checks: &mut Checks) {
        let Some(quote) = &evidence.td_quote else {
            let rule: &Rule = &rules::TD_QUOTE;
            let reason = "the evidence has no TD quote";
            checks.skip(rule.name, true, rule.meaning, reason);
            return;
        };
        let (collateral, policy) = (self.beside.tdx, &self.policy.tdx);
        let intel = &self.roots.intel;
        let quote = tdx::check(quote, collateral, policy, intel, self.at, checks);
        if let Some(quote) = quote {
            paravisor::quoted(&quote.body, report, facts, checks);
        }
    }
}

/// The checks of the HCL report itself. It is read in one go; its errors say which check failed.
fn hcl(evidence: &Evidence, checks: &mut Checks) -> Option<HclReport> {
    let format = "a whole HCL report";
    let hash = "REPORT_DATA of the hash of the claims and zeros";
    let parsed = HclReport::parse(&evidence.hcl_report);
    let (bound, one_key) = match &parsed {
        Ok(_) => (true, true),
        Err(HclError::NotBound { .. }) => (false, true),
        Err(HclError::Claims(ClaimsError::AttestationKey { .. })) => (true, false),
        Err(error) => {
            checks.require(&rules::HCL_FORMAT, false, format, error.to_string());
            return None;
        }
    };
    checks.require(&rules::HCL_FORMAT, true, format, format);
    let error = parsed
        .as_ref()
        .err()
        .map(ToString::to_string)
        .unwrap_or_default();
    let found = if bound { hash } else { &error };
    checks.require(&rules::CLAIMS_HASH, bound, hash, found);
    if !one_key {
        checks.require(&rules::ATTESTATION_KEY, false, "one HCLAkPub", &error);
    }
    parsed.ok()
}
