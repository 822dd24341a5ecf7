//! Every step over GPUs that were made up, one right and each wrong in one way, down to the variants of the errors.

use std::collections::{BTreeMap, BTreeSet};

use cloister_test_pki::gpu::{Gpu, Report as Made};
use cloister_test_pki::{Extension, Key, Parameters};

use crate::golden::{GoldenValues, Pair, Rim, RimValues};
use crate::{Chain, Expected, Outcome, Report, RootKey, Step, appraise};

const NONCE: [u8; 32] = [0x4e; 32];
const DRIVER: &str = "580.159.03";
const VBIOS: [u8; 5] = [0x96, 0, 0x9f, 0, 1];
/// 2026-11-22.
const AT: u64 = 1_795_305_600;

/// Evidence, and what it is held against.
struct Case {
    gpu: Gpu,
    report: Made,
    /// Applied to request and response before they are signed.
    before: fn(&mut Vec<u8>),
    /// Applied to the whole report.
    behind: fn(&mut Vec<u8>),
    /// Applied to the PEM chain.
    chain: fn(String) -> Vec<u8>,
    driver: Option<&'static str>,
    vbios: Option<&'static str>,
    golden: bool,
    roots: Vec<RootKey>,
    at: u64,
}

fn indices() -> [Vec<u8>; 2] {
    [
        core::iter::once(7).chain(21..=40).collect(),
        (0..=6).chain(8..=12).collect(),
    ]
}

fn measured(index: u8) -> [u8; 48] {
    [index ^ 0x3c; 48]
}

fn golden() -> GoldenValues {
    let values = |version: &str, indices: Vec<u8>| RimValues {
        version: version.to_owned(),
        rim: Rim {
            id: version.to_owned(),
            sha256: [1; 32],
            checked_at: 5,
            valid_until: 6,
        },
        values: indices
            .into_iter()
            .map(|index| (index, vec![[0xaa; 48], measured(index)]))
            .collect(),
    };
    let [driver, vbios] = indices();
    let pair = Pair::new(&values(DRIVER, driver), &values("96.00.9F.00.01", vbios));
    GoldenValues::new(vec![pair.unwrap()]).unwrap()
}

impl Case {
    fn right() -> Self {
        let gpu = Gpu::new("cases").unwrap();
        let mut report = Made::new(NONCE, DRIVER, VBIOS);
        let indices = indices().into_iter().flatten();
        report.measurements = indices.map(|index| (index, measured(index))).collect();
        Self {
            roots: vec![RootKey(gpu.root().unwrap())],
            gpu,
            report,
            before: |_| (),
            behind: |_| (),
            chain: String::into_bytes,
            driver: Some(DRIVER),
            vbios: Some("96.00.9F.00.01"),
            golden: true,
            at: AT,
        }
    }

    fn evidence(&self) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = self.report.unsigned();
        (self.before)(&mut bytes);
        let mut report = self.gpu.signed(bytes).unwrap();
        (self.behind)(&mut report);
        (report, (self.chain)(self.gpu.chain_pem().unwrap()))
    }

    fn judge(&self, report: &[u8], chain: &[u8]) -> crate::Appraisal {
        let golden = golden();
        let expected = Expected {
            nonce: &NONCE,
            driver: self.driver,
            vbios: self.vbios,
            golden: self.golden.then_some(&golden),
            roots: &self.roots,
            at: self.at,
        };
        appraise(report, chain, &expected)
    }
}

#[test]
fn a_right_gpu_passes_every_step() {
    let case = Case::right();
    let (report, chain) = case.evidence();
    let appraisal = case.judge(&report, &chain);
    for (finding, step) in appraisal.findings().iter().zip(Step::ALL) {
        assert_eq!(finding.step, step);
        assert!(matches!(finding.outcome, Outcome::Passed(_)), "{finding:?}");
    }
    let device = appraisal.into_result().unwrap();
    assert_eq!(
        (device.driver.as_str(), device.vbios.as_str()),
        (DRIVER, "96.00.9f.00.01")
    );
    assert_eq!(device.serial.len(), 10);
    assert_ne!(device.serial, device.leaf_serial);
}

#[test]
fn what_older_drivers_do_not_say_is_not_judged_and_nvdec_leaves_out_35_alone() {
    let mut case = Case::right();
    (
        case.report.fwid,
        case.report.feature,
        case.report.protected_pcie,
    ) = (None, None, None);
    let (report, chain) = case.evidence();
    let appraisal = case.judge(&report, &chain);
    let skipped = appraisal.findings().iter();
    let skipped = skipped.filter(|finding| matches!(finding.outcome, Outcome::NotApplicable(_)));
    let skipped: Vec<Step> = skipped.map(|finding| finding.step).collect();
    assert_eq!(
        skipped,
        [Step::Fwid, Step::FeatureFlag, Step::ProtectedPcie]
    );
    assert!(appraisal.into_result().is_ok());
    for (status, index, accepted) in [(0x55, 35, true), (0xaa, 35, false), (0x55, 34, false)] {
        let mut case = Case::right();
        case.report.nvdec0 = Some(status);
        case.report.measurements.insert(index, [0; 48]);
        let (report, chain) = case.evidence();
        let appraisal = case.judge(&report, &chain);
        assert_eq!(
            appraisal.into_result().is_ok(),
            accepted,
            "{status:#x} {index}"
        );
    }
}

