//! Endorsements of a made-up Google, encoded here by hand, and by somebody else: what they say of a TD's firmware.

use std::sync::OnceLock;

use cloister_test_pki::{Certificate, Extension, Key, Parameters};
use cloister_verify::google::{Endorsement, EndorsementError, MAX_BYTES};
use cloister_verify::verdict::{Conclusion, Outcome};
use cloister_verify::x509::X509;

use crate::checks::reference;
use crate::folder::failed;
use crate::scene::{NOW, Scene};

/// A field of length-delimited bytes.
fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2][..], &varint(value.len() as u64), value].concat()
}

/// A field of a number.
fn number(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3][..], &varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value >= 0x80 {
        encoded.push(0x80 | value.to_le_bytes()[0]);
        value >>= 7;
    }
    encoded.push(value.to_le_bytes()[0]);
    encoded
}

struct World {
    root: Key,
    signer: Key,
    stranger: Key,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| World {
        root: Key::rsa_2048().unwrap(),
        signer: Key::rsa_2048().unwrap(),
        stranger: Key::rsa_2048().unwrap(),
    })
}

fn certificate(subject: &str, extensions: Vec<Extension>) -> Certificate {
    Certificate {
        version: 2,
        serial: vec![1],
        issuer: "GCE-cc-tcb-root".to_owned(),
        subject: subject.to_owned(),
        validity: (NOW - 1000, NOW + 1000),
        extensions,
        inner: Parameters::PssSha256,
        outer: Parameters::PssSha256,
    }
}

/// What is signed, before it is.
pub(crate) struct Golden {
    timestamp: u64,
    pub(crate) cl_spec: u64,
    digest: Vec<u8>,
    mrtds: Vec<Vec<u8>>,
    tdx: bool,
    root: Certificate,
    signer: Certificate,
    signed_by: &'static Key,
    /// Fields behind those that are known.
    behind: Vec<u8>,
}

pub(crate) fn golden() -> Golden {
    let authority = vec![Extension::authority(Some(0)), Extension::key_usage(true)];
    let signing = vec![Extension::critical("2.5.29.15", vec![3, 2, 7, 0x80])];
    Golden {
        timestamp: NOW - 500,
        cl_spec: 700_000_000,
        digest: vec![0xd1; 48],
        mrtds: vec![vec![0x3d; 48], vec![0x3e; 48]],
        tdx: true,
        root: certificate("GCE-cc-tcb-root", authority),
        signer: certificate("GCE-uefi-signer", signing),
        signed_by: &world().signer,
        behind: Vec::new(),
    }
}

impl Golden {
    fn encode(&self) -> Vec<u8> {
        let World { root, signer, .. } = world();
        let measurement = |(index, mrtd): (usize, &Vec<u8>)| {
            let fields = [number(1, 16 << index), number(2, 1), bytes(3, mrtd)];
            bytes(2, &fields.concat())
        };
        let measurements: Vec<u8> = self
            .mrtds
            .iter()
            .enumerate()
            .flat_map(measurement)
            .collect();
        let snp = [
            number(1, 4),
            bytes(2, &[number(1, 2), bytes(2, &[0x5e; 48])].concat()),
            bytes(3, &[7; 16]),
            number(5, 0x7_0000),
            bytes(7, &[0x5f; 48]),
        ];
        let mut fields = vec![
            bytes(1, &[number(1, self.timestamp), number(2, 9)].concat()),
            number(2, self.cl_spec),
            bytes(4, &self.signer.sign(signer, root).unwrap()),
            bytes(5, &self.digest),
            bytes(6, b"not read"),
            bytes(7, &snp.concat()),
        ];
        if self.tdx {
            fields.push(bytes(8, &[number(1, 3), measurements].concat()));
        }
        fields.push(self.behind.clone());
        fields.concat()
    }

    fn make(&self) -> Vec<u8> {
        let signed = self.encode();
        let signature = self.signed_by.sign(Parameters::PssSha256, &signed).unwrap();
        [bytes(1, &signed), bytes(2, &signature)].concat()
    }

    fn root(&self) -> X509 {
        let root = &world().root;
        X509::from_der(&self.root.sign(root, root).unwrap()).unwrap()
    }

    /// A TD whose firmware it may endorse, with an image that is pinned.
    pub(crate) fn scene(&self) -> Scene {
        let mut scene = Scene::v4();
        scene.mrtd = None;
        scene.reference = Some(reference([0x10, 0x11, 0x12, 0x13]));
        scene.endorsed = Some((self.make(), self.root()));
        scene
    }
}

#[test]
fn an_endorsed_firmware_needs_no_mrtd() {
    let verdict = golden().scene().verdict();
    assert_eq!(verdict.conclusion, Conclusion::Accepted, "{verdict}");
    let check = verdict.check("firmware-endorsement").unwrap();
    assert_eq!(check.outcome, Outcome::Pass);
    let wanted = format!("firmware with SHA-384 {}, SVN 3, 32 GiB", "d1".repeat(48));
    assert!(check.found.starts_with(&wanted), "{}", check.found);
    // Without the endorsement nothing pins the firmware.
    let mut without = golden().scene();
    without.endorsed = None;
    assert_eq!(failed(&without.verdict()), ["mrtd"]);
}

