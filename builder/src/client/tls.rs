//! TLS 1.3 to an endpoint whose certificate is evidence, not identity.
//!
//! The handshake proves that the peer holds the key of its leaf (the signature in `CertificateVerify` is checked);
//! whether that key belongs to the expected guest is decided afterwards, from the evidence. Tickets and resumption
//! are off: every connection shows its leaf.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ClientError, Endpoint};

/// A connection whose peer has shown a leaf and proved that it holds its key.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The connection.
    pub(crate) stream: TlsStream<TcpStream>,
    /// DER of the leaf certificate.
    pub(crate) leaf: Vec<u8>,
}

/// Client settings: TLS 1.3 only, HTTP/2 only, no resumption.
pub(crate) fn configuration() -> Result<Arc<ClientConfig>, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ClientError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KeyHolder { provider }))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// 32 bytes for a nonce, from the TLS library's generator.
pub(crate) fn nonce() -> Result<[u8; 32], ClientError> {
    let mut nonce = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut nonce)
        .map_err(|_| ClientError::Setup("no random bytes".to_owned()))?;
    Ok(nonce)
}

/// Connects and shakes hands.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    config: Arc<ClientConfig>,
) -> Result<Connection, ClientError> {
    let failed = |source| ClientError::Connect {
        endpoint: endpoint.to_string(),
        source,
    };
    let tcp = TcpStream::connect((endpoint.host(), endpoint.port()))
        .await
        .map_err(failed)?;
    tcp.set_nodelay(true).map_err(failed)?;
    let broken = |source| ClientError::Handshake {
        endpoint: endpoint.to_string(),
        source,
    };
    let name = ServerName::try_from(endpoint.host().to_owned())
        .map_err(|error| broken(io::Error::other(error)))?;
    let stream = TlsConnector::from(config)
        .connect(name, tcp)
        .await
        .map_err(broken)?;
    let (_, session) = stream.get_ref();
    let leaf = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|leaf| leaf.to_vec())
        .ok_or_else(|| broken(io::Error::other("the peer showed no certificate")))?;
    Ok(Connection { stream, leaf })
}

impl Connection {
    /// 32 bytes of the connection's exporter for `nonce` (RFC 8446 section 7.5).
    pub(crate) fn exporter(&self, nonce: &[u8; 32]) -> Result<[u8; 32], ClientError> {
        let (_, session) = self.stream.get_ref();
        session
            .export_keying_material(
                [0; 32],
                cloister_evidence::binding::EXPORTER_LABEL,
                Some(nonce),
            )
            .map_err(|error| ClientError::Setup(format!("no exporter: {error}")))
    }
}

/// Accepts every certificate whose key the peer proves to hold.
#[derive(Debug)]
struct KeyHolder {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for KeyHolder {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // No authority vouches for a guest: its evidence does, checked before the first request.
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
