//! The unprivileged front of the guest: RA-TLS towards clients, HTTP/1.1 on a Unix socket towards the workload.
//!
//! ```text
//! client == TLS 1.3 ==> tls -> h1 or h2 -> upstream -> workload
//!                               |
//!                               +-> attest -> control channel -> PID 1
//! ```
//!
//! One thread, one task per connection (HTTP/2: and per stream). `gateway` holds what they share, `head` judges
//! messages, `identity` and `attest` make layers A and B of `cloister-ra/1`, `filter` confines the process.
//! Nothing about requests is ever logged. ADR: `docs/adr/0012-own-http1-path-in-serve.md`.

mod answer;
mod attest;
mod canary;
mod chunked;
mod deadline;
mod filter;
mod gateway;
mod h1;
mod h2;
mod head;
mod identity;
#[cfg(test)]
mod tests;
mod tls;
mod upload;
mod upstream;

pub use attest::AttestError;
pub use canary::CanaryError;
pub use filter::FilterError;
pub use gateway::Limits;
pub use upstream::Endpoint;

use crate::channel::Configuration;
use attest::{Attestor, attestor};
use cloister_evidence::guest::Canary;
use gateway::Gateway;
use identity::{Draft, Identity, IdentityError};
use nix::sys::socket::sockopt::TcpNoDelay;
use nix::sys::socket::{Backlog, listen, setsockopt};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// How often the leaf's age is looked at. By the wall clock, which may be set while we run.
const LEAF_CHECK: Duration = Duration::from_secs(60);

/// The front could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The runtime, the listener or the control channel could not be set up.
    #[error("cannot set up the front: {0}")]
    Io(#[from] io::Error),
    /// The certificate or key does not serve.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// No leaf could be made.
    #[error(transparent)]
    Identity(Box<dyn std::error::Error + Send + Sync>),
    /// No evidence: the front does not serve without.
    #[error(transparent)]
    Attest(#[from] AttestError),
    /// The workload does not answer as it must.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The process could not be confined.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl From<IdentityError> for ServeError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(Box::new(error))
    }
}

/// Serves until the control channel breaks or a leaf can no longer be renewed.
///
/// `control` leads to PID 1, whose [`Configuration`] has been read from it; `listener` is bound. The calling
/// thread must be the only one of the process: the system call filter is its own.
///
/// # Errors
/// Whatever keeps the front from serving with evidence; the guest must not go on without it.
pub fn run(
    control: UnixStream,
    listener: TcpListener,
    configuration: &Configuration,
) -> Result<Infallible, ServeError> {
    let front = Front {
        endpoint: Endpoint::Unix(configuration.workload_socket.clone().into()),
        limits: Limits::default(),
        subject: configuration.subject.clone(),
        canary: configuration.canary.clone(),
        leaf_check: LEAF_CHECK,
        now: unix_time,
    };
    front.run(control, listener)
}

/// What the front is started with.
struct Front<N> {
    endpoint: Endpoint,
    limits: Limits,
    subject: String,
    canary: Option<Canary>,
    leaf_check: Duration,
    /// Seconds since 1970-01-01 00:00 UTC.
    now: N,
}

impl<N: Fn() -> u64> Front<N> {
    fn run(self, control: UnixStream, listener: TcpListener) -> Result<Infallible, ServeError> {
        let runtime = runtime()?;
        let (listener, control) = {
            let _entered = runtime.enter();
            control.set_nonblocking(true)?;
            (
                prepare(listener)?,
                tokio::net::UnixStream::from_std(control)?,
            )
        };
        filter::install(&self.endpoint)?;
        let (attestor, broker) = attestor(control);
        runtime.block_on(async {
            tokio::select! {
                broken = broker.run() => Ok(broken?),
                ended = self.serve(listener, attestor) => ended,
            }
        })
    }

    async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        attestor: Attestor,
    ) -> Result<Infallible, ServeError> {
        let identity = self.identity(&attestor).await?;
        let (endpoint, limits) = (self.endpoint.clone(), self.limits.clone());
        let gateway = Gateway::new(endpoint, limits, identity, Some(attestor.clone()));
        gateway.set_open(self.canary.is_none());
        tokio::task::spawn_local(Rc::clone(&gateway).keep_time());
        tokio::task::spawn_local(Rc::clone(&gateway).accept(listener));
        attestor.listening().await?;
        let renewing = self.renew(&gateway, &attestor);
        let Some(canary) = &self.canary else {
            return renewing.await;
        };
        let mut renewing = pin!(renewing);
        tokio::select! {
            ended = &mut renewing => return ended,
            asked = canary::ask(gateway.pool(), canary) => asked?,
        }
        gateway.set_open(true);
        attestor.healthy().await?;
        renewing.await
    }

    /// Renews the leaf at half time; open connections keep the leaf they began with.
    async fn renew(
        &self,
        gateway: &Gateway,
        attestor: &Attestor,
    ) -> Result<Infallible, ServeError> {
        loop {
            tokio::time::sleep(self.leaf_check).await;
            if gateway.identity().is_due((self.now)()) {
                gateway.set_identity(self.identity(attestor).await?);
            }
        }
    }

    /// A new key with a leaf and evidence.
    async fn identity(&self, attestor: &Attestor) -> Result<Identity, ServeError> {
        let draft = Draft::new((self.now)())?;
        let evidence = attestor.leaf(&draft).await?;
        Ok(draft.finish(&self.subject, evidence)?)
    }
}

/// Serves with a fixed certificate and without evidence: for the gateway benchmark, never in a guest.
///
/// # Errors
/// When the certificate does not fit the key, or the listener cannot be used.
pub fn run_fixed(
    listener: TcpListener,
    endpoint: Endpoint,
    limits: Limits,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Infallible, ServeError> {
    let runtime = runtime()?;
    let listener = {
        let _entered = runtime.enter();
        prepare(listener)?
    };
    filter::install(&endpoint)?;
    let gateway = Gateway::new(endpoint, limits, Identity::fixed(chain, key)?, None);
    runtime.block_on(async {
        tokio::task::spawn_local(Rc::clone(&gateway).keep_time());
        Ok(gateway.accept(listener).await)
    })
}

fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(LocalOptions::default())
}

/// Makes `listener` ready for many clients; accepted sockets inherit its options.
fn prepare(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    setsockopt(&listener, TcpNoDelay, &true)?;
    listen(&listener, Backlog::MAXCONN)?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Seconds since 1970-01-01 00:00 UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "a certificate's validity is wall-clock time"
)]
fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
