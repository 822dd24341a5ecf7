//! One client connection with HTTP/1.1: read a head, exchange it with the workload, repeat.
//!
//! Everything of one connection, the hop to the workload included, runs in one task and one poll function.
//! An event from the workload costs one read there and one write here.

use super::answer::Answer;
use super::deadline::Guard;
use super::gateway::{CLOSED, Gateway};
use super::head::{self, Framing, Method, Refusal, Request, Response, Route};
use super::identity::Identity;
use super::tls::TlsStream;
use super::upload::{Incoming, Uplink};
use super::upstream::{Failure, Reader, Sink, Stream};
use std::io::{self, IoSlice, Write as _};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Decrypted bytes that may wait while a response is under way.
const AHEAD: usize = 16 * 1024;

/// A client connection after its handshake.
#[derive(Debug)]
pub(super) struct Connection {
    tls: TlsStream,
    gateway: Rc<Gateway>,
    identity: Rc<Identity>,
    guard: Guard,
}

/// What happens to the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another request may follow.
    Request,
    /// The response is out, nothing is left to read.
    Close,
    /// The client may still be sending; give it time to read our response first.
    Linger,
    /// There is nobody left.
    Drop,
}

impl Connection {
    /// Takes over a connection whose handshake is complete.
    pub(super) fn new(
        tls: TlsStream,
        gateway: Rc<Gateway>,
        identity: Rc<Identity>,
        guard: Guard,
    ) -> Self {
        Self {
            tls,
            gateway,
            identity,
            guard,
        }
    }

    /// Serves requests until either side has had enough.
    pub(super) async fn serve(mut self) {
        loop {
            let next = match self.request().await {
                None => Next::Drop,
                Some(Err(refusal)) => self.answer(&refusal.into(), false, Next::Linger).await,
                Some(Ok((request, head))) => self.respond(&request, head).await,
            };
            match next {
                Next::Request => {}
                Next::Close | Next::Drop => return,
                Next::Linger => return self.linger().await,
            }
        }
    }

    /// The next request and its head as the workload gets it; `None` when there is none.
    async fn request(&mut self) -> Option<Result<(Request, Vec<u8>), Refusal>> {
        let limits = self.gateway.limits();
        self.guard.set(limits.idle);
        let mut is_first = true;
        loop {
            while self.tls.plain().starts_with(b"\r\n") {
                self.tls.consume(2);
            }
            if !self.tls.plain().is_empty() {
                if std::mem::take(&mut is_first) {
                    self.guard.set(limits.head);
                }
                let mut out = Vec::with_capacity(1024);
                match head::request(self.tls.plain(), &mut out) {
                    Ok(None) => {}
                    Ok(Some(request)) => {
                        self.tls.consume(request.consumed);
                        return Some(Ok((request, out)));
                    }
                    Err(refusal) => return Some(Err(refusal)),
                }
            }
            if self.tls.ended() {
                return None;
            }
            self.guard.within(|cx| self.tls.poll_fill(cx)).await?.ok()?;
        }
    }

    async fn busy(&mut self, message: &str) -> Next {
        let answer = Answer::busy(message);
        self.answer(&answer, false, Next::Linger).await
    }

    async fn respond(&mut self, request: &Request, head: Vec<u8>) -> Next {
        let gateway = Rc::clone(&self.gateway);
        let Some(_permit) = gateway.admit() else {
            return self.busy("too many requests in flight").await;
        };
        if request.route != Route::Workload {
            return self.local(request).await;
        }
        if !gateway.is_open() {
            return self.busy(CLOSED).await;
        }
        if request.expects_continue
            && self.tls.plain().is_empty()
            && self
                .tls
                .send(&[IoSlice::new(b"HTTP/1.1 100 Continue\r\n\r\n")])
                .is_err()
        {
            return Next::Drop;
        }
        let limit = self.gateway.limits().body;
        let incoming = match Incoming::new(request.framing, limit) {
            Ok(incoming) => incoming,
            Err(failure) => return self.fail(failure, request, false).await,
        };
        let mut upload = Upload {
            uplink: Uplink::new(head, request.framing),
            incoming,
        };
        loop {
            let (stream, is_reused) = match gateway
                .pool()
                .obtain(&self.guard, gateway.limits().connect)
                .await
            {
                Ok(obtained) => obtained,
                Err(failure) => {
                    return self.fail(failure, request, upload.incoming.is_done()).await;
                }
            };
            let mut exchange = Exchange::new(self, request, &mut upload, stream);
            let result = std::future::poll_fn(|cx| exchange.poll(cx)).await;
            let Exchange { reader, stream, .. } = exchange;
            match result {
                Ok(()) => return self.done(request, &upload, &reader, stream),
                Err(Failure::Closed)
                    if is_reused && !reader.has_bytes() && upload.may_repeat(request) =>
                {
                    upload.uplink.rewind()
                }
                Err(_) if reader.has_head() => return Next::Drop,
                Err(failure) => {
                    return self.fail(failure, request, upload.incoming.is_done()).await;
                }
            }
        }
    }