#[test]
fn an_endorsement_pins_no_image() {
    let mut scene = golden().scene();
    scene.reference = None;
    assert_eq!(failed(&scene.verdict()), ["rtmr"]);
}

#[test]
fn a_named_mrtd_counts_beside_it() {
    let mut scene = golden().scene();
    scene.mrtd = Some([0x3d; 48]);
    assert_eq!(failed(&scene.verdict()), ["mrtd"]);
}

/// Changes an endorsement in one place.
type Edit = fn(&mut Golden);

#[test]
fn an_endorsement_that_does_not_hold_is_refused() {
    let cases: [(Edit, &str); 11] = [
        (|g| g.mrtds.truncate(1), "is none of the 1 endorsed"),
        (|g| g.tdx = false, "without values for TDX"),
        (|g| g.cl_spec = 0, "names neither change list nor commit"),
        (
            |g| g.signed_by = &world().stranger,
            "signature by `CN=GCE-uefi-signer,O=Cloister Tests`",
        ),
        (|g| g.signer.validity.1 = NOW - 1, "valid"),
        (|g| g.root.validity.1 = NOW - 1, "valid"),
        (|g| g.signer.issuer = "another".to_owned(), "another"),
        (|g| g.root.extensions.clear(), "GCE-cc-tcb-root"),
        (|g| g.digest.truncate(47), "digest has 47 bytes, wanted 48"),
        (
            |g| g.mrtds[1].push(0),
            "tdx.measurements.mrtd has 49 bytes, wanted 48",
        ),
        (|g| g.behind = vec![0x0f], "VMGoldenMeasurement is not read"),
    ];
    let mut checked = 0;
    for (edit, wanted) in cases {
        let mut golden = golden();
        edit(&mut golden);
        let verdict = golden.scene().verdict();
        assert_eq!(
            failed(&verdict),
            ["firmware-endorsement", "mrtd"],
            "{wanted}"
        );
        let found = &verdict.check("firmware-endorsement").unwrap().found;
        assert!(found.contains(wanted), "{found}, wanted {wanted}");
        checked += 1;
    }
    assert_eq!(checked, 11);
    // Older ones name no sources, newer ones may have more fields.
    let mut old = golden();
    (old.timestamp, old.cl_spec) = (1_722_556_800, 0);
    old.behind = bytes(12, b"of later");
    assert!(old.scene().verdict().accepted);
    let mut other_root = golden().scene();
    let mut stranger = golden();
    stranger.root.subject = "GCE-cc-tcb-root".to_owned();
    let key = &world().stranger;
    let forged = X509::from_der(&stranger.root.sign(key, key).unwrap()).unwrap();
    other_root.endorsed.as_mut().unwrap().1 = forged;
    assert_eq!(
        failed(&other_root.verdict()),
        ["firmware-endorsement", "mrtd"]
    );
}

#[test]
fn every_changed_bit_is_refused() {
    let made = golden().make();
    let root = golden().root();
    let mut checked = 0;
    for at in 0..made.len() {
        for bit in 0..8 {
            let mut changed = made.clone();
            changed[at] ^= 1 << bit;
            let holds = Endorsement::parse(&changed)
                .is_ok_and(|endorsement| endorsement.signed_under(&root, NOW).is_ok());
            assert!(!holds, "byte {at}, bit {bit}");
            checked += 1;
        }
    }
    assert!(checked > 10_000, "{checked}");
}

#[test]
fn what_nothing_signs_is_refused() {
    let made = golden().make();
    assert!(Endorsement::parse(&made).is_ok());
    for behind in [bytes(3, b"x"), bytes(2, &[1; 256]), number(9, 1)] {
        let found = Endorsement::parse(&[made.clone(), behind].concat());
        assert_eq!(found, Err(EndorsementError::NotCanonical));
    }
    let found = Endorsement::parse(&made[..made.len() - 1]);
    let message = "VMLaunchEndorsement";
    assert!(matches!(found, Err(EndorsementError::Message { message: m, .. }) if m == message));
    let found = MAX_BYTES + 1;
    let long = Endorsement::parse(&vec![0; found]);
    assert_eq!(long, Err(EndorsementError::TooLarge { found }));
    assert!(matches!(
        Endorsement::parse(&[]),
        Err(EndorsementError::Certificate(_))
    ));
}

#[test]
fn every_field_is_read() {
    let firmware = Endorsement::parse(&golden().make()).unwrap().firmware;
    assert_eq!(firmware.timestamp, i64::try_from(NOW).unwrap() - 500);
    assert_eq!((firmware.cl_spec, firmware.commit.len()), (700_000_000, 0));
    let snp = firmware.snp.unwrap();
    assert_eq!((snp.svn, snp.policy), (4, 0x7_0000));
    assert_eq!(
        snp.measurements.into_iter().collect::<Vec<_>>(),
        [(2, [0x5e; 48])]
    );
    assert_eq!(snp.svsm, Some([0x5f; 48]));
    let tdx = firmware.tdx.unwrap();
    assert_eq!((tdx.svn, tdx.measurements.len()), (3, 2));
    let [first, second] = tdx.measurements[..] else {
        panic!("two measurements");
    };
    assert_eq!(
        (first.ram_gib, first.early_accept, first.mrtd),
        (16, true, [0x3d; 48])
    );
    assert_eq!((second.ram_gib, second.mrtd), (32, [0x3e; 48]));
}
