//! A guest made by the tests: its own P-256 key signs `TPMS_ATTEST` as a TPM would, and the firmware
//! log is the shortest one that a boot could leave. It stands at the hardware edge, in tests only.

use cloister_evidence::batch::Batch;
use cloister_evidence::binding::{Binding, Mode, ReportData, binding};
use cloister_evidence::bundle::{self, Bundle, CpuKind, CpuSection, EXTENSION_ARCS, LeafExtension};
use cloister_evidence::devices::Devices;
use cloister_evidence::log::{EventLog, boot_events, predict_pcr15};
use cloister_evidence::tpm::{
    ALG_ECDSA, ALG_SHA256, AttestationKey, PCR_BITMAP, PcrBank, TpmEvidence, ak_template,
};
use cloister_measure::digest::{Bank, Digest};
use cloister_measure::reference::{Class, ReferenceValues, Register, SCHEMA_VERSION};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use rcgen::{CertificateParams, CustomExtension, PublicKeyData, SignatureAlgorithm};
use sha2::{Digest as _, Sha256};

/// The verifier's clock in the tests, seconds since the Unix epoch: 2027-01-15.
pub(crate) const NOW: u64 = 1_800_000_000;
/// Validity of the usual leaf.
pub(crate) const VALIDITY: (u64, u64) = (NOW - 300, NOW + 40_000);
/// Registers that the usual reference pins.
pub(crate) const PINNED: [(&str, usize); 6] = [
    ("pcr4", 4),
    ("pcr9", 9),
    ("pcr11", 11),
    ("pcr12", 12),
    ("pcr13", 13),
    ("pcr15", 15),
];

/// What a TPM puts into a quote; the defaults are those of a genuine one.
pub(crate) struct QuoteForm {
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    /// Banks as algorithm and bitmap.
    pub(crate) banks: Vec<(u16, Vec<u8>)>,
    pub(crate) attributes: Option<u32>,
    /// Sign with another key than the one in the evidence.
    pub(crate) foreign_signature: bool,
    /// Qualified name of another hierarchy.
    pub(crate) foreign_signer: bool,
}

impl Default for QuoteForm {
    fn default() -> Self {
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            banks: vec![(ALG_SHA256, PCR_BITMAP.to_vec())],
            attributes: None,
            foreign_signature: false,
            foreign_signer: false,
        }
    }
}

/// A TLS key whose signatures are deterministic (RFC 6979), so that every run has the same bytes.
pub(crate) struct TlsKey {
    key: SigningKey,
    point: Box<[u8]>,
}

impl TlsKey {
    pub(crate) fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false).to_bytes();
        Self { key, point }
    }
}

impl PublicKeyData for TlsKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.key.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// A guest that has booted.
pub(crate) struct Guest {
    pub(crate) key: TlsKey,
    pub(crate) pcrs: PcrBank,
    pub(crate) log: EventLog,
    pub(crate) devices: Vec<u8>,
    pub(crate) form: QuoteForm,
    ak: SigningKey,
}

impl Guest {
    pub(crate) fn boot() -> Self {
        Self::boot_with(TlsKey::new(0x51))
    }

    /// Another boot of the same image.
    pub(crate) fn boot_with(key: TlsKey) -> Self {
        let (firmware, mut pcrs) = firmware_log();
        let events = boot_events(b"cloister-guest 1\n", "none", "root").unwrap();
        pcrs.0[15] = predict_pcr15(&events);
        Self {
            key,
            pcrs,
            log: EventLog::new(events, firmware).unwrap(),
            devices: Devices::None.encode(),
            form: QuoteForm::default(),
            ak: SigningKey::from_slice(&[0x42; 32]).unwrap(),
        }
    }

