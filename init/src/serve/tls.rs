//! One TLS connection: rustls over a non-blocking TCP socket, with as few system calls as possible.
//!
//! A read takes whatever the kernel has into a buffer on the stack, so an idle connection holds no
//! read buffer. A write only encrypts; [`TlsStream::poll_flush`] hands all queued records to the kernel
//! in one vectored write. Lengths are in bytes.

use rustls::ServerConnection;
use std::cell::RefCell;
use std::io::{self, BufRead as _, IoSlice, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes asked from the kernel at once; one TLS record is at most 16 KiB and a little.
const READ: usize = 17 * 1024;
/// Encrypted bytes that may wait for the socket before `AsyncWrite` pushes back.
const QUEUE: usize = 64 * 1024;

/// A shared handle on the TLS session of one connection, for the exporter.
pub(super) type Session = Rc<RefCell<ServerConnection>>;

/// A server's end of a TLS connection.
#[derive(Debug)]
pub(super) struct TlsStream {
    tcp: TcpStream,
    session: Session,
    plain: Vec<u8>,
    taken: usize,
    queued: usize,
    ended: bool,
}

impl TlsStream {
    /// Starts a handshake; [`Self::poll_handshake`] carries it out.
    pub(super) fn new(
        tcp: TcpStream,
        config: Arc<rustls::ServerConfig>,
    ) -> Result<Self, rustls::Error> {
        let mut session = ServerConnection::new(config)?;
        session.set_buffer_limit(None);
        let session = Rc::new(RefCell::new(session));
        Ok(Self {
            tcp,
            session,
            plain: Vec::new(),
            taken: 0,
            queued: 0,
            ended: false,
        })
    }

    /// Drives the handshake to its end.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(cx))?;
            if !self.session.borrow().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Whether the client chose HTTP/2 by ALPN.
    pub(super) fn is_h2(&self) -> bool {
        self.session.borrow().alpn_protocol() == Some(b"h2")
    }

    /// The session, for its exporter.
    pub(super) fn session(&self) -> Session {
        Rc::clone(&self.session)
    }

    /// Decrypted bytes nobody has taken yet.
    pub(super) fn plain(&mut self) -> &mut [u8] {
        self.plain.get_mut(self.taken..).unwrap_or_default()
    }

    /// Drops the first `count` bytes of [`Self::plain`].
    pub(super) fn consume(&mut self, count: usize) {
        self.taken = self.plain.len().min(self.taken.saturating_add(count));
        if self.taken == self.plain.len() {
            self.plain = Vec::new();
            self.taken = 0;
        }
    }

    /// Whether the client has ended its side (`close_notify`, or the end of the TCP stream).
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Reads once from the socket and decrypts; afterwards there may be more [`Self::plain`] bytes, or [`Self::ended`] holds.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = self.absorb(buffer.filled()) {
            let _alert_sent = self.poll_flush(cx);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }

    fn absorb(&mut self, mut records: &[u8]) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        while !records.is_empty() && !self.ended {
            session.read_tls(&mut records)?;
            let state = session.process_new_packets().map_err(io::Error::other)?;
            self.ended |= state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            if left > 0 && self.taken > 0 {
                self.plain.drain(..self.taken);
                self.taken = 0;
            }
            while left > 0 {
                let mut reader = session.reader();
                let chunk = reader.fill_buf()?;
                let count = chunk.len();
                self.plain.extend_from_slice(chunk);
                reader.consume(count);
                left = left.saturating_sub(count.max(1));
            }
        }
        Ok(())
    }

    /// Encrypts `slices` as one message; nothing reaches the socket before [`Self::poll_flush`].
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let count = self.session.borrow_mut().writer().write_vectored(slices)?;
        self.queued = self.queued.saturating_add(count);
        Ok(count)
    }

    /// Queues the closing alert.
    pub(super) fn close_notify(&mut self) {
        self.session.borrow_mut().send_close_notify();
        self.queued = self.queued.saturating_add(1);
    }

    /// Whether encrypted bytes wait for [`Self::poll_flush`].
    pub(super) fn is_queued(&self) -> bool {
        self.queued > 0
    }

    /// Writes queued records to the socket.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            let mut sink = Sink {
                tcp: &mut self.tcp,
                cx,
            };
            match session.write_tls(&mut sink) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.queued = 0;
        Poll::Ready(Ok(()))
    }

    /// Ends our side of the TCP stream after everything queued has been written.
    pub(super) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    /// Reads and drops what the client still sends, until it closes.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ];
        loop {
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The socket as `std::io::Write`: not ready becomes `WouldBlock`, with the waker registered.
struct Sink<'s, 'c, 'w> {
    tcp: &'s mut TcpStream,
    cx: &'c mut Context<'w>,
}

fn blocking(poll: Poll<io::Result<usize>>) -> io::Result<usize> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Sink<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.plain().is_empty() && !self.ended {
            ready!(self.poll_fill(cx))?;
        }
        let count = self.plain().len().min(into.remaining());
        if let Some(bytes) = self.plain().get(..count) {
            into.put_slice(bytes);
        }
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.queued > QUEUE {
            ready!(TlsStream::poll_flush(&mut self, cx))?;
        }
        Poll::Ready(self.send(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TlsStream::poll_flush(&mut self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().send_close_notify();
        self.poll_finish(cx)
    }
}
