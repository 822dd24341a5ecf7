//! A made-up AMD: ARK, ASK, ASVK, VCEK, VLEK, and reports they sign.

use crate::{Certificate, Crl, Extension, Key, Parameters, PkiError};

/// Length of a report in bytes.
pub const REPORT: usize = 1184;
/// Length of its signed part.
pub const SIGNED: usize = 672;
/// Start of every validity: 2024-01-01.
pub const NOT_BEFORE: u64 = 1_704_067_200;
/// End of every validity: 2034-01-01.
pub const NOT_AFTER: u64 = 2_019_686_400;

/// The keys of one product line.
#[derive(Debug)]
pub struct Amd {
    /// AMD's name of the line.
    pub product: &'static str,
    /// RSA-4096, self-signed.
    pub ark: Key,
    /// RSA-4096, for VCEKs.
    pub ask: Key,
    /// RSA-4096, for VLEKs.
    pub asvk: Key,
    /// The chip's key.
    pub vcek: Key,
    /// The cloud's key.
    pub vlek: Key,
}

/// What a VCEK or VLEK says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vek {
    /// structVersion.
    pub struct_version: u8,
    /// productName.
    pub product_name: String,
    /// SPLs by the last arc of their identifiers.
    pub spls: Vec<(u32, u8)>,
    /// Value of the HWID extension, raw or as OCTET STRING.
    pub hwid: Option<Vec<u8>>,
    /// CSP_ID.
    pub csp_id: Option<String>,
}

impl Vek {
    /// The extensions.
    pub fn extensions(&self) -> Vec<Extension> {
        let extension = |arc: String, value| Extension {
            oid: format!("1.3.6.1.4.1.3704.1.{arc}"),
            critical: false,
            value,
        };
        let string = |text: &str| {
            let length = u8::try_from(text.len()).unwrap_or_default();
            [&[0x16, length], text.as_bytes()].concat()
        };
        let mut all = vec![
            extension("1".to_owned(), integer(self.struct_version)),
            extension("2".to_owned(), string(&self.product_name)),
        ];
        let spls = self.spls.iter();
        all.extend(spls.map(|(arc, level)| extension(format!("3.{arc}"), integer(*level))));
        all.extend(
            self.hwid
                .clone()
                .map(|hwid| extension("4".to_owned(), hwid)),
        );
        let csp_id = self.csp_id.as_deref().map(string);
        all.extend(csp_id.map(|value| extension("5".to_owned(), value)));
        all
    }
}

/// A DER INTEGER.
fn integer(level: u8) -> Vec<u8> {
    match level {
        0..=127 => vec![2, 1, level],
        _ => vec![2, 2, 0, level],
    }
}

impl Amd {
    /// Fresh keys.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn new(product: &'static str) -> Result<Self, PkiError> {
        Ok(Self {
            product,
            ark: Key::rsa()?,
            ask: Key::rsa()?,
            asvk: Key::rsa()?,
            vcek: Key::p384()?,
            vlek: Key::p384()?,
        })
    }

    fn certificate(&self, serial: u8, issuer: &str, subject: &str) -> Certificate {
        Certificate {
            version: 2,
            serial: vec![serial],
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            validity: (NOT_BEFORE, NOT_AFTER),
            extensions: Vec::new(),
            inner: Parameters::Pss,
            outer: Parameters::Pss,
        }
    }

    /// Name of the ARK.
    pub fn ark_name(&self) -> String {
        format!("ARK-{}", self.product)
    }

    /// The root, to be signed by itself.
    pub fn ark_certificate(&self) -> Certificate {
        let name = self.ark_name();
        let mut certificate = self.certificate(1, &name, &name);
        certificate.extensions = vec![Extension::key_usage(true), Extension::authority(None)];
        certificate
    }

    /// The issuer of VCEKs, to be signed by the ARK.
    pub fn ask_certificate(&self) -> Certificate {
        let name = format!("SEV-{}", self.product);
        self.authority(2, &name)
    }

    /// The issuer of VLEKs, to be signed by the ARK.
    pub fn asvk_certificate(&self) -> Certificate {
        let name = format!("SEV-VLEK-{}", self.product);
        self.authority(3, &name)
    }

    fn authority(&self, serial: u8, name: &str) -> Certificate {
        let mut certificate = self.certificate(serial, &self.ark_name(), name);
        certificate.extensions = vec![Extension::authority(Some(0)), Extension::key_usage(false)];
        certificate
    }

    /// A VCEK, to be signed by the ASK.
    pub fn vcek_certificate(&self, vek: &Vek) -> Certificate {
        let issuer = format!("SEV-{}", self.product);
        let mut certificate = self.certificate(0, &issuer, "SEV-VCEK");
        certificate.extensions = vek.extensions();
        certificate
    }

    /// A VLEK, to be signed by the ASVK.
    pub fn vlek_certificate(&self, vek: &Vek) -> Certificate {
        let issuer = format!("SEV-VLEK-{}", self.product);
        let mut certificate = self.certificate(0, &issuer, "SEV-VLEK");
        certificate.extensions = vek.extensions();
        certificate
    }

    /// A revocation list with nothing on it, to be signed by the ARK.
    pub fn crl(&self) -> Crl {
        Crl {
            issuer: self.ark_name(),
            this_update: NOT_BEFORE,
            next_update: Some(NOT_AFTER),
            revoked: Vec::new(),
            extensions: Vec::new(),
            parameters: Parameters::Pss,
        }
    }
}

/// A report before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report(Vec<u8>);

impl Report {
    /// A report of a guest that allows SMT, on a platform that did the alias check; the TCB fields are all `tcb`.
    pub fn new(version: u32, cpuid: [u8; 3], tcb: [u8; 8], chip_id: [u8; 64]) -> Self {
        let mut report = Self(vec![0; REPORT]);
        report.set(0x000, &version.to_le_bytes());
        report.set(0x008, &0x3_0000_u64.to_le_bytes());
        report.set(0x034, &1_u32.to_le_bytes());
        report.set(0x040, &0x25_u64.to_le_bytes());
        report.set(0x050, &[0x0d; 64]);
        report.set(0x090, &[0x3e; 48]);
        report.set(0x160, &[0xff; 32]);
        if version > 2 {
            report.set(0x188, &cpuid);
        }
        for offset in [0x038, 0x180, 0x1e0, 0x1f0] {
            report.set(offset, &tcb);
        }
        report.set(0x1a0, &chip_id);
        report.set(0x1e8, &[40, 55, 1, 0, 40, 55, 1, 0]);
        report
    }

    /// Overwrites bytes; what lies outside of the report is dropped.
    pub fn set(&mut self, offset: usize, bytes: &[u8]) {
        for (to, from) in self.0.iter_mut().skip(offset).zip(bytes) {
            *to = *from;
        }
    }

    /// Signs the first 672 bytes and gives all of it.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn sign(&self, key: &Key) -> Result<Vec<u8>, PkiError> {
        let signed = self.0.get(..SIGNED).unwrap_or_default();
        let mut signature = key.sign_report(signed)?;
        let mut report = self.clone();
        for (half, offset) in signature.chunks_exact_mut(48).zip([SIGNED, SIGNED + 72]) {
            half.reverse();
            report.set(offset, half);
        }
        Ok(report.0)
    }
}
