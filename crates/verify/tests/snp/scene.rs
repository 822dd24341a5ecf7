//! One made-up machine with everything right, to be made wrong in one place.

use std::sync::OnceLock;

use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{LaunchDigestEntry, LaunchPolicy, ReferenceValues};
use cloister_test_pki::snp::{Amd, Report, Vek};
use cloister_test_pki::{Certificate, Crl, Key};
use cloister_verify::Verdict;
use cloister_verify::snp::{Endorsements, Expected, Image, Policy, Product, Root, Roots, appraise};

/// 2026-11-22.
pub(crate) const NOW: u64 = 1_795_305_600;
/// MEASUREMENT of the made reports.
pub(crate) const MEASUREMENT: [u8; 48] = [0x3e; 48];
/// Their REPORT_DATA.
pub(crate) const REPORT_DATA: [u8; 64] = [0x0d; 64];

/// Keys and certificates of a product line.
pub(crate) struct World {
    pub(crate) amd: Amd,
    pub(crate) ark: Vec<u8>,
    pub(crate) ask: Vec<u8>,
    pub(crate) asvk: Vec<u8>,
}

/// The line's keys, made once.
pub(crate) fn world(product: Product) -> &'static World {
    static WORLDS: [OnceLock<World>; 3] = [const { OnceLock::new() }; 3];
    WORLDS[product as usize].get_or_init(|| {
        let amd = Amd::new(product.name()).unwrap();
        World {
            ark: amd.ark_certificate().sign(&amd.ark, &amd.ark).unwrap(),
            ask: amd.ask_certificate().sign(&amd.ask, &amd.ark).unwrap(),
            asvk: amd.asvk_certificate().sign(&amd.asvk, &amd.ark).unwrap(),
            amd,
        }
    })
}

/// Somebody else's keys.
pub(crate) fn stranger() -> &'static (Key, Key) {
    static STRANGER: OnceLock<(Key, Key)> = OnceLock::new();
    STRANGER.get_or_init(|| (Key::rsa().unwrap(), Key::p384().unwrap()))
}

/// What is appraised, before anything is signed.
pub(crate) struct Scene {
    pub(crate) product: Product,
    pub(crate) report: Report,
    pub(crate) vek: Certificate,
    /// Signs the certificate instead of ASK or ASVK.
    pub(crate) issuer: Option<&'static Key>,
    /// Signs the report instead of VCEK or VLEK.
    pub(crate) signer: Option<&'static Key>,
    pub(crate) vlek: bool,
    /// Given instead of the made certificate; empty for none.
    pub(crate) vek_bytes: Option<Vec<u8>>,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) crl: Option<Crl>,
    pub(crate) crl_signer: Option<&'static Key>,
    pub(crate) policy: Policy,
    pub(crate) reference: Option<ReferenceValues>,
    pub(crate) measurement: Option<[u8; 48]>,
    pub(crate) report_data: Option<[u8; 64]>,
    pub(crate) signature_only: bool,
    /// Root certificates instead of the right ones.
    pub(crate) roots: Option<[Vec<u8>; 3]>,
    pub(crate) at: u64,
}

pub(crate) fn genoa_vek() -> Vek {
    let spls = [
        (1, 10),
        (2, 0),
        (4, 0),
        (5, 0),
        (6, 0),
        (7, 0),
        (3, 23),
        (8, 84),
    ];
    Vek {
        struct_version: 0,
        product_name: "Genoa".to_owned(),
        spls: spls.to_vec(),
        hwid: Some(vec![0xc1; 64]),
        csp_id: None,
    }
}

pub(crate) fn turin_vek() -> Vek {
    let spls = [
        (9, 1),
        (1, 1),
        (2, 1),
        (3, 4),
        (5, 0),
        (6, 0),
        (7, 0),
        (8, 200),
    ];
    Vek {
        struct_version: 1,
        product_name: "Turin".to_owned(),
        spls: spls.to_vec(),
        hwid: Some(vec![0xc1; 8]),
        csp_id: None,
    }
}

impl Scene {
    /// A Genoa B1 with a report of version 3.
    pub(crate) fn genoa() -> Self {
        let tcb = [10, 0, 0, 0, 0, 0, 23, 84];
        let report = Report::new(3, [0x19, 0x11, 1], tcb, [0xc1; 64]);
        Self::new(Product::Genoa, report, &genoa_vek())
    }

    /// A Turin with a report of version 5.
    pub(crate) fn turin() -> Self {
        let mut chip_id = [0; 64];
        chip_id[..8].copy_from_slice(&[0xc1; 8]);
        let report = Report::new(5, [0x1a, 2, 1], [1, 1, 1, 4, 0, 0, 0, 200], chip_id);
        Self::new(Product::Turin, report, &turin_vek())
    }

