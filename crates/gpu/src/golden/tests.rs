//! Golden values of real RIMs against real reports, and what is refused. The RIMs' XML is read here as crudely as a test may:
//! nothing checks its signature.

use std::path::Path;

use super::*;
use crate::signature::verify;
use crate::tests::{Recording, directory, recording_a, recording_c};
use crate::{Appraisal, Cause, Expected, Report, RootKey, Step, appraise};

/// 2024-06-01.
const AT: u64 = 1_717_200_000;

fn attribute<'x>(element: &'x str, name: &str) -> &'x str {
    let start = format!("{name}=\"");
    let (_, behind) = element.split_once(&start).unwrap();
    behind.split_once('"').unwrap().0
}

/// Version and active measurements of a RIM file.
fn rim(path: &Path) -> RimValues {
    let text = std::fs::read_to_string(path).unwrap();
    let mut values = Values::new();
    for element in text.split("Resource ").skip(1) {
        if attribute(element, "active") != "True" {
            continue;
        }
        let count: usize = attribute(element, "alternatives").parse().unwrap();
        let digest = |number| {
            let digest = attribute(element, &format!("Hash{number}"));
            hex::decode(digest).unwrap().try_into().unwrap()
        };
        let digests = (0..count).map(digest).collect();
        let index = attribute(element, " index").parse().unwrap();
        assert_eq!(values.insert(index, digests), None);
    }
    RimValues {
        version: attribute(&text, "colloquialVersion").to_owned(),
        rim: origin(),
        values,
    }
}

fn origin() -> Rim {
    Rim {
        id: "NV_GPU_TEST".to_owned(),
        sha256: [7; 32],
        checked_at: AT,
        valid_until: AT + 1,
    }
}

fn judged(recording: &Recording, golden: &GoldenValues) -> Appraisal {
    let nonce = Report::parse(&recording.report).unwrap().nonce;
    let expected = Expected {
        nonce: &nonce,
        driver: None,
        vbios: None,
        golden: Some(golden),
        roots: &[RootKey::nvidia()],
        at: AT,
    };
    appraise(&recording.report, &recording.chain, &expected, verify)
}

/// What a driver RIM and a VBIOS RIM must have at least, each index with a digest of its own.
fn made() -> [RimValues; 2] {
    let values = |indices: &[u8]| indices.iter().map(|&i| (i, vec![[i; 48]])).collect();
    let driver: Vec<u8> = [7].into_iter().chain(21..=40).collect();
    let vbios: Vec<u8> = (0..=6).chain(8..=12).collect();
    [
        RimValues {
            version: "580.159.03".to_owned(),
            rim: origin(),
            values: values(&driver),
        },
        RimValues {
            version: "96.00.9F.00.01".to_owned(),
            rim: origin(),
            values: values(&vbios),
        },
    ]
}

/// README: all 21 and 12 active entries match report a; report c fails at index 9 against the first edition; the other edition of
/// the VBIOS RIM of report a fails at 1, 2, 3 and 9.
#[test]
fn real_reports_measure_what_their_rims_say() {
    let Some(directory) = directory() else {
        return;
    };
    let folder = directory.join("a-545-complete");
    let driver = rim(&folder.join("Driver_RIM_test_no_gpu.swidtag"));
    let vbios = rim(&folder.join("1010_0200_882_96005E0001_test_no_gpu.swidtag"));
    assert_eq!((driver.values.len(), vbios.values.len()), (21, 12));
    let golden = GoldenValues::new(vec![Pair::new(&driver, &vbios).unwrap()]).unwrap();
    let a = recording_a(&directory);
    let device = judged(&a, &golden).into_result().unwrap();
    assert_eq!(
        (device.driver.as_str(), device.vbios.as_str()),
        ("545.00", "96.00.5e.00.01")
    );

    let edited = "negative/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml";
    let edited = rim(&directory.join(edited));
    let golden = GoldenValues::new(vec![Pair::new(&driver, &edited).unwrap()]).unwrap();
    let appraisal = judged(&a, &golden);
    let indices: Vec<u8> = appraisal
        .mismatches()
        .iter()
        .map(|found| found.index)
        .collect();
    assert_eq!(indices, [1, 2, 3, 9]);
    let refusal = appraisal.into_result().unwrap_err();
    assert_eq!(refusal.step, Step::Measurements);

    // The driver's values are those of the report itself: no RIM of that driver is public.
    let c = recording_c(&directory);
    let report = Report::parse(&c.report).unwrap();
    let [mut own, _] = made();
    for (index, digests) in &mut own.values {
        *digests = vec![report.measurements[usize::from(*index)]];
    }
    let first = rim(&directory.join("c-580.159.03/1010_0205_862_9600740020_PROD.swidtag"));
    let golden = GoldenValues::new(vec![Pair::new(&own, &first).unwrap()]).unwrap();
    let appraisal = judged(&c, &golden);
    let indices: Vec<u8> = appraisal
        .mismatches()
        .iter()
        .map(|found| found.index)
        .collect();
    assert_eq!(indices, [9]);
    // Another driver is unknown.
    let cause = judged(&a, &golden).into_result().unwrap_err();
    assert_eq!(cause.step, Step::Driver);
    assert!(matches!(*cause.cause, Cause::Unknown { .. }));
}

