//! One made-up machine with everything right, to be made wrong in one place.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{Class, ReferenceValues, Register, SCHEMA_VERSION};
use cloister_test_pki::azure::{Attest, hcl_report, rsa_numbers};
use cloister_test_pki::snp::{Amd, NOT_AFTER, NOT_BEFORE, Report, Vek};
use cloister_test_pki::tdx::{Intel, Made, Part, Scene as Td, put};
use cloister_test_pki::{Certificate, Extension, Key, Parameters};
use cloister_verify::Verdict;
use cloister_verify::azure::{Beside, Expected, QuoteFiles, Roots, appraise};
use cloister_verify::collateral::TdxCollateral;
use cloister_verify::policy::{Hex, PolicyFile};
use cloister_verify::snp::{Root, Roots as AmdRoots};
use cloister_verify::tdx::{INTEL, Roots as IntelRoots};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::published::collateral;

/// 2026-11-22.
pub(crate) const NOW: u64 = 1_795_305_600;
/// What the verifier chose.
pub(crate) const NONCE: [u8; 32] = [0x5a; 32];
/// MRTD of the made TDREPORTs.
pub(crate) const MRTD: [u8; 48] = [0xd7; 48];
/// The log of a real boot, and the registers that its TPM had: `tests/vectors/README.md`.
pub(crate) const EVENT_LOG: &[u8] =
    include_bytes!("../../../../tests/vectors/measurement/qemu-ovmf-swtpm.eventlog");
const EVENT_LOG_PCRS: &[u8] =
    include_bytes!("../../../../tests/vectors/measurement/qemu-ovmf-swtpm.pcrs.json");

/// Keys and certificates.
pub(crate) struct World {
    pub(crate) amd: Amd,
    pub(crate) amd_root: [Vec<u8>; 3],
    /// The vTPM's attestation key.
    pub(crate) ak: Key,
    /// Somebody else's.
    pub(crate) stranger: Key,
    /// Root and issuer of certificates of attestation keys.
    pub(crate) vtpm_root: Key,
    pub(crate) vtpm_issuer: Key,
    pub(crate) intel: Intel,
    /// Intel's root and what it publishes.
    pub(crate) published: Made,
}

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (amd, intel) = (Amd::new("Genoa").unwrap(), Intel::new().unwrap());
        World {
            published: Td::new().make(&intel).unwrap(),
            intel,
            amd_root: [
                amd.ark_certificate().sign(&amd.ark, &amd.ark).unwrap(),
                amd.ask_certificate().sign(&amd.ask, &amd.ark).unwrap(),
                amd.asvk_certificate().sign(&amd.asvk, &amd.ark).unwrap(),
            ],
            amd,
            ak: Key::rsa_2048().unwrap(),
            stranger: Key::rsa_2048().unwrap(),
            vtpm_root: Key::rsa_2048().unwrap(),
            vtpm_issuer: Key::rsa_2048().unwrap(),
        }
    })
}

/// The registers that the real boot had; those that were not recorded are zero.
pub(crate) fn pcrs() -> Vec<[u8; 32]> {
    let recorded: serde_json::Value = serde_json::from_slice(EVENT_LOG_PCRS).unwrap();
    let value = |index: usize| {
        let text = recorded["sha256"][index.to_string()].as_str();
        let bytes = text.map(|text| hex::decode(text).unwrap());
        bytes.map_or([0; 32], |bytes| bytes.try_into().unwrap())
    };
    (0..24).map(value).collect()
}

/// Certificates above that of the attestation key, and that one.
pub(crate) struct AkChain {
    pub(crate) root: Certificate,
    pub(crate) issuer: Certificate,
    pub(crate) leaf: Certificate,
}

pub(crate) fn ak_chain() -> AkChain {
    let certificate = |serial, issuer: &str, subject: &str, extensions| Certificate {
        version: 2,
        serial: vec![serial],
        issuer: issuer.to_owned(),
        subject: subject.to_owned(),
        validity: (NOT_BEFORE, NOT_AFTER),
        extensions,
        inner: Parameters::RsaPkcs1Sha256,
        outer: Parameters::RsaPkcs1Sha256,
    };
    let authority = |limit| vec![Extension::authority(limit), Extension::key_usage(false)];
    AkChain {
        root: certificate(1, "vTPM Root", "vTPM Root", authority(None)),
        issuer: certificate(2, "vTPM Root", "vTPM CA", authority(Some(0))),
        leaf: certificate(
            3,
            "vTPM CA",
            "0.ConfidentialVM.Azure.windows.net",
            vec![purpose(&[0x67, 0x81, 5, 8, 3])],
        ),
    }
}

