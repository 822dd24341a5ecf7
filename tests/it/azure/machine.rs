//! A machine like Azure's: a software TPM that holds an attestation key and an HCL report about it, and a made-up AMD
//! behind the report.
//!
//! `tpm2-tools` provision the TPM; QEMU then boots an image with it. What differs from Azure: the report is shorter
//! (this TPM takes 2048 bytes in an NV index; claims of 2023 fit), and the firmware is OVMF.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloister_evidence::azure::{AK_HANDLE, HCL_REPORT_INDEX};
use cloister_evidence::tpm::RsaAttestationKey;
use cloister_test_pki::azure::{CLAIMS, hcl_report};
use cloister_test_pki::snp::{Amd, Report, Vek};
use cloister_verify::azure::{GUEST_POLICY, ID_KEYS, MINIMUM_GUEST_SVN, Roots};
use cloister_verify::snp;
use cloister_verify::tdx::INTEL;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::guest::{self, BOOT_LIMIT, Guest, Turn};
use crate::images;
use crate::program::scratch;
use crate::software_tpm::SoftwareTpm;

/// A made-up AMD with one chip.
#[derive(Debug)]
pub(crate) struct Processor {
    amd: Amd,
    /// Certificates: ARK, ASK, ASVK.
    above: [Vec<u8>; 3],
    /// Certificate of the chip's key, DER.
    pub(crate) vcek: Vec<u8>,
}

impl Processor {
    /// Fresh keys.
    pub(crate) fn new() -> Self {
        let amd = Amd::new("Genoa").expect("keys");
        let vek = Vek {
            struct_version: 0,
            product_name: "Genoa".to_owned(),
            spls: vec![(1, 10), (2, 0), (3, 27), (8, 86)],
            hwid: Some(vec![0xc1; 64]),
            csp_id: None,
        };
        let vcek = amd.vcek_certificate(&vek).sign(&amd.vcek, &amd.ask);
        let above = [
            amd.ark_certificate().sign(&amd.ark, &amd.ark),
            amd.ask_certificate().sign(&amd.ask, &amd.ark),
            amd.asvk_certificate().sign(&amd.asvk, &amd.ark),
        ];
        Self {
            above: above.map(|certificate| certificate.expect("a certificate")),
            vcek: vcek.expect("a certificate"),
            amd,
        }
    }

    /// Its keys as the roots of an appraisal.
    pub(crate) fn roots(&self) -> Roots<'_> {
        let [ark, ask, asvk] = &self.above;
        let root = snp::Root { ark, ask, asvk };
        let amd = snp::Roots {
            milan: root,
            genoa: root,
            turin: root,
        };
        Roots {
            amd,
            intel: INTEL,
            vtpm: &[],
        }
    }

    /// The HCL report of a paravisor whose vTPM has the attestation key with this modulus. Everything is what the default policy
    /// demands, but that Secure Boot is off, as it is in the guest.
    pub(crate) fn hcl_report(&self, modulus: &[u8]) -> Vec<u8> {
        let claims = json!({
            "keys": [{
                "kid": "HCLAkPub",
                "kty": "RSA",
                "e": "AQAB",
                "n": URL_SAFE_NO_PAD.encode(modulus),
            }],
            "vm-configuration": {
                "console-enabled": true,
                "secure-boot": false,
                "tpm-enabled": true,
                "vmUniqueId": "00000000-0000-0000-0000-000000000000",
            },
        });
        let claims = claims.to_string();
        let mut report = Report::new(3, [0x19, 0x11, 1], [10, 0, 0, 0, 0, 0, 27, 86], [0xc1; 64]);
        report.set(0x004, &MINIMUM_GUEST_SVN.to_le_bytes());
        report.set(0x008, &GUEST_POLICY.to_le_bytes());
        report.set(0x050, &Sha256::digest(&claims));
        report.set(0x070, &[0; 32]);
        report.set(0x0e0, &ID_KEYS[0].digest.0);
        let report = report.sign(&self.amd.vcek).expect("a signature");
        let whole = hcl_report(&report, 2, claims.as_bytes());
        whole[..CLAIMS + claims.len()].to_vec()
    }
}

/// The guest, and what is behind its TPM.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) processor: Processor,
    /// The report in the TPM.
    pub(crate) hcl_report: Vec<u8>,
    pub(crate) guest: Guest,
    pub(crate) platform: Platform,
    _tpm: SoftwareTpm,
}

