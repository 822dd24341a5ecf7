//! One GPU with its evidence and what it is held against, before a case changes something.

use cloister_test_pki::gpu::{Gpu, Report};

use crate::golden::{GoldenValues, Pair, Rim, RimValues, Values};
use crate::signature::verify;
use crate::{Appraisal, Digest, Expected, RootKey, appraise};

pub(super) const NONCE: [u8; 32] = [0x6e; 32];
pub(super) const DRIVER: &str = "550.90.07";
pub(super) const VBIOS: &str = "96.00.9f.00.01";
/// 2024-06-01.
pub(super) const AT: u64 = 1_717_200_000;
/// Where the opaque data start: request 37, response up to the blocks 8, 64 blocks of 55, nonce 32, length 2.
pub(super) const OPAQUE: usize = 37 + 8 + 64 * 55 + 32 + 2;
/// Where the signature starts: fields of 8, 4, 5, 5, 10, 256, 1, 48, 1 and 2 bytes, each behind 4 of type and length.
pub(super) const SIGNATURE: usize = OPAQUE + 10 * 4 + 8 + 4 + 5 + 5 + 10 + 256 + 1 + 48 + 1 + 2;
/// Of the whole report.
pub(super) const LENGTH: usize = SIGNATURE + 96;

/// Changes something before more is done with it.
pub(super) type Patch<T> = Box<dyn Fn(&mut T)>;

/// Evidence and expectations.
pub(super) struct Scene {
    pub(super) gpu: Gpu,
    pub(super) report: Report,
    /// Changes request and response before the leaf signs them.
    pub(super) unsigned: Patch<Vec<u8>>,
    /// Changes the report behind that.
    pub(super) signed: Patch<Vec<u8>>,
    /// Changes DER certificates.
    pub(super) certificates: Patch<Vec<Vec<u8>>>,
    /// Changes the chain behind that.
    pub(super) chain: Patch<Vec<u8>>,
    pub(super) driver: Option<&'static str>,
    pub(super) vbios: Option<&'static str>,
    pub(super) golden: Option<GoldenValues>,
    pub(super) roots: Vec<RootKey>,
    pub(super) at: u64,
}

/// Each index may hold this, or [`other`].
pub(super) fn usual(index: u8) -> Digest {
    [0x40 | index; 48]
}

pub(super) fn other(index: u8) -> Digest {
    [0x80 | index; 48]
}

/// The indices of a driver RIM and of a VBIOS RIM, in that order: `docs/gpu.md`, 21 and 12.
pub(super) fn indices() -> [Vec<u8>; 2] {
    let driver = core::iter::once(7).chain(21..=40);
    let vbios = (0..=6).chain(8..=12);
    [driver.collect(), vbios.collect()]
}

pub(super) fn golden(driver: &str, vbios: &str) -> GoldenValues {
    let rim = |version: &str, indices: &[u8]| {
        let value = |index: &u8| (*index, vec![usual(*index), other(*index)]);
        let values: Values = indices.iter().map(value).collect();
        let rim = Rim {
            id: version.to_owned(),
            sha256: [7; 32],
            checked_at: AT,
            valid_until: AT,
        };
        RimValues {
            version: version.to_owned(),
            rim,
            values,
        }
    };
    let [of_driver, of_vbios] = indices();
    let pair = Pair::new(&rim(driver, &of_driver), &rim(vbios, &of_vbios));
    GoldenValues::new(vec![pair.unwrap()]).unwrap()
}

impl Scene {
    pub(super) fn new() -> Self {
        let gpu = Gpu::new("made").unwrap();
        let mut report = Report::new(NONCE, DRIVER, [0x96, 0, 0x9f, 0, 1]);
        let pinned = indices().concat().into_iter();
        report.measurements = pinned.map(|index| (index, usual(index))).collect();
        Self {
            roots: vec![RootKey::nvidia(), RootKey(gpu.root().unwrap())],
            gpu,
            report,
            unsigned: Box::new(|_| {}),
            signed: Box::new(|_| {}),
            certificates: Box::new(|_| {}),
            chain: Box::new(|_| {}),
            driver: None,
            vbios: None,
            golden: Some(golden(DRIVER, VBIOS)),
            at: AT,
        }
    }

    /// Report and chain.
    pub(super) fn evidence(&self) -> (Vec<u8>, Vec<u8>) {
        let mut unsigned = self.report.unsigned();
        (self.unsigned)(&mut unsigned);
        let mut report = self.gpu.signed(unsigned).unwrap();
        (self.signed)(&mut report);
        let mut certificates = self.gpu.chain().unwrap();
        (self.certificates)(&mut certificates);
        let mut chain = certificates.concat();
        (self.chain)(&mut chain);
        (report, chain)
    }

    pub(super) fn judge(&self, report: &[u8], chain: &[u8]) -> Appraisal {
        let expected = Expected {
            nonce: &NONCE,
            driver: self.driver,
            vbios: self.vbios,
            golden: self.golden.as_ref(),
            roots: &self.roots,
            at: self.at,
        };
        appraise(report, chain, &expected, verify)
    }

    pub(super) fn appraise(&self) -> Appraisal {
        let (report, chain) = self.evidence();
        self.judge(&report, &chain)
    }

    /// Serial number of the BROM certificate.
    pub(super) fn device(&self) -> Vec<u8> {
        self.gpu.certificates[1].serial.clone()
    }

    /// Names the certificate at `place`, and as issuer in the one below.
    pub(super) fn rename(&mut self, place: usize, name: &str) {
        self.gpu.certificates[place].subject = name.to_owned();
        if let Some(below) = place.checked_sub(1) {
            self.gpu.certificates[below].issuer = name.to_owned();
        }
    }
}
