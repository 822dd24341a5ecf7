//! The connection to the workload: dialling, the keep-alive pool, and reading responses.

use super::chunked::Decoder;
use super::deadline::{Clock, Guard, periods};
use super::head::{self, Framing, Method, Response};
use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Bytes asked from the kernel at once.
const READ: usize = 64 * 1024;
/// Idle connections kept.
const IDLE: usize = 512;
/// How long one is kept: below the five seconds after which common Python servers close theirs.
const IDLE_LIMIT: Duration = Duration::from_secs(3);

/// Where the workload listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix stream socket; the only kind a guest uses.
    Unix(PathBuf),
    /// TCP, for the gateway benchmark: the guest's system call filter refuses it.
    Tcp(SocketAddr),
}

/// A connection to the workload.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Whether nothing has arrived since the last read; costs no system call on a quiet connection.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Unix(stream) => stream.try_read(&mut byte),
            Self::Tcp(stream) => stream.try_read(&mut byte),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Idle connections to the workload, and the way to new ones.
#[derive(Debug)]
pub(super) struct Pool {
    endpoint: Endpoint,
    clock: Rc<Clock>,
    idle: RefCell<Vec<(Stream, u64)>>,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(endpoint: Endpoint, clock: Rc<Clock>) -> Self {
        Self {
            endpoint,
            clock,
            idle: RefCell::new(Vec::new()),
        }
    }

    /// The most recently used connection that is still open and quiet.
    pub(super) fn take(&self) -> Option<Stream> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop())
            .map(|(stream, _)| stream)
            .find(Stream::is_quiet)
    }

    /// Keeps `stream` for the next request.
    pub(super) fn give(&self, stream: Stream) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < IDLE {
            idle.push((stream, self.clock.now()));
        }
    }

    /// Closes what has been idle too long.
    pub(super) fn sweep(&self) {
        let oldest = self.clock.now().saturating_sub(periods(IDLE_LIMIT));
        self.idle.borrow_mut().retain(|(_, since)| *since >= oldest);
    }

    /// Opens a connection; a full accept queue is retried until the caller gives up.
    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match &self.endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Endpoint::Unix(path) => loop {
                match UnixStream::connect(path).await {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tokio::time::sleep(Duration::from_millis(5)).await
                    }
                    result => return result.map(Stream::Unix),
                }
            },
        }
    }

    /// A pooled connection if there is one (`true`), else a new one, within `limit`.
    pub(super) async fn obtain(
        &self,
        guard: &Guard,
        limit: Duration,
    ) -> Result<(Stream, bool), Failure> {
        if let Some(stream) = self.take() {
            return Ok((stream, true));
        }
        guard.set(limit);
        let mut connecting = Box::pin(self.connect());
        match guard.within(|cx| connecting.as_mut().poll(cx)).await {
            Some(Ok(stream)) => Ok((stream, false)),
            Some(Err(_)) | None => Err(Failure::Unreachable),
        }
    }
}

/// Why an exchange with the workload ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// No connection.
    #[error("workload does not accept connections")]
    Unreachable,
    /// The connection ended before the response did.
    #[error("workload closed the connection")]
    Closed,
    /// Not HTTP/1.1, or not allowed.
    #[error("workload sent a malformed response")]
    Malformed,
    /// Nothing came in time.
    #[error("workload did not answer in time")]
    TimedOut,
    /// The client did not send its body in time.
    #[error("request body did not arrive in time")]
    BodyTimedOut,
    /// The client went away, or did not read in time.
    #[error("client went away")]
    ClientGone,
    /// The request body was longer than allowed.
    #[error("request body too large")]
    BodyTooLarge,
    /// The request body was malformed.
    #[error("malformed request body")]
    BadBody,
}

/// Where a response goes: one call per read from the workload.
pub(super) trait Sink {
    /// Takes the head (with the first call), payload without framing, and whether that was the end.
    fn deliver(
        &mut self,
        head: Option<&Response<'_, '_>>,
        data: &[u8],
        end: bool,
    ) -> io::Result<()>;
}

