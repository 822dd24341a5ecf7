//! The attested client: TLS 1.3 to a guest, its evidence checked on the same connection before any request.
//!
//! Spec: `docs/evidence-format.md`, layers A (leaf) and B (session). The certificate is trusted for nothing by
//! itself: it is self-signed, and the evidence in it and over the connection's exporter is what counts.
//! Not covered: HTTP/1.1 to the guest; one HTTP/2 connection carries every request of a client.

pub(crate) mod attest;
pub(crate) mod chat;
pub(crate) mod endpoint;
pub(crate) mod proxy;
pub(crate) mod tls;
pub(crate) mod upstream;

pub(crate) use attest::{Appraised, Expectation, Session};
pub(crate) use endpoint::Endpoint;

/// The endpoint could not be reached or broke off; says nothing about what it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No TCP connection.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Host and port.
        endpoint: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke before the endpoint had shown anything.
    #[error("TLS handshake with {endpoint} did not finish")]
    Handshake {
        /// Host and port.
        endpoint: String,
        /// What the system or the TLS library said.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP exchange broke off.
    #[error("{endpoint} broke off: {reason}")]
    Http {
        /// Host and port.
        endpoint: String,
        /// What was going on and what happened.
        reason: String,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer in {seconds} s")]
    Timeout {
        /// Host and port.
        endpoint: String,
        /// How long it was waited, in seconds.
        seconds: u64,
    },
    /// The TLS library refuses its own configuration.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl crate::cmd::Hinted for ClientError {
    fn hint(&self) -> Option<String> {
        match self {
            ClientError::Connect { .. } | ClientError::Handshake { .. } => {
                Some("is the guest up? `--wait SECONDS` tries again until it answers".to_owned())
            }
            _ => None,
        }
    }
}
