//! Privasys' form around reports of a made-up AMD: one accepting and one rejecting case for every check.

use std::sync::OnceLock;

use cloister_measure::digest::Bank;
use cloister_measure::reference::{ReferenceValues, SCHEMA_VERSION};
use cloister_test_pki::Extension;
use cloister_test_pki::snp::{Amd, Report, Vek};
use cloister_verify::cert::privasys::{self, ENVIRONMENT, Expected, GPU, SNP, TDX};
use cloister_verify::snp::{AMD, Endorsements, Image, Policy, Root, Roots};
use cloister_verify::tdx::{Carried, INTEL};
use cloister_verify::verdict::{Conclusion, Outcome, Verdict};
use sha2::{Digest as _, Sha256, Sha512};

use crate::leaf::{Made, NOT_BEFORE, NOW, fails, keys, outcome, plain, spki_sha256};
use crate::td::against_nothing;

struct World {
    amd: Amd,
    ark: Vec<u8>,
    ask: Vec<u8>,
    asvk: Vec<u8>,
    vcek: Vec<u8>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let amd = Amd::new("Genoa").unwrap();
        let vek = Vek {
            struct_version: 0,
            product_name: "Genoa".to_owned(),
            spls: vec![
                (1, 10),
                (2, 0),
                (4, 0),
                (5, 0),
                (6, 0),
                (7, 0),
                (3, 23),
                (8, 84),
            ],
            hwid: Some(vec![0xc1; 64]),
            csp_id: None,
        };
        World {
            ark: amd.ark_certificate().sign(&amd.ark, &amd.ark).unwrap(),
            ask: amd.ask_certificate().sign(&amd.ask, &amd.ark).unwrap(),
            asvk: amd.asvk_certificate().sign(&amd.asvk, &amd.ark).unwrap(),
            vcek: amd
                .vcek_certificate(&vek)
                .sign(&amd.vcek, &amd.ask)
                .unwrap(),
            amd,
        }
    })
}

/// A certificate before anything is signed.
struct Scene {
    gpu: Option<Vec<u8>>,
    environment: Option<&'static str>,
    /// Stands in the hash instead of the right time.
    minute: &'static str,
    not_before: u64,
    /// Behind the report; a table with the VCEK otherwise.
    behind: Option<Vec<u8>>,
    /// Given beside the certificate.
    vcek: Option<Vec<u8>>,
    report: Report,
    tdx: Option<Vec<u8>>,
    snp: bool,
    image: Option<[u8; 48]>,
    at: u64,
}

fn scene() -> Scene {
    let tcb = [10, 0, 0, 0, 0, 0, 23, 84];
    Scene {
        gpu: Some(envelope([2, 1, 0])),
        environment: Some("production"),
        minute: "2026-11-22T00:00Z",
        not_before: NOT_BEFORE,
        behind: None,
        vcek: None,
        report: Report::new(3, [0x19, 0x11, 1], tcb, [0xc1; 64]),
        tdx: None,
        snp: true,
        image: Some([0x3e; 48]),
        at: NOW,
    }
}

fn envelope(mode: [u8; 3]) -> Vec<u8> {
    let value = |tag: u8, value: &[u8]| {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        [&[tag][..], &length, value].concat()
    };
    let report = [&[0x11, 0xe0, 1, 0xff][..], &[0x5a; 32], &[9; 40]].concat();
    let mut bytes = b"PGAE\x01".to_vec();
    bytes.extend(value(1, &[0x5a; 32]));
    bytes.extend(value(2, &report));
    bytes.extend(value(6, b"580.95.05"));
    for (tag, mode) in (8..).zip(mode) {
        bytes.extend(value(tag, &[0, 0, 0, mode]));
    }
    bytes
}

/// A certificate table: the VCEK, and something of an unknown kind.
fn table(entries: &[([u8; 16], &[u8])]) -> Vec<u8> {
    let mut start = 24 * (entries.len() + 1);
    let (mut rows, mut behind) = (Vec::new(), Vec::new());
    for (guid, bytes) in entries {
        rows.extend(guid);
        rows.extend(u32::try_from(start).unwrap().to_le_bytes());
        rows.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        behind.extend(*bytes);
        start += bytes.len();
    }
    [rows, vec![0; 24], behind].concat()
}

