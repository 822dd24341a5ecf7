//! Reference values as CoRIM, for verifiers that are not ours.
//!
//! Spec: draft-ietf-rats-corim-10, sections 4 (CoRIM), 5 (CoMID), 5.1.4.1 (measurements). Unsigned: who publishes it signs it.
//! One environment for recipe and platform. Every valid value is a reference triple of its own, because alternatives of one register
//! must not have to match together. Keys are the names of [`ReferenceValues`]; `name` says the class.
//! Numbers (policy, VMPL, SEV features) are raw values of eight bytes, big-endian.
//! Not covered: registers without value; CoRIM cannot say that a verifier must not pin them.

use cloister_measure::Digest;
use cloister_measure::reference::{Class, ReferenceValues};
use corim::builder::{ComidBuilder, CorimBuilder};
use corim::error::BuilderError;
use corim::types::common::{MeasuredElement, TagIdChoice};
use corim::types::corim::CorimId;
use corim::types::environment::{ClassMap, EnvironmentMap};
use corim::types::measurement::{
    Digest as CorimDigest, MeasurementMap, MeasurementValuesMap, RawValueChoice,
};
use corim::types::triples::ReferenceTriple;
use thiserror::Error;

/// Who makes these images.
const VENDOR: &str = "Cloister";

/// Why there is no CoRIM.
#[derive(Debug, Error)]
#[error("reference values do not make a valid CoRIM: {0}")]
pub(crate) struct CorimError(BuilderError);

/// Encodes `values` as an unsigned CoRIM (CBOR tag 501) with one CoMID; equal values give equal bytes.
pub(crate) fn export(values: &ReferenceValues) -> Result<Vec<u8>, CorimError> {
    let name = format!("cloister/{}/{}", values.recipe, values.platform);
    let environment = EnvironmentMap {
        class: Some(ClassMap {
            class_id: None,
            vendor: Some(VENDOR.to_owned()),
            model: Some(format!("{} on {}", values.recipe, values.platform)),
            layer: None,
            index: None,
        }),
        instance: None,
        group: None,
    };
    let mut comid = ComidBuilder::new(TagIdChoice::Text(name.clone()));
    for measurement in measurements(values) {
        let triple = ReferenceTriple::new(environment.clone(), vec![measurement]);
        comid = comid.add_reference_triple(triple);
    }
    let comid = comid.build().map_err(CorimError)?;
    CorimBuilder::new(CorimId::Text(name))
        .add_comid_tag(comid)
        .and_then(CorimBuilder::build_bytes)
        .map_err(CorimError)
}

fn measurements(values: &ReferenceValues) -> Vec<MeasurementMap> {
    let mut all = Vec::new();
    for (name, register) in &values.registers {
        let class = class(register.class);
        let digests = register.values.iter();
        all.extend(digests.map(|value| digest(name, class, value)));
    }
    for entry in &values.launch_digests {
        let name = format!("launch-digest {} x{}", entry.vcpu_model, entry.vcpus);
        all.push(digest(&name, class(Class::HostProfile), &entry.digest));
    }
    if let Some(policy) = &values.launch_policy {
        // Without an ID block the field of the report is zero.
        let zero = Digest::zero(cloister_measure::Bank::Sha384);
        let key = policy.id_key_digest.unwrap_or(zero);
        all.push(digest("id-key-digest", "launch policy", &key));
        all.push(number("guest-policy", policy.guest_policy));
        all.push(number("sev-features", policy.sev_features));
        all.push(number("vmpl", u64::from(policy.vmpl)));
    }
    all
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Image => "image",
        Class::HostProfile => "host-profile",
        Class::Vendor => "vendor",
        Class::Observed => "observed",
    }
}

/// A digest with its algorithm by the IANA Named Information registry.
fn digest(key: &str, class: &str, value: &Digest) -> MeasurementMap {
    let bytes = value.as_bytes().to_vec();
    let digest = match value {
        Digest::Sha1(_) => CorimDigest::new_text("sha-1", bytes),
        Digest::Sha256(_) => CorimDigest::new(1, bytes),
        Digest::Sha384(_) => CorimDigest::new(7, bytes),
        Digest::Sha512(_) => CorimDigest::new(8, bytes),
    };
    let values = MeasurementValuesMap {
        digests: Some(vec![digest]),
        name: Some(class.to_owned()),
        ..MeasurementValuesMap::default()
    };
    measurement(key, values)
}

fn number(key: &str, value: u64) -> MeasurementMap {
    let values = MeasurementValuesMap {
        raw_value: Some(RawValueChoice::Bytes(value.to_be_bytes().to_vec())),
        name: Some("launch policy".to_owned()),
        ..MeasurementValuesMap::default()
    };
    measurement(key, values)
}

fn measurement(key: &str, mval: MeasurementValuesMap) -> MeasurementMap {
    MeasurementMap {
        mkey: Some(MeasuredElement::Text(key.to_owned())),
        mval,
        authorized_by: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn published(platform: &str) -> ReferenceValues {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../measurements/demo")
            .join(format!("{platform}.json"));
        ReferenceValues::from_json(&std::fs::read(path).unwrap()).unwrap()
    }

    /// Whether a CBOR byte string with these bytes is in the document, by its head (RFC 8949, section 3).
    fn holds(document: &[u8], bytes: &[u8]) -> bool {
        let length = u8::try_from(bytes.len()).unwrap();
        let head = match length {
            0..24 => vec![0x40 | length],
            _ => vec![0x58, length],
        };
        let wanted = [head.as_slice(), bytes].concat();
        document.windows(wanted.len()).any(|found| found == wanted)
    }

    #[test]
    fn every_published_value_is_in_the_corim() {
        for platform in ["qemu-vtpm", "qemu-snp"] {
            let values = published(platform);
            let bytes = export(&values).unwrap();
            // Tag 501 with two bytes of number: an unsigned CoRIM.
            assert_eq!(bytes[..3], [0xd9, 0x01, 0xf5]);
            let registers = values
                .registers
                .values()
                .flat_map(|register| &register.values);
            let launches = values.launch_digests.iter().map(|entry| &entry.digest);
            let mut checked = 0;
            for digest in registers.chain(launches) {
                assert!(holds(&bytes, digest.as_bytes()), "{digest}");
                checked += 1;
            }
            if let Some(policy) = &values.launch_policy {
                assert!(holds(&bytes, &policy.guest_policy.to_be_bytes()));
            }
            println!("{platform}: {checked} values, {} bytes", bytes.len());
            assert!(checked >= 6);
            assert_eq!(export(&values).unwrap(), bytes);
        }
    }

    #[test]
    fn corim_validates_and_keeps_alternatives_apart() {
        let mut values = published("qemu-vtpm");
        let other = Digest::Sha256([0xff; 32]);
        values.registers.get_mut("pcr4").unwrap().values.push(other);
        let bytes = export(&values).unwrap();
        let (_, comids) = corim::validate::decode_and_validate_at(&bytes, 0).unwrap();
        assert_eq!(comids.len(), 1);
        assert!(holds(&bytes, other.as_bytes()));
        let triples = comids[0].triples.reference_triples.as_ref().unwrap();
        assert_eq!(triples.len(), values.registers.len() + 1);
    }
}