/// A stand-in for Azure's platform at 168.63.129.16: it is busy at first, and then takes the report.
#[derive(Debug)]
pub(crate) struct Platform {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Platform {
    /// Listens on loopback. QEMU connects once, and hands on whatever the guest sends to the address, over however many
    /// connections.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("QEMU");
            let answers = ["503 Service Unavailable", "201 Created"];
            for answer in answers {
                let mut got = Vec::new();
                while !got.ends_with(b"}") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).is_err() {
                        return;
                    }
                    got.extend(byte);
                }
                let text = String::from_utf8_lossy(&got).into_owned();
                kept.lock().expect("requests").push(text);
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).expect("QEMU");
            }
        });
        Self { port, requests }
    }

    /// What it was sent.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("requests").clone()
    }

    /// Puts the guest's network where the platform's address is, and this stand-in there.
    fn join(&self, words: &mut [std::ffi::OsString]) {
        let network = words
            .iter_mut()
            .find(|word| word.to_string_lossy().starts_with("user,id=net,"))
            .expect("a network");
        network.push(format!(
            ",restrict=on,net=168.63.129.0/24,host=168.63.129.2,dns=168.63.129.3,dhcpstart=168.63.129.20\
             ,guestfwd=tcp:168.63.129.16:80-tcp:127.0.0.1:{}",
            self.port
        ));
    }
}

/// The test workload's image on such a machine, shared by tests that do not harm it.
pub(crate) fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let processor = Processor::new();
        let state = scratch().join("azure");
        fs::remove_dir_all(&state).ok();
        fs::create_dir_all(&state).expect("folder");
        let hcl_report = provision(&state, &processor);
        let tpm = SoftwareTpm::start(&state, &["--terminate"]);
        let platform = Platform::start();
        let guest = boot(&tpm, &platform);
        Machine {
            processor,
            hcl_report,
            guest,
            platform,
            _tpm: tpm,
        }
    })
}

/// Makes key and report in a fresh TPM, and ends it; its state stays in the folder. Gives the report.
fn provision(state: &Path, processor: &Processor) -> Vec<u8> {
    let server = format!("type=unixio,path={}/tpm", state.display());
    let flags = [
        "--flags",
        "not-need-init,startup-clear",
        "--server",
        &server,
    ];
    let tpm = SoftwareTpm::start(state, &flags);
    tpm.run(
        "tpm2_createprimary -C o -G rsa2048:rsassa-sha256:null \
         -a fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign -c ak.ctx",
    );
    tpm.run(&format!(
        "tpm2_evictcontrol -C o -c ak.ctx {AK_HANDLE:#010x}"
    ));
    tpm.run(&format!(
        "tpm2_readpublic -c {AK_HANDLE:#010x} -f tss -o ak.pub"
    ));
    // TPM2B_PUBLIC: a length of two bytes, then TPMT_PUBLIC.
    let public = fs::read(state.join("ak.pub")).expect("a public part");
    let key = RsaAttestationKey::parse(&public[2..]).expect("an RSA key");
    let report = processor.hcl_report(&key.modulus);
    let size = report.len();
    println!("HCL report of {size} bytes");
    fs::write(state.join("report"), &report).expect("report");
    tpm.run(&format!(
        "tpm2_nvdefine {HCL_REPORT_INDEX:#010x} -C o -s {size} -a ownerread|ownerwrite|authread|authwrite"
    ));
    tpm.run(&format!(
        "tpm2_nvwrite {HCL_REPORT_INDEX:#010x} -C o -i report"
    ));
    tpm.run("tpm2_shutdown -c");
    report
}

/// Boots the test workload with `tpm`, as `cloister boot` does with a fresh one, and waits until it serves.
fn boot(tpm: &SoftwareTpm, platform: &Platform) -> Guest {
    let _turn = Turn::take();
    let (mut words, port) = guest::without_a_tpm(&images::probe().out.join("disk.raw"));
    platform.join(&mut words);
    words.extend(tpm.device());
    let guest = Guest::start(&words, port);
    let line = guest.line("cloister-init: serving on port", BOOT_LIMIT);
    assert!(
        line.is_some(),
        "the guest does not serve:\n{}",
        guest.text()
    );
    guest
}
