//! The steps that every quote takes, whoever made it: signature, nonce, selection, values.
//!
//! Spec: TCG TPM 2.0 Library, Part 1 "Attestation", Part 3 `TPM2_Quote`.

use std::collections::BTreeSet;

use cloister_evidence::tpm::{
    ClockInfo, EcdsaSignature, PcrSelection, PcrValues, Quote, TpmError, rsa_signature,
};

use super::rules;
use crate::checks::{self, Checks, Rule};
use crate::signature::{PublicKey, Scheme, SignatureError};

/// Every PCR up to the last that software cannot reset, as Cloister's guests quote them; and all there are, as others do.
pub(crate) const USUAL: [core::ops::RangeInclusive<u8>; 2] = [0..=15, 0..=23];

/// Checks the signature over the bytes of `TPMS_ATTEST` as they were read. `signature` is a `TPMT_SIGNATURE`, or of RSA as it is.
pub(crate) fn signature(
    rule: &Rule,
    key: &PublicKey,
    attest: &[u8],
    signature: &[u8],
    checks: &mut Checks,
) -> bool {
    let wanted = "a signature by the attestation key";
    let verified = verify(key, attest, signature);
    checks.take(rule, wanted, verified).is_some()
}

fn verify(key: &PublicKey, attest: &[u8], signature: &[u8]) -> Result<(), String> {
    let format = |error: TpmError| error.to_string();
    let verified = match key {
        PublicKey::Rsa { .. } => {
            let signature = rsa_signature(signature).map_err(format)?;
            key.verify(Scheme::RsaPkcs1Sha256, attest, signature)
        }
        PublicKey::P256(_) => {
            let EcdsaSignature { r, s } = EcdsaSignature::parse(signature).map_err(format)?;
            key.verify(Scheme::EcdsaSha256, attest, &[r, s].concat())
        }
        PublicKey::P384(_) => Err(SignatureError::Scheme),
    };
    verified.map_err(|error| error.to_string())
}

/// Checks the qualifying data against what the verifier chose, where it chose.
pub(crate) fn nonce(wanted: Option<&[u8]>, quote: &Quote, checks: &mut Checks) {
    match wanted {
        Some(wanted) => checks.equal(&rules::NONCE, wanted, &quote.extra_data),
        None => checks.require(&rules::NONCE, false, "a nonce", "nothing to compare with"),
    };
}

/// Checks which PCRs are quoted: those of `wanted`, or without it one of the [`USUAL`] sets. Gives what is quoted when it is of the
/// SHA-256 bank at all.
pub(crate) fn selection(
    rule: &Rule,
    wanted: Option<&[u8]>,
    banks: &[PcrSelection],
    checks: &mut Checks,
) -> Option<BTreeSet<u8>> {
    let sets: Vec<BTreeSet<u8>> = match wanted {
        Some(wanted) => vec![wanted.iter().copied().collect()],
        None => USUAL.map(|range| range.collect()).to_vec(),
    };
    let described: Vec<_> = sets.iter().map(describe).collect();
    let described = format!("{} of the SHA-256 bank", described.join(" or "));
    match PcrSelection::sha256(banks) {
        Ok(quoted) => {
            checks.require(rule, sets.contains(&quoted), described, describe(&quoted));
            Some(quoted)
        }
        Err(error) => {
            checks.require(rule, false, described, error.to_string());
            None
        }
    }
}

/// `PCRs 0-7, 14`.
fn describe(pcrs: &BTreeSet<u8>) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for &pcr in pcrs {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == pcr => *last = pcr,
            _ => runs.push((pcr, pcr)),
        }
    }
    let run = |&(first, last): &(u8, u8)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    match runs.is_empty() {
        true => "no PCR".to_owned(),
        false => format!(
            "PCRs {}",
            runs.iter().map(run).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Checks that the values are those of the quoted PCRs, no more and no fewer, and have the quoted digest.
pub(crate) fn digest(
    values: &PcrValues,
    quoted: &BTreeSet<u8>,
    quote: &Quote,
    checks: &mut Checks,
) -> bool {
    let rule = &checks::PCR_DIGEST;
    let given = values.indices();
    if given != *quoted {
        let wanted = format!("values of {}", describe(quoted));
        return checks.require(rule, false, wanted, format!("of {}", describe(&given)));
    }
    checks.equal(rule, &values.digest(), &quote.pcr_digest)
}

/// Shows the TPM's clock, which nothing is compared with.
pub(crate) fn clock(info: &ClockInfo, checks: &mut Checks) {
    let ClockInfo {
        clock,
        reset_count,
        restart_count,
        safe,
    } = info;
    let safe = match safe {
        true => "safe",
        false => "not safe",
    };
    let found = format!("{clock} ms ({safe}), {reset_count} resets, {restart_count} restarts");
    checks.show(&rules::CLOCK_INFO, found);
}
