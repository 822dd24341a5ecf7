//! A man in the middle that holds a leaf every check accepts: key and TPM are its own, the TPM went through the same
//! boot as a genuine guest's. Whoever has the key of some genuine machine stands there; a software TPM makes it easy.
//! Evidence for sessions it fetches from the genuine guest and presents as its own.

use std::convert::Infallible;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloister_evidence::binding::{Mode, ReportData, binding};
use cloister_evidence::bundle::{self, Bundle, CpuKind, CpuSection, EXTENSION_ARCS, LeafExtension};
use cloister_evidence::log::EventLog;
use cloister_evidence::tpm::{PcrBank, TpmEvidence};
use cloister_measure::digest::Bank;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::peer::Peer;

/// How the attestation key of docs/evidence-format.md is asked for.
const ATTRIBUTES: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
const ALL: &str = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15";

/// A running swtpm with an attestation key; ended on drop.
struct SoftwareTpm {
    directory: TempDir,
    process: Child,
}

impl SoftwareTpm {
    /// Starts one and repeats every measurement of a guest's boot.
    fn boot(log: &EventLog) -> SoftwareTpm {
        let directory = TempDir::new().expect("a folder");
        let path = directory.path().display().to_string();
        let process = Command::new("swtpm")
            .args([
                "socket",
                "--tpm2",
                "--flags",
                "not-need-init,startup-clear",
                "--tpmstate",
            ])
            .arg(format!("dir={path}"))
            .args(["--server", &format!("type=unixio,path={path}/sock")])
            .args(["--ctrl", &format!("type=unixio,path={path}/sock.ctrl")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("swtpm starts: scripts/test.sh installs it");
        let tpm = SoftwareTpm { directory, process };
        let start = Instant::now();
        while !tpm.directory.path().join("sock.ctrl").exists() {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "swtpm does not answer"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let extends = extends(log);
        let words = ["tpm2_pcrextend"]
            .into_iter()
            .chain(extends.iter().map(String::as_str));
        tpm.run(&words.collect::<Vec<_>>());
        let key = [
            "-C",
            "o",
            "-g",
            "sha256",
            "-G",
            "ecc256:ecdsa-sha256:null",
            "-a",
            ATTRIBUTES,
            "-c",
            "ak.ctx",
        ];
        tpm.run(&[&["tpm2_createprimary"][..], &key].concat());
        tpm.run(&[
            "tpm2_readpublic",
            "-c",
            "ak.ctx",
            "-f",
            "tss",
            "-o",
            "ak.pub",
        ]);
        tpm
    }

    fn run(&self, command: &[&str]) {
        let socket = self.directory.path().join("sock");
        let output = Command::new(command[0])
            .args(&command[1..])
            .current_dir(self.directory.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", socket.display()))
            .output()
            .expect("tpm2-tools start: scripts/test.sh installs them");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
    }

    fn evidence(&self, report_data: &ReportData) -> CpuSection {
        let data = hex::encode(report_data.qualifying_data());
        let form = [
            "-c",
            "ak.ctx",
            "-l",
            ALL,
            "-g",
            "sha256",
            "-m",
            "attest",
            "-s",
            "signature",
        ];
        self.run(&[&["tpm2_quote", "-q", &data][..], &form].concat());
        self.run(&["tpm2_flushcontext", "-t"]); // there is no resource manager
        self.run(&["tpm2_pcrread", ALL, "-o", "pcrs"]);
        let read = |name: &str| std::fs::read(self.directory.path().join(name)).expect("a file");
        let mut pcrs = PcrBank([[0; 32]; 16]);
        pcrs.0.as_flattened_mut().copy_from_slice(&read("pcrs"));
        let evidence = TpmEvidence {
            attest: read("attest"),
            signature: read("signature"),
            ak_public: read("ak.pub")[2..].to_vec(), // TPM2B_PUBLIC without its length
            pcrs,
        };
        CpuSection {
            kind: CpuKind::TpmQuote,
            value: evidence.encode(),
        }
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Every extend of a boot, in order, as `tpm2_pcrextend` takes it: the firmware's and kernel's, then PID 1's.
fn extends(log: &EventLog) -> Vec<String> {
    let firmware =
        cloister_measure::eventlog::EventLog::parse(log.firmware()).expect("a firmware log");
    let measured = firmware.events.iter().filter(|event| event.is_extended());
    let measured = measured.map(|event| {
        let digest = event.digest(Bank::Sha256).expect("a SHA-256 digest");
        format!("{}:sha256={digest}", event.register)
    });
    let own = log
        .events()
        .iter()
        .map(|event| format!("15:sha256={}", hex::encode(event.digest())));
    measured.chain(own).collect()
}

/// What the impostor serves with.
struct Leaf {
    config: ServerConfig,
    bundle: Vec<u8>,
}

/// A leaf for a key of its own, with evidence of a TPM of its own that went through the guest's boot.
fn leaf(guest: &Bundle) -> Leaf {
    let log = EventLog::decode(&guest.log).expect("a log");
    let tpm = SoftwareTpm::boot(&log);
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let not_before = now() - 300;
    let not_after = not_before + 3600;
    let mode = Mode::Leaf {
        not_before,
        not_after,
    };
    let spki_sha256 = Sha256::digest(key.subject_public_key_info()).into();
    let binding = binding(&mode, &spki_sha256, &guest.devices, &guest.log);
    let bundle = Bundle {
        cpu: tpm.evidence(&binding.report_data()),
        ..guest.clone()
    };
    let encoded = bundle.encode();
    let extension = LeafExtension {
        cpu: bundle.cpu,
        bundle_sha256: bundle::digest(&encoded),
    };
    let mut params = CertificateParams::new(vec!["guest.invalid".to_owned()]).expect("parameters");
    params.not_before = epoch + Duration::from_secs(not_before);
    params.not_after = epoch + Duration::from_secs(not_after);
    params.custom_extensions = vec![CustomExtension::from_oid_content(
        &EXTENSION_ARCS,
        extension.encode(),
    )];
    let certificate = params.self_signed(&key).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Leaf {
        config,
        bundle: encoded,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a leaf that the program under test finds current"
)]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a time").as_secs()
}

/// Starts the impostor in front of the guest at `guest`; gives its port.
pub(crate) fn start(guest: u16) -> u16 {
    let genuine = Bundle::decode(&Peer::connect(guest).leaf_bundle()).expect("a bundle");
    let Leaf { config, bundle } = leaf(&genuine);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    listener.set_nonblocking(true).expect("a listener");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime
            .expect("a runtime")
            .block_on(serve(listener, config, bundle, guest))
    });
    port
}

async fn serve(listener: TcpListener, config: ServerConfig, bundle: Vec<u8>, guest: u16) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let bundle = Bytes::from(bundle);
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        let (acceptor, bundle) = (acceptor.clone(), bundle.clone());
        tokio::spawn(async move {
            let Ok(client) = acceptor.accept(client).await else {
                return;
            };
            let service = service_fn(move |request| answer(request, bundle.clone(), guest));
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(client), service)
                .await
                .ok();
        });
    }
}

/// Its own evidence for its leaf, the guest's for the session.
async fn answer(
    request: Request<Incoming>,
    own: Bytes,
    guest: u16,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match *request.method() {
        Method::GET => own,
        _ => {
            let question = request
                .into_body()
                .collect()
                .await
                .expect("a question")
                .to_bytes();
            let relay =
                move || Peer::connect(guest).ask("POST", bundle::WELL_KNOWN_PATH, &question);
            tokio::task::spawn_blocking(relay)
                .await
                .expect("an answer")
                .body
                .into()
        }
    };
    let response = Response::builder().header("content-type", bundle::CONTENT_TYPE);
    Ok(response.body(Full::new(body)).expect("a response"))
}
