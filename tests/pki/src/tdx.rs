//! A made-up Intel: root, PCK CA, PCK, signer of documents, quoting enclave, and TD quotes they vouch for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::{Certificate, Crl, Extension, Key, Parameters, PkiError};

/// Start of every validity: 2024-01-01.
pub const NOT_BEFORE: u64 = 1_704_067_200;
/// End of every validity: 2034-01-01.
pub const NOT_AFTER: u64 = 2_019_686_400;
/// Intel's UUID as vendor of the quoting enclave.
const VENDOR: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
/// FMSPC of the made platform.
const FMSPC: [u8; 6] = [0x5c, 0x06, 0x6f, 0, 0, 0];

/// The keys.
#[derive(Debug)]
pub struct Intel {
    /// SGX Root CA.
    pub root: Key,
    /// PCK Platform CA.
    pub ca: Key,
    /// The platform's key.
    pub pck: Key,
    /// Signs TCB info and QE identity.
    pub signer: Key,
    /// The quoting enclave's key.
    pub attestation: Key,
    /// Somebody else's.
    pub stranger: Key,
}

impl Intel {
    /// Fresh keys.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn new() -> Result<Self, PkiError> {
        Ok(Self {
            root: Key::p256()?,
            ca: Key::p256()?,
            pck: Key::p256()?,
            signer: Key::p256()?,
            attestation: Key::p256()?,
            stranger: Key::p256()?,
        })
    }
}

/// Something that is signed by a stranger where it is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The root's certificate.
    Root,
    /// The PCK CA's certificate.
    Ca,
    /// The PCK certificate.
    Pck,
    /// The certificate of the documents' signer.
    Signer,
    /// The quoting enclave's report.
    QeReport,
    /// Header and body.
    Quote,
    /// TCB info.
    TcbInfo,
    /// QE identity.
    QeIdentity,
    /// The root's revocation list.
    RootCrl,
    /// The PCK CA's revocation list.
    PckCrl,
}

/// A platform and a TD before anything is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Header, 48 bytes.
    pub header: Vec<u8>,
    /// Type of the body, in version 5.
    pub body_type: u16,
    /// Body: 584 or 648 bytes.
    pub body: Vec<u8>,
    /// The quoting enclave's report, 384 bytes; the digest of the attestation key is put in where it is zero.
    pub qe_report: Vec<u8>,
    /// What follows the quote.
    pub padding: Vec<u8>,
    /// Certificate of the root.
    pub root: Certificate,
    /// Certificate of the PCK CA.
    pub ca: Certificate,
    /// Certificate of the PCK.
    pub pck: Certificate,
    /// Certificate of the documents' signer.
    pub signer: Certificate,
    /// Certificates in the quote.
    pub chain: Vec<Part>,
    /// TCB info.
    pub tcb_info: String,
    /// QE identity.
    pub qe_identity: String,
    /// The root's revocation list.
    pub root_crl: Crl,
    /// The PCK CA's revocation list.
    pub pck_crl: Crl,
    /// What a stranger signs.
    pub forged: Option<Part>,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The quote.
    pub quote: Vec<u8>,
    /// The root, DER.
    pub root: Vec<u8>,
    /// TCB info with its signature.
    pub tcb_info: (String, [u8; 64]),
    /// QE identity with its signature.
    pub qe_identity: (String, [u8; 64]),
    /// Signer and root, PEM.
    pub issuer_chain: String,
    /// DER.
    pub root_crl: Vec<u8>,
    /// DER.
    pub pck_crl: Vec<u8>,
}

impl Scene {
    /// A TD of version 4 with everything right: SEPT_VE_DISABLE, x87, SSE and AVX.
    pub fn new() -> Self {
        let mut header = [&[4, 0, 2, 0, 0x81][..], &[0; 7], &VENDOR, &[0; 20]].concat();
        header.truncate(48);
        let mut body = vec![0; 584];
        put(&mut body, 0, &[3; 16]);
        // TEE_TCB_SVN[1] is the module's major version: 0 has no identity of its own.
        put(&mut body, 1, &[0]);
        put(&mut body, 120, &(1_u64 << 28).to_le_bytes());
        put(&mut body, 128, &7_u64.to_le_bytes());
        put(&mut body, 16, &[0x5e; 48]);
        put(&mut body, 136, &[0x3e; 48]);
        for (register, value) in (0x10..0x14).enumerate() {
            put(&mut body, 328 + 48 * register, &[value; 48]);
        }
        put(&mut body, 520, &[0x0d; 64]);
        let mut qe_report = vec![0; 384];
        put(&mut qe_report, 48, &[0x11]);
        put(&mut qe_report, 128, &[0xdc; 32]);
        put(&mut qe_report, 256, &[2, 0, 4, 0]);
        Self {
            header,
            body_type: 2,
            body,
            qe_report,
            padding: Vec::new(),
            root: certificate(1, ROOT, ROOT, authority(None)),
            ca: certificate(2, ROOT, CA, authority(Some(0))),
            pck: certificate(3, CA, "Intel SGX PCK Certificate", vec![sgx([2; 16], 11)]),
            signer: certificate(4, ROOT, "Intel SGX TCB Signing", Vec::new()),
            chain: vec![Part::Pck, Part::Ca, Part::Root],
            tcb_info: tcb_info("UpToDate", "UpToDate"),
            qe_identity: qe_identity("UpToDate"),
            root_crl: crl(ROOT),
            pck_crl: crl(CA),
            forged: None,
        }
    }