    /// Reference values of this guest as it stands.
    pub(crate) fn reference(&self) -> ReferenceValues {
        let register = |index: usize| {
            let value = Digest::from_bytes(Bank::Sha256, &self.pcrs.0[index]).unwrap();
            Register::single(Class::Image, value)
        };
        ReferenceValues {
            bank: Bank::Sha256,
            confidential: false,
            inputs: [].into(),
            launch_digests: Vec::new(),
            gpu: None,
            launch_policy: None,
            platform: "qemu-vtpm".to_owned(),
            recipe: "sample".to_owned(),
            registers: PINNED
                .map(|(name, index)| (name.to_owned(), register(index)))
                .into(),
            schema_version: SCHEMA_VERSION,
            unpredicted: [("pcr0".to_owned(), "the host's firmware".to_owned())].into(),
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    pub(crate) fn binding(&self, mode: &Mode) -> Binding {
        let spki_sha256 = Sha256::digest(self.spki()).into();
        binding(mode, &spki_sha256, &self.devices, &self.log.encode())
    }

    pub(crate) fn bundle(&self, report_data: ReportData) -> Bundle {
        let cpu = CpuSection {
            kind: CpuKind::TpmQuote,
            value: self.quote(&report_data.qualifying_data()).encode(),
        };
        Bundle {
            cpu,
            log: self.log.encode(),
            batch: None,
            devices: self.devices.clone(),
        }
    }

    /// A leaf bundle for `validity`.
    pub(crate) fn leaf_bundle(&self, (not_before, not_after): (u64, u64)) -> Bundle {
        let mode = Mode::Leaf {
            not_before,
            not_after,
        };
        self.bundle(self.binding(&mode).report_data())
    }

    /// The usual leaf and its bundle.
    pub(crate) fn leaf(&self, validity: (u64, u64)) -> (Vec<u8>, Vec<u8>) {
        let bundle = self.leaf_bundle(validity);
        (certificate(&self.key, validity, &bundle), bundle.encode())
    }

    /// Bundles of one batch of sessions, each a nonce and an exporter.
    pub(crate) fn sessions(&self, sessions: &[([u8; 32], [u8; 32])]) -> Vec<Vec<u8>> {
        let bindings: Vec<_> = sessions
            .iter()
            .map(|&(nonce, exporter)| self.binding(&Mode::Session { nonce, exporter }))
            .collect();
        let batch = Batch::new(&bindings).unwrap();
        let bundle = self.bundle(batch.report_data());
        (0..u32::try_from(sessions.len()).unwrap())
            .map(|index| Bundle {
                batch: Some(batch.proof(index).unwrap()),
                ..bundle.clone()
            })
            .map(|bundle| bundle.encode())
            .collect()
    }

    fn quote(&self, extra_data: &[u8]) -> TpmEvidence {
        let ak_public = self.ak_public();
        let signer = AttestationKey::parse(&ak_public).unwrap();
        let mut signer = signer.owner_qualified_name();
        signer[2] ^= u8::from(self.form.foreign_signer);
        let mut attest = Vec::new();
        attest.extend(self.form.magic.to_be_bytes());
        attest.extend(self.form.kind.to_be_bytes());
        sized(&mut attest, &signer);
        sized(&mut attest, extra_data);
        attest.extend([0, 0, 0, 0, 0, 0, 0x30, 0x39, 0, 0, 0, 1, 0, 0, 0, 0, 1]); // clockInfo
        attest.extend(0x2019_1023_0016_3636_u64.to_be_bytes()); // firmwareVersion
        attest.extend(u32::try_from(self.form.banks.len()).unwrap().to_be_bytes());
        for (hash, bitmap) in &self.form.banks {
            attest.extend(hash.to_be_bytes());
            attest.push(u8::try_from(bitmap.len()).unwrap());
            attest.extend(bitmap);
        }
        sized(&mut attest, &self.pcrs.digest());
        let key = match self.form.foreign_signature {
            true => SigningKey::from_slice(&[0x43; 32]).unwrap(),
            false => self.ak.clone(),
        };
        let signed: Signature = key.sign(&attest);
        let mut signature = Vec::new();
        signature.extend(ALG_ECDSA.to_be_bytes());
        signature.extend(ALG_SHA256.to_be_bytes());
        sized(&mut signature, &signed.r().to_bytes());
        sized(&mut signature, &signed.s().to_bytes());
        let pcrs = self.pcrs;
        TpmEvidence {
            attest,
            signature,
            ak_public,
            pcrs,
        }
    }

    fn ak_public(&self) -> Vec<u8> {
        let point = self.ak.verifying_key().to_encoded_point(false);
        let template = ak_template();
        let mut public = template[..template.len() - 4].to_vec();
        sized(&mut public, point.x().unwrap());
        sized(&mut public, point.y().unwrap());
        if let Some(attributes) = self.form.attributes {
            public[4..8].copy_from_slice(&attributes.to_be_bytes());
        }
        public
    }
}

/// A self-signed leaf that names `bundle`.
pub(crate) fn certificate(
    key: &impl rcgen::SigningKey,
    validity: (u64, u64),
    bundle: &Bundle,
) -> Vec<u8> {
    let extension = extension(bundle);
    certificate_with(key, validity, vec![custom(&extension.encode(), false)])
}

pub(crate) fn extension(bundle: &Bundle) -> LeafExtension {
    LeafExtension {
        cpu: bundle.cpu.clone(),
        bundle_sha256: bundle::digest(&bundle.encode()),
    }
}

/// The evidence extension with `value`.
pub(crate) fn custom(value: &[u8], critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&EXTENSION_ARCS, value.to_vec());
    extension.set_criticality(critical);
    extension
}

/// A self-signed leaf with these extensions.
pub(crate) fn certificate_with(
    key: &impl rcgen::SigningKey,
    (not_before, not_after): (u64, u64),
    extensions: Vec<CustomExtension>,
) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["guest.invalid".to_owned()]).unwrap();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + std::time::Duration::from_secs(not_before);
    params.not_after = epoch + std::time::Duration::from_secs(not_after);
    params.custom_extensions = extensions;
    params.self_signed(key).unwrap().der().to_vec()
}