#[derive(Debug)]
enum Body {
    Head,
    Length(u64),
    Chunked(Decoder),
    Close,
    Done,
}

/// Reads one response.
#[derive(Debug)]
pub(super) struct Reader {
    method: Method,
    body: Body,
    partial: Vec<u8>,
    is_reusable: bool,
    has_bytes: bool,
}

impl Reader {
    /// A reader of the response to a request with `method`.
    pub(super) fn new(method: Method) -> Self {
        Self {
            method,
            body: Body::Head,
            partial: Vec::new(),
            is_reusable: false,
            has_bytes: false,
        }
    }

    /// Whether the response is complete.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.body, Body::Done)
    }

    /// Whether its head has been delivered.
    pub(super) fn has_head(&self) -> bool {
        !matches!(self.body, Body::Head)
    }

    /// Whether anything has arrived.
    pub(super) fn has_bytes(&self) -> bool {
        self.has_bytes
    }

    /// Whether the connection may carry another request after this response.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_reusable && self.is_done()
    }

    /// Reads once and delivers what came.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), Failure>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        let read = ready!(stream.poll_read(cx, &mut buffer));
        let bytes = buffer.filled_mut();
        if read.is_err() || bytes.is_empty() {
            return Poll::Ready(self.ended(sink));
        }
        self.has_bytes = true;
        if self.has_head() {
            return Poll::Ready(self.pass(None, bytes, sink));
        }
        if self.partial.is_empty() {
            return Poll::Ready(self.head(bytes, sink));
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(bytes);
        Poll::Ready(self.head(&mut joined, sink))
    }

    fn ended(&mut self, sink: &mut impl Sink) -> Result<(), Failure> {
        if !matches!(self.body, Body::Close) {
            return Err(Failure::Closed);
        }
        self.body = Body::Done;
        sink.deliver(None, &[], true)
            .map_err(|_| Failure::ClientGone)
    }

    fn head(&mut self, mut bytes: &mut [u8], sink: &mut impl Sink) -> Result<(), Failure> {
        loop {
            let Some(end) = head::head_end(bytes).map_err(|_| Failure::Malformed)? else {
                self.partial = bytes.to_vec();
                return Ok(());
            };
            let (head, rest) = bytes.split_at_mut_checked(end).ok_or(Failure::Malformed)?;
            let mut space = head::field_space();
            let response =
                head::response(head, &mut space, self.method).map_err(|_| Failure::Malformed)?;
            if response.status == 101 {
                return Err(Failure::Malformed);
            }
            if response.status < 200 {
                bytes = rest;
                continue;
            }
            self.is_reusable = response.is_reusable;
            self.body = match response.framing {
                Framing::Length(length) => Body::Length(length),
                Framing::Chunked => Body::Chunked(Decoder::default()),
                Framing::Close => Body::Close,
            };
            return self.pass(Some(&response), rest, sink);
        }
    }

    /// Strips the framing from `bytes` and delivers the payload.
    fn pass(
        &mut self,
        head: Option<&Response<'_, '_>>,
        bytes: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<(), Failure> {
        let (payload, consumed, done) = match &mut self.body {
            Body::Length(left) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left = left.saturating_sub(here as u64);
                (here, here, *left == 0)
            }
            Body::Chunked(decoder) => {
                let decoded = decoder.decode(bytes).map_err(|_| Failure::Malformed)?;
                (decoded.payload, decoded.consumed, decoded.done)
            }
            Body::Close => (bytes.len(), bytes.len(), false),
            Body::Head | Body::Done => return Err(Failure::Malformed),
        };
        if done {
            self.body = Body::Done;
            self.is_reusable &= consumed == bytes.len();
        }
        if payload == 0 && head.is_none() && !done {
            return Ok(());
        }
        sink.deliver(head, bytes.get(..payload).unwrap_or_default(), done)
            .map_err(|_| Failure::ClientGone)
    }
}