#[test]
fn every_byte_of_a_right_report_counts() {
    let case = Case::right();
    let (report, chain) = case.evidence();
    let chain = Chain::parse(&chain).unwrap();
    let holds = |report: &[u8]| {
        let parsed = Report::parse(report);
        parsed.is_ok_and(|parsed| parsed.signed_by(chain.leaf_key()))
    };
    assert!(holds(&report));
    for place in 0..report.len() {
        let mut changed = report.clone();
        changed[place] ^= 1;
        assert!(!holds(&changed), "{place}");
        assert!(Report::parse(&report[..place]).is_err(), "{place}");
    }
}

type Change = fn(&mut Case);

/// Where the first block, the opaque data's length and the opaque data stand.
const BLOCKS: usize = 45;
const OPAQUE_LENGTH: usize = BLOCKS + 64 * 55 + 32;
const OPAQUE: usize = OPAQUE_LENGTH + 2;

const STRUCTURE: [(Change, &str); 29] = [
    (
        |c| c.before = |b| b[0] = 0x12,
        "SPDM version of the request at offset 0 is 0x12, wanted 0x11",
    ),
    (
        |c| c.before = |b| b[1] = 0xe1,
        "code of the request at offset 1",
    ),
    (
        |c| c.before = |b| b[2] = 0,
        "Param1 of the request at offset 2",
    ),
    (
        |c| c.before = |b| b[3] = 1,
        "Param2 of the request at offset 3",
    ),
    (|c| c.before = |b| b[36] = 1, "SlotIDParam at offset 36"),
    (
        |c| c.before = |b| b[37] = 0x10,
        "SPDM version of the response at offset 37",
    ),
    (
        |c| c.before = |b| b[38] = 0x61,
        "code of the response at offset 38",
    ),
    (
        |c| c.before = |b| b[41] = 0,
        "number of blocks at offset 41 is 0, wanted 1 to 64",
    ),
    (
        |c| c.before = |b| b[41] = 65,
        "number of blocks at offset 41 is 65, wanted 1 to 64",
    ),
    (|c| c.before = |b| b[42] ^= 1, "record length at offset 42"),
    (
        |c| c.before = |b| b[BLOCKS + 55] = 1,
        "block index at offset 100 is 0x1, wanted 0x2",
    ),
    (
        |c| c.before = |b| b[BLOCKS + 1] = 2,
        "measurement specification",
    ),
    (|c| c.before = |b| b[BLOCKS + 2] = 52, "measurement size"),
    (
        |c| c.before = |b| b[BLOCKS + 4] = 0,
        "measurement value type",
    ),
    (
        |c| c.before = |b| b[BLOCKS + 5] = 32,
        "measurement value size",
    ),
    (|c| c.before = |b| b[OPAQUE_LENGTH] ^= 0x80, "needs"),
    (
        |c| c.before = |b| b[OPAQUE] = 255,
        "has the invalid number 255",
    ),
    (
        |c| c.report.further = vec![(3, b"1.2\0".to_vec())],
        "opaque field 3 stands twice",
    ),
    (
        |c| c.report.driver = "580 159".to_owned(),
        "opaque field DRIVER_VERSION",
    ),
    (
        |c| c.report.nvdec0 = Some(1),
        "opaque field NVDEC0_STATUS at offset 3912 has the unknown value 0x1",
    ),
    (|c| c.report.feature = Some(3), "opaque field FEATURE_FLAG"),
    (
        |c| c.report.further = vec![(34, vec![1])],
        "opaque field OPAQUE_DATA_VERSION",
    ),
    (|c| c.behind = |b| b.push(0), "1 bytes behind the signature"),
    (
        |c| c.behind = |b| b.truncate(b.len() - 1),
        "signature at offset",
    ),
    (
        |c| c.chain = |pem| vec![b'-'; pem.len()],
        "bytes at offset 0 belong to no certificate",
    ),
    (
        |c| c.chain = |pem| pem.replacen("-----END", "-----EN", 5).into_bytes(),
        "PEM block 1 is not closed",
    ),
    (
        |c| c.chain = |pem| (pem + "x").into_bytes(),
        "belong to no certificate",
    ),
    (
        |c| c.chain = |pem| pem[pem.len() / 2..].into(),
        "belong to no certificate",
    ),
    (
        |c| c.chain = |_| vec![b' '; (64 << 10) + 1],
        "at most 65536 are read",
    ),
];

