//! The control channel between PID 1 and `serve`: a Unix stream socket pair.
//!
//! Each message is a frame: length as `u32` little-endian, at most [`MAX_FRAME`] bytes, then one
//! CBOR array whose first item is the message's number. PID 1 speaks first and sends one
//! [`Configuration`]; then `serve` sends [`Request`]s and gets one [`Reply`] to each of those that
//! have one, in order.
//! `serve` is given no way to choose what is signed: it names the fields of a binding, PID 1
//! computes it. Decoders are strict: what they accept encodes to the same bytes again.
//! Units: seconds since 1970-01-01 00:00 UTC. Not covered: who may speak; the pair has no name.

use std::io::{Read, Write};

use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::guest::Canary;
use minicbor::{Decoder, Encoder};

/// Longest frame body in bytes: a bundle is at most this long too.
pub const MAX_FRAME: usize = 1024 * 1024;

/// Most sessions in one [`Request::Sessions`].
pub const MAX_SESSIONS: usize = 64;

/// Why the channel cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The socket failed or was closed inside a frame.
    #[error("control channel: {0}")]
    Socket(#[from] std::io::Error),
    /// A frame is longer than [`MAX_FRAME`].
    #[error("control channel: frame of {found} bytes, at most {MAX_FRAME} allowed")]
    TooLong {
        /// Announced length in bytes.
        found: usize,
    },
    /// A frame is not the message wanted in its one encoding.
    #[error("control channel: not a well-formed {wanted}")]
    Malformed {
        /// `configuration`, `request` or `reply`.
        wanted: &'static str,
    },
}

/// What `serve` is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Path of the workload's socket inside the directory that is `serve`'s root, as `/http.sock`.
    pub workload_socket: String,
    /// Common name of the leaf certificate: the recipe's name. Nobody checks it.
    pub subject: String,
    /// What to ask the workload before any client's request reaches it.
    pub canary: Option<Canary>,
}

/// From `serve` to PID 1.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// Evidence for a leaf certificate; answered by [`Reply::Evidence`] or [`Reply::Refused`].
    Leaf {
        /// SHA-256 of the DER SubjectPublicKeyInfo.
        spki_sha256: [u8; 32],
        /// `notBefore`.
        not_before: u64,
        /// `notAfter`.
        not_after: u64,
    },
    /// One quote for up to [`MAX_SESSIONS`] sessions; answered by [`Reply::Quote`] or
    /// [`Reply::Refused`].
    Sessions {
        /// SHA-256 of the DER SubjectPublicKeyInfo that all of them use.
        spki_sha256: [u8; 32],
        /// Nonce and exporter of each session, in the order of the Merkle tree's leaves.
        entries: Vec<([u8; 32], [u8; 32])>,
    },
    /// Evidence for one session with a report of the GPU that answers its nonce; answered by [`Reply::Evidence`] or [`Reply::Refused`].
    NewSession {
        /// SHA-256 of the DER SubjectPublicKeyInfo of its leaf.
        spki_sha256: [u8; 32],
        /// The client's nonce.
        nonce: [u8; 32],
        /// The connection's exporter.
        exporter: [u8; 32],
    },
    /// The listener answers from now on. No reply.
    Listening,
    /// The workload answered its canary; requests reach it from now on. No reply.
    Healthy,
    /// `serve` is about to exit, and why, in at most 256 bytes. No reply.
    Failed {
        /// One line; printed escaped.
        reason: String,
    },
}

impl std::fmt::Debug for Request {
    /// Leaves exporters out: they are secrets of their connections.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leaf {
                not_before,
                not_after,
                ..
            } => f
                .debug_struct("Leaf")
                .field("not_before", not_before)
                .field("not_after", not_after)
                .finish_non_exhaustive(),
            Self::Sessions { entries, .. } => f
                .debug_struct("Sessions")
                .field("count", &entries.len())
                .finish_non_exhaustive(),
            Self::NewSession { .. } => f.write_str("NewSession"),
            Self::Listening => f.write_str("Listening"),
            Self::Healthy => f.write_str("Healthy"),
            Self::Failed { reason } => f.debug_struct("Failed").field("reason", reason).finish(),
        }
    }
}

/// From PID 1 to `serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Everything a leaf bundle holds.
    Evidence {
        /// Hardware evidence over the leaf's binding.
        cpu: CpuSection,
        /// CBOR of the device section.
        devices: Vec<u8>,
        /// CBOR of the log section.
        log: Vec<u8>,
    },
    /// Hardware evidence over the batch of [`Request::Sessions`].
    Quote {
        /// Hardware evidence over the batch's root.
        cpu: CpuSection,
    },
    /// The request was not granted; PID 1 goes on.
    Refused {
        /// One line.
        reason: String,
    },
}