/// Extended key usage with one purpose.
pub(crate) fn purpose(oid: &[u8]) -> Extension {
    let length = u8::try_from(oid.len()).unwrap();
    Extension {
        oid: "2.5.29.37".to_owned(),
        critical: false,
        value: [&[0x30, length + 2, 6, length], oid].concat(),
    }
}

/// What is appraised, before anything is signed.
pub(crate) struct Scene {
    pub(crate) tdx: bool,
    pub(crate) report: Report,
    pub(crate) tdreport: Vec<u8>,
    pub(crate) claims: serde_json::Value,
    /// In REPORT_DATA instead of the hash of the claims.
    pub(crate) report_data: Option<[u8; 64]>,
    /// Bytes of the HCL report: where, and what.
    pub(crate) hcl_edit: Option<(usize, u8)>,
    pub(crate) attest: Attest,
    pub(crate) pcrs: Vec<[u8; 32]>,
    /// Signs the quote instead of the attestation key.
    pub(crate) signer: Option<&'static Key>,
    /// Wire version 2, which has the nonce in the claims.
    pub(crate) version: u32,
    pub(crate) ak: Option<AkChain>,
    /// Stands behind the certificate of the key, as zeros do in the NV index.
    pub(crate) ak_behind: Vec<u8>,
    /// Whether the certificates above the key's are given.
    pub(crate) ak_above: bool,
    pub(crate) ak_root_pinned: bool,
    pub(crate) event_log: Option<Vec<u8>>,
    pub(crate) policy: PolicyFile,
    pub(crate) reference: Option<ReferenceValues>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) vek: Option<Vek>,
    pub(crate) td_quote: bool,
    /// Changes the quote of the TDREPORT.
    pub(crate) td_edit: fn(&mut Td),
    /// Changes what Intel published; `None` for nothing at all.
    pub(crate) collateral: Option<fn(&mut TdxCollateral)>,
    /// Whether Intel's root is the one that signed.
    pub(crate) intel_pinned: bool,
    pub(crate) at: u64,
}

impl Scene {
    /// A Genoa machine.
    pub(crate) fn snp() -> Self {
        let pcrs = pcrs();
        let mut report = Report::new(3, [0x19, 0x11, 1], [10, 0, 0, 0, 0, 0, 27, 86], [0xc1; 64]);
        report.set(4, &65_547_u32.to_le_bytes());
        report.set(8, &0x3_001f_u64.to_le_bytes());
        report.set(0xe0, &[0x1d; 48]);
        let mut policy = PolicyFile::default();
        policy.azure.paravisor_id_key_digests = vec![Hex([0x99; 48]), Hex([0x1d; 48])];
        policy.azure.paravisor_mrtds = vec![Hex(MRTD)];
        let mut tdreport = vec![0; 1024];
        tdreport[0] = 0x81;
        tdreport[515] = 0x10; // SEPT_VE_DISABLE
        tdreport[520] = 7; // x87, SSE and AVX
        tdreport[528..576].copy_from_slice(&MRTD);
        Self {
            tdx: false,
            report,
            tdreport,
            claims: claims(&world().ak),
            report_data: None,
            hcl_edit: None,
            attest: Attest::new(&NONCE, &Sha256::digest(pcrs.as_flattened())),
            reference: Some(reference("azure-snp", &pcrs)),
            pcrs,
            signer: None,
            version: 1,
            ak: None,
            ak_behind: vec![0; 100],
            ak_above: true,
            ak_root_pinned: true,
            event_log: None,
            policy,
            nonce: Some(NONCE.to_vec()),
            vek: Some(Vek {
                struct_version: 0,
                product_name: "Genoa".to_owned(),
                spls: vec![(1, 10), (2, 0), (3, 27), (8, 86)],
                hwid: Some(vec![0xc1; 64]),
                csp_id: None,
            }),
            td_quote: false,
            td_edit: |_| {},
            collateral: Some(|_| {}),
            intel_pinned: true,
            at: NOW,
        }
    }

    /// The same on TDX.
    pub(crate) fn tdx() -> Self {
        let mut scene = Self::snp();
        (scene.tdx, scene.td_quote, scene.vek) = (true, true, None);
        scene.reference = Some(reference("azure-tdx", &scene.pcrs));
        scene
    }

    /// Sets the digest of the quote to that of the values as they are.
    pub(crate) fn requote(&mut self) {
        self.attest.pcr_digest = Sha256::digest(self.pcrs.as_flattened()).to_vec();
    }