const CERTIFICATES: [(Change, &str); 9] = [
    (|c| c.chain = without_the_last, "4 certificates, wanted 5"),
    (
        |c| c.chain = |pem| pem.repeat(2).into_bytes(),
        "6 certificates, wanted 5",
    ),
    (
        |c| c.gpu.certificates[1].version = 0,
        "BROM certificate: not X.509 v3",
    ),
    (
        |c| c.gpu.certificates[2].outer = Parameters::EcdsaSha256,
        "provisioner certificate: signature algorithm is",
    ),
    (
        |c| c.gpu.certificates[3].inner = Parameters::EcdsaSha384Null,
        "identity certificate: signature algorithm is",
    ),
    (
        |c| c.gpu.keys[1] = Key::p256().unwrap(),
        "certificate: key is not an uncompressed point of P-384",
    ),
    (
        |c| {
            c.gpu.certificates[0]
                .extensions
                .push(Extension::critical("1.2.840.5", vec![5, 0]))
        },
        "leaf certificate: extension 1.2.840.5 is critical and not known",
    ),
    (
        |c| twice(c),
        "leaf certificate: extension 2.23.133.5.4.1 stands twice",
    ),
    (
        |c| c.chain = |pem| pem.replacen("MI", "MJ", 1).into_bytes(),
        "leaf certificate: not DER",
    ),
];

const LINKS: [(Change, &str); 10] = [
    (
        |c| c.gpu.certificates[1].issuer = "Other".into(),
        "BROM certificate is issued by",
    ),
    (
        |c| c.chain = above_of_another,
        "BROM certificate is not signed by its issuer",
    ),
    (
        |c| c.gpu.certificates[2].extensions.remove(0).critical = false,
        "provisioner certificate has no CA flag",
    ),
    (
        |c| drop(c.gpu.certificates[3].extensions.pop()),
        "identity certificate lacks the key usage keyCertSign",
    ),
    (
        |c| c.gpu.certificates[2].extensions[0] = Extension::authority(Some(0)),
        "provisioner certificate has path length 0, and 1 authorities stand below it",
    ),
    (
        |c| c.gpu.certificates[4].extensions[0] = Extension::authority(Some(2)),
        "root certificate has path length 2, and 3 authorities stand below it",
    ),
    (
        |c| {
            c.gpu.certificates[0]
                .extensions
                .push(Extension::authority(None))
        },
        "leaf certificate has the CA flag",
    ),
    (
        |c| drop(c.gpu.certificates[0].extensions.remove(0)),
        "leaf certificate lacks the key usage digitalSignature",
    ),
    (
        |c| c.roots = vec![RootKey::nvidia()],
        "has a key that is not pinned",
    ),
    (|c| c.roots.clear(), "has a key that is not pinned"),
];

/// Steps with what makes them refuse.
const OTHERS: [(Step, Change, &str); 20] = [
    (
        Step::Model,
        |c| c.gpu.certificates[1].subject = "GB100 A01 GSP BROM".into(),
        "a Blackwell GPU",
    ),
    (
        Step::Model,
        |c| c.gpu.certificates[1].subject = "LS_10 A01 BROM".into(),
        "an LS10 NVSwitch",
    ),
    (
        Step::Model,
        |c| c.gpu.certificates[1].subject = "GH200 A01 GSP BROM".into(),
        "a device that is not known",
    ),
    (
        Step::Model,
        |c| c.gpu.certificates[0].subject = "GH100 A01 LF".into(),
        "a device that is not known",
    ),
    (
        Step::Model,
        |c| c.before = fewer_blocks,
        "a report of 63 measurement blocks",
    ),
    (
        Step::Validity,
        |c| c.at = 1_602_892_799,
        "leaf certificate is valid from",
    ),
    (
        Step::Validity,
        |c| c.at = 2_524_521_601,
        "leaf certificate is valid from",
    ),
    (
        Step::Validity,
        |c| c.gpu.certificates[3].validity.1 = AT - 1,
        "identity certificate is valid from",
    ),
    (
        Step::Fwid,
        |c| c.report.fwid = Some([9; 48]),
        "report of firmware 0909",
    ),
    (
        Step::Fwid,
        |c| drop(c.gpu.certificates[0].extensions.pop()),
        "has no extension 2.23.133.5.4.1",
    ),
    (
        Step::Fwid,
        |c| c.gpu.certificates[0].extensions[1].value[10] ^= 1,
        "is not version 1, the BROM's key and a SHA-384",
    ),
    (Step::Nonce, |c| c.report.nonce[31] ^= 1, "4e4f"),
    (
        Step::Driver,
        |c| c.driver = Some("580.1.1"),
        "version 580.159.03, and 580.1.1 is said to run",
    ),
    (
        Step::Driver,
        |c| (c.report.driver, c.driver) = ("570.1.1".into(), None),
        "version 570.1.1, for which there are no golden values",
    ),
    (Step::Driver, |c| c.golden = false, "no golden values"),
    (
        Step::Vbios,
        |c| (c.report.vbios, c.vbios) = ([0x96, 0, 0x9f, 0, 2], None),
        "version 96.00.9f.00.02, for which there are no golden values",
    ),
    (
        Step::Vbios,
        |c| c.vbios = Some("96.00.9F.00.02"),
        "96.00.9F.00.02 is said to run",
    ),
    (
        Step::Signature,
        |c| c.behind = |b| *b.last_mut().unwrap() ^= 1,
        "a signature that does not verify",
    ),
    (
        Step::FeatureFlag,
        |c| c.report.feature = Some(1),
        "multi-GPU passthrough (MPT)",
    ),
    (
        Step::ProtectedPcie,
        |c| c.report.protected_pcie = Some(0xaa),
        "protected PCIe (PPCIE) enabled",
    ),
];