#[test]
fn canonical_json_is_read_back_and_nothing_else_is() {
    let [driver, vbios] = made();
    let golden = GoldenValues::new(vec![Pair::new(&driver, &vbios).unwrap()]).unwrap();
    let text = golden.to_json();
    assert_eq!(GoldenValues::from_json(text.as_bytes()), Ok(golden.clone()));
    assert_eq!(golden.pairs()[0].values().len(), 33);
    let refused = |text: String| GoldenValues::from_json(text.as_bytes()).unwrap_err();
    assert_eq!(
        refused(text.trim_end().to_owned()),
        GoldenError::NotCanonical
    );
    let upper = text.replacen("07", "0A", 1);
    assert!(matches!(
        refused(upper),
        GoldenError::NotCanonical | GoldenError::Json { .. }
    ));
    let schema = text.replacen("\"schema-version\": 1", "\"schema-version\": 2", 1);
    assert_eq!(refused(schema), GoldenError::Schema { found: 2 });
    let model = text.replacen("GH100", "GB100", 1);
    assert!(matches!(refused(model), GoldenError::Model { .. }));
    let unknown = text.replacen('{', "{\"more\": 1,", 1);
    assert!(matches!(refused(unknown), GoldenError::Json { .. }));
    for length in [0, 1, text.len() / 2, text.len() - 3] {
        assert!(matches!(
            refused(text[..length].to_owned()),
            GoldenError::Json { .. }
        ));
    }
}

/// Changes one of the two RIMs.
type Edit = fn(&mut [RimValues; 2]);

#[test]
fn rims_that_do_not_pin_enough_are_refused() {
    let few = |side, missing: Vec<u8>, found, wanted| GoldenError::Few {
        side,
        missing,
        found,
        wanted,
    };
    let cases: [(Edit, GoldenError); 8] = [
        (
            |r| drop(r[0].values.remove(&21)),
            few(Side::Driver, vec![21], 20, 21),
        ),
        (
            |r| drop(r[1].values.remove(&9)),
            few(Side::Vbios, vec![9], 11, 12),
        ),
        (
            |r| r[0].version = "535.86.09".to_owned(),
            few(Side::Driver, vec![41], 21, 22),
        ),
        (
            |r| drop(r[0].values.insert(9, vec![[1; 48]])),
            GoldenError::Both { indices: vec![9] },
        ),
        (
            |r| drop(r[1].values.insert(10, Vec::new())),
            GoldenError::Empty {
                side: Side::Vbios,
                index: 10,
            },
        ),
        (
            |r| drop(r[0].values.insert(64, vec![[1; 48]])),
            GoldenError::Index {
                side: Side::Driver,
                index: 64,
            },
        ),
        (
            |r| r[0].version = "580".to_owned(),
            version(Side::Driver, "580.159.03", "580"),
        ),
        (
            |r| r[1].version = "96.00.9F.00".to_owned(),
            version(Side::Vbios, "96.00.9f.00.01", "96.00.9f.00"),
        ),
    ];
    let mut checked = 0;
    for (edit, wanted) in cases {
        let mut rims = made();
        edit(&mut rims);
        let [driver, vbios] = &rims;
        assert_eq!(Pair::new(driver, vbios), Err(wanted));
        checked += 1;
    }
    assert_eq!(checked, 8);
    let [driver, vbios] = made();
    let pair = Pair::new(&driver, &vbios).unwrap();
    let twice = GoldenValues::new(vec![pair.clone(), pair]);
    assert!(matches!(twice, Err(GoldenError::Twice { .. })));
    assert_eq!(GoldenValues::new(Vec::new()), Err(GoldenError::None));
}
