//! NVIDIA's reference integrity manifests. Signature and chain are checked, since nothing may be read of one that does not hold; its dates are shown,
//! and held against nothing.

use cloister_rim::document::Document;
use cloister_rim::{Rim, RimError, RootKey, SignedRim};
use jiff::Timestamp;

use super::report::{Fields, Report};

/// A SWID tag that is signed as NVIDIA's RIMs are, or should be.
pub(super) fn rim(bytes: &[u8]) -> Option<Report> {
    let document = Document::parse(bytes).ok()?;
    if !document.is_tag() {
        return None;
    }
    let fields = match signed(bytes) {
        Ok((certificates, rim)) => Fields::new()
            .with("signature", "holds, to NVIDIA's root")
            .with("certificates", certificates)
            .with("of", rim.kind.to_string())
            .with("version", rim.version.as_str())
            .with("chip", rim.product.as_str())
            .with("tag-id", rim.tag_id.as_str())
            .with("sha256", hex::encode(rim.sha256))
            .with("measurements", measurements(&rim)),
        Err(error) => Fields::new().with("signature", format!("refused: {error}")),
    };
    Some(Report::new("reference integrity manifest", fields))
}

fn signed(bytes: &[u8]) -> Result<(Vec<Fields>, Rim), RimError> {
    let signed = SignedRim::verify(bytes, &[RootKey::nvidia()])?;
    let certificates = signed.certificates().into_iter();
    let certificates = certificates.map(|(subject, from, until)| {
        Fields::new()
            .with("subject", subject)
            .with_some("valid-from", date(from))
            .with_some("valid-until", date(until))
    });
    // The first second at which all certificates are valid, if there is one.
    let rim = signed.content(signed.validity().0)?;
    Ok((certificates.collect(), rim))
}

fn date(seconds: u64) -> Option<String> {
    let date = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
    Some(date.to_string())
}

fn measurements(rim: &Rim) -> Vec<Fields> {
    let all = rim.values.iter().map(|(index, digests)| {
        let digests: Vec<String> = digests.iter().map(hex::encode).collect();
        Fields::new()
            .with("index", u64::from(*index))
            .with("digests", digests)
    });
    all.collect()
}