type Encoded = Encoder<Vec<u8>>;
type EncodeResult = Result<(), minicbor::encode::Error<std::convert::Infallible>>;
type DecodeError = minicbor::decode::Error;

/// Runs `write`; writing to memory cannot fail, so an error leaves a body no decoder accepts.
fn encoded(write: impl FnOnce(&mut Encoded) -> EncodeResult) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    match write(&mut encoder) {
        Ok(()) => encoder.into_writer(),
        Err(_) => Vec::new(),
    }
}

fn decoded<T>(
    wanted: &'static str,
    body: &[u8],
    read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>,
    encode: impl FnOnce(&T) -> Vec<u8>,
) -> Result<T, ChannelError> {
    match read(&mut Decoder::new(body)) {
        Ok(message) if encode(&message) == body => Ok(message),
        _ => Err(ChannelError::Malformed { wanted }),
    }
}

fn refuse<T>(what: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::message(what))
}

fn digest(d: &mut Decoder<'_>) -> Result<[u8; 32], DecodeError> {
    d.bytes()?
        .try_into()
        .map_err(|_| DecodeError::message("32 bytes wanted"))
}

fn cpu(d: &mut Decoder<'_>) -> Result<CpuSection, DecodeError> {
    let kind = match d.u8()? {
        1 => CpuKind::TpmQuote,
        2 => CpuKind::SnpReport,
        3 => CpuKind::Azure,
        _ => return refuse("cpu kind 1 or 2 wanted"),
    };
    Ok(CpuSection {
        kind,
        value: d.bytes()?.to_vec(),
    })
}

/// The number of a kind of evidence on this channel.
fn cpu_number(kind: CpuKind) -> u8 {
    match kind {
        CpuKind::TpmQuote => 1,
        CpuKind::SnpReport => 2,
        CpuKind::Azure => 3,
        // A new kind has to be added here and in `cpu`; until then it does not decode.
        _ => 0,
    }
}

impl Configuration {
    /// `[workload socket, subject]`, with a canary `[workload socket, subject, path, body, answer, seconds]`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(|e| {
            e.array(if self.canary.is_some() { 6 } else { 2 })?
                .str(&self.workload_socket)?
                .str(&self.subject)?;
            if let Some(canary) = &self.canary {
                e.str(&canary.path)?.str(&canary.body)?;
                e.str(&canary.answer)?.u32(canary.seconds)?;
            }
            e.ok()
        })
    }

    /// Undoes [`Configuration::encode`].
    ///
    /// # Errors
    /// [`ChannelError::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, ChannelError> {
        let read = |d: &mut Decoder<'_>| {
            let items = d.array()?;
            let (workload_socket, subject) = (d.str()?.to_owned(), d.str()?.to_owned());
            let canary = |d: &mut Decoder<'_>| -> Result<Canary, DecodeError> {
                Ok(Canary {
                    path: d.str()?.to_owned(),
                    body: d.str()?.to_owned(),
                    answer: d.str()?.to_owned(),
                    seconds: d.u32()?,
                })
            };
            Ok(Self {
                workload_socket,
                subject,
                canary: (items == Some(6)).then(|| canary(d)).transpose()?,
            })
        };
        decoded("configuration", body, read, Self::encode)
    }
}