    /// The same in version 5 with a TDX 1.5 body.
    pub fn v5() -> Self {
        let mut scene = Self::new();
        put(&mut scene.header, 0, &[5]);
        scene.body_type = 3;
        scene.body.extend([3; 16]);
        put(&mut scene.body, 585, &[0]);
        scene.body.extend([0; 48]);
        scene
    }

    /// Signs everything.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub fn make(&self, intel: &Intel) -> Result<Made, PkiError> {
        let by = |part, key| match self.forged {
            Some(forged) if forged == part => &intel.stranger,
            _ => key,
        };
        let root = self.root.sign(&intel.root, by(Part::Root, &intel.root))?;
        let ca = self.ca.sign(&intel.ca, by(Part::Ca, &intel.root))?;
        let pck = self.pck.sign(&intel.pck, by(Part::Pck, &intel.ca))?;
        let signer = self
            .signer
            .sign(&intel.signer, by(Part::Signer, &intel.root))?;
        let chain: String = self
            .chain
            .iter()
            .map(|part| match part {
                Part::Pck => pem(&pck),
                Part::Ca => pem(&ca),
                Part::Signer => pem(&signer),
                _ => pem(&root),
            })
            .collect();
        let document = |part, text: &String| {
            let signature = by(part, &intel.signer).sign_quote(text.as_bytes())?;
            Ok::<_, PkiError>((text.clone(), signature))
        };
        Ok(Made {
            quote: self.quote(intel, chain.as_bytes(), &by)?,
            tcb_info: document(Part::TcbInfo, &self.tcb_info)?,
            qe_identity: document(Part::QeIdentity, &self.qe_identity)?,
            issuer_chain: pem(&signer) + &pem(&root),
            root_crl: self.root_crl.sign(by(Part::RootCrl, &intel.root))?,
            pck_crl: self.pck_crl.sign(by(Part::PckCrl, &intel.ca))?,
            root,
        })
    }

    fn quote<'a>(
        &self,
        intel: &'a Intel,
        chain: &[u8],
        by: &impl Fn(Part, &'a Key) -> &'a Key,
    ) -> Result<Vec<u8>, PkiError> {
        let mut signed = self.header.clone();
        if self.header.first() == Some(&5) {
            signed.extend(self.body_type.to_le_bytes());
            signed.extend(length(&self.body));
        }
        signed.extend(&self.body);
        let authentication = [0xa5; 32];
        let point = intel.attestation.point()?;
        let mut report = self.qe_report.clone();
        if report.get(320..352).is_some_and(|digest| digest == [0; 32]) {
            let digest = Sha256::new()
                .chain_update(point)
                .chain_update(authentication);
            put(&mut report, 320, &digest.finalize());
        }
        let report_signature = by(Part::QeReport, &intel.pck).sign_quote(&report)?;
        let mut inner = [
            report.as_slice(),
            &report_signature,
            &[32, 0],
            &authentication,
        ]
        .concat();
        inner.extend(5_u16.to_le_bytes());
        inner.extend(length(chain));
        inner.extend(chain);
        let signature = by(Part::Quote, &intel.attestation).sign_quote(&signed)?;
        let mut data = [signature.as_slice(), &point, &6_u16.to_le_bytes()].concat();
        data.extend(length(&inner));
        data.extend(inner);
        signed.extend(length(&data));
        signed.extend(data);
        signed.extend(&self.padding);
        Ok(signed)
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

const ROOT: &str = "Intel SGX Root CA";
const CA: &str = "Intel SGX PCK Platform CA";

/// Writes `bytes` at `offset`; what lies outside is left out.
pub fn put(target: &mut [u8], offset: usize, bytes: &[u8]) {
    for (to, from) in target.iter_mut().skip(offset).zip(bytes) {
        *to = *from;
    }
}

/// TCB info with one level that the platform reaches and one below, and the status of each.
pub fn tcb_info(reached: &str, below: &str) -> String {
    let level = |svn: u8, status| {
        let components = vec![format!("{{\"svn\":{svn}}}"); 16].join(",");
        let advisories = match status {
            "UpToDate" => "",
            _ => ",\"advisoryIDs\":[\"INTEL-SA-00001\"]",
        };
        format!(
            "{{\"tcb\":{{\"sgxtcbcomponents\":[{components}],\"pcesvn\":11,\"tdxtcbcomponents\":[{}]}},\"tcbDate\":\"2025-01-01T00:00:00Z\",\"tcbStatus\":\"{status}\"{advisories}}}",
            vec!["{\"svn\":0}".to_owned(); 16].join(","),
        )
    };
    format!(
        "{{\"id\":\"TDX\",\"version\":3,{DATES},\"fmspc\":\"{}\",\"pceId\":\"0000\",\"tcbType\":0,\"tcbEvaluationDataNumber\":18,\"tdxModule\":{{\"mrsigner\":\"{}\",\"attributes\":\"0000000000000000\",\"attributesMask\":\"FFFFFFFFFFFFFFFF\"}},\"tdxModuleIdentities\":[],\"tcbLevels\":[{},{}]}}",
        FMSPC.map(|byte| format!("{byte:02X}")).concat(),
        "00".repeat(48),
        level(2, reached),
        level(1, below),
    )
}

/// QE identity with one level.
pub fn qe_identity(status: &str) -> String {
    format!(
        "{{\"id\":\"TD_QE\",\"version\":2,{DATES},\"tcbEvaluationDataNumber\":17,\"miscselect\":\"00000000\",\"miscselectMask\":\"FFFFFFFF\",\"attributes\":\"11000000000000000000000000000000\",\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",\"mrsigner\":\"{}\",\"isvprodid\":2,\"tcbLevels\":[{{\"tcb\":{{\"isvsvn\":4}},\"tcbDate\":\"2025-01-01T00:00:00Z\",\"tcbStatus\":\"{status}\"}}]}}",
        "DC".repeat(32),
    )
}

/// Dates of TCB info and QE identity: 2026-11-01 to 2026-12-01.
pub const DATES: &str =
    "\"issueDate\":\"2026-11-01T00:00:00Z\",\"nextUpdate\":\"2026-12-01T00:00:00Z\"";

fn certificate(serial: u8, issuer: &str, subject: &str, extensions: Vec<Extension>) -> Certificate {
    Certificate {
        version: 2,
        serial: vec![serial],
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        validity: (NOT_BEFORE, NOT_AFTER),
        extensions,
        inner: Parameters::EcdsaSha256,
        outer: Parameters::EcdsaSha256,
    }
}

fn authority(path_length: Option<u8>) -> Vec<Extension> {
    vec![
        Extension::authority(path_length),
        Extension::key_usage(true),
    ]
}

fn crl(issuer: &str) -> Crl {
    Crl {
        issuer: issuer.to_owned(),
        this_update: 1_793_491_200,
        next_update: Some(1_796_083_200),
        revoked: Vec::new(),
        // CRL number 1, which `webpki` wants.
        extensions: vec![Extension {
            oid: "2.5.29.20".to_owned(),
            critical: false,
            value: vec![2, 1, 1],
        }],
        parameters: Parameters::EcdsaSha256,
    }
}

/// The SGX extension of a PCK certificate.
pub fn sgx(components: [u8; 16], pce_svn: u8) -> Extension {
    let arc = |arcs: &[u8], value: Vec<u8>| {
        let prefix = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 0x0d, 1];
        let oid = tlv(6, &[&prefix, arcs].concat());
        tlv(0x30, &[oid, value].concat())
    };
    let mut tcb: Vec<u8> = (1..)
        .zip(components)
        .flat_map(|(number, svn)| arc(&[2, number], tlv(2, &[svn])))
        .collect();
    tcb.extend(arc(&[2, 17], tlv(2, &[pce_svn])));
    tcb.extend(arc(&[2, 18], tlv(4, &components)));
    let all = [
        arc(&[1], tlv(4, &[0x99; 16])),
        arc(&[2], tlv(0x30, &tcb)),
        arc(&[3], tlv(4, &[0; 2])),
        arc(&[4], tlv(4, &FMSPC)),
        arc(&[5], tlv(10, &[0])),
    ];
    Extension {
        oid: "1.2.840.113741.1.13.1".to_owned(),
        critical: false,
        value: tlv(0x30, &all.concat()),
    }
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = match u8::try_from(value.len()) {
        Ok(length @ ..=127) => vec![length],
        Ok(length) => vec![0x81, length],
        Err(_) => {
            let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
            [&[0x82][..], &length.to_be_bytes()].concat()
        }
    };
    [&[tag], length.as_slice(), value].concat()
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}