    /// A Genoa whose cloud signs with its VLEK, with CHIP_ID masked, and a policy that takes it.
    pub(crate) fn vlek() -> Self {
        let mut scene = Self::genoa();
        let vek = Vek {
            hwid: None,
            csp_id: Some("CN=cloud.example".to_owned()),
            ..genoa_vek()
        };
        scene.vek = world(Product::Genoa).amd.vlek_certificate(&vek);
        scene.vlek = true;
        scene.report.set(0x048, &[1 << 2]);
        scene.report.set(0x1a0, &[0; 64]);
        scene.policy.signing_keys = vec![cloister_verify::snp::SigningKey::Vlek];
        scene
    }

    fn new(product: Product, report: Report, vek: &Vek) -> Self {
        Self {
            product,
            report,
            vek: world(product).amd.vcek_certificate(vek),
            issuer: None,
            signer: None,
            vlek: false,
            vek_bytes: None,
            chain: Vec::new(),
            crl: None,
            crl_signer: None,
            policy: Policy::default(),
            reference: None,
            measurement: Some(MEASUREMENT),
            report_data: Some(REPORT_DATA),
            signature_only: false,
            roots: None,
            at: NOW,
        }
    }

    /// The report, signed.
    pub(crate) fn signed_report(&self) -> Vec<u8> {
        let amd = &world(self.product).amd;
        let own = if self.vlek { &amd.vlek } else { &amd.vcek };
        self.report.sign(self.signer.unwrap_or(own)).unwrap()
    }

    /// The certificate of its key, signed.
    pub(crate) fn signed_vek(&self) -> Vec<u8> {
        let amd = &world(self.product).amd;
        let (key, issuer) = match self.vlek {
            true => (&amd.vlek, &amd.asvk),
            false => (&amd.vcek, &amd.ask),
        };
        let key = match self.signer {
            Some(key) => key,
            None => key,
        };
        self.vek.sign(key, self.issuer.unwrap_or(issuer)).unwrap()
    }

    /// Signs everything and gives the verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        let vek = match &self.vek_bytes {
            Some(bytes) => bytes.clone(),
            None => self.signed_vek(),
        };
        self.judge(&self.signed_report(), &vek)
    }

    /// The verdict about these very bytes.
    pub(crate) fn judge(&self, report: &[u8], vek: &[u8]) -> Verdict {
        let world = world(self.product);
        let crl_signer = self.crl_signer.unwrap_or(&world.amd.ark);
        let crl = self.crl.as_ref().map(|crl| crl.sign(crl_signer).unwrap());
        let crls: Vec<&[u8]> = crl.iter().map(Vec::as_slice).collect();
        self.judge_with(report, vek, &crls)
    }

    /// The same with these very revocation lists.
    pub(crate) fn judge_with(&self, report: &[u8], vek: &[u8], crls: &[&[u8]]) -> Verdict {
        let world = world(self.product);
        let chain: Vec<&[u8]> = self.chain.iter().map(Vec::as_slice).collect();
        let [ark, ask, asvk] = match &self.roots {
            Some([ark, ask, asvk]) => [ark, ask, asvk],
            None => [&world.ark, &world.ask, &world.asvk],
        };
        let root = Root { ark, ask, asvk };
        let roots = Roots {
            milan: root,
            genoa: root,
            turin: root,
        };
        let image = match (&self.reference, self.measurement) {
            (Some(reference), _) => Some(Image::Reference(reference)),
            (None, measurement) => measurement.map(Image::Measurement),
        };
        let expected = Expected {
            image,
            report_data: self.report_data,
            signature_only: self.signature_only,
        };
        let endorsements = Endorsements {
            vek: Some(vek).filter(|vek| !vek.is_empty()),
            chain: &chain,
            crls,
        };
        let (policy, at) = (&self.policy, self.at);
        appraise(report, &endorsements, &expected, policy, &roots, at)
    }
}

/// Reference values of a build for `qemu-snp`.
pub(crate) fn reference(id_key_digest: Option<[u8; 48]>) -> ReferenceValues {
    let digest = |bytes: &[u8]| Digest::from_bytes(Bank::Sha384, bytes).unwrap();
    let entry = |vcpus, byte| LaunchDigestEntry {
        digest: digest(&[byte; 48]),
        vcpu_model: "EPYC-v4".to_owned(),
        vcpus,
    };
    ReferenceValues {
        bank: Bank::Sha384,
        confidential: true,
        gpu: None,
        inputs: Default::default(),
        launch_digests: vec![entry(1, 0x3d), entry(2, 0x3e)],
        launch_policy: Some(LaunchPolicy {
            guest_policy: 0x3_0000,
            host: "qemu".to_owned(),
            id_key_digest: id_key_digest.map(|bytes| digest(&bytes)),
            sev_features: 1,
            vmpl: 0,
        }),
        platform: "qemu-snp".to_owned(),
        recipe: "demo".to_owned(),
        registers: Default::default(),
        schema_version: 1,
        unpredicted: Default::default(),
    }
}
