//! The request on its way to the workload: unframing at one end, a write buffer at the other.

use super::chunked::Decoder;
use super::head::Framing;
use super::upstream::{Failure, Stream};
use std::io::{self, Write as _};
use std::task::{Context, Poll, ready};

/// What is left of a request body that arrives over HTTP/1.1.
#[derive(Debug)]
pub(super) enum Incoming {
    Length(u64),
    Chunked { decoder: Decoder, total: u64 },
    Done,
}

impl Incoming {
    /// The body after a head with `framing`; one longer than `limit` is refused before it is read.
    pub(super) fn new(framing: Framing, limit: u64) -> Result<Self, Failure> {
        match framing {
            Framing::Length(0) => Ok(Self::Done),
            Framing::Length(length) if length > limit => Err(Failure::BodyTooLarge),
            Framing::Length(length) => Ok(Self::Length(length)),
            Framing::Chunked | Framing::Close => Ok(Self::Chunked {
                decoder: Decoder::default(),
                total: 0,
            }),
        }
    }

    /// Whether the whole body has been taken.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Unframes `plain` in place: the payload moves to its front. Returns (payload, consumed).
    pub(super) fn take(&mut self, plain: &mut [u8], limit: u64) -> Result<(usize, usize), Failure> {
        match self {
            Self::Done => Ok((0, 0)),
            Self::Length(left) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(plain.len());
                *left = left.saturating_sub(here as u64);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok((here, here))
            }
            Self::Chunked { decoder, total } => {
                let decoded = decoder.decode(plain).map_err(|_| Failure::BadBody)?;
                *total = total.saturating_add(decoded.payload as u64);
                if *total > limit {
                    return Err(Failure::BodyTooLarge);
                }
                if decoded.done {
                    *self = Self::Done;
                }
                Ok((decoded.payload, decoded.consumed))
            }
        }
    }
}

/// Bytes for the workload that the socket has not taken yet.
#[derive(Debug)]
pub(super) struct Uplink {
    bytes: Vec<u8>,
    sent: usize,
    is_chunked: bool,
    is_broken: bool,
}

impl Uplink {
    /// Starts with the request head; the body follows with `framing`.
    pub(super) fn new(head: Vec<u8>, framing: Framing) -> Self {
        Self {
            bytes: head,
            sent: 0,
            is_chunked: framing == Framing::Chunked,
            is_broken: false,
        }
    }

    /// Whether the workload stopped reading; it may still answer.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether all bytes have been written.
    pub(super) fn is_flushed(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Begins anew on another connection with the same bytes.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        self.is_broken = false;
    }

    /// Appends payload and, with `done`, the end of the body.
    pub(super) fn push(&mut self, payload: &[u8], done: bool) {
        if self.is_flushed() && self.sent > 0 {
            self.bytes.clear();
            self.sent = 0;
        }
        if !self.is_chunked {
            self.bytes.extend_from_slice(payload);
            return;
        }
        if !payload.is_empty() {
            // Writing to a Vec cannot fail.
            let _ok = write!(self.bytes, "{:x}\r\n", payload.len());
            self.bytes.extend_from_slice(payload);
            self.bytes.extend_from_slice(b"\r\n");
        }
        if done {
            self.bytes.extend_from_slice(b"0\r\n\r\n");
        }
    }

    /// Writes what there is; a workload that closed its reading side only marks the link broken.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<()> {
        while let Some(rest) = self.bytes.get(self.sent..)
            && !rest.is_empty()
            && !self.is_broken
        {
            match ready!(stream.poll_write(cx, rest)) {
                Ok(count) if count > 0 => self.sent = self.sent.saturating_add(count),
                Ok(_) => self.is_broken = true,
                Err(error) => self.is_broken = error.kind() != io::ErrorKind::Interrupted,
            }
        }
        Poll::Ready(())
    }
}
