//! One attested connection: layers A and B appraised on the connection the requests will use.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use cloister_evidence::bundle::{CONTENT_TYPE, MAX_BUNDLE, WELL_KNOWN_PATH};
use cloister_gpu::RootKey;
use cloister_measure::reference::ReferenceValues;
use cloister_verify::azure::MICROSOFT;
use cloister_verify::certificate::spki;
use cloister_verify::collateral::SnpCollateral;
use cloister_verify::policy::PolicyFile;
use cloister_verify::{Check, Clock, Conclusion, Outcome, Policy, Verdict, layers};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{ClientError, Endpoint, tls};

/// Body of a request to the guest.
pub(crate) type RequestBody = BoxBody<Bytes, hyper::Error>;

/// How long connecting, or one exchange of evidence, may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What the endpoint must turn out to be.
#[derive(Debug, Clone)]
pub(crate) struct Expectation {
    /// Values computed from the image.
    pub(crate) reference: ReferenceValues,
    /// What else is required.
    pub(crate) policy: Policy,
    /// What else is required of the one platform.
    pub(crate) platform: PolicyFile,
    /// What AMD publishes about the endpoint's processor.
    pub(crate) collateral: Option<SnpCollateral>,
    /// Whether the GPU shall be asked anew, with this client's nonce.
    pub(crate) new_gpu: bool,
}

/// The outcome of attesting an endpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Appraised {
    /// Whether both layers were accepted.
    pub(crate) accepted: bool,
    /// The same with the third case, collateral that is missing: of the two layers the worse.
    #[serde(rename = "verdict")]
    pub(crate) conclusion: Conclusion,
    /// Why there is no verdict, when the endpoint gave no evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// Layer A: the leaf certificate and its bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) leaf: Option<Verdict>,
    /// Layer B: evidence over this connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Verdict>,
}

/// An HTTP/2 connection over which evidence has been exchanged.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    sender: SendRequest<RequestBody>,
    driver: AbortHandle,
    authority: String,
}

/// Connects and appraises; the session is there only if both layers were accepted.
///
/// `now` is the time in seconds since the Unix epoch.
pub(crate) async fn open(
    endpoint: &Endpoint,
    expectation: &Expectation,
    now: u64,
) -> Result<(Appraised, Option<Session>), ClientError> {
    let connecting = tls::connect(endpoint, tls::configuration()?);
    let connection = in_time(endpoint, connecting).await?;
    let nonce = tls::nonce()?;
    let exporter = connection.exporter(&nonce)?;
    let leaf = connection.leaf.clone();
    let session = Session::over(endpoint, connection.stream).await?;
    let fetched = in_time(
        endpoint,
        session.evidence(endpoint, &nonce, expectation.new_gpu),
    )
    .await;
    let (leaf_bundle, session_bundle) = match fetched {
        Ok(Ok(bundles)) => bundles,
        Ok(Err(refusal)) => {
            session.abort();
            return Ok((Appraised::refused(refusal), None));
        }
        Err(error) => {
            session.abort();
            return Err(error);
        }
    };
    let shown = Shown {
        leaf: &leaf,
        leaf_bundle: &leaf_bundle,
        nonce: &nonce,
        exporter: &exporter,
        session_bundle: &session_bundle,
    };
    let appraised = shown.appraise(expectation, now);
    if appraised.accepted {
        return Ok((appraised, Some(session)));
    }
    session.abort();
    Ok((appraised, None))
}

/// Everything an endpoint has shown on one connection.
struct Shown<'a> {
    leaf: &'a [u8],
    leaf_bundle: &'a [u8],
    nonce: &'a [u8; 32],
    exporter: &'a [u8; 32],
    session_bundle: &'a [u8],
}

impl Shown<'_> {
    fn appraise(&self, expectation: &Expectation, now: u64) -> Appraised {
        let expected = layers::Expected {
            reference: &expectation.reference,
            policy: &expectation.policy,
            platform: &expectation.platform,
            roots: &MICROSOFT,
            collateral: expectation.collateral.as_ref(),
            gpu_roots: &[RootKey::nvidia()],
        };
        let leaf = layers::appraise_leaf(self.leaf, self.leaf_bundle, &expected, now);
        let leaf = leaf.by(Clock::Machine);
        // A leaf without a readable key has failed above; there is no session to appraise then.
        let session = spki(self.leaf).is_ok().then(|| {
            let (nonce, exporter, bundle) = (self.nonce, self.exporter, self.session_bundle);
            let appraise = match expectation.new_gpu {
                true => layers::appraise_session_with_new_gpu,
                false => layers::appraise_session,
            };
            appraise(self.leaf, nonce, exporter, bundle, &expected, now).by(Clock::Machine)
        });
        let conclusion = conclude(&leaf, session.as_ref());
        Appraised {
            accepted: conclusion == Conclusion::Accepted,
            conclusion,
            refusal: None,
            leaf: Some(leaf),
            session,
        }
    }
}

/// Invalid wins over missing; both layers must be accepted.
fn conclude(leaf: &Verdict, session: Option<&Verdict>) -> Conclusion {
    let session = session.map_or(Conclusion::Rejected, |session| session.conclusion);
    match (leaf.conclusion, session) {
        (Conclusion::Rejected, _) | (_, Conclusion::Rejected) => Conclusion::Rejected,
        (Conclusion::Accepted, Conclusion::Accepted) => Conclusion::Accepted,
        _ => Conclusion::CollateralMissing,
    }
}