impl Request {
    /// `[1, spki, notBefore, notAfter]`, `[2, spki, [nonce, exporter]...]`, `[3]`, `[4, reason]`, `[5]`,
    /// `[6, spki, nonce, exporter]`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(|e| match self {
            Self::Leaf {
                spki_sha256,
                not_before,
                not_after,
            } => e
                .array(4)?
                .u8(1)?
                .bytes(spki_sha256)?
                .u64(*not_before)?
                .u64(*not_after)?
                .ok(),
            Self::Sessions {
                spki_sha256,
                entries,
            } => {
                e.array(3)?.u8(2)?.bytes(spki_sha256)?;
                // usize to u64 cannot fail on the platforms Rust has.
                e.array(u64::try_from(entries.len()).unwrap_or(u64::MAX))?;
                for (nonce, exporter) in entries {
                    e.array(2)?.bytes(nonce)?.bytes(exporter)?;
                }
                e.ok()
            }
            Self::Listening => e.array(1)?.u8(3)?.ok(),
            Self::Failed { reason } => e.array(2)?.u8(4)?.str(reason)?.ok(),
            Self::Healthy => e.array(1)?.u8(5)?.ok(),
            Self::NewSession {
                spki_sha256,
                nonce,
                exporter,
            } => {
                e.array(4)?.u8(6)?.bytes(spki_sha256)?;
                e.bytes(nonce)?.bytes(exporter)?.ok()
            }
        })
    }

    /// Undoes [`Request::encode`].
    ///
    /// # Errors
    /// [`ChannelError::Malformed`], also for no or more than [`MAX_SESSIONS`] sessions.
    pub fn decode(body: &[u8]) -> Result<Self, ChannelError> {
        decoded("request", body, Self::read, Self::encode)
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.array()?;
        match d.u8()? {
            1 => Ok(Self::Leaf {
                spki_sha256: digest(d)?,
                not_before: d.u64()?,
                not_after: d.u64()?,
            }),
            2 => {
                let spki_sha256 = digest(d)?;
                let count = d
                    .array()?
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(0);
                if count == 0 || count > MAX_SESSIONS {
                    return refuse("1 to 64 sessions wanted");
                }
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    d.array()?;
                    entries.push((digest(d)?, digest(d)?));
                }
                Ok(Self::Sessions {
                    spki_sha256,
                    entries,
                })
            }
            3 => Ok(Self::Listening),
            4 => match d.str()? {
                reason if reason.len() <= 256 => Ok(Self::Failed {
                    reason: reason.to_owned(),
                }),
                _ => refuse("at most 256 bytes wanted"),
            },
            5 => Ok(Self::Healthy),
            6 => Ok(Self::NewSession {
                spki_sha256: digest(d)?,
                nonce: digest(d)?,
                exporter: digest(d)?,
            }),
            _ => refuse("request 1 to 6 wanted"),
        }
    }
}

impl Reply {
    /// `[1, kind, cpu, devices, log]`, `[2, kind, cpu]`, `[3, reason]`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encoded(|e| match self {
            Self::Evidence { cpu, devices, log } => {
                e.array(5)?
                    .u8(1)?
                    .u8(cpu_number(cpu.kind))?
                    .bytes(&cpu.value)?;
                e.bytes(devices)?.bytes(log)?.ok()
            }
            Self::Quote { cpu } => e
                .array(3)?
                .u8(2)?
                .u8(cpu_number(cpu.kind))?
                .bytes(&cpu.value)?
                .ok(),
            Self::Refused { reason } => e.array(2)?.u8(3)?.str(reason)?.ok(),
        })
    }

    /// Undoes [`Reply::encode`].
    ///
    /// # Errors
    /// [`ChannelError::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, ChannelError> {
        let read = |d: &mut Decoder<'_>| {
            d.array()?;
            match d.u8()? {
                1 => Ok(Self::Evidence {
                    cpu: cpu(d)?,
                    devices: d.bytes()?.to_vec(),
                    log: d.bytes()?.to_vec(),
                }),
                2 => Ok(Self::Quote { cpu: cpu(d)? }),
                3 => Ok(Self::Refused {
                    reason: d.str()?.to_owned(),
                }),
                _ => refuse("reply 1 to 3 wanted"),
            }
        };
        decoded("reply", body, read, Self::encode)
    }
}

/// The frame around `body`: length, then the body.
///
/// # Errors
/// [`ChannelError::TooLong`].
pub fn frame(body: &[u8]) -> Result<Vec<u8>, ChannelError> {
    let found = body.len();
    let length = u32::try_from(found).map_err(|_| ChannelError::TooLong { found })?;
    if found > MAX_FRAME {
        return Err(ChannelError::TooLong { found });
    }
    Ok([length.to_le_bytes().as_slice(), body].concat())
}

/// Writes one frame.
///
/// # Errors
/// [`ChannelError::TooLong`] and [`ChannelError::Socket`].
pub fn write_frame(socket: &mut impl Write, body: &[u8]) -> Result<(), ChannelError> {
    Ok(socket.write_all(&frame(body)?)?)
}

/// Reads one frame and returns its body; blocks until all of it is there.
///
/// # Errors
/// [`ChannelError::TooLong`] and [`ChannelError::Socket`], also at the end of the stream.
pub fn read_frame(socket: &mut impl Read) -> Result<Vec<u8>, ChannelError> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut body = vec![0; body_length(length)?];
    socket.read_exact(&mut body)?;
    Ok(body)
}

/// The length a frame announces, if it is allowed.
///
/// # Errors
/// [`ChannelError::TooLong`].
pub fn body_length(length: [u8; 4]) -> Result<usize, ChannelError> {
    let found = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if found > MAX_FRAME {
        Err(ChannelError::TooLong { found })
    } else {
        Ok(found)
    }
}

/// Puts frames together from what a non-blocking socket gives, so that a peer that sends half a
/// frame holds nobody up.
#[derive(Debug, Default)]
pub struct Frames {
    pending: Vec<u8>,
}

