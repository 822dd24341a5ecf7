//! What vendors sign about firmware, field by field. Nothing here is verified.

use cloister_verify::google::{Endorsement, SnpFirmware, TdxFirmware};
use jiff::Timestamp;

use super::report::{Fields, Report};

/// Google's launch endorsement of a firmware of Compute Engine.
pub(super) fn google(bytes: &[u8]) -> Option<Report> {
    let endorsement = Endorsement::parse(bytes).ok()?;
    let firmware = &endorsement.firmware;
    let signed = Timestamp::from_second(firmware.timestamp).map(|time| time.to_string());
    let commit = Some(hex::encode(&firmware.commit)).filter(|commit| !commit.is_empty());
    let fields = Fields::new()
        .with("firmware-sha384", hex::encode(firmware.digest))
        .with_some("signed", signed.ok())
        .with("signer", endorsement.certificate.subject().to_string())
        .with("issuer", endorsement.certificate.issuer().to_string())
        .with("change-list", firmware.cl_spec)
        .with_some("commit", commit)
        .with_some("sev-snp", firmware.snp.as_ref().map(snp))
        .with_some("tdx", firmware.tdx.as_ref().map(tdx));
    Some(Report::new("launch endorsement of Google", fields))
}

fn snp(firmware: &SnpFirmware) -> Fields {
    let measurements = firmware.measurements.iter().map(|(vmsas, digest)| {
        Fields::new()
            .with("vmsas", *vmsas)
            .with("launch-digest", hex::encode(digest))
    });
    Fields::new()
        .with("svn", firmware.svn)
        .with("policy", format!("{:#x}", firmware.policy))
        .with("measurements", measurements.collect::<Vec<_>>())
        .with_some("svsm", firmware.svsm.map(hex::encode))
}

fn tdx(firmware: &TdxFirmware) -> Fields {
    let measurements = firmware.measurements.iter().map(|found| {
        Fields::new()
            .with("memory-gib", found.ram_gib)
            .with("early-accept", found.early_accept)
            .with("mrtd", hex::encode(found.mrtd))
    });
    Fields::new()
        .with("svn", firmware.svn)
        .with("measurements", measurements.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::whole;

    /// Made by `crates/verify/tests/tdx/google.rs`, which encodes by hand; the first byte is the fuzz target's.
    const MADE: &[u8] = include_bytes!("../../../tests/fuzz/seeds/td_quote/endorsement");

    #[test]
    fn an_endorsement_says_what_is_measured() {
        let report = whole(&MADE[1..]).unwrap();
        assert_eq!(report.kind, "launch endorsement of Google");
        let found = report.to_json();
        assert_eq!(found["firmware-sha384"], "d1".repeat(48));
        assert_eq!(found["signer"], "CN=GCE-uefi-signer,O=Cloister Tests");
        assert_eq!(found["sev-snp"]["measurements"][0]["vmsas"], 2);
        assert_eq!(found["tdx"]["measurements"][1]["memory-gib"], 32);
        assert_eq!(found["tdx"]["measurements"][1]["mrtd"], "3e".repeat(48));
        assert_eq!(whole(&MADE[1..MADE.len() - 1]), None);
    }
}
