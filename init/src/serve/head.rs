//! Heads of HTTP/1.1 messages: parsed strictly, judged, and written anew for the other side.
//!
//! Spec: RFC 9110 and RFC 9112. Nothing is passed through as it came: the start line, the field lines and
//! the framing of the outgoing head are written from parsed values, hop-by-hop fields are left out, and a
//! message whose length could be read in two ways is refused. Lengths are in bytes.

use httparse::{EMPTY_HEADER, Header, Status};
use std::io::Write as _;

/// Most field lines of one head.
pub(super) const MAX_FIELDS: usize = 100;
/// Longest head.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes follow.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection ends (responses only).
    Close,
}

/// A request that is answered with an error and not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {reason}")]
pub(super) struct Refusal {
    /// HTTP status code.
    pub(super) status: u16,
    /// What is wrong, for the client.
    pub(super) reason: &'static str,
}

impl Refusal {
    const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

/// Who answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `/.well-known/attestation`.
    Attestation,
    /// `/healthz`.
    Health,
    /// Everything else.
    Workload,
}

impl Route {
    /// The route of an origin-form `target`.
    pub(super) fn of(target: &str) -> Self {
        match target.split('?').next() {
            Some("/.well-known/attestation") => Self::Attestation,
            Some("/healthz") => Self::Health,
            _ => Self::Workload,
        }
    }
}

/// The methods that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// GET.
    Get,
    /// HEAD: the response has no body.
    Head,
    /// POST.
    Post,
    /// Another method that may be repeated (RFC 9110, section 9.2.2).
    Idempotent,
    /// Any other method.
    Other,
}

impl Method {
    /// Classifies `name`; CONNECT and TRACE are not served.
    pub(super) fn of(name: &str) -> Result<Self, Refusal> {
        Ok(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" | "DELETE" | "OPTIONS" => Self::Idempotent,
            "CONNECT" | "TRACE" => return Err(Refusal::new(405, "method not served here")),
            _ => Self::Other,
        })
    }

    /// Whether a request may be sent again when a connection broke under it.
    pub(super) fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Other)
    }
}

/// What the gateway needs to know about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// Bytes of the input that were the head.
    pub(super) consumed: usize,
    /// Framing of the request body.
    pub(super) framing: Framing,
    /// Whether the client lets the connection live.
    pub(super) keep_alive: bool,
    /// HTTP/1.0: no chunked coding towards the client.
    pub(super) is_http10: bool,
    /// Method.
    pub(super) method: Method,
    /// Who answers.
    pub(super) route: Route,
    /// The client waits for `100 Continue`.
    pub(super) expects_continue: bool,
}

/// Field names with a meaning for framing or for one hop only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    ContentLength,
    TransferEncoding,
    Host,
    Connection,
    Expect,
    /// Meant for one hop, dropped.
    Hop,
    Other,
}

impl Field {
    fn of(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is("te") => Self::Hop,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("trailer") || is("upgrade") => Self::Hop,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::Hop,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::Hop,
            16 if is("proxy-connection") => Self::Hop,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            18 if is("proxy-authenticate") => Self::Hop,
            19 if is("proxy-authorization") => Self::Hop,
            _ => Self::Other,
        }
    }
}

/// Whether a field of this name never crosses the gateway, whatever `Connection` says.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    !matches!(Field::of(name), Field::Other)
}

/// What the field lines say about framing and the connection.
#[derive(Default)]
struct Facts<'b> {
    length: Option<u64>,
    lengths: u32,
    codings: u32,
    is_chunked: bool,
    hosts: u32,
    close: bool,
    keep: bool,
    expect: Option<&'b [u8]>,
    named: Vec<&'b str>,
}