/// Cuts the last block out, as a report of fewer would be.
fn fewer_blocks(bytes: &mut Vec<u8>) {
    bytes.drain(BLOCKS + 63 * 55..BLOCKS + 64 * 55);
    bytes[41] = 63;
    bytes[42..44].copy_from_slice(&(63_u16 * 55).to_le_bytes());
}

fn without_the_last(pem: String) -> Vec<u8> {
    let end = pem.rfind("-----BEGIN").unwrap();
    pem[..end].into()
}

/// Leaf and BROM with authorities of the same names and other keys.
fn above_of_another(pem: String) -> Vec<u8> {
    let other = Gpu::under("another root", "cases").unwrap();
    let other = other.chain_pem().unwrap();
    let blocks = |pem: &str| -> Vec<String> {
        let blocks = pem.split_inclusive("-----END CERTIFICATE-----\n");
        blocks.map(str::to_owned).collect()
    };
    let (own, other) = (blocks(&pem), blocks(&other));
    [&own[..2], &other[2..]].concat().concat().into_bytes()
}

fn twice(case: &mut Case) {
    let extensions = &mut case.gpu.certificates[0].extensions;
    extensions.push(extensions[1].clone());
}

/// The first step that refuses, and in which words.
fn refusal(change: Change) -> (Step, String) {
    let mut case = Case::right();
    change(&mut case);
    let (report, chain) = case.evidence();
    match case.judge(&report, &chain).into_result() {
        Ok(_) => (Step::Structure, "nothing was refused".to_owned()),
        Err(refusal) => (refusal.step, refusal.cause.to_string()),
    }
}

#[test]
fn each_wrong_gpu_is_refused_by_its_step() {
    let of = |step: Step| move |(change, words): &(Change, &'static str)| (step, *change, *words);
    let mut all: Vec<(Step, Change, &str)> = OTHERS.into();
    all.extend(STRUCTURE.iter().map(of(Step::Structure)));
    all.extend(CERTIFICATES.iter().map(of(Step::Structure)));
    all.extend(LINKS.iter().map(of(Step::Chain)));
    let mut refused = BTreeSet::new();
    let mut wrong = Vec::new();
    for (wanted, change, words) in all {
        let (step, cause) = refusal(change);
        if step != wanted || !cause.contains(words) {
            wrong.push(format!("{wanted:?} {words}: {step:?} {cause}"));
        }
        refused.insert(step);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The last step has a test of its own.
    refused.insert(Step::Measurements);
    assert_eq!(refused, BTreeSet::from(Step::ALL));
}

#[test]
fn every_pinned_measurement_counts_and_is_listed() {
    for index in indices().into_iter().flatten() {
        let mut case = Case::right();
        case.report.measurements.insert(index, [0xbb; 48]);
        let (report, chain) = case.evidence();
        let appraisal = case.judge(&report, &chain);
        let [mismatch] = appraisal.mismatches() else {
            panic!("{index}: {:?}", appraisal.mismatches())
        };
        assert_eq!((mismatch.index, mismatch.found), (index, [0xbb; 48]));
        let wanted = BTreeSet::from([[0xaa; 48], measured(index)]);
        assert_eq!(mismatch.wanted, wanted);
        let refusal = appraisal.into_result().unwrap_err();
        assert_eq!(refusal.step, Step::Measurements);
    }
    // Others are not compared, and each alternative is as good.
    let mut case = Case::right();
    let other: BTreeMap<u8, [u8; 48]> = [(13, [0xbb; 48]), (9, [0xaa; 48])].into();
    case.report.measurements.extend(other);
    let (report, chain) = case.evidence();
    assert!(case.judge(&report, &chain).into_result().is_ok());
}
