//! Every RIM of the shared vectors gets what their README says, and so does the root that is not NVIDIA's.

use std::path::Path;

use cloister_verify::signature::PublicKey;
use cloister_verify::x509::X509;
use sha2::{Digest as _, Sha256};

use crate::chain::ChainError;
use crate::{Kind, Rim, RimError, RootKey, SignatureError, TimeError, verify};

/// 2024-06-01T00:00:00Z, the time of NVIDIA's own verdicts.
const AT: u64 = 1_717_200_000;
/// 2025-06-01T00:00:00Z, for RIMs of later drivers.
const LATER: u64 = 1_748_736_000;
/// 2025-07-01T00:00:00Z: leaves of 2023 have expired, their issuer has not.
const SUMMER: u64 = 1_751_328_000;
/// 2026-11-22T00:00:00Z.
const EXPIRED: u64 = 1_795_305_600;

/// What must come out.
enum Wanted {
    /// Kind, chip, version and number of active measurements.
    Pass(Kind, &'static str, &'static str, usize),
    Digest,
    Value,
    /// So many certificates in the chain.
    Count(usize),
    /// Place, part of the name and last second of the certificate that has expired.
    Expired(&'static str, &'static str, u64),
}

const DRIVER_A: &str = "a-545-complete/Driver_RIM_test_no_gpu.swidtag";
const VBIOS_A: &str = "a-545-complete/1010_0200_882_96005E0001_test_no_gpu.swidtag";
const DRIVER_550: &str = "rims/NV_GPU_DRIVER_GH100_550.144.03.xml";
const VBIOS_C: &str = "c-580.159.03/1010_0205_862_9600740020_PROD.swidtag";
const SWITCH: &str = "d-ppcie/switchVBIOSRim_NV_SWITCH_BIOS_5612_0002_890_9610550001.xml";

fn table() -> Vec<(&'static str, u64, Wanted)> {
    use Kind::{Driver, Vbios};
    use Wanted::{Count, Digest, Expired, Pass, Value};
    let l3 = "NVIDIA Reference Value L3 GH100 001";
    vec![
        (DRIVER_A, AT, Pass(Driver, "GH100", "545.00", 21)),
        (DRIVER_A, EXPIRED, Expired("L3", l3, 1_794_441_599)),
        (VBIOS_A, AT, Pass(Vbios, "GH100", "96.00.5E.00.01", 12)),
        (VBIOS_A, EXPIRED, Expired("L3", l3, 1_794_441_599)),
        (
            VBIOS_A,
            SUMMER,
            Expired("leaf", "HCC RIM L4 Signer", 1_750_585_134),
        ),
        (VBIOS_C, AT, Pass(Vbios, "GH100", "96.00.74.00.20", 12)),
        (DRIVER_550, LATER, Pass(Driver, "GH100", "550.144.03", 21)),
        (
            "rims/1010_0200_882_96005E0003_PROD.swidtag",
            AT,
            Pass(Vbios, "GH100", "96.00.5E.00.03", 12),
        ),
        (
            "rims/g520_0202_885_9600740018_PROD.swidtag",
            AT,
            Pass(Vbios, "GH100", "96.00.74.00.18", 12),
        ),
        ("negative/incorrect_signature_driver_rim.xml", LATER, Value),
        (
            "negative/NV_GPU_DRIVER_GH100_535.86.09_measurement_mismatch.xml",
            AT,
            Digest,
        ),
        (
            "negative/NV_GPU_VBIOS_1010_0200_882_96005E0001_measurement_mismatch.xml",
            AT,
            Pass(Vbios, "GH100", "96.00.5E.00.01", 12),
        ),
        (
            "negative/incorrect_cert_chain_driver_rim.xml",
            LATER,
            Count(2),
        ),
        (SWITCH, EXPIRED, Pass(Vbios, "LS10", "96.10.55.00.01", 31)),
    ]
}

fn rim(directory: &Path, file: &str, root: RootKey, at: u64) -> Result<Rim, RimError> {
    verify(&std::fs::read(directory.join(file)).unwrap(), &[root], at)
}