impl<'b> Facts<'b> {
    fn gather(headers: &[Header<'b>]) -> Self {
        let mut facts = Self::default();
        for header in headers {
            match Field::of(header.name) {
                Field::ContentLength => {
                    facts.lengths = facts.lengths.saturating_add(1);
                    facts.length = decimal(header.value);
                }
                Field::TransferEncoding => {
                    facts.codings = facts.codings.saturating_add(1);
                    facts.is_chunked = header.value.eq_ignore_ascii_case(b"chunked");
                }
                Field::Host => facts.hosts = facts.hosts.saturating_add(1),
                Field::Connection => facts.connection(header.value),
                Field::Expect => facts.expect = Some(header.value),
                Field::Hop | Field::Other => {}
            }
        }
        facts
    }

    fn connection(&mut self, value: &'b [u8]) {
        for token in std::str::from_utf8(value)
            .unwrap_or("close")
            .split(',')
            .map(str::trim)
        {
            if token.eq_ignore_ascii_case("close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case("keep-alive") {
                self.keep = true;
            } else if !token.is_empty() {
                self.named.push(token);
            }
        }
    }

    fn passes(&self, header: &Header<'_>) -> bool {
        matches!(Field::of(header.name), Field::Other)
            && !self
                .named
                .iter()
                .any(|name| name.eq_ignore_ascii_case(header.name))
    }
}

/// Digits only, no sign, no list: anything else has two readings somewhere.
pub(super) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

/// A line that does not end in CR LF, or a head that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unterminated {
    /// LF without CR.
    BareLineFeed,
    /// More than [`MAX_HEAD`] without an end.
    TooLong,
}

/// Length of the head at the front of `input` with its empty line, once it is all there.
pub(super) fn head_end(input: &[u8]) -> Result<Option<usize>, Unterminated> {
    let mut line = 0;
    while let Some(rest) = input.get(line..) {
        let Some(feed) = memchr::memchr(b'\n', rest) else {
            break;
        };
        match feed.checked_sub(1).and_then(|before| rest.get(before)) {
            Some(b'\r') => {}
            _ => return Err(Unterminated::BareLineFeed),
        }
        line = line.saturating_add(feed).saturating_add(1);
        if feed == 1 {
            return if line > MAX_HEAD {
                Err(Unterminated::TooLong)
            } else {
                Ok(Some(line))
            };
        }
    }
    if input.len() > MAX_HEAD {
        Err(Unterminated::TooLong)
    } else {
        Ok(None)
    }
}

/// Judges the request head at the front of `input` and writes the head for the workload to `out`.
///
/// `Ok(None)`: the head is not complete yet, and `out` is unchanged.
pub(super) fn request(input: &[u8], out: &mut Vec<u8>) -> Result<Option<Request>, Refusal> {
    let end = match head_end(input) {
        Ok(None) => return Ok(None),
        Ok(Some(end)) => end,
        Err(Unterminated::BareLineFeed) => {
            return Err(Refusal::new(400, "line feed without carriage return"));
        }
        Err(Unterminated::TooLong) => return Err(Refusal::new(431, "request head too long")),
    };
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(input.get(..end).unwrap_or_default()) {
        Ok(Status::Complete(length)) if length == end => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, "too many header fields"));
        }
        _ => return Err(Refusal::new(400, "malformed request head")),
    }
    let (Some(name), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(Refusal::new(400, "malformed request line"));
    };
    let method = Method::of(name)?;
    if !target.starts_with('/') && target != "*" {
        return Err(Refusal::new(400, "request target must be a path"));
    }
    let facts = Facts::gather(parsed.headers);
    let framing = request_framing(&facts, version)?;
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if facts.hosts == 0 {
        write_field("host", b"workload", out); // an HTTP/1.0 client may leave it out, we may not
    }
    write_fields(parsed.headers, &facts, out, true);
    write_request_framing(framing, facts.lengths > 0, out);
    out.extend_from_slice(b"\r\n");
    Ok(Some(Request {
        consumed: end,
        framing,
        keep_alive: version == 1 && !facts.close,
        is_http10: version == 0,
        method,
        route: Route::of(target),
        expects_continue: version == 1 && facts.expect.is_some() && framing != Framing::Length(0),
    }))
}

/// RFC 9112, section 6.3, for requests, and refusing every ambiguity it allows servers to resolve.
fn request_framing(facts: &Facts<'_>, version: u8) -> Result<Framing, Refusal> {
    if facts.hosts > 1 || (facts.hosts == 0 && version == 1) {
        return Err(Refusal::new(400, "exactly one `Host` is wanted"));
    }
    if facts
        .expect
        .is_some_and(|value| !value.eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Refusal::new(417, "unknown expectation"));
    }
    match (facts.codings, facts.lengths) {
        (0, 0) => Ok(Framing::Length(0)),
        (0, 1) => facts
            .length
            .map(Framing::Length)
            .ok_or(Refusal::new(400, "malformed `Content-Length`")),
        (0, _) => Err(Refusal::new(400, "more than one `Content-Length`")),
        (1, 0) if version == 1 && facts.is_chunked => Ok(Framing::Chunked),
        (1, 0) if version == 1 => Err(Refusal::new(501, "transfer coding not served here")),
        (_, 0) => Err(Refusal::new(400, "malformed `Transfer-Encoding`")),
        _ => Err(Refusal::new(
            400,
            "both `Transfer-Encoding` and `Content-Length`",
        )),
    }
}

