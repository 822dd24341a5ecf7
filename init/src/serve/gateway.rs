//! What all connections share, and the loop that accepts them.

use super::answer::Answer;
use super::attest::Attestor;
use super::deadline::{Clock, PERIOD};
use super::h1;
use super::h2;
use super::head::{Method, Route};
use super::identity::Identity;
use super::tls::{Session, TlsStream};
use super::upstream::{Endpoint, Pool};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Bounds on what clients and the workload may take. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at a time; further ones wait in the accept queue.
    pub connections: usize,
    /// Requests in flight at a time, over all connections; further ones get 503.
    pub requests: usize,
    /// HTTP/2 streams at a time on one connection.
    pub streams: u32,
    /// Longest request body for the workload.
    pub body: u64,
    /// Longest request body for the gateway's own paths.
    pub local_body: u64,
    /// From accepting to the end of the TLS handshake.
    pub handshake: Duration,
    /// From a request's first byte to the end of its head.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// Connecting to the workload.
    pub connect: Duration,
    /// The workload sends nothing although it is its turn.
    pub response: Duration,
    /// The client neither reads what is for it nor sends what it announced.
    pub stall: Duration,
    /// Reading on after a refused request, so that the client gets to see the answer.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests: 1024,
            streams: 100,
            body: 32 << 20,
            local_body: 4096,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            connect: Duration::from_secs(5),
            response: Duration::from_secs(600),
            stall: Duration::from_secs(60),
            linger: Duration::from_secs(2),
        }
    }
}

/// What is answered before the canary was.
pub(super) const CLOSED: &str = "workload has not yet answered its first question";

/// Shared state of all connections.
#[derive(Debug)]
pub(super) struct Gateway {
    limits: Limits,
    clock: Rc<Clock>,
    pool: Pool,
    identity: RefCell<Rc<Identity>>,
    attestor: Option<Attestor>,
    /// Whether requests reach the workload: not before its canary was answered.
    is_open: Cell<bool>,
    connections: Count,
    requests: Count,
}

/// How many of something there are, and a signal when there is one less.
#[derive(Debug, Default, Clone)]
struct Count(Rc<(Cell<usize>, Notify)>);

/// One of something; counts down when dropped.
#[derive(Debug)]
pub(super) struct Permit(Count);

impl Count {
    fn enter(&self, most: usize) -> Option<Permit> {
        let (count, _) = &*self.0;
        if count.get() >= most {
            return None;
        }
        count.set(count.get().saturating_add(1));
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (count, freed) = &*self.0.0;
        count.set(count.get().saturating_sub(1));
        freed.notify_one();
    }
}

impl Gateway {
    /// A gateway to `endpoint` that presents `identity` to new connections.
    pub(super) fn new(
        endpoint: Endpoint,
        limits: Limits,
        identity: Identity,
        attestor: Option<Attestor>,
    ) -> Rc<Self> {
        let clock = Clock::new();
        let pool = Pool::new(endpoint, Rc::clone(&clock));
        let identity = RefCell::new(Rc::new(identity));
        Rc::new(Self {
            limits,
            clock,
            pool,
            identity,
            attestor,
            is_open: Cell::new(true),
            connections: Count::default(),
            requests: Count::default(),
        })
    }

    /// The limits.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Connections to the workload.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The clock that time limits use.
    pub(super) fn clock(&self) -> &Rc<Clock> {
        &self.clock
    }

    /// The identity for new connections.
    pub(super) fn identity(&self) -> Rc<Identity> {
        Rc::clone(&self.identity.borrow())
    }

    /// From now on new connections get `identity`; open ones keep theirs.
    pub(super) fn set_identity(&self, identity: Identity) {
        *self.identity.borrow_mut() = Rc::new(identity);
    }

    /// Whether requests reach the workload.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// Lets requests reach the workload, or not.
    pub(super) fn set_open(&self, is_open: bool) {
        self.is_open.set(is_open);
    }

    /// Admits one more request, unless there are too many.
    pub(super) fn admit(&self) -> Option<Permit> {
        self.requests.enter(self.limits.requests)
    }

    /// Answers a request that is not for the workload.
    pub(super) async fn local(
        &self,
        route: Route,
        method: Method,
        body: &[u8],
        identity: &Identity,
        session: &Session,
    ) -> Answer {
        match (route, method, &self.attestor) {
            (Route::Health, Method::Get | Method::Head, _) => self.health().await,
            (Route::Health, ..) => Answer::method_not_allowed("GET, HEAD"),
            (Route::Attestation, Method::Get | Method::Head, Some(_)) => identity.leaf_answer(),
            (Route::Attestation, Method::Post, Some(attestor)) => {
                attestor.session_answer(identity, session, body).await
            }
            (Route::Attestation, _, Some(_)) => Answer::method_not_allowed("GET, HEAD, POST"),
            (Route::Attestation, _, None) | (Route::Workload, ..) => {
                Answer::error(404, "not found")
            }
        }
    }

    async fn health(&self) -> Answer {
        if !self.is_open() {
            return Answer::busy(CLOSED);
        }
        let guard = self.clock.guard(self.limits.connect);
        match self.pool.obtain(&guard, self.limits.connect).await {
            Ok((stream, _)) => {
                self.pool.give(stream);
                Answer::new(200, "application/json", "{\"status\":\"ok\"}\n")
            }
            Err(_) => Answer::busy("workload does not accept connections"),
        }
    }

    /// Advances the clock and closes idle connections to the workload, for ever.
    pub(super) async fn keep_time(self: Rc<Self>) {
        let mut interval = tokio::time::interval(PERIOD);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.clock.sweep();
            self.pool.sweep();
        }
    }

    /// Accepts connections for ever.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener) -> std::convert::Infallible {
        loop {
            let Some(permit) = self.connections.enter(self.limits.connections) else {
                self.connections.0.1.notified().await;
                continue;
            };
            match listener.accept().await {
                Ok((tcp, _)) => {
                    tokio::task::spawn_local(Rc::clone(&self).connection(tcp, permit));
                }
                // The client gave up, or descriptors are short: neither ends the service.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn connection(self: Rc<Self>, tcp: TcpStream, _permit: Permit) {
        let identity = self.identity();
        let guard = self.clock.guard(self.limits.handshake);
        let Ok(mut tls) = TlsStream::new(tcp, identity.config()) else {
            return;
        };
        let Some(Ok(())) = guard.within(|cx| tls.poll_handshake(cx)).await else {
            return;
        };
        if tls.is_h2() {
            Box::pin(h2::serve(tls, self, identity, guard)).await;
        } else {
            h1::Connection::new(tls, self, identity, guard)
                .serve()
                .await;
        }
    }
}
