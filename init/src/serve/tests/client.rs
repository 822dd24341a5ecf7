//! A small blocking TLS client.

use super::guest::Guest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Checks the handshake's signature but no name: evidence says who it is.
#[derive(Debug)]
struct AnyName;

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("not TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            leaf,
            signed,
            &ring::default_provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

pub(super) fn config(version: &'static SupportedProtocolVersion, alpn: &[u8]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// SHA-256 of the SubjectPublicKeyInfo of the connection's leaf.
pub(super) fn spki_sha256(connection: &rustls::CommonState) -> [u8; 32] {
    let leaf = &connection.peer_certificates().unwrap()[0];
    Sha256::digest(
        ParsedCertificate::try_from(leaf)
            .unwrap()
            .subject_public_key_info(),
    )
    .into()
}

/// A response as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// One HTTP/1.1 connection.
pub(super) struct Client(pub(super) StreamOwned<ClientConnection, TcpStream>);

impl Client {
    pub(super) fn connect(guest: &Guest) -> Self {
        Self::try_connect(guest.address, &rustls::version::TLS13).unwrap()
    }

    pub(super) fn try_connect(
        address: SocketAddr,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from("guest").unwrap();
        let connection = ClientConnection::new(config(version, b"http/1.1"), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    pub(super) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).unwrap();
        self.0.flush().unwrap();
    }

    /// Reads up to and including `end`.
    pub(super) fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Ok(bytes)
    }

    /// Reads a response with a length, chunks, or until the end; `is_head`: without a body.
    pub(super) fn answer(&mut self, is_head: bool) -> io::Result<Answer> {
        let head = String::from_utf8(self.read_until(b"\r\n\r\n")?).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut body = Vec::new();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if is_head || status == 204 {
        } else if let Some(length) = length {
            body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body)?;
        } else if head.contains("transfer-encoding: chunked") {
            loop {
                let size = String::from_utf8(self.read_until(b"\r\n")?).unwrap();
                let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
                self.0.read_exact(&mut chunk)?;
                if chunk.len() == 2 {
                    break;
                }
                body.extend_from_slice(&chunk[..chunk.len() - 2]);
            }
        } else {
            self.0.read_to_end(&mut body)?;
        }
        Ok(Answer { status, head, body })
    }

    pub(super) fn request(&mut self, text: impl AsRef<[u8]>) -> Answer {
        self.send(text);
        self.answer(false).unwrap()
    }

    pub(super) fn get(&mut self, path: &str) -> Answer {
        self.request(format!("GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n"))
    }

    pub(super) fn post(&mut self, path: &str, body: &str) -> Answer {
        self.request(format!(
            "POST {path} HTTP/1.1\r\nHost: guest\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Whether the server ends the connection, cleanly or not.
    pub(super) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}
