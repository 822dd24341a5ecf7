//! One client connection with HTTP/2: the `h2` crate frames, one task per stream exchanges with the workload.

use super::answer::Answer;
use super::deadline::Guard;
use super::gateway::{CLOSED, Gateway};
use super::head::{self, Framing, MAX_HEAD, Method, Refusal, Response, Route};
use super::identity::Identity;
use super::tls::{Session, TlsStream};
use super::upload::Uplink;
use super::upstream::{Failure, Reader, Sink, Stream};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderValue};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Request body bytes a client may send ahead on one stream and on one connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Response bytes of one stream that may wait for the client.
const SEND_BUFFER: usize = 64 * 1024;

/// What the streams of a connection share.
#[derive(Debug)]
struct Client {
    gateway: Rc<Gateway>,
    identity: Rc<Identity>,
    session: Session,
}

/// Serves streams until either side has had enough.
pub(super) async fn serve(
    tls: TlsStream,
    gateway: Rc<Gateway>,
    identity: Rc<Identity>,
    guard: Guard,
) {
    let limits = gateway.limits().clone();
    let client = Rc::new(Client {
        session: tls.session(),
        gateway,
        identity,
    });
    let mut handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake::<_, Bytes>(tls);
    guard.set(limits.head);
    let Some(Ok(mut connection)) = guard
        .within(|cx| std::pin::Pin::new(&mut handshake).poll(cx))
        .await
    else {
        return;
    };
    let mut is_closing = false;
    guard.set(limits.idle);
    loop {
        match guard.within(|cx| connection.poll_accept(cx)).await {
            Some(Some(Ok((request, respond)))) => {
                guard.set(limits.idle);
                tokio::task::spawn_local(stream(Rc::clone(&client), request, respond));
            }
            Some(Some(Err(_)) | None) => return,
            None if Rc::strong_count(&client) > 1 => guard.set(limits.idle),
            None if is_closing => return,
            None => {
                is_closing = true;
                connection.graceful_shutdown();
                guard.set(limits.linger);
            }
        }
    }
}

/// One request.
async fn stream(
    client: Rc<Client>,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let Some(_permit) = client.gateway.admit() else {
        let answer = Answer::busy("too many requests in flight");
        return send(&mut respond, &answer, false);
    };
    let (parts, body) = request.into_parts();
    let mut out = Vec::with_capacity(1024);
    let translated = translate(&parts, body.is_end_stream(), &mut out);
    drop(parts);
    match translated {
        Err(refusal) => send(&mut respond, &refusal.into(), false),
        Ok(wanted) if wanted.route != Route::Workload => {
            client.local(wanted, body, respond).await;
        }
        Ok(_) if !client.gateway.is_open() => send(&mut respond, &Answer::busy(CLOSED), false),
        Ok(wanted) => client.forward(wanted, out, body, respond).await,
    }
}

/// A request that has been judged.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    method: Method,
    framing: Framing,
    route: Route,
}

impl Client {
    /// Answers a request without the workload.
    async fn local(&self, wanted: Wanted, body: RecvStream, mut respond: SendResponse<Bytes>) {
        let Wanted { method, route, .. } = wanted;
        let limits = self.gateway.limits();
        let guard = self.gateway.clock().guard(limits.head);
        let answer = match small_body(body, limits.local_body, &guard).await {
            Ok(body) => {
                self.gateway
                    .local(route, method, &body, &self.identity, &self.session)
                    .await
            }
            Err(failure) => failure
                .answer()
                .unwrap_or_else(|| Answer::error(400, "request body ended early")),
        };
        send(&mut respond, &answer, method == Method::Head);
    }

