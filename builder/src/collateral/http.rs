//! GET for small answers: no redirects, one limit for the whole of an attempt, and waiting as long as a busy service asks for.

use std::io::Read;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use ureq::http::HeaderMap;

use crate::cmd::Hinted;
use crate::source;

/// Largest answer that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Pauses before the second and later attempts, where the service names none.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
    Duration::from_secs(20),
];
/// A service that wants to be left alone for longer is not waited for.
const LONGEST: Duration = Duration::from_secs(60);

/// A client.
pub(crate) struct Agent {
    agent: ureq::Agent,
    pauses: &'static [Duration],
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// Certificates of this machine cannot be used.
    #[error(transparent)]
    Certificates(source::HttpError),
    /// The service refused.
    #[error("`{url}` was answered with HTTP status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// The service is busy for longer than anybody waits.
    #[error("`{url}` was answered with HTTP status {status}, to be asked again in {seconds} s")]
    Busy {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// Retry-After.
        seconds: u64,
    },
    /// The service points elsewhere.
    #[error("`{url}` redirects, and another address is not followed")]
    Redirect {
        /// What was asked for.
        url: String,
    },
    /// No answer, or not all of it.
    #[error("`{url}` cannot be reached, or did not answer in time")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The answer ended early.
    #[error("`{url}`: the answer ended early, or came too slowly")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The answer is longer than any collateral.
    #[error("`{url}` was answered with more than {LARGEST} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
    },
    /// The header that carries the issuer chain is not what it should be.
    #[error("`{url}` was answered without a readable header `{header}`")]
    Header {
        /// What was asked for.
        url: String,
        /// Its name.
        header: &'static str,
    },
}

impl Hinted for HttpError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            HttpError::Redirect { .. } => "configure the address that the service answers at",
            HttpError::Busy { .. } => "run the command again later: what came is in the cache",
            HttpError::Unreachable { .. } | HttpError::Interrupted { .. } => {
                "check address and network and run the command again"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl HttpError {
    fn is_passing(&self) -> bool {
        match self {
            HttpError::Status { status, .. } => *status == 429 || *status >= 500,
            HttpError::Unreachable { source, .. } => !matches!(
                **source,
                ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::Tls(_)
            ),
            HttpError::Interrupted { .. } => true,
            _ => false,
        }
    }
}

impl Agent {
    /// A client that trusts the machine's certificate roots; an attempt may take `limit`.
    pub(crate) fn new(limit: Duration) -> Result<Self, HttpError> {
        Self::with_pauses(limit, &PAUSES)
    }

    /// The same with other pauses.
    pub(super) fn with_pauses(
        limit: Duration,
        pauses: &'static [Duration],
    ) -> Result<Self, HttpError> {
        let tls = source::tls(None).map_err(HttpError::Certificates)?;
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("cloister/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(limit))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            pauses,
        })
    }

    /// The body, and the issuer chain in PEM when `header` names where it stands. Tries again while that may help.
    pub(super) fn get(&self, url: &str, header: Option<&'static str>) -> Result<Answer, HttpError> {
        let mut pauses = self.pauses.iter().copied();
        loop {
            let (error, asked) = match self.attempt(url, header) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match (pauses.next(), asked) {
                (Some(_), Some(pause)) if pause > LONGEST => {
                    return Err(match error {
                        HttpError::Status { url, status } => HttpError::Busy {
                            url,
                            status,
                            seconds: pause.as_secs(),
                        },
                        other => other,
                    });
                }
                (Some(pause), asked) if error.is_passing() => {
                    std::thread::sleep(asked.unwrap_or(pause));
                }
                _ => return Err(error),
            }
        }
    }

    /// One attempt.
    fn attempt(&self, url: &str, header: Option<&'static str>) -> Result<Answer, Failed> {
        let name = || url.to_owned();
        let answer = self.agent.get(url).call().map_err(|error| {
            let source = Box::new(error);
            (
                HttpError::Unreachable {
                    url: name(),
                    source,
                },
                None,
            )
        })?;
        match answer.status().as_u16() {
            200 => {}
            300..=399 => return Err((HttpError::Redirect { url: name() }, None)),
            status => {
                let pause = retry_after(answer.headers());
                return Err((
                    HttpError::Status {
                        url: name(),
                        status,
                    },
                    pause,
                ));
            }
        }
        let chain = header.map(|header| {
            let value = answer.headers().get(header);
            let text = value.and_then(|value| value.to_str().ok());
            let missing = HttpError::Header {
                url: name(),
                header,
            };
            text.and_then(unescaped).ok_or((missing, None))
        });
        let chain = chain.transpose()?;
        let body = whole(url, answer.into_body().into_reader());
        Ok((body.map_err(|error| (error, None))?, chain))
    }
}

/// Body and issuer chain.
type Answer = (Vec<u8>, Option<String>);
/// What went wrong, and how long the service wants to be left alone.
type Failed = (HttpError, Option<Duration>);

fn whole(url: &str, reader: impl Read) -> Result<Vec<u8>, HttpError> {
    let url = url.to_owned();
    let mut body = Vec::new();
    match reader.take(LARGEST + 1).read_to_end(&mut body) {
        Err(source) => Err(HttpError::Interrupted { url, source }),
        Ok(_) if body.len() as u64 > LARGEST => Err(HttpError::TooLarge { url }),
        Ok(_) => Ok(body),
    }
}

/// Seconds, or a date.
#[expect(
    clippy::disallowed_methods,
    reason = "a service may name the time at which it wants to be asked again"
)]
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("Retry-After")?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Undoes percent escapes; `None` for broken ones.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let mut escaped = [0];
                hex::decode_to_slice(digits, &mut escaped).ok()?;
                let [escaped] = escaped;
                escaped
            }
            other => other,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}
