//! Made-up GPUs of a made-up NVIDIA: five certificates and reports in the shape of a GH100's.
//!
//! Specs: DMTF DSP0274 1.1 (request, response), TCG DICE (FWID), RFC 5280; NVIDIA's opaque fields as its verifiers read them.
//! Keys follow from labels, so that they are the same in every process: the root's public half is compiled into guests that tests boot.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA384, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::Encode as _;

use crate::{Certificate, Extension, Key, Parameters, PkiError};

/// Certificates of a chain.
pub const CERTIFICATES: usize = 5;
/// SHA-384 of the made-up firmware.
pub const FIRMWARE: [u8; 48] = [0xf3; 48];
/// 2020-10-17, as genuine certificates have it, and 2049-12-31: later dates need another form.
const VALIDITY: (u64, u64) = (1_602_892_800, 2_524_521_600);
const FWID: &str = "2.23.133.5.4.1";
const SUBJECTS: [&str; CERTIFICATES] = [
    "GH100 A01 GSP FMC LF",
    "GH100 A01 GSP BROM",
    "NVIDIA GH100 Provisioner ICA 1",
    "NVIDIA GH100 Identity",
    "NVIDIA Device Identity CA",
];

/// One GPU: change `certificates` to make it a wrong one.
#[derive(Debug)]
pub struct Gpu {
    /// Keys, leaf first.
    pub keys: [Key; CERTIFICATES],
    /// Certificates before they are signed, leaf first; each is signed with the key of the next, the root with its own.
    pub certificates: [Certificate; CERTIFICATES],
}

/// What a report says; right by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The requester's nonce.
    pub nonce: [u8; 32],
    /// DRIVER_VERSION.
    pub driver: String,
    /// VBIOS_VERSION, the bytes in the order of the text: `96.00.5e.00.03`.
    pub vbios: [u8; 5],
    /// Values by index of a RIM; the others are fixed ones that no RIM has.
    pub measurements: BTreeMap<u8, [u8; 48]>,
    /// NVDEC0_STATUS.
    pub nvdec0: Option<u8>,
    /// FWID.
    pub fwid: Option<[u8; 48]>,
    /// PROTECTED_PCIE_STATUS.
    pub protected_pcie: Option<u8>,
    /// FEATURE_FLAG.
    pub feature: Option<u16>,
    /// Further opaque fields: number and value.
    pub further: Vec<(u16, Vec<u8>)>,
}

impl Report {
    /// A report of a GPU in single passthrough with everything that it must have but measurements.
    pub fn new(nonce: [u8; 32], driver: &str, vbios: [u8; 5]) -> Self {
        Self {
            nonce,
            driver: driver.to_owned(),
            vbios,
            measurements: BTreeMap::new(),
            nvdec0: Some(0xaa),
            fwid: Some(FIRMWARE),
            protected_pcie: Some(0x55),
            feature: Some(0),
            further: Vec::new(),
        }
    }

    /// Request and response up to the signature.
    pub fn unsigned(&self) -> Vec<u8> {
        let mut bytes = vec![0x11, 0xe0, 1, 0xff];
        bytes.extend(self.nonce);
        bytes.extend([0, 0x11, 0x60, 0, 0, 64]);
        bytes.extend([0xc0, 0x0d, 0]); // 64 blocks of 55 bytes
        for index in 0..64 {
            let value = self.measurements.get(&index).copied();
            bytes.extend([index + 1, 1, 51, 0, 1, 48, 0]);
            bytes.extend(value.unwrap_or([0xe0 ^ index; 48]));
        }
        bytes.extend([0x5e; 32]);
        let opaque = self.opaque();
        bytes.extend(
            u16::try_from(opaque.len())
                .unwrap_or(u16::MAX)
                .to_le_bytes(),
        );
        bytes.extend(opaque);
        bytes
    }

    fn opaque(&self) -> Vec<u8> {
        let [family, major, minor, build, last] = self.vbios;
        let mut fields = vec![
            (6, vec![build, minor, major, family, last, 0, 0, 0]),
            (15, b"882\0".to_vec()),
            (17, b"1010\0".to_vec()),
            (18, b"0200\0".to_vec()),
            (3, [self.driver.as_bytes(), &[0]].concat()),
            (12, vec![0; 256]),
        ];
        fields.extend(self.nvdec0.map(|status| (11, vec![status])));
        fields.extend(self.fwid.map(|fwid| (20, fwid.to_vec())));
        fields.extend(self.protected_pcie.map(|status| (21, vec![status])));
        fields.extend(self.feature.map(|flag| (36, flag.to_le_bytes().to_vec())));
        fields.extend(self.further.iter().cloned());
        let mut bytes = Vec::new();
        for (kind, value) in fields {
            let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
            bytes.extend([u16::to_le_bytes(kind), length.to_le_bytes()].concat());
            bytes.extend(value);
        }
        bytes
    }
}