fn sized(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    to.extend(bytes);
}

/// What the firmware of a guest measured: PCR, event type, and data whose SHA-256 is the digest.
fn firmware_events() -> Vec<(usize, u32, &'static [u8])> {
    let mut events: Vec<_> = (0..8).map(|pcr| (pcr, 4, &[0; 4][..])).collect(); // EV_SEPARATOR
    events.push((4, 0x8000_0003, b"image")); // EV_EFI_BOOT_SERVICES_APPLICATION
    events.push((9, 0x0000_0006, b"initrd")); // EV_EVENT_TAG
    events.push((11, 0x0000_000d, b"section")); // EV_IPL
    events
}

/// Every extend of a boot, in order: PCR and digest.
pub(crate) fn extends(log: &EventLog) -> Vec<(usize, [u8; 32])> {
    let firmware = firmware_events();
    let firmware = firmware
        .iter()
        .map(|&(pcr, _, data)| (pcr, Sha256::digest(data).into()));
    let own = log.events().iter().map(|event| (15, *event.digest()));
    firmware.chain(own).collect()
}

/// A crypto-agile TCG log with one SHA-256 bank (TCG PC Client Platform Firmware Profile, section
/// "Event Logging"), and the PCRs it gives.
fn firmware_log() -> (Vec<u8>, PcrBank) {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]); // class, minor, major, errata, uintnSize
    spec.extend([1, 0, 0, 0, 0x0b, 0, 32, 0, 0]); // one bank: SHA-256 of 32 bytes; no vendor data
    let mut log = vec![0; 4];
    log.extend(3_u32.to_le_bytes()); // EV_NO_ACTION
    log.extend([0; 20]);
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    let mut pcrs = PcrBank([[0; 32]; 16]);
    for (pcr, kind, data) in firmware_events() {
        let digest = Sha256::digest(data);
        log.extend(u32::try_from(pcr).unwrap().to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend([1, 0, 0, 0, 0x0b, 0]);
        log.extend(digest);
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(data);
        let value = Sha256::new().chain_update(pcrs.0[pcr]).chain_update(digest);
        pcrs.0[pcr] = value.finalize().into();
    }
    (log, pcrs)
}