    fn done(&self, request: &Request, upload: &Upload, reader: &Reader, stream: Stream) -> Next {
        let is_whole = upload.incoming.is_done() && !upload.uplink.is_broken();
        if is_whole && reader.is_reusable() {
            self.gateway.pool().give(stream);
        }
        match (is_whole, request.keep_alive) {
            (true, true) => Next::Request,
            (true, false) => Next::Close,
            (false, _) => Next::Linger,
        }
    }

    /// Answers a request without the workload.
    async fn local(&mut self, request: &Request) -> Next {
        let is_head = request.method == Method::Head;
        let body = match self.small_body(request).await {
            Ok(body) => body,
            Err(failure) => return self.fail(failure, request, false).await,
        };
        let session = self.tls.session();
        let answer = self
            .gateway
            .local(
                request.route,
                request.method,
                &body,
                &self.identity,
                &session,
            )
            .await;
        let next = if request.keep_alive {
            Next::Request
        } else {
            Next::Close
        };
        self.answer(&answer, is_head, next).await
    }

    async fn small_body(&mut self, request: &Request) -> Result<Vec<u8>, Failure> {
        let limits = self.gateway.limits();
        let mut incoming = Incoming::new(request.framing, limits.local_body)?;
        let mut body = Vec::new();
        self.guard.set(limits.head);
        while !incoming.is_done() {
            let (payload, consumed) = incoming.take(self.tls.plain(), limits.local_body)?;
            body.extend_from_slice(self.tls.plain().get(..payload).unwrap_or_default());
            self.tls.consume(consumed);
            if incoming.is_done() {
                break;
            }
            if self.tls.ended() {
                return Err(Failure::ClientGone);
            }
            match self.guard.within(|cx| self.tls.poll_fill(cx)).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return Err(Failure::ClientGone),
                None => return Err(Failure::BodyTimedOut),
            }
        }
        Ok(body)
    }

    async fn fail(&mut self, failure: Failure, request: &Request, is_read: bool) -> Next {
        let Some(answer) = failure.answer() else {
            return Next::Drop;
        };
        let next = match (is_read, request.keep_alive) {
            (true, true) => Next::Request,
            (true, false) => Next::Close,
            (false, _) => Next::Linger,
        };
        self.answer(&answer, request.method == Method::Head, next)
            .await
    }

    async fn answer(&mut self, answer: &Answer, is_head: bool, next: Next) -> Next {
        let mut out = Vec::with_capacity(512);
        answer.write(is_head, next == Next::Request, &mut out);
        if self.tls.send(&[IoSlice::new(&out)]).is_err() {
            return Next::Drop;
        }
        if next != Next::Request {
            self.tls.close_notify();
        }
        self.guard.set(self.gateway.limits().stall);
        match self.guard.within(|cx| self.tls.poll_flush(cx)).await {
            Some(Ok(())) => next,
            _ => Next::Drop,
        }
    }

    /// Closing with unread input would reset the connection and could destroy our response on its way
    /// (RFC 9112, section 9.6): end our side, then read to the client's end for a short while.
    async fn linger(mut self) {
        self.guard.set(self.gateway.limits().linger);
        if let Some(Ok(())) = self.guard.within(|cx| self.tls.poll_finish(cx)).await {
            let _ended = self.guard.within(|cx| self.tls.poll_drain(cx)).await;
        }
    }
}

/// The request side of an exchange; survives a retry.
#[derive(Debug)]
struct Upload {
    uplink: Uplink,
    incoming: Incoming,
}

impl Upload {
    /// Whether the request can be sent again on another connection: safe to, and all its bytes still here.
    fn may_repeat(&self, request: &Request) -> bool {
        request.method.is_idempotent() && request.framing == Framing::Length(0)
    }
}

/// One request and its response.
struct Exchange<'c> {
    tls: &'c mut TlsStream,
    guard: &'c Guard,
    gateway: &'c Gateway,
    upload: &'c mut Upload,
    stream: Stream,
    reader: Reader,
    form: Form,
}

/// How the response is written for this client.
struct Form {
    is_http10: bool,
    keep_alive: bool,
    is_chunked: bool,
}

impl<'c> Exchange<'c> {
    fn new(
        connection: &'c mut Connection,
        request: &Request,
        upload: &'c mut Upload,
        stream: Stream,
    ) -> Self {
        let Connection {
            tls,
            gateway,
            guard,
            ..
        } = connection;
        guard.set(gateway.limits().response);
        let form = Form {
            is_http10: request.is_http10,
            keep_alive: request.keep_alive,
            is_chunked: false,
        };
        Self {
            tls,
            guard,
            gateway,
            upload,
            stream,
            reader: Reader::new(request.method),
            form,
        }
    }