impl Gpu {
    /// The GPU of this label, under the one root of all labels.
    ///
    /// # Errors
    /// [`PkiError`] when AWS-LC refuses.
    pub fn new(label: &str) -> Result<Self, PkiError> {
        Self::under("NVIDIA Device Identity CA", label)
    }

    /// The GPU of this label, under the root whose key follows from another.
    ///
    /// # Errors
    /// [`PkiError`] when AWS-LC refuses.
    pub fn under(root: &str, label: &str) -> Result<Self, PkiError> {
        let own = |place: &str| Key::p384_of(&format!("{label}: {place}"));
        let above = |place: &str| Key::p384_of(&format!("{root}: {place}"));
        let keys = [
            own("leaf")?,
            own("BROM")?,
            above("provisioner")?,
            above("identity")?,
            above("root")?,
        ];
        let serial = |place: u8| {
            let hash = digest(&SHA384, format!("{label}: {place}").as_bytes());
            let serial = hash.as_ref().iter().take(9);
            core::iter::once(0x41).chain(serial.copied()).collect()
        };
        let certificate = |place: u8, subject: &str, issuer: &str, extensions| Certificate {
            version: 2,
            serial: serial(place),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            validity: VALIDITY,
            extensions,
            inner: Parameters::EcdsaSha384,
            outer: Parameters::EcdsaSha384,
        };
        let [leaf, brom, provisioner, identity, authority] = SUBJECTS;
        let signs = Extension::critical("2.5.29.15", vec![3, 2, 7, 0x80]);
        let firmware = Extension {
            oid: FWID.to_owned(),
            critical: false,
            value: fwid(&keys)?,
        };
        let issues = || vec![Extension::authority(None), Extension::key_usage(false)];
        let certificates = [
            certificate(0, leaf, brom, vec![signs, firmware]),
            certificate(1, brom, provisioner, issues()),
            certificate(2, provisioner, identity, issues()),
            certificate(3, identity, authority, issues()),
            certificate(4, authority, authority, issues()),
        ];
        Ok(Self { keys, certificates })
    }

    /// The root's public key: 4, x, y.
    ///
    /// # Errors
    /// [`PkiError::Crypto`] when it is no P-384 key.
    pub fn root(&self) -> Result<[u8; 97], PkiError> {
        let [.., root] = &self.keys;
        let spki = root.spki()?;
        let point = spki.subject_public_key.raw_bytes().try_into();
        point.map_err(|_| PkiError::Crypto)
    }

    /// The certificates, DER, leaf first.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn chain(&self) -> Result<Vec<Vec<u8>>, PkiError> {
        let signers = self.keys.iter().skip(1).chain(self.keys.last());
        let subjects = self.certificates.iter().zip(&self.keys);
        let signed = subjects.zip(signers);
        signed
            .map(|((certificate, key), signer)| certificate.sign(key, signer))
            .collect()
    }

    /// The certificates in PEM, as NVML gives them.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn chain_pem(&self) -> Result<String, PkiError> {
        Ok(self.chain()?.iter().map(|der| pem(der)).collect())
    }

    /// A report, signed by the leaf.
    ///
    /// # Errors
    /// [`PkiError`] when AWS-LC refuses.
    pub fn report(&self, report: &Report) -> Result<Vec<u8>, PkiError> {
        self.signed(report.unsigned())
    }

    /// Any bytes, with a signature of the leaf behind them.
    ///
    /// # Errors
    /// [`PkiError`] when AWS-LC refuses.
    pub fn signed(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, PkiError> {
        let [leaf, ..] = &self.keys;
        let signature = leaf.sign_report(&bytes)?;
        bytes.extend(signature);
        Ok(bytes)
    }
}

/// CompositeDeviceID: version 1, the BROM's key, SHA-384 and the digest of the firmware.
fn fwid(keys: &[Key; CERTIFICATES]) -> Result<Vec<u8>, PkiError> {
    let [_, brom, ..] = keys;
    let device = brom.spki()?.to_der()?;
    let algorithm = [
        0x30, 0x3d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x04, 0x30,
    ];
    let head = [0x30, 0x81, 0xba, 0x02, 0x01, 0x01];
    Ok([&head[..], &device, &algorithm, &FIRMWARE].concat())
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        lines.extend(line.iter().copied().map(char::from));
        lines.push('\n');
    }
    lines + "-----END CERTIFICATE-----\n"
}