    /// The HCL report, with the hardware's report signed.
    pub(crate) fn hcl(&self) -> Vec<u8> {
        let claims = self.claims.to_string();
        let mut bound = [0; 64];
        bound[..32].copy_from_slice(&Sha256::digest(&claims));
        let bound = self.report_data.unwrap_or(bound);
        let mut hcl = if self.tdx {
            let mut report = self.tdreport.clone();
            report[128..192].copy_from_slice(&bound);
            hcl_report(&report, 4, claims.as_bytes())
        } else {
            let mut report = self.report.clone();
            report.set(0x50, &bound);
            let report = report.sign(&world().amd.vcek).unwrap();
            hcl_report(&report, 2, claims.as_bytes())
        };
        if let Some((at, value)) = self.hcl_edit {
            hcl[at] = value;
        }
        hcl
    }

    /// The certificate of the chip's key, signed.
    pub(crate) fn vcek(&self) -> Option<Vec<u8>> {
        let amd = &world().amd;
        let vek = self.vek.as_ref()?;
        let vcek = amd.vcek_certificate(vek).sign(&amd.vcek, &amd.ask);
        Some(vcek.unwrap())
    }

    /// Quote and signature.
    pub(crate) fn quote(&self) -> (Vec<u8>, Vec<u8>) {
        let key = self.signer.unwrap_or(&world().ak);
        self.attest.sign(key).unwrap()
    }

    /// Evidence as CoCo's key broker has it.
    pub(crate) fn evidence(&self) -> Vec<u8> {
        let (attest, signature) = self.quote();
        self.evidence_of(&self.hcl(), &attest, &signature)
    }

    /// The same of these very bytes.
    pub(crate) fn evidence_of(&self, hcl: &[u8], attest: &[u8], signature: &[u8]) -> Vec<u8> {
        let mut evidence = json!({
            "version": self.version,
            "hcl_report": URL_SAFE_NO_PAD.encode(hcl),
            "tpm_quote": {
                "message": hex::encode(attest),
                "signature": hex::encode(signature),
                "pcrs": self.pcrs.iter().map(hex::encode).collect::<Vec<_>>(),
            },
        });
        if let Some(vcek) = self.vcek() {
            evidence["vcek"] = URL_SAFE_NO_PAD.encode(vcek).into();
        }
        if self.td_quote {
            evidence["td_quote"] = URL_SAFE_NO_PAD.encode(self.td_quote(hcl)).into();
        }
        evidence.to_string().into_bytes()
    }

    /// A quote of the TDREPORT in an HCL report.
    pub(crate) fn td_quote(&self, hcl: &[u8]) -> Vec<u8> {
        // What a test has changed may be too short.
        let report = hcl.get(32..32 + 1024).unwrap_or(&[0; 1024]);
        let mut td = Td::new();
        // The root is pinned, and not in the quote, so that one made before fits.
        td.chain = vec![Part::Pck, Part::Ca];
        put(&mut td.body, 120, &report[512..912]);
        put(&mut td.body, 520, &report[128..192]);
        (self.td_edit)(&mut td);
        td.make(&world().intel).unwrap().quote
    }

    /// Signs everything and gives the verdict.
    pub(crate) fn verdict(&self) -> Verdict {
        match &self.ak {
            Some(chain) => self.judge_with_ak(chain),
            None => self.judge(&self.evidence()),
        }
    }

    /// The verdict about these very bytes.
    pub(crate) fn judge(&self, evidence: &[u8]) -> Verdict {
        self.judge_beside(evidence, &self.beside(), &[])
    }