#[test]
fn every_rim_of_the_vectors_gets_what_their_readme_says() {
    let Some(directory) = super::vectors() else {
        return;
    };
    let table = table();
    for (file, at, wanted) in &table {
        let found = rim(&directory, file, RootKey::nvidia(), *at);
        match (wanted, found) {
            (Wanted::Pass(kind, product, version, active), Ok(rim)) => {
                assert_eq!(
                    (rim.kind, rim.product.as_str()),
                    (*kind, *product),
                    "{file}"
                );
                assert_eq!(
                    (rim.version.as_str(), rim.entries),
                    (*version, 64),
                    "{file}"
                );
                assert_eq!((rim.values.len(), rim.checked_at), (*active, *at), "{file}");
                assert!((rim.valid_from..=rim.valid_until).contains(at), "{file}");
            }
            (Wanted::Digest, Err(RimError::Signature(SignatureError::Digest { .. }))) => {}
            (Wanted::Value, Err(RimError::Signature(SignatureError::Value))) => {}
            (Wanted::Count(wanted), Err(RimError::Chain(ChainError::Count { found }))) => {
                assert_eq!(*wanted, found, "{file}");
            }
            (
                Wanted::Expired(wanted, name, until),
                Err(RimError::Time(TimeError::Expired { place, error })),
            ) => {
                assert_eq!((*wanted, *until), (place, error.not_after), "{file}");
                assert!(error.subject.contains(name), "{file}: {error}");
            }
            (_, found) => panic!("{file}: {found:?}"),
        }
    }
    assert_eq!(table.len(), 14);
}

#[test]
fn no_rim_holds_under_a_root_that_is_not_nvidias() {
    let Some(directory) = super::vectors() else {
        return;
    };
    let pem = std::fs::read(directory.join("negative/incorrect_rim_root.crt")).unwrap();
    let other = X509::read_all(&pem).unwrap();
    let PublicKey::P384(other) = *other[0].key() else {
        panic!("another kind of key");
    };
    let mut refused = 0;
    for (file, at, wanted) in table() {
        if let Wanted::Pass(..) = wanted {
            let found = rim(&directory, file, RootKey(other), at);
            let found = found.map(|rim| rim.tag_id);
            let root = "CN=NVIDIA CoRIM signing Root CA,O=NVIDIA,C=US".to_owned();
            assert_eq!(
                found,
                Err(ChainError::Root { found: root }.into()),
                "{file}"
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 8);
}

#[test]
fn the_pinned_root_is_the_one_that_nvidia_publishes() {
    let Some(directory) = super::vectors() else {
        return;
    };
    let pem = std::fs::read(directory.join("roots/verifier_RIM_root.pem")).unwrap();
    let root = X509::read_all(&pem).unwrap();
    assert_eq!(*root[0].key(), PublicKey::P384(RootKey::nvidia().0));
    let digest = hex::encode(Sha256::digest(root[0].der()));
    assert_eq!(
        digest,
        "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"
    );
}

/// SHA-256 as `sha256sum` prints it, values and dates as a script of a few lines reads them out of the file.
#[test]
fn a_rim_tells_ids_hash_dates_and_every_alternative() {
    let Some(directory) = super::vectors() else {
        return;
    };
    let rim = rim(&directory, VBIOS_A, RootKey::nvidia(), AT).unwrap();
    assert_eq!(
        rim.tag_id,
        "560b6686b372407d02dea1bd3bcedf3865fff39a281705348b27edd21e5f32c6541642eb5db0a494a24884d60b009cfe"
    );
    assert_eq!(
        (rim.valid_from, rim.valid_until),
        (1_687_513_134, 1_750_585_134)
    );
    let indices: Vec<u8> = rim.values.keys().copied().collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
    let twelve: Vec<String> = rim.values[&12]
        .iter()
        .map(|digest| hex::encode(&digest[..4]))
        .collect();
    assert_eq!(twelve, ["00000000", "758af960", "7df046f2", "cb09606f"]);
    assert_eq!(
        hex::encode(rim.sha256),
        "3f9877de674d57ead7095bf3d32f8aa3fb1881d524bf4c7e5cf504fcac47c6bf"
    );
}
