//! The attested endpoint behind `cloister connect`: one pinned connection, attested anew on reconnect and by timer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Appraised, ClientError, Endpoint, Expectation, Session, attest};

/// Why no request can be sent to the endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The evidence was rejected.
    #[error("the endpoint does not verify: {}", .0.reason())]
    Rejected(Box<Appraised>),
    /// The endpoint cannot be reached.
    #[error("the endpoint cannot be attested: {0}")]
    Unreachable(Box<ClientError>),
}

/// An endpoint whose requests go over verified connections only.
#[derive(Debug)]
pub(crate) struct Upstream {
    endpoint: Endpoint,
    expectation: Expectation,
    /// Age at which evidence is too old for another request.
    interval: Duration,
    /// Seconds since the Unix epoch.
    clock: fn() -> u64,
    current: Mutex<Option<Pinned>>,
}

/// The connection in use and when its evidence was accepted.
#[derive(Debug)]
struct Pinned {
    session: Session,
    since: Instant,
}

impl Pinned {
    fn now(session: Session) -> Pinned {
        Pinned {
            session,
            since: Instant::now(),
        }
    }
}

impl Upstream {
    /// An endpoint whose evidence has just been accepted on `session`.
    pub(crate) fn new(
        endpoint: Endpoint,
        expectation: Expectation,
        interval: Duration,
        clock: fn() -> u64,
        session: Session,
    ) -> Arc<Upstream> {
        Arc::new(Upstream {
            endpoint,
            expectation,
            interval,
            clock,
            current: Mutex::new(Some(Pinned::now(session))),
        })
    }

    /// A session whose evidence was accepted at most one interval ago.
    pub(crate) async fn session(&self) -> Result<Session, Refusal> {
        let mut current = self.current.lock().await;
        if let Some(pinned) = current.as_ref()
            && !pinned.session.is_closed()
            && pinned.since.elapsed() < self.interval
        {
            return Ok(pinned.session.clone());
        }
        let outcome = self.attest().await;
        replace(&mut current, outcome)
    }

    /// Attests over a new connection, whatever the age of the present one.
    ///
    /// Streams that run on the old connection end by themselves, unless the evidence was rejected: then they are cut.
    pub(crate) async fn renew(&self) -> Result<(), Refusal> {
        let outcome = self.attest().await;
        let mut current = self.current.lock().await;
        replace(&mut current, outcome).map(|_| ())
    }

    /// Whether a verified connection is at hand.
    pub(crate) async fn is_pinned(&self) -> bool {
        self.current.lock().await.is_some()
    }

    async fn attest(&self) -> Result<Session, Refusal> {
        match attest::open(&self.endpoint, &self.expectation, (self.clock)()).await {
            Ok((_, Some(session))) => Ok(session),
            Ok((appraised, None)) => Err(Refusal::Rejected(Box::new(appraised))),
            Err(error) => Err(Refusal::Unreachable(Box::new(error))),
        }
    }
}

fn replace(
    current: &mut Option<Pinned>,
    outcome: Result<Session, Refusal>,
) -> Result<Session, Refusal> {
    let old = current.take();
    match outcome {
        Ok(session) => {
            *current = Some(Pinned::now(session.clone()));
            Ok(session)
        }
        Err(refusal) => {
            if let (Refusal::Rejected(_), Some(old)) = (&refusal, old) {
                old.session.abort();
            }
            Err(refusal)
        }
    }
}