fn guid(text: &str) -> [u8; 16] {
    hex::decode(text.replace('-', ""))
        .unwrap()
        .try_into()
        .unwrap()
}

fn vcek_guid() -> [u8; 16] {
    guid("63da758d-e664-4564-adc5-f4b93be8accd")
}

impl Scene {
    fn report_data(&self) -> [u8; 64] {
        let gpu = self.gpu.as_ref().map(Sha256::digest);
        let gpu = gpu.map(|hash| hash.to_vec()).unwrap_or_default();
        Sha512::digest([&spki_sha256()[..], self.minute.as_bytes(), &gpu].concat()).into()
    }

    fn made(&self) -> Made {
        let world = world();
        let mut extensions: Vec<Extension> = Vec::new();
        if self.snp {
            let mut report = self.report.clone();
            report.set(0x50, &self.report_data());
            let mut value = report.sign(&world.amd.vcek).unwrap();
            value.extend(
                self.behind.clone().unwrap_or_else(|| {
                    table(&[(vcek_guid(), &world.vcek), ([0xee; 16], b"other")])
                }),
            );
            extensions.push(plain(SNP, value));
        }
        extensions.extend(self.tdx.clone().map(|quote| plain(TDX, quote)));
        extensions.extend(self.gpu.clone().map(|value| plain(GPU, value)));
        extensions.extend(self.environment.map(|value| plain(ENVIRONMENT, value)));
        let mut made = Made::own(extensions).issued();
        made.certificate.validity.0 = self.not_before;
        made.at = self.at;
        made
    }

    fn of(&self, made: &Made, der: &[u8]) -> Verdict {
        against_nothing(|td| self.against(td, made, der))
    }

    fn against(&self, td: &Carried<'_>, made: &Made, der: &[u8]) -> Verdict {
        let world = world();
        let root = Root {
            ark: &world.ark,
            ask: &world.ask,
            asvk: &world.asvk,
        };
        let expected = Expected {
            image: self.image.map(Image::Measurement),
            endorsements: Endorsements {
                vek: self.vcek.as_deref(),
                chain: &[],
                crls: &[],
            },
            policy: &Policy::default(),
            roots: &Roots {
                milan: root,
                genoa: root,
                turin: root,
            },
            tdx: *td,
        };
        made.with(der, |leaf| privasys::appraise(leaf, &expected, self.at))
    }

    fn appraise(&self) -> Verdict {
        let made = self.made();
        self.of(&made, &made.der())
    }
}

#[track_caller]
fn accepted(scene: &Scene) {
    let verdict = scene.appraise();
    assert_eq!(verdict.conclusion, Conclusion::Accepted, "{verdict}");
    assert!(verdict.confidential);
}

#[test]
fn a_certificate_with_everything_right_is_accepted() {
    accepted(&scene());
    let verdict = scene().appraise();
    assert_eq!(outcome(&verdict, "gpu-evidence"), Outcome::Skipped);
    assert_eq!(outcome(&verdict, "gpu-mode"), Outcome::Pass);
    let mut beside = scene();
    beside.behind = Some(Vec::new());
    beside.vcek = Some(world().vcek.clone());
    accepted(&beside);
    let mut without_gpu = scene();
    without_gpu.gpu = None;
    accepted(&without_gpu);
    let verdict = without_gpu.appraise();
    assert_eq!(outcome(&verdict, "gpu-envelope"), Outcome::Skipped);
    // The last second of a day.
    let mut old = scene();
    old.at = NOT_BEFORE + 86_400;
    accepted(&old);
}

/// Both are given; which one the verdict is about, the certificate says.
#[test]
fn the_recipe_is_that_of_the_hardware_s_reference_values() {
    let [of_snp, of_tdx] = ["of-snp", "of-tdx"].map(|recipe| ReferenceValues {
        bank: Bank::Sha384,
        confidential: true,
        inputs: Default::default(),
        launch_digests: Vec::new(),
        gpu: None,
        launch_policy: None,
        platform: "qemu".to_owned(),
        recipe: recipe.to_owned(),
        registers: Default::default(),
        schema_version: SCHEMA_VERSION,
        unpredicted: Default::default(),
    });
    let on_tdx = Scene {
        snp: false,
        tdx: Some(vec![4]),
        ..scene()
    };
    let recipe = |scene: &Scene, image: Image<'_>| {
        let made = scene.made();
        let expected = Expected {
            image: Some(image),
            endorsements: Endorsements::default(),
            policy: &Policy::default(),
            roots: &AMD,
            tdx: Carried {
                collateral: None,
                reference: Some(&of_tdx),
                mrtd: None,
                policy: &cloister_verify::tdx::Policy::default(),
                roots: &INTEL,
            },
        };
        let verdict = made.with(&made.der(), |leaf| {
            privasys::appraise(leaf, &expected, scene.at)
        });
        verdict.recipe
    };
    let image = Image::Reference(&of_snp);
    assert_eq!(recipe(&scene(), image).as_deref(), Some("of-snp"));
    assert_eq!(recipe(&on_tdx, image).as_deref(), Some("of-tdx"));
    assert_eq!(recipe(&scene(), Image::Measurement([0x3e; 48])), None);
}