    /// Exchanges a request, whose head for the workload is `head`, for its response.
    async fn forward(
        &self,
        wanted: Wanted,
        head: Vec<u8>,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) {
        let Wanted {
            method, framing, ..
        } = wanted;
        let limits = self.gateway.limits();
        let guard = self.gateway.clock().guard(limits.response);
        let mut download = Download {
            respond,
            stream: None,
            is_head: method == Method::Head,
        };
        if matches!(framing, Framing::Length(length) if length > limits.body) {
            return download.fail(Failure::BodyTooLarge);
        }
        let mut uplink = Uplink::new(head, framing);
        let mut upload = Upload {
            is_done: framing == Framing::Length(0),
            body,
            total: 0,
        };
        loop {
            let (stream, is_reused) = match self.gateway.pool().obtain(&guard, limits.connect).await
            {
                Ok(obtained) => obtained,
                Err(failure) => return download.fail(failure),
            };
            guard.set(limits.response);
            let mut exchange = Exchange {
                gateway: &self.gateway,
                guard: &guard,
                uplink: &mut uplink,
                upload: &mut upload,
                download: &mut download,
                stream,
                reader: Reader::new(method),
            };
            let result = std::future::poll_fn(|cx| exchange.poll(cx)).await;
            let Exchange { stream, reader, .. } = exchange;
            let may_repeat = is_reused && !reader.has_bytes() && wanted.may_repeat();
            match result {
                Ok(()) if reader.is_reusable() && upload.is_done && !uplink.is_broken() => {
                    return self.gateway.pool().give(stream);
                }
                Ok(()) => return,
                Err(Failure::Closed) if may_repeat => uplink.rewind(),
                Err(failure) => return download.fail(failure),
            }
        }
    }
}

impl Wanted {
    /// Whether the request can be sent again on another connection.
    fn may_repeat(self) -> bool {
        self.method.is_idempotent() && self.framing == Framing::Length(0)
    }
}

/// Judges a request and writes its HTTP/1.1 head for the workload.
fn translate(
    parts: &http::request::Parts,
    is_end: bool,
    out: &mut Vec<u8>,
) -> Result<Wanted, Refusal> {
    let method = Method::of(parts.method.as_str())?;
    let target = parts
        .uri
        .path_and_query()
        .map_or("*", http::uri::PathAndQuery::as_str);
    if !target.starts_with('/') && target != "*" {
        return Err(refuse("request target must be a path"));
    }
    if parts.headers.len() > head::MAX_FIELDS {
        return Err(Refusal {
            status: 431,
            reason: "too many header fields",
        });
    }
    let authority = match (parts.uri.authority(), parts.headers.get(HOST)) {
        (Some(authority), _) => authority.as_str().as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        (None, None) => return Err(refuse("no `:authority`")),
    };
    let (framing, has_length) = framing(parts, is_end)?;
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    head::write_field("host", authority, out);
    for (name, value) in &parts.headers {
        if *name != COOKIE && *name != EXPECT && !head::is_hop_by_hop(name.as_str()) {
            head::write_field(name.as_str(), value.as_bytes(), out);
        }
    }
    let cookies: Vec<&[u8]> = parts
        .headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if !cookies.is_empty() {
        head::write_field("cookie", &cookies.join(&b"; "[..]), out);
    }
    head::write_request_framing(framing, has_length, out);
    out.extend_from_slice(b"\r\n");
    Ok(Wanted {
        method,
        framing,
        route: Route::of(target),
    })
}

fn refuse(reason: &'static str) -> Refusal {
    Refusal {
        status: 400,
        reason,
    }
}

/// How the body ends, and whether the client gave a length.
fn framing(parts: &http::request::Parts, is_end: bool) -> Result<(Framing, bool), Refusal> {
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(value), None) => {
            Some(head::decimal(value.as_bytes()).ok_or(refuse("malformed `content-length`"))?)
        }
        _ => return Err(refuse("more than one `content-length`")),
    };
    let framing = match (is_end, length) {
        (true, None | Some(0)) => Framing::Length(0),
        (true, Some(_)) => return Err(refuse("body shorter than `content-length`")),
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Chunked,
    };
    Ok((framing, length.is_some()))
}

/// Sends a whole answer; a client that has gone does not matter.
fn send(respond: &mut SendResponse<Bytes>, answer: &Answer, is_head: bool) {
    let Ok(head) = answer.to_http() else { return };
    if let Ok(mut stream) = respond.send_response(head, is_head)
        && !is_head
    {
        let _gone = stream.send_data(answer.body.clone(), true);
    }
}

async fn small_body(mut body: RecvStream, limit: u64, guard: &Guard) -> Result<Vec<u8>, Failure> {
    let mut whole = Vec::new();
    loop {
        match guard.within(|cx| body.poll_data(cx)).await {
            Some(None) => return Ok(whole),
            Some(Some(Ok(data))) => whole.extend_from_slice(&data),
            Some(Some(Err(_))) => return Err(Failure::ClientGone),
            None => return Err(Failure::BodyTimedOut),
        }
        if whole.len() as u64 > limit {
            return Err(Failure::BodyTooLarge);
        }
    }
}

