//! The quote, the key that signed it, and the PCR values it covers.

use cloister_evidence::binding::ReportData;
use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::tpm::{
    AttestationKey, EcdsaSignature, PCRS, PcrBank, PcrValues, Quote, TpmEvidence,
};

use super::{attributes, quoted};
use crate::checks::{self, Checks};
use crate::signature::{PublicKey, Scheme};

/// The parsed parts of the section.
struct Parts {
    attest: Vec<u8>,
    quote: Quote,
    signature: EcdsaSignature,
    key: AttestationKey,
    pcrs: PcrBank,
}

/// Makes the checks of the `cpu` section and gives the PCR values in it; they are the quoted ones if
/// all the checks passed.
pub(super) fn appraise(
    cpu: &CpuSection,
    report_data: Option<ReportData>,
    checks: &mut Checks,
) -> Option<PcrValues> {
    let wanted = "a TPM quote by an ECDSA P-256 key, SHA-256 throughout";
    let parts = checks.take(&checks::CPU_FORMAT, wanted, parse(cpu))?;
    attributes(parts.key.attributes, checks);
    let signer = parts.key.owner_qualified_name();
    checks.equal(
        &checks::QUOTE_SIGNER,
        &signer,
        &parts.quote.qualified_signer,
    );
    signature(&parts, checks);
    if let Some(report_data) = report_data {
        let wanted = report_data.qualifying_data();
        checks.equal(&checks::BINDING, &wanted, &parts.quote.extra_data);
    }
    let all: Vec<u8> = (0..24).take(PCRS).collect();
    let (rule, banks) = (&checks::PCR_SELECTION, &parts.quote.pcr_select);
    quoted::selection(rule, Some(&all), banks, checks);
    let (wanted, found) = (parts.pcrs.digest(), &parts.quote.pcr_digest);
    checks.equal(&checks::PCR_DIGEST, &wanted, found);
    Some(PcrValues::from(&parts.pcrs))
}

fn parse(cpu: &CpuSection) -> Result<Parts, String> {
    if cpu.kind != CpuKind::TpmQuote {
        let kind = cpu.kind.media_type();
        return Err(format!("{kind}, wanted of this platform is a TPM quote"));
    }
    let section = TpmEvidence::decode(&cpu.value).map_err(|error| error.to_string())?;
    let parts = || {
        let quote = Quote::parse(&section.attest)?;
        let signature = EcdsaSignature::parse(&section.signature)?;
        let key = AttestationKey::parse(&section.ak_public)?;
        Ok((quote, signature, key))
    };
    let parsed: Result<_, cloister_evidence::tpm::TpmError> = parts();
    let (quote, signature, key) = parsed.map_err(|error| error.to_string())?;
    Ok(Parts {
        attest: section.attest,
        quote,
        signature,
        key,
        pcrs: section.pcrs,
    })
}

fn signature(parts: &Parts, checks: &mut Checks) {
    let key = PublicKey::p256(parts.key.x.iter().chain(&parts.key.y));
    let EcdsaSignature { r, s } = parts.signature;
    let verified = key.verify(Scheme::EcdsaSha256, &parts.attest, &[r, s].concat());
    let wanted = "a signature by the attestation key";
    checks.take(&checks::QUOTE_SIGNATURE, wanted, verified);
}