#[test]
fn without_vcek_collateral_is_missing() {
    let mut scene = scene();
    scene.behind = Some(Vec::new());
    let verdict = scene.appraise();
    assert_eq!(
        verdict.conclusion,
        Conclusion::CollateralMissing,
        "{verdict}"
    );
    let mut invalid = scene;
    invalid.minute = "2026-11-22T00:01Z";
    fails(&invalid.appraise(), &["binding"]);
    assert_eq!(invalid.appraise().conclusion, Conclusion::Rejected);
}

#[test]
fn each_check_rejects() {
    let case = |edit: &dyn Fn(&mut Scene), names: &[&str]| {
        let mut scene = scene();
        edit(&mut scene);
        fails(&scene.appraise(), names);
    };
    case(&|s| s.environment = Some("dev"), &["environment"]);
    case(&|s| s.environment = Some("production\n"), &["environment"]);
    case(&|s| s.environment = None, &["environment"]);
    case(&|s| s.minute = "2026-11-22T00:00:00Z", &["binding"]);
    case(&|s| s.image = None, &["measurement"]);
    case(&|s| s.image = Some([0x3f; 48]), &["measurement"]);
    case(&|s| s.report.set(0x0a, &[0x0b]), &["debug"]);
    case(&|s| s.behind = Some(vec![1; 30]), &["format"]);
    case(&|s| s.gpu = Some(envelope([1, 1, 0])), &["gpu-mode"]);
    case(&|s| s.gpu = Some(envelope([2, 0, 0])), &["gpu-mode"]);
    case(&|s| s.gpu = Some(envelope([2, 1, 1])), &["gpu-mode"]);
    case(&|s| s.gpu.as_mut().unwrap()[11] ^= 1, &["gpu-envelope"]);
    case(&|s| s.not_before = NOT_BEFORE + 1, &["age"]);
    case(
        &|s| s.at = NOT_BEFORE + 86_401,
        &["certificate-validity", "age"],
    );
    case(&|s| s.at = NOT_BEFORE - 1, &["certificate-validity", "age"]);
    case(&|s| s.snp = false, &["extension"]);
    case(&|s| s.tdx = Some(vec![4]), &["extension"]);
    // A longer validity makes no certificate younger.
    let scene = scene();
    let mut made = scene.made();
    made.certificate.validity.1 += 86_400;
    let late = Scene {
        at: NOT_BEFORE + 86_401,
        ..self::scene()
    };
    fails(&late.of(&made, &made.der()), &["age"]);
    let mut stranger = scene.made();
    stranger.signer = Some(&keys()[2]);
    fails(
        &scene.of(&stranger, &stranger.der()),
        &["certificate-signature"],
    );
    // GPU evidence that the report does not commit to.
    let mut added = scene.made();
    let without = Scene {
        gpu: None,
        ..self::scene()
    };
    added.certificate.extensions[0] = without.made().certificate.extensions[0].clone();
    fails(&scene.of(&added, &added.der()), &["binding"]);
}

#[test]
fn a_short_report_fails_its_format() {
    let scene = scene();
    let mut made = scene.made();
    made.certificate.extensions[0].value.truncate(1183);
    fails(&scene.of(&made, &made.der()), &["format"]);
}

#[test]
fn every_changed_byte_is_rejected() {
    let scene = scene();
    let made = scene.made();
    let der = made.der();
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 1 << (at % 8);
        let verdict = scene.of(&made, &changed);
        assert_ne!(
            verdict.conclusion,
            Conclusion::Accepted,
            "byte {at}\n{verdict}"
        );
    }
}
