//! A TLS client that verifies nothing, and a man in the middle with a certificate of its own choice.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection to a guest.
pub(crate) struct Peer {
    stream: Stream,
    /// DER of the leaf the guest showed.
    pub(crate) leaf: Vec<u8>,
}

/// An answer to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// What a guest showed on one connection, for whoever judges both layers.
pub(crate) struct Connection {
    /// DER.
    pub(crate) leaf: Vec<u8>,
    pub(crate) leaf_bundle: Vec<u8>,
    pub(crate) exporter: [u8; 32],
    pub(crate) session_bundle: Vec<u8>,
}

impl Connection {
    /// Connects to the guest and asks for a session with this nonce.
    pub(crate) fn to(port: u16, nonce: &[u8; 32]) -> Self {
        let mut peer = Peer::connect(port);
        Self {
            leaf_bundle: peer.leaf_bundle(),
            exporter: peer.exporter(nonce),
            session_bundle: peer.session_bundle(nonce),
            leaf: peer.leaf,
        }
    }
}

impl Peer {
    /// Connects with TLS 1.3.
    pub(crate) fn connect(port: u16) -> Peer {
        Peer::with(port, &rustls::version::TLS13, b"http/1.1").expect("TLS 1.3")
    }

    /// Connects with one version of TLS and one application protocol.
    pub(crate) fn with(
        port: u16,
        version: &'static SupportedProtocolVersion,
        protocol: &[u8],
    ) -> std::io::Result<Peer> {
        let tcp = TcpStream::connect(("127.0.0.1", port))?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::try_from("localhost").expect("a name");
        let config = configuration(version, protocol);
        let connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        let leaf = stream.conn.peer_certificates().expect("a leaf")[0].to_vec();
        Ok(Peer { stream, leaf })
    }

    /// The connection's exporter for `nonce`.
    pub(crate) fn exporter(&self, nonce: &[u8; 32]) -> [u8; 32] {
        let label = cloister_evidence::binding::EXPORTER_LABEL;
        self.stream
            .conn
            .export_keying_material([0; 32], label, Some(nonce))
            .expect("an exporter")
    }

    /// Session tickets the guest has sent.
    pub(crate) fn tickets(&self) -> u32 {
        self.stream.conn.tls13_tickets_received()
    }

    /// The leaf bundle.
    pub(crate) fn leaf_bundle(&mut self) -> Vec<u8> {
        let answer = self.ask("GET", "/.well-known/attestation", b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// A session bundle for `nonce`.
    pub(crate) fn session_bundle(&mut self, nonce: &[u8; 32]) -> Vec<u8> {
        let body = format!("{{\"nonce\":\"{}\"}}", hex::encode(nonce));
        let answer = self.ask("POST", "/.well-known/attestation", body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// What the guest answers when new evidence of its GPU is asked for.
    pub(crate) fn new_gpu(&mut self, nonce: &[u8; 32]) -> Answer {
        self.send_new_gpu(nonce);
        self.answer()
    }

    /// Asks for new evidence of the GPU and does not wait.
    pub(crate) fn send_new_gpu(&mut self, nonce: &[u8; 32]) {
        let body = format!("{{\"nonce\":\"{}\",\"gpu\":\"new\"}}", hex::encode(nonce));
        self.send("POST", "/.well-known/attestation", body.as_bytes());
    }

    /// One request over HTTP/1.1; the connection stays open.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.send(method, path, body);
        self.answer()
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        self.stream.write_all(&request).expect("request");
        self.stream.flush().expect("request");
    }

    fn answer(&mut self) -> Answer {
        let head = self.until(b"\r\n\r\n");
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let length = |line: &str| line.strip_prefix("content-length:")?.trim().parse().ok();
        let body = match head.lines().find_map(length) {
            Some(length) => self.exactly(length),
            None if head.contains("transfer-encoding: chunked") => self.chunks(),
            None => Vec::new(),
        };
        Answer {
            status: status.expect("a status"),
            body,
        }
    }

    /// Sends a GET and reads the head of a chunked answer.
    pub(crate) fn begin(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(request.as_bytes()).expect("request");
        self.stream.flush().expect("request");
        let head = String::from_utf8_lossy(&self.until(b"\r\n\r\n")).to_lowercase();
        assert!(
            head.starts_with("http/1.1 200") && head.contains("chunked"),
            "{head}"
        );
    }

    /// The chunks of an answer, each with the time of its arrival.
    pub(crate) fn arrivals(&mut self, path: &str) -> Vec<(Instant, String)> {
        self.begin(path);
        let mut arrivals = Vec::new();
        while let Some(chunk) = self.chunk() {
            arrivals.push((Instant::now(), String::from_utf8_lossy(&chunk).into_owned()));
        }
        arrivals
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk() {
            body.extend(chunk);
        }
        body
    }

    fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.until(b"\r\n");
        let size = String::from_utf8_lossy(&size);
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk size");
        let chunk = self.exactly(size);
        self.exactly(2);
        (size > 0).then_some(chunk)
    }

    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.exactly(1));
        }
        bytes
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream
            .read_exact(&mut bytes)
            .expect("the whole answer");
        bytes
    }
}

fn configuration(version: &'static SupportedProtocolVersion, protocol: &[u8]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(8);
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// Trusts everybody: the tests look at what was shown.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A man in the middle: ends TLS under its own leaf and passes every byte on to the guest at `guest`, over a
/// connection of its own. Gives the port it listens on.
pub(crate) fn man_in_the_middle(
    leaf: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    guest: u16,
) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || pump(client, config, guest));
        }
    });
    port
}

/// Passes bytes between a client and a guest until one of them leaves.
fn pump(client: TcpStream, config: Arc<ServerConfig>, guest: u16) {
    let connection = ServerConnection::new(config).expect("a connection");
    let mut front = StreamOwned::new(connection, client);
    while front.conn.is_handshaking() {
        if front.conn.complete_io(&mut front.sock).is_err() {
            return;
        }
    }
    let protocol = front.conn.alpn_protocol().unwrap_or(b"http/1.1").to_vec();
    let Ok(back) = Peer::with(guest, &rustls::version::TLS13, &protocol) else {
        return;
    };
    let mut back = back.stream;
    let tick = Some(Duration::from_millis(5));
    front.sock.set_read_timeout(tick).expect("a timeout");
    back.sock.set_read_timeout(tick).expect("a timeout");
    let mut buffer = [0; 16384];
    loop {
        let forth = pass(&mut front, &mut back, &mut buffer);
        let back_again = pass(&mut back, &mut front, &mut buffer);
        if forth.and(back_again).is_err() {
            return;
        }
    }
}

fn pass(
    from: &mut impl std::io::Read,
    to: &mut impl std::io::Write,
    buffer: &mut [u8],
) -> std::io::Result<()> {
    use std::io::ErrorKind::{TimedOut, UnexpectedEof, WouldBlock};
    match from.read(buffer) {
        Ok(0) => Err(UnexpectedEof.into()),
        Ok(read) => {
            to.write_all(&buffer[..read])?;
            to.flush()
        }
        Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => Ok(()),
        Err(error) => Err(error),
    }
}