    /// Moves bytes both ways until the response is with the client.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut has_moved = false;
        loop {
            has_moved |= self.poll_upload(cx)?;
            let is_blocked = self.tls.is_queued()
                && self
                    .tls
                    .poll_flush(cx)
                    .map_err(|_| Failure::ClientGone)?
                    .is_pending();
            if !is_blocked && self.reader.is_done() {
                return Poll::Ready(Ok(()));
            }
            if !is_blocked {
                let mut sink = ClientSink {
                    tls: self.tls,
                    form: &mut self.form,
                };
                if self
                    .reader
                    .poll(cx, &mut self.stream, &mut sink)?
                    .is_ready()
                {
                    has_moved = true;
                    continue;
                }
            }
            self.watch_client(cx)?;
            return self.rest(cx, is_blocked, has_moved);
        }
    }

    /// Nothing can move now: set or check the time limit of whoever is waited for.
    fn rest(
        &self,
        cx: &Context<'_>,
        is_blocked: bool,
        has_moved: bool,
    ) -> Poll<Result<(), Failure>> {
        let limits = self.gateway.limits();
        let waits_for_body = !self.upload.incoming.is_done() && self.upload.uplink.is_flushed();
        let (limit, failure) = match (is_blocked, waits_for_body) {
            (true, _) => (limits.stall, Failure::ClientGone),
            (false, true) => (limits.stall, Failure::BodyTimedOut),
            (false, false) => (limits.response, Failure::TimedOut),
        };
        if has_moved {
            self.guard.set(limit);
        }
        if self.guard.is_due(cx) {
            Poll::Ready(Err(failure))
        } else {
            Poll::Pending
        }
    }

    /// Moves request bytes; returns whether any moved.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        let Upload { uplink, incoming } = &mut *self.upload;
        let mut has_moved = false;
        loop {
            if !incoming.is_done() && !self.tls.plain().is_empty() {
                let (payload, consumed) =
                    incoming.take(self.tls.plain(), self.gateway.limits().body)?;
                uplink.push(
                    self.tls.plain().get(..payload).unwrap_or_default(),
                    incoming.is_done(),
                );
                self.tls.consume(consumed);
            }
            if uplink.is_flushed() && incoming.is_done() {
                return Ok(has_moved);
            }
            let has_bytes = !uplink.is_flushed() && !uplink.is_broken();
            if uplink.poll_flush(cx, &mut self.stream).is_pending() {
                return Ok(has_moved);
            }
            has_moved |= has_bytes;
            if incoming.is_done() || uplink.is_broken() {
                return Ok(has_moved);
            }
            if self.tls.ended() {
                return Err(Failure::ClientGone);
            }
            match self.tls.poll_fill(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Failure::ClientGone),
                Poll::Pending => return Ok(has_moved),
            }
        }
    }

    /// Notices a client that goes away while the workload works for it.
    fn watch_client(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if !self.upload.incoming.is_done() && !self.upload.uplink.is_broken() {
            return Ok(());
        }
        while self.tls.plain().len() < AHEAD {
            match self.tls.poll_fill(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if !self.tls.ended() => {}
                Poll::Ready(_) => return Err(Failure::ClientGone),
            }
        }
        Ok(())
    }
}

/// Encrypts the response for the client; the caller flushes.
struct ClientSink<'s> {
    tls: &'s mut TlsStream,
    form: &'s mut Form,
}

impl Sink for ClientSink<'_> {
    fn deliver(
        &mut self,
        head: Option<&Response<'_, '_>>,
        data: &[u8],
        end: bool,
    ) -> io::Result<()> {
        let mut front = Vec::new();
        if let Some(response) = head {
            front.reserve(512);
            response.write(self.form.is_http10, self.form.keep_alive, &mut front);
            self.form.is_chunked =
                !self.form.is_http10 && !matches!(response.framing, Framing::Length(_));
        }
        let mut back: &[u8] = &[];
        if self.form.is_chunked {
            back = match (data.is_empty(), end) {
                (true, true) => b"0\r\n\r\n",
                (true, false) => b"",
                (false, true) => b"\r\n0\r\n\r\n",
                (false, false) => b"\r\n",
            };
            if !data.is_empty() {
                write!(front, "{:x}\r\n", data.len())?;
            }
        }
        self.tls
            .send(&[IoSlice::new(&front), IoSlice::new(data), IoSlice::new(back)])?;
        if end && !self.form.keep_alive {
            self.tls.close_notify();
        }
        Ok(())
    }
}