impl Appraised {
    fn refused(refusal: String) -> Appraised {
        Appraised {
            accepted: false,
            conclusion: Conclusion::Rejected,
            refusal: Some(refusal),
            leaf: None,
            session: None,
        }
    }

    /// One line that says why the endpoint was not accepted.
    pub(crate) fn reason(&self) -> String {
        if let Some(refusal) = &self.refusal {
            return refusal.clone();
        }
        let failed: Vec<String> = [("leaf", &self.leaf), ("session", &self.session)]
            .into_iter()
            .filter_map(|(layer, verdict)| verdict.as_ref().map(|verdict| (layer, verdict)))
            .flat_map(|(layer, verdict)| {
                let counts = match self.conclusion {
                    Conclusion::CollateralMissing => |check: &&Check| check.missing.is_some(),
                    _ => |check: &&Check| check.outcome == Outcome::Fail,
                };
                let checks = verdict.checks.iter().filter(counts);
                checks.map(move |check| format!("{layer}: {}: {}", check.name, check.explanation))
            })
            .collect();
        failed.join("; ")
    }
}

impl fmt::Display for Appraised {
    /// For people: the verdict of each layer, then what follows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refusal) = &self.refusal {
            writeln!(f, "rejected: {refusal}")?;
        }
        for verdict in self.leaf.iter().chain(&self.session) {
            write!(f, "{verdict}")?;
        }
        let conclusion = match self.conclusion {
            Conclusion::Accepted => "accepted",
            Conclusion::Rejected => "rejected",
            Conclusion::CollateralMissing => "collateral missing",
        };
        writeln!(f, "{conclusion}")
    }
}

impl Session {
    /// Speaks HTTP/2 over `connection`.
    pub(crate) async fn over(
        endpoint: &Endpoint,
        connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Session, ClientError> {
        let io = TokioIo::new(connection);
        let (sender, driver) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .handshake(io)
            .await
            .map_err(|error| broke_off(endpoint, "HTTP/2", &error))?;
        let driver = tokio::spawn(async move {
            // The error reaches every request of the connection.
            driver.await.ok();
        });
        Ok(Session {
            sender,
            driver: driver.abort_handle(),
            authority: endpoint.to_string(),
        })
    }

    /// Whether no request can be sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Ends the connection and every stream on it.
    pub(crate) fn abort(&self) {
        self.driver.abort();
    }

    /// Sends a request; its target keeps path and query only.
    pub(crate) async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let target = format!("https://{}{path}", self.authority);
        if let Ok(target) = target.parse() {
            *request.uri_mut() = target;
        }
        *request.version_mut() = http::Version::HTTP_2;
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request).await
    }

    /// Fetches the leaf bundle and a session bundle for `nonce`; the inner error is what the endpoint answered
    /// instead of evidence.
    async fn evidence(
        &self,
        endpoint: &Endpoint,
        nonce: &[u8; 32],
        new_gpu: bool,
    ) -> Result<Result<(Bytes, Bytes), String>, ClientError> {
        let new = if new_gpu { ",\"gpu\":\"new\"" } else { "" };
        let question = format!("{{\"nonce\":\"{}\"{new}}}", hex::encode(nonce));
        let empty = Empty::new().map_err(|never| match never {}).boxed();
        let body = Full::from(question).map_err(|never| match never {}).boxed();
        let leaf = self.bundle(endpoint, Method::GET, empty).await?;
        let session = self.bundle(endpoint, Method::POST, body).await?;
        Ok(leaf.and_then(|leaf| session.map(|session| (leaf, session))))
    }

    async fn bundle(
        &self,
        endpoint: &Endpoint,
        method: Method,
        body: RequestBody,
    ) -> Result<Result<Bytes, String>, ClientError> {
        let what = format!("{method} {WELL_KNOWN_PATH}");
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(WELL_KNOWN_PATH);
        let json = http::HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let answer = self
            .send(request)
            .await
            .map_err(|error| broke_off(endpoint, &what, &error))?;
        if let Some(refusal) = not_a_bundle(&answer) {
            return Ok(Err(format!("no evidence: {what} answered {refusal}")));
        }
        match Limited::new(answer.into_body(), MAX_BUNDLE).collect().await {
            Ok(body) => Ok(Ok(body.to_bytes())),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(broke_off(endpoint, &what, &error)),
                Err(_) => Ok(Err(format!("{what} answered more than {MAX_BUNDLE} bytes"))),
            },
        }
    }
}

/// What an answer is, if not a bundle.
fn not_a_bundle(answer: &Response<Incoming>) -> Option<String> {
    if answer.status() != StatusCode::OK {
        return Some(format!("status {}", answer.status()));
    }
    let found = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("none");
    (found != CONTENT_TYPE).then(|| format!("content type `{found}`, wanted `{CONTENT_TYPE}`"))
}

/// `source` and its causes in one line.
fn broke_off(endpoint: &Endpoint, what: &str, source: &hyper::Error) -> ClientError {
    let mut reason = format!("{what}: {source}");
    let mut cause = std::error::Error::source(source);
    while let Some(error) = cause {
        reason.push_str(&format!(": {error}"));
        cause = error.source();
    }
    ClientError::Http {
        endpoint: endpoint.to_string(),
        reason,
    }
}

async fn in_time<T>(
    endpoint: &Endpoint,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| {
        Err(ClientError::Timeout {
            endpoint: endpoint.to_string(),
            seconds: LIMIT.as_secs(),
        })
    })
}