    pub(crate) fn beside(&self) -> Beside<'_> {
        Beside {
            event_log: self.event_log.as_deref(),
            ..Beside::default()
        }
    }

    /// Only the YAML shape carries a certificate of the attestation key.
    fn judge_with_ak(&self, chain: &AkChain) -> Verdict {
        let world = world();
        let leaf = chain.leaf.sign(&world.ak, &world.vtpm_issuer).unwrap();
        let padded = [leaf.as_slice(), &self.ak_behind].concat();
        let issuer = chain.issuer.sign(&world.vtpm_issuer, &world.vtpm_root);
        let root = chain.root.sign(&world.vtpm_root, &world.vtpm_root);
        let (issuer, root) = (issuer.unwrap(), root.unwrap());
        let above = [issuer.as_slice(), &root];
        let vek = self.vcek();
        let beside = Beside {
            certificates: if self.ak_above { &above } else { &[] },
            vek: vek.as_deref(),
            ..self.beside()
        };
        let pinned = match self.ak_root_pinned {
            true => vec![[1; 32], Sha256::digest(&root).into()],
            false => vec![[1; 32]],
        };
        let evidence = self.yaml(&padded);
        self.judge_beside(&evidence, &beside, &pinned)
    }

    /// Evidence as attested-tls has it.
    pub(crate) fn yaml(&self, certificate: &[u8]) -> Vec<u8> {
        let ((attest, signature), hcl) = (self.quote(), self.hcl());
        // The shape cannot do without one.
        let td_quote = match self.td_quote {
            true => self.td_quote(&hcl),
            false => vec![4, 0, 2],
        };
        let pem = base64::engine::general_purpose::STANDARD.encode(certificate);
        let lists: String = self
            .pcrs
            .iter()
            .map(|value| format!("      - {value:?}\n"))
            .collect();
        format!(
            "tdx_quote_base64: |-\n  {}\n\nhcl_report_base64: |-\n  {}\n\ntpm_attestation:\n  \
             ak_certificate_pem: |-\n    -----BEGIN CERTIFICATE-----\n    {pem}\n    -----END CERTIFICATE-----\n\n  \
             quote:\n    signature: {signature:?}\n    message: {attest:?}\n    pcrs:\n{lists}\n  \
             event_log: []\n\n  instance_info: null\n",
            URL_SAFE_NO_PAD.encode(td_quote),
            URL_SAFE_NO_PAD.encode(hcl),
        )
        .into_bytes()
    }

    pub(crate) fn judge_beside(
        &self,
        evidence: &[u8],
        beside: &Beside<'_>,
        vtpm: &[[u8; 32]],
    ) -> Verdict {
        let [ark, ask, asvk] = &world().amd_root;
        let root = Root { ark, ask, asvk };
        let roots = Roots {
            amd: AmdRoots {
                milan: root,
                genoa: root,
                turin: root,
            },
            intel: IntelRoots {
                root: match self.intel_pinned {
                    true => &world().published.root,
                    false => INTEL.root,
                },
            },
            vtpm,
        };
        let collateral = self.collateral.map(|change| {
            let mut collateral = collateral(&world().published);
            change(&mut collateral);
            collateral
        });
        let beside = &Beside {
            tdx: collateral.as_ref(),
            ..*beside
        };
        let expected = Expected {
            nonce: self.nonce.as_deref(),
            reference: self.reference.as_ref(),
        };
        appraise(evidence, beside, &expected, &self.policy, &roots, self.at)
    }

    /// The verdict about an HCL report and quote files.
    pub(crate) fn judge_files(&self, pcrs: Option<&[u8]>) -> Verdict {
        let (attest, signature) = self.quote();
        let vek = self.vcek();
        let beside = Beside {
            quote: Some(QuoteFiles {
                attest: &attest,
                signature: &signature,
                pcrs,
            }),
            vek: vek.as_deref(),
            ..Beside::default()
        };
        self.judge_beside(&self.hcl(), &beside, &[])
    }
}

/// Claims about a machine as it should be.
pub(crate) fn claims(ak: &Key) -> serde_json::Value {
    json!({
        "keys": [jwk("HCLAkPub", ak), jwk("HCLEkPub", &world().stranger)],
        "vm-configuration": {
            "console-enabled": true,
            "secure-boot": true,
            "tpm-enabled": true,
            "filtered-vpci-devices-allowed": false,
            "vmUniqueId": "00000000-0000-0000-0000-000000000000",
        },
        "user-data": "00".repeat(64),
    })
}

pub(crate) fn jwk(kid: &str, key: &Key) -> serde_json::Value {
    let (n, e) = rsa_numbers(key).unwrap();
    let [n, e] = [n, e].map(|number| URL_SAFE_NO_PAD.encode(number));
    json!({"kid": kid, "kty": "RSA", "key_ops": ["sign"], "n": n, "e": e})
}

/// Reference values of a build for Azure.
pub(crate) fn reference(platform: &str, pcrs: &[[u8; 32]]) -> ReferenceValues {
    let register = |index: usize| {
        let value = Digest::from_bytes(Bank::Sha256, &pcrs[index]).unwrap();
        let name = format!("pcr{index}");
        (name, Register::single(Class::Image, value))
    };
    ReferenceValues {
        bank: Bank::Sha256,
        confidential: true,
        inputs: Default::default(),
        launch_digests: Vec::new(),
        gpu: None,
        launch_policy: None,
        platform: platform.to_owned(),
        recipe: "demo".to_owned(),
        registers: [4, 9, 11, 12, 13, 15].map(register).into(),
        schema_version: SCHEMA_VERSION,
        unpredicted: [("pcr0".to_owned(), "the paravisor's firmware".to_owned())].into(),
    }
}

/// The names of the failed checks.
pub(crate) fn failed(verdict: &Verdict) -> Vec<&str> {
    let failures = verdict.failures();
    failures.map(|check| check.name.as_str()).collect()
}