impl Frames {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Takes the next complete frame's body, if there is one.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`] as soon as a too long frame is announced.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, ChannelError> {
        let Some((length, rest)) = self.pending.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some((body, rest)) = rest.split_at_checked(body_length(*length)?) else {
            return Ok(None);
        };
        let (body, rest) = (body.to_vec(), rest.to_vec());
        self.pending = rest;
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn requests() -> Vec<Request> {
        vec![
            Request::Leaf {
                spki_sha256: [1; 32],
                not_before: 2,
                not_after: u64::MAX,
            },
            Request::Sessions {
                spki_sha256: [1; 32],
                entries: vec![([2; 32], [3; 32]); 64],
            },
            Request::NewSession {
                spki_sha256: [1; 32],
                nonce: [2; 32],
                exporter: [3; 32],
            },
            Request::Listening,
            Request::Healthy,
            Request::Failed {
                reason: "ü".into()
            },
        ]
    }

    fn replies() -> Vec<Reply> {
        let cpu = CpuSection {
            kind: CpuKind::TpmQuote,
            value: vec![1, 2],
        };
        vec![
            Reply::Evidence {
                cpu: cpu.clone(),
                devices: vec![3],
                log: vec![],
            },
            Reply::Quote {
                cpu: CpuSection {
                    kind: CpuKind::SnpReport,
                    ..cpu
                },
            },
            Reply::Refused {
                reason: "no".into(),
            },
        ]
    }

    #[test]
    fn messages_round_trip() {
        for request in requests() {
            assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        }
        for reply in replies() {
            assert_eq!(Reply::decode(&reply.encode()).unwrap(), reply);
        }
        let conf = Configuration {
            workload_socket: "/http.sock".into(),
            subject: "demo".into(),
            canary: None,
        };
        assert_eq!(Configuration::decode(&conf.encode()).unwrap(), conf);
        let canary = Canary {
            path: "/v1/completions".into(),
            body: "{}".into(),
            answer: "ü".into(),
            seconds: u32::MAX,
        };
        let conf = Configuration {
            canary: Some(canary),
            ..conf
        };
        let body = conf.encode();
        assert_eq!(Configuration::decode(&body).unwrap(), conf);
        for cut in 0..body.len() {
            assert!(Configuration::decode(&body[..cut]).is_err());
        }
    }

    #[test]
    fn decode_refuses_truncated_and_longer_messages() {
        for body in requests().iter().map(Request::encode) {
            for cut in 0..body.len() {
                assert!(Request::decode(&body[..cut]).is_err());
            }
            assert!(Request::decode(&[body.as_slice(), &[0]].concat()).is_err());
        }
    }

    #[test]
    fn decode_refuses_no_and_too_many_sessions() {
        for count in [0, 65] {
            let entries = vec![([2; 32], [3; 32]); count];
            let body = Request::Sessions {
                spki_sha256: [1; 32],
                entries,
            }
            .encode();
            let found = Request::decode(&body).unwrap_err().to_string();
            assert_eq!(found, "control channel: not a well-formed request");
        }
    }

    #[test]
    fn debug_hides_exporters() {
        let request = Request::Sessions {
            spki_sha256: [1; 32],
            entries: vec![([2; 32], [3; 32])],
        };
        assert_eq!(format!("{request:?}"), "Sessions { count: 1, .. }");
        let request = Request::NewSession {
            spki_sha256: [1; 32],
            nonce: [2; 32],
            exporter: [3; 32],
        };
        assert_eq!(format!("{request:?}"), "NewSession");
    }

    #[test]
    fn frames_cross_a_socket_pair() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        for request in requests() {
            write_frame(&mut a, &request.encode()).unwrap();
            assert_eq!(
                Request::decode(&read_frame(&mut b).unwrap()).unwrap(),
                request
            );
        }
        drop(a);
        assert!(matches!(read_frame(&mut b), Err(ChannelError::Socket(_))));
    }

    #[test]
    fn frames_come_together_byte_by_byte() {
        let stream = [
            frame(b"one").unwrap(),
            frame(b"").unwrap(),
            frame(b"three").unwrap(),
        ]
        .concat();
        let mut frames = Frames::default();
        let mut got = Vec::new();
        for byte in stream {
            frames.push(&[byte]);
            got.extend(frames.take().unwrap());
        }
        assert_eq!(got, [b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn frames_refuse_a_long_announcement_at_once() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(matches!(
            frames.take(),
            Err(ChannelError::TooLong { found: 0xffff_ffff })
        ));
        let long = frame(&vec![0; MAX_FRAME + 1]);
        assert!(matches!(
            long,
            Err(ChannelError::TooLong { found: 1_048_577 })
        ));
    }
}