/// Writes the framing field of a request; a length of zero only if the client gave one.
pub(super) fn write_request_framing(framing: Framing, has_length: bool, out: &mut Vec<u8>) {
    match framing {
        Framing::Length(0) if !has_length => {}
        Framing::Length(length) => write_length(length, out),
        Framing::Chunked | Framing::Close => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n")
        }
    }
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ok = write!(out, "content-length: {length}\r\n");
}

fn write_fields(headers: &[Header<'_>], facts: &Facts<'_>, out: &mut Vec<u8>, with_host: bool) {
    for header in headers {
        if facts.passes(header) || (with_host && matches!(Field::of(header.name), Field::Host)) {
            write_field(header.name, header.value, out);
        }
    }
}

/// Writes one field line.
pub(super) fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The workload answered with something that is not HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed response head")]
pub(super) struct MalformedResponse;

/// A response head of the workload.
pub(super) struct Response<'h, 'b> {
    /// Status code.
    pub(super) status: u16,
    reason: &'b str,
    headers: &'h [Header<'b>],
    facts: Facts<'b>,
    /// How its body ends.
    pub(super) framing: Framing,
    /// Whether the workload keeps the connection after this response.
    pub(super) is_reusable: bool,
}

/// Space for the field lines of one response.
pub(super) fn field_space<'b>() -> [Header<'b>; MAX_FIELDS] {
    [EMPTY_HEADER; MAX_FIELDS]
}

/// Parses `head`, which [`head_end`] has delimited; `method` is that of the request.
pub(super) fn response<'h, 'b>(
    head: &'b [u8],
    space: &'h mut [Header<'b>; MAX_FIELDS],
    method: Method,
) -> Result<Response<'h, 'b>, MalformedResponse> {
    let mut parsed = httparse::Response::new(space);
    match parsed.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        _ => return Err(MalformedResponse),
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(MalformedResponse);
    };
    let headers: &'h [Header<'b>] = parsed.headers;
    let facts = Facts::gather(headers);
    let framing = match (facts.codings, facts.lengths) {
        _ if method == Method::Head || matches!(status, 100..=199 | 204 | 304) => {
            Framing::Length(0)
        }
        (0, 0) => Framing::Close,
        (0, 1) => Framing::Length(facts.length.ok_or(MalformedResponse)?),
        (1, 0) if facts.is_chunked && version == 1 => Framing::Chunked,
        _ => return Err(MalformedResponse),
    };
    let is_reusable = version == 1 && !facts.close && framing != Framing::Close;
    Ok(Response {
        status,
        reason: parsed.reason.unwrap_or_default(),
        headers,
        facts,
        framing,
        is_reusable,
    })
}

impl<'b> Response<'_, 'b> {
    /// The fields that cross the gateway, framing excluded.
    pub(super) fn fields(&self) -> impl Iterator<Item = &Header<'b>> {
        self.headers
            .iter()
            .filter(|header| self.facts.passes(header))
    }

    /// The length the workload announced, also where no body follows (HEAD).
    pub(super) fn length(&self) -> Option<u64> {
        if self.facts.codings == 0 {
            self.facts.length
        } else {
            None
        }
    }

    /// Writes the head for an HTTP/1.1 client; a body of unknown length is announced as chunked unless `is_http10`.
    pub(super) fn write(&self, is_http10: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let _ok = write!(out, "HTTP/1.1 {:03} {}\r\n", self.status, self.reason);
        write_fields(self.headers, &self.facts, out, false);
        match (self.framing, self.length()) {
            (Framing::Length(_), Some(length)) if !matches!(self.status, 204) => {
                write_length(length, out)
            }
            (Framing::Length(_), _) => {}
            (Framing::Chunked | Framing::Close, _) if !is_http10 => {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n")
            }
            (Framing::Chunked | Framing::Close, _) => {}
        }
        if !keep_alive {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests;
