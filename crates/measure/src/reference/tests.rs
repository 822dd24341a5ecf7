use serde_json::Value;

use super::*;

fn sample() -> ReferenceValues {
    let digest = Bank::Sha256.hash(&[b"uki"]);
    ReferenceValues {
        bank: Bank::Sha256,
        confidential: true,
        gpu: None,
        inputs: BTreeMap::from([("uki".to_owned(), digest)]),
        launch_digests: vec![LaunchDigestEntry {
            digest: Bank::Sha384.hash(&[b"launch"]),
            vcpu_model: "EPYC-v4".to_owned(),
            vcpus: 1,
        }],
        launch_policy: Some(LaunchPolicy {
            guest_policy: 0x30000,
            host: "qemu".to_owned(),
            id_key_digest: None,
            sev_features: 1,
            vmpl: 0,
        }),
        platform: "qemu-snp".to_owned(),
        recipe: "demo".to_owned(),
        registers: BTreeMap::from([
            ("pcr11".to_owned(), Register::single(Class::Image, digest)),
            (
                "pcr12".to_owned(),
                Register::single(Class::Image, Digest::zero(Bank::Sha256)),
            ),
        ]),
        schema_version: SCHEMA_VERSION,
        unpredicted: BTreeMap::from([("pcr0".to_owned(), "firmware version".to_owned())]),
    }
}

fn assert_sorted(value: &Value, raw: &str) {
    if let Value::Object(map) = value {
        let mut keys: Vec<&String> = map.keys().collect();
        let positions: Vec<usize> = map
            .keys()
            .map(|key| raw.find(&format!("\"{key}\":")).unwrap())
            .collect();
        let mut sorted = keys.clone();
        sorted.sort();
        keys.sort_by_key(|key| raw.find(&format!("\"{key}\":")).unwrap());
        assert_eq!(keys, sorted, "{positions:?}");
        map.values().for_each(|value| assert_sorted(value, raw));
    }
}

#[test]
fn json_round_trips_with_sorted_keys_and_one_trailing_newline() {
    let text = sample().to_json().unwrap();
    assert!(text.ends_with("}\n"), "{text}");
    assert_eq!(ReferenceValues::from_json(text.as_bytes()), Ok(sample()));
    assert_sorted(&serde_json::from_str(&text).unwrap(), &text);
}

#[test]
fn from_json_refuses_unknown_and_repeated_fields() {
    let text = sample().to_json().unwrap();
    for (from, to, wanted) in [
        ("\"platform\":", "\"platfrom\":", "unknown field `platfrom`"),
        (
            "\"platform\":",
            "\"recipe\": \"x\", \"platform\":",
            "duplicate field `recipe`",
        ),
        ("\"pcr12\":", "\"pcr11\":", "key `pcr11` stands twice"),
        (
            "\"class\": \"image\"",
            "\"class\": \"guess\"",
            "unknown variant `guess`",
        ),
        ("\"vcpus\": 1", "\"vcpus\": -1", "invalid value"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = ReferenceValues::from_json(text.replace(from, to).as_bytes()).unwrap_err();
        assert!(
            matches!(&error, ReferenceError::Json { reason } if reason.contains(wanted)),
            "{error}"
        );
    }
}

#[test]
fn golden_values_of_a_gpu_are_carried_and_a_key_that_stands_twice_is_refused() {
    let json = r#"{"b":[1,{"c":"d"}],"a":18446744073709551615}"#;
    let mut values = sample();
    values.gpu = Some(GpuReference {
        golden_values: serde_json::from_str(json).unwrap(),
        model: "h100".to_owned(),
    });
    let text = values.to_json().unwrap();
    assert_eq!(ReferenceValues::from_json(text.as_bytes()), Ok(values));
    let (a, b) = (text.find("\"a\"").unwrap(), text.find("\"b\"").unwrap());
    assert!(a < b, "keys are not sorted:\n{text}");
    for (from, to) in [
        ("\"a\":", "\"b\": 1, \"a\":"),
        ("\"c\": \"d\"", "\"c\": 1.5"),
        ("\"c\": \"d\"", "\"c\": null"),
        ("\"model\": \"h100\"", "\"modell\": \"h100\""),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = ReferenceValues::from_json(text.replace(from, to).as_bytes());
        assert!(matches!(changed, Err(ReferenceError::Json { .. })), "{to}");
    }
}

type Change = fn(&mut ReferenceValues);

#[test]
fn rules_of_the_schema_are_checked_one_by_one() {
    let name = |name: &str| name.to_owned();
    let cases: [(Change, ReferenceError); 9] = [
        (
            |v| v.schema_version = 2,
            ReferenceError::SchemaVersion { found: 2 },
        ),
        (
            |v| drop(v.unpredicted.insert("pcr24".into(), "x".into())),
            ReferenceError::RegisterName {
                name: name("pcr24"),
            },
        ),
        (
            |v| drop(v.unpredicted.insert("pcr01".into(), "x".into())),
            ReferenceError::RegisterName {
                name: name("pcr01"),
            },
        ),
        (
            |v| drop(v.unpredicted.insert("pcr11".into(), "x".into())),
            ReferenceError::Contradiction {
                name: name("pcr11"),
            },
        ),
        (
            |v| v.registers.get_mut("pcr11").unwrap().values.clear(),
            ReferenceError::NoValues {
                name: name("pcr11"),
            },
        ),
        (
            |v| {
                let values = &mut v.registers.get_mut("pcr11").unwrap().values;
                values.push(values[0]);
            },
            ReferenceError::NotSorted {
                name: name("pcr11"),
            },
        ),
        (
            |v| v.bank = Bank::Sha384,
            ReferenceError::WrongBank {
                name: name("pcr11"),
                found: Bank::Sha256,
                wanted: Bank::Sha384,
            },
        ),
        (|v| v.launch_policy = None, ReferenceError::LaunchPolicy),
        (
            |v| v.launch_digests.push(v.launch_digests[0].clone()),
            ReferenceError::NotSorted {
                name: name("launch-digests"),
            },
        ),
    ];
    for (change, wanted) in cases {
        let mut values = sample();
        change(&mut values);
        assert_eq!(values.to_json(), Err(wanted));
    }
}

#[test]
fn values_that_pin_nothing_of_the_image_are_refused() {
    let mut values = sample();
    values.launch_digests.clear();
    values.launch_policy = None;
    values
        .registers
        .values_mut()
        .for_each(|register| register.class = Class::Observed);
    assert_eq!(values.to_json(), Err(ReferenceError::PinsNothing));
    // What was absent from this image is absent from others.
    let absent = Register::single(Class::Image, Digest::zero(Bank::Sha256));
    values.registers.insert("pcr12".to_owned(), absent.clone());
    assert_eq!(values.to_json(), Err(ReferenceError::PinsNothing));
    let mut either = absent;
    either.values.push(Digest::Sha256([1; 32]));
    values.registers.insert("pcr13".to_owned(), either);
    assert_eq!(values.to_json(), Err(ReferenceError::PinsNothing));
    let value = Register::single(Class::Image, Digest::Sha256([1; 32]));
    values.registers.insert("pcr4".to_owned(), value);
    assert!(values.to_json().is_ok());
}

#[test]
fn to_json_refuses_a_sha1_bank() {
    let mut values = sample();
    values.bank = Bank::Sha1;
    assert_eq!(values.to_json(), Err(ReferenceError::WeakBank));
}