/// The request body on its way in.
struct Upload {
    body: RecvStream,
    total: u64,
    is_done: bool,
}

/// The response on its way out.
struct Download {
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
    is_head: bool,
}

/// One request and its response.
struct Exchange<'s> {
    gateway: &'s Gateway,
    guard: &'s Guard,
    uplink: &'s mut Uplink,
    upload: &'s mut Upload,
    download: &'s mut Download,
    stream: Stream,
    reader: Reader,
}

impl Exchange<'_> {
    /// Moves bytes both ways until the response is with `h2`.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut has_moved = false;
        loop {
            has_moved |= self.poll_upload(cx)?;
            if self.reader.is_done() {
                return Poll::Ready(Ok(()));
            }
            let is_blocked = self.download.poll_room(cx)?.is_pending();
            if !is_blocked
                && self
                    .reader
                    .poll(cx, &mut self.stream, self.download)?
                    .is_ready()
            {
                has_moved = true;
                continue;
            }
            if self.download.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Failure::ClientGone));
            }
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
        let waits_for_body = !self.upload.is_done && self.uplink.is_flushed();
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
        let mut has_moved = false;
        loop {
            // The first frames of a body usually are here already and leave with the head.
            if !self.upload.is_done && !self.uplink.is_broken() {
                has_moved |= self
                    .upload
                    .poll_into(cx, self.uplink, self.gateway.limits().body)?;
            }
            if self.uplink.is_flushed()
                || self.uplink.is_broken()
                || self.uplink.poll_flush(cx, &mut self.stream).is_pending()
            {
                return Ok(has_moved);
            }
            has_moved = true;
        }
    }
}

impl Upload {
    /// Moves one frame of the body, if there is one, to `uplink`.
    fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        uplink: &mut Uplink,
        limit: u64,
    ) -> Result<bool, Failure> {
        match self.body.poll_data(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Some(Err(_))) => return Err(Failure::ClientGone),
            Poll::Ready(None) => {
                self.is_done = true;
                uplink.push(&[], true);
            }
            Poll::Ready(Some(Ok(data))) => {
                self.total = self.total.saturating_add(data.len() as u64);
                if self.total > limit {
                    return Err(Failure::BodyTooLarge);
                }
                self.is_done = self.body.is_end_stream();
                uplink.push(&data, self.is_done);
                self.body
                    .flow_control()
                    .release_capacity(data.len())
                    .map_err(|_| Failure::ClientGone)?;
            }
        }
        Ok(true)
    }
}

impl Download {
    /// Ready when the client's windows and our buffer take more of this response.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        if stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        stream.reserve_capacity(SEND_BUFFER);
        loop {
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(_))) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => return Poll::Ready(Err(Failure::ClientGone)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ready when the client has given up on the stream.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).map(drop),
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    /// Ends the stream after a failure: an answer if none has begun, else a reset.
    fn fail(&mut self, failure: Failure) {
        match (&mut self.stream, failure.answer()) {
            (None, Some(answer)) => send(&mut self.respond, &answer, self.is_head),
            (None, None) => self.respond.send_reset(Reason::CANCEL),
            (Some(stream), _) => stream.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

fn gone(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

impl Sink for Download {
    fn deliver(
        &mut self,
        head: Option<&Response<'_, '_>>,
        data: &[u8],
        end: bool,
    ) -> io::Result<()> {
        if let Some(response) = head {
            let is_all = end && data.is_empty();
            let head = to_http(response).map_err(io::Error::other)?;
            let stream = self.respond.send_response(head, is_all).map_err(gone)?;
            self.stream = Some(stream);
            if is_all {
                return Ok(());
            }
        }
        match &mut self.stream {
            Some(stream) => stream
                .send_data(Bytes::copy_from_slice(data), end)
                .map_err(gone),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn to_http(response: &Response<'_, '_>) -> Result<http::Response<()>, http::Error> {
    let mut builder = http::Response::builder().status(response.status);
    for field in response.fields() {
        builder = builder.header(field.name, field.value);
    }
    if let Some(length) = response.length() {
        builder = builder.header(CONTENT_LENGTH, length);
    }
    builder.body(())
}
