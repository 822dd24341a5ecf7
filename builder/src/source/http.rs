//! HTTP GET with certificate roots of the machine, time limits and retries with growing pauses.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use crate::cmd::Hinted;

/// Pauses before the second and later attempts.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(8),
];

/// Largest answer kept in memory, bytes; a signed suite list is about 2 MB, the largest index page about 40 MB.
const LARGEST: u64 = 256 << 20;

/// An HTTP client; cheap to clone, connections are shared.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
}

/// A body on its way.
pub(crate) struct Response {
    /// First byte of the body within the whole file: not 0 only if a range was asked for and granted.
    pub(crate) offset: u64,
    /// `Content-Type`, empty if absent.
    pub(crate) content_type: String,
    /// The bytes.
    pub(crate) body: Box<dyn Read + Send>,
}

/// Why nothing was brought.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// The server does not have it (404 or 410).
    #[error("`{0}` does not exist there")]
    Gone(String),
    /// Any other refusal.
    #[error("`{url}` was answered with HTTP status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// No answer.
    #[error("`{url}` cannot be reached")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The connection ended in the middle.
    #[error("`{url}`: the connection ended early")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// A certificate file cannot be used.
    #[error("`{path}` holds no certificates")]
    Certificates {
        /// The file.
        path: String,
    },
}

impl Hinted for HttpError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => Some(
                "check the network and run the command again: it goes on where it stopped"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl HttpError {
    /// Whether another attempt may end better.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Unreachable { source, .. } => !matches!(
                **source,
                ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Tls(_)
            ),
            Self::Interrupted { .. } => true,
            Self::Gone(_) | Self::Certificates { .. } => false,
        }
    }
}

impl Client {
    /// A client that trusts the machine's certificate roots and those in `certificates` (PEM).
    pub(crate) fn new(certificates: Option<&Path>) -> Result<Self, HttpError> {
        let config = ureq::Agent::config_builder()
            .tls_config(tls(certificates)?)
            .http_status_as_error(false)
            .user_agent(concat!("cloister/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .build();
        Ok(Self {
            agent: config.new_agent(),
        })
    }

    /// One attempt to get `url` from byte `offset` on, with an `Accept` header if not empty.
    pub(crate) fn get(&self, url: &str, offset: u64, accept: &str) -> Result<Response, HttpError> {
        let mut request = self.agent.get(url);
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        if !accept.is_empty() {
            request = request.header("Accept", accept);
        }
        let answer = request.call().map_err(|error| HttpError::Unreachable {
            url: url.to_owned(),
            source: Box::new(error),
        })?;
        let header = |name: &str| {
            let value = answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (content_type, range) = (header("Content-Type"), header("Content-Range"));
        let offset = match answer.status().as_u16() {
            200 => 0,
            206 if range.starts_with(&format!("bytes {offset}-")) => offset,
            404 | 410 => return Err(HttpError::Gone(url.to_owned())),
            status => {
                return Err(HttpError::Status {
                    url: url.to_owned(),
                    status,
                });
            }
        };
        let body = Box::new(answer.into_body().into_reader());
        Ok(Response {
            offset,
            content_type,
            body,
        })
    }

    /// A whole small file and its content type, with retries.
    pub(crate) fn read(&self, url: &str, accept: &str) -> Result<(Vec<u8>, String), HttpError> {
        retry(|| {
            let response = self.get(url, 0, accept)?;
            let mut bytes = Vec::new();
            let mut body = response.body.take(LARGEST);
            match body.read_to_end(&mut bytes) {
                Ok(_) => Ok((bytes, response.content_type)),
                Err(source) => Err(HttpError::Interrupted {
                    url: url.to_owned(),
                    source,
                }),
            }
        })
    }
}

/// The certificate roots of this machine and those in `certificates` (PEM).
pub(crate) fn tls(certificates: Option<&Path>) -> Result<TlsConfig, HttpError> {
    let mut roots: Vec<Certificate<'static>> = rustls_native_certs::load_native_certs()
        .certs
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    if let Some(path) = certificates {
        let bad = || HttpError::Certificates {
            path: path.display().to_string(),
        };
        let pem = std::fs::read(path).map_err(|_| bad())?;
        let before = roots.len();
        roots.extend(ureq::tls::parse_pem(&pem).filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        }));
        if roots.len() == before {
            return Err(bad());
        }
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .build())
}

/// Repeats `attempt` after growing pauses, as long as its error may pass.
fn retry<T>(mut attempt: impl FnMut() -> Result<T, HttpError>) -> Result<T, HttpError> {
    for pause in PAUSES {
        match attempt() {
            Err(error) if error.is_passing() => std::thread::sleep(pause),
            result => return result,
        }
    }
    attempt()
}

/// Pauses between attempts, for loops that keep what an attempt brought.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    PAUSES.into_iter()
}
