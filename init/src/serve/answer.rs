//! Responses the gateway makes itself: attestation documents, health, and errors as JSON.

use super::head::Refusal;
use super::upstream::Failure;
use bytes::Bytes;
use std::io::Write as _;

/// A complete response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// HTTP status code.
    pub(super) status: u16,
    /// Media type of the body.
    pub(super) content_type: &'static str,
    /// One more field, where the status wants it.
    pub(super) extra: Option<(&'static str, &'static str)>,
    /// Body.
    pub(super) body: Bytes,
}

impl Answer {
    /// A response with a body.
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            extra: None,
            body: body.into(),
        }
    }

    /// `{"error":{"code":…,"message":…}}`; `message` is ours and needs no escaping.
    pub(super) fn error(status: u16, message: &str) -> Self {
        Self::new(
            status,
            "application/json",
            format!("{{\"error\":{{\"code\":{status},\"message\":\"{message}\"}}}}\n"),
        )
    }

    /// An error that invites the client to come back.
    pub(super) fn busy(message: &str) -> Self {
        Self {
            extra: Some(("retry-after", "1")),
            ..Self::error(503, message)
        }
    }

    /// The same for what is there once a minute.
    pub(super) fn busy_for_a_minute(message: &str) -> Self {
        Self {
            extra: Some(("retry-after", "60")),
            ..Self::error(503, message)
        }
    }

    /// 405 with the methods that would do.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self {
            extra: Some(("allow", allow)),
            ..Self::error(405, "method not allowed")
        }
    }

    /// Writes the response for an HTTP/1.1 client.
    pub(super) fn write(&self, is_head: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let reason = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        // Writing to a Vec cannot fail.
        let _ok = write!(
            out,
            "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if let Some((name, value)) = self.extra {
            let _ok = write!(out, "{name}: {value}\r\n");
        }
        out.extend_from_slice(if keep_alive {
            b"\r\n"
        } else {
            b"connection: close\r\n\r\n"
        });
        if !is_head {
            out.extend_from_slice(&self.body);
        }
    }

    /// The response head for an HTTP/2 client.
    pub(super) fn to_http(&self) -> Result<http::Response<()>, http::Error> {
        let mut builder = http::Response::builder()
            .status(self.status)
            .header("content-type", self.content_type)
            .header("content-length", self.body.len())
            .header("cache-control", "no-store");
        if let Some((name, value)) = self.extra {
            builder = builder.header(name, value);
        }
        builder.body(())
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.status, refusal.reason)
    }
}

impl Failure {
    /// The answer for the client, if there is still somebody to read it.
    pub(super) fn answer(self) -> Option<Answer> {
        let status = match self {
            // The workload is starting, or has more clients than it takes: later it may answer.
            Self::Unreachable => return Some(Answer::busy(&self.to_string())),
            Self::Closed | Self::Malformed => 502,
            Self::TimedOut => 504,
            Self::BodyTooLarge => 413,
            Self::BadBody => 400,
            Self::BodyTimedOut => 408,
            Self::ClientGone => return None,
        };
        Some(Answer::error(status, &self.to_string()))
    }
}
