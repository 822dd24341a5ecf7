//! Evidence from PID 1: leaves for layer A, batches of sessions for layer B.
//!
//! Spec: `docs/evidence-format.md`. One task owns the control channel and has one request under way at a time;
//! sessions that arrive meanwhile share the next one through a Merkle tree, at most [`MAX_SESSIONS`] at once.
//! A session that wants new evidence of the GPU has a report of its own.
//! A session's evidence names the key of the leaf that its own connection was handshaked with.

use super::answer::Answer;
use super::identity::{Draft, Identity, Leaf, LeafEvidence};
use super::tls::Session;
use crate::channel::{self, ChannelError, MAX_SESSIONS, Reply, Request};
use bytes::Bytes;
use cloister_evidence::batch::{Batch, BatchError};
use cloister_evidence::binding::{self, EXPORTER_LABEL, Mode};
use cloister_evidence::bundle::{Bundle, CONTENT_TYPE, CpuSection};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// Requests that may wait for evidence; further ones get 503.
const QUEUE: usize = 256;

/// No evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The channel to PID 1 broke.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// PID 1 answered something else than was asked.
    #[error("control channel: reply does not fit the request")]
    Unexpected,
    /// PID 1 said no.
    #[error("no evidence: {reason}")]
    Refused {
        /// PID 1's reason.
        reason: String,
    },
    /// The task that owns the channel has ended.
    #[error("control channel is gone")]
    Gone,
}

/// The front's way to evidence.
#[derive(Debug, Clone)]
pub(super) struct Attestor(Sender<Wanted>);

#[derive(Debug)]
enum Wanted {
    Leaf {
        request: Request,
        reply: oneshot::Sender<Result<LeafEvidence, AttestError>>,
    },
    Session(Waiting),
    /// A session with new evidence of the GPU.
    New(Waiting),
    Listening,
    Healthy,
}

/// What the body of a request for session evidence asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    nonce: [u8; 32],
    /// Whether the GPU shall be asked anew.
    new_gpu: bool,
}

/// A session that waits for its evidence.
#[derive(Debug)]
struct Waiting {
    leaf: Arc<Leaf>,
    nonce: [u8; 32],
    exporter: [u8; 32],
    reply: oneshot::Sender<Option<Bytes>>,
}

/// The task that owns the control channel.
#[derive(Debug)]
pub(super) struct Broker {
    control: UnixStream,
    wanted: Receiver<Wanted>,
}

/// A way to ask, and the task that answers; the task has to be run.
pub(super) fn attestor(control: UnixStream) -> (Attestor, Broker) {
    let (sender, wanted) = channel(QUEUE);
    (Attestor(sender), Broker { control, wanted })
}

impl Attestor {
    /// Evidence for the leaf of `draft`.
    pub(super) async fn leaf(&self, draft: &Draft) -> Result<LeafEvidence, AttestError> {
        let Draft {
            spki_sha256,
            not_before,
            not_after,
            ..
        } = *draft;
        let (reply, answer) = oneshot::channel();
        let request = Request::Leaf {
            spki_sha256,
            not_before,
            not_after,
        };
        self.0
            .send(Wanted::Leaf { request, reply })
            .await
            .map_err(|_| AttestError::Gone)?;
        answer.await.map_err(|_| AttestError::Gone)?
    }

    /// Tells PID 1 that the listener answers.
    pub(super) async fn listening(&self) -> Result<(), AttestError> {
        self.0
            .send(Wanted::Listening)
            .await
            .map_err(|_| AttestError::Gone)
    }

    /// Tells PID 1 that the workload answered its canary.
    pub(super) async fn healthy(&self) -> Result<(), AttestError> {
        let sent = self.0.send(Wanted::Healthy).await;
        sent.map_err(|_| AttestError::Gone)
    }

    /// Layer B: evidence over `session`'s exporter, for the nonce in `body`, with new evidence of the GPU where it wants that.
    pub(super) async fn session_answer(
        &self,
        identity: &Identity,
        session: &Session,
        body: &[u8],
    ) -> Answer {
        let Some(Question { nonce, new_gpu }) = question(body) else {
            return Answer::error(
                400,
                "body is not {'nonce':'<64 lower-case hexadecimal digits>'} with double quotes, perhaps with 'gpu':'new' behind it",
            );
        };
        let exported =
            session
                .borrow()
                .export_keying_material([0; 32], EXPORTER_LABEL, Some(&nonce));
        let (Some(leaf), Ok(exporter)) = (identity.leaf(), exported) else {
            return Answer::error(500, "connection has no exporter");
        };
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            leaf: Arc::clone(leaf),
            nonce,
            exporter,
            reply,
        };
        let (wanted, refusal) = match new_gpu {
            false => (
                Wanted::Session(waiting),
                Answer::busy("no evidence at this time"),
            ),
            true => (
                Wanted::New(waiting),
                Answer::busy_for_a_minute("no new evidence of a GPU at this time"),
            ),
        };
        if self.0.try_send(wanted).is_err() {
            return Answer::busy("too many attestation requests");
        }
        match answer.await {
            Ok(Some(bundle)) => Answer::new(200, CONTENT_TYPE, bundle),
            Ok(None) | Err(_) => refusal,
        }
    }
}

/// White space of JSON.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// `{"nonce":"<64 lower-case hexadecimal digits>"}` or the same with `,"gpu":"new"` behind the nonce; white space between tokens is
/// allowed, nothing else.
fn question(body: &[u8]) -> Option<Question> {
    let text = std::str::from_utf8(body).ok()?;
    let rest = behind(text, &["{", "\"nonce\"", ":", "\""])?;
    let (digits, rest) = rest.split_at_checked(64)?;
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut nonce = [0; 32];
    hex::decode_to_slice(digits, &mut nonce).ok()?;
    let rest = rest.strip_prefix('"')?;
    let new = behind(rest, &[",", "\"gpu\"", ":", "\"new\""]);
    let end = behind(new.unwrap_or(rest), &["}"])?;
    end.trim_matches(SPACE).is_empty().then_some(Question {
        nonce,
        new_gpu: new.is_some(),
    })
}

/// What stands in `text` behind these tokens.
fn behind<'t>(text: &'t str, tokens: &[&str]) -> Option<&'t str> {
    tokens.iter().try_fold(text, |rest, token| {
        rest.trim_start_matches(SPACE).strip_prefix(token)
    })
}

impl Broker {
    /// Serves requests until the channel breaks.
    pub(super) async fn run(mut self) -> Result<Infallible, AttestError> {
        let mut held = None;
        loop {
            let wanted = match held.take() {
                Some(wanted) => wanted,
                None => self.wanted.recv().await.ok_or(AttestError::Gone)?,
            };
            match wanted {
                Wanted::Listening => self.send(&Request::Listening).await?,
                Wanted::Healthy => self.send(&Request::Healthy).await?,
                Wanted::Leaf { request, reply } => {
                    let evidence = match self.ask(&request).await? {
                        Reply::Evidence { cpu, devices, log } => {
                            Ok(LeafEvidence { cpu, devices, log })
                        }
                        Reply::Refused { reason } => Err(AttestError::Refused { reason }),
                        Reply::Quote { .. } => return Err(AttestError::Unexpected),
                    };
                    let _gone = reply.send(evidence);
                }
                Wanted::New(waiting) => self.new_session(waiting).await?,
                Wanted::Session(first) => {
                    // Lets what has just arrived on other connections join.
                    tokio::task::yield_now().await;
                    let batch;
                    (batch, held) = self.gather(first);
                    self.quote(batch).await?;
                }
            }
        }
    }

    /// The sessions that can share a report with `first`, and the first request that cannot.
    fn gather(&mut self, first: Waiting) -> (Vec<Waiting>, Option<Wanted>) {
        let spki = first.leaf.spki_sha256;
        let mut batch = vec![first];
        while batch.len() < MAX_SESSIONS {
            match self.wanted.try_recv() {
                Ok(Wanted::Session(waiting)) if waiting.reply.is_closed() => {}
                Ok(Wanted::Session(waiting)) if waiting.leaf.spki_sha256 == spki => {
                    batch.push(waiting)
                }
                Ok(other) => return (batch, Some(other)),
                Err(_) => break,
            }
        }
        (batch, None)
    }

    async fn quote(&mut self, batch: Vec<Waiting>) -> Result<(), AttestError> {
        let Some(first) = batch.first() else {
            return Ok(());
        };
        let spki_sha256 = first.leaf.spki_sha256;
        let entries = batch
            .iter()
            .map(|waiting| (waiting.nonce, waiting.exporter))
            .collect();
        match self
            .ask(&Request::Sessions {
                spki_sha256,
                entries,
            })
            .await?
        {
            // The clients see no bundle; a tree of 1 to 64 leaves cannot fail to be made.
            Reply::Quote { cpu } => drop(answer(batch, &cpu)),
            Reply::Refused { .. } => batch
                .into_iter()
                .for_each(|waiting| drop(waiting.reply.send(None))),
            Reply::Evidence { .. } => return Err(AttestError::Unexpected),
        }
        Ok(())
    }

    /// A session by itself; its bundle has a section of its own.
    async fn new_session(&mut self, waiting: Waiting) -> Result<(), AttestError> {
        if waiting.reply.is_closed() {
            return Ok(());
        }
        let request = Request::NewSession {
            spki_sha256: waiting.leaf.spki_sha256,
            nonce: waiting.nonce,
            exporter: waiting.exporter,
        };
        let bundle = match self.ask(&request).await? {
            // A tree of one leaf cannot fail to be made.
            Reply::Evidence { cpu, devices, log } => alone(&waiting, cpu, devices, log).ok(),
            Reply::Refused { .. } => None,
            Reply::Quote { .. } => return Err(AttestError::Unexpected),
        };
        let _gone = waiting.reply.send(bundle);
        Ok(())
    }

    async fn send(&mut self, request: &Request) -> Result<(), AttestError> {
        let frame = channel::frame(&request.encode())?;
        Ok(self
            .control
            .write_all(&frame)
            .await
            .map_err(ChannelError::from)?)
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply, AttestError> {
        self.send(request).await?;
        let mut length = [0; 4];
        self.read(&mut length).await?;
        let mut body = vec![0; channel::body_length(length)?];
        self.read(&mut body).await?;
        Ok(Reply::decode(&body)?)
    }

    async fn read(&mut self, into: &mut [u8]) -> Result<(), ChannelError> {
        let read: io::Result<usize> = self.control.read_exact(into).await;
        Ok(read.map(drop)?)
    }
}

/// Gives every session of the batch its bundle.
fn answer(batch: Vec<Waiting>, cpu: &CpuSection) -> Result<(), BatchError> {
    let bindings: Vec<_> = batch
        .iter()
        .map(|waiting| {
            let mode = Mode::Session {
                nonce: waiting.nonce,
                exporter: waiting.exporter,
            };
            binding::binding(
                &mode,
                &waiting.leaf.spki_sha256,
                &waiting.leaf.devices,
                &waiting.leaf.log,
            )
        })
        .collect();
    let tree = Batch::new(&bindings)?;
    for (index, waiting) in (0_u32..).zip(batch) {
        let Leaf { devices, log, .. } = &*waiting.leaf;
        let proof = tree.proof(index)?;
        let bundle = Bundle {
            cpu: cpu.clone(),
            log: log.clone(),
            batch: Some(proof),
            devices: devices.clone(),
        };
        let _gone = waiting.reply.send(Some(bundle.encode().into()));
    }
    Ok(())
}

/// The bundle of a session that shares nothing.
fn alone(
    waiting: &Waiting,
    cpu: CpuSection,
    devices: Vec<u8>,
    log: Vec<u8>,
) -> Result<Bytes, BatchError> {
    let mode = Mode::Session {
        nonce: waiting.nonce,
        exporter: waiting.exporter,
    };
    let binding = binding::binding(&mode, &waiting.leaf.spki_sha256, &devices, &log);
    let batch = Some(Batch::new(&[binding])?.proof(0)?);
    let bundle = Bundle {
        cpu,
        log,
        batch,
        devices,
    };
    Ok(bundle.encode().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_from_their_two_forms_only() {
        let hex = "0123456789abcdef".repeat(4);
        let good = [
            (format!("{{\"nonce\":\"{hex}\"}}"), false),
            (format!(" {{ \"nonce\" :\t\"{hex}\"\r\n}}\n"), false),
            (format!("{{\"nonce\":\"{hex}\",\"gpu\":\"new\"}}"), true),
            (
                format!("{{\"nonce\":\"{hex}\" , \"gpu\" : \"new\" }} "),
                true,
            ),
        ];
        for (body, new_gpu) in good {
            let found = question(body.as_bytes()).unwrap();
            let nonce = hex::encode(found.nonce);
            assert_eq!((nonce, found.new_gpu), (hex.clone(), new_gpu), "{body}");
        }
        let short = &hex[1..];
        let upper = hex.to_uppercase();
        for bad in [
            String::new(),
            "{}".into(),
            format!("{{\"nonce\":\"{short}\"}}"),
            format!("{{\"nonce\":\"0{hex}\"}}"),
            format!("{{\"nonce\":\"{upper}\"}}"),
            format!("{{\"nonce\":\"g{short}\"}}"),
            format!("{{\"nonce\":\"{hex}\",\"x\":1}}"),
            format!("{{\"nonce\":\"{hex}\",\"gpu\":\"old\"}}"),
            format!("{{\"nonce\":\"{hex}\",\"gpu\":true}}"),
            format!("{{\"nonce\":\"{hex}\",\"gpu\":\"new\",\"gpu\":\"new\"}}"),
            format!("{{\"nonce\":\"{hex}\",}}"),
            format!("{{\"gpu\":\"new\",\"nonce\":\"{hex}\"}}"),
            format!("{{\"nonce\":\"{hex}\"}}}}"),
            format!("{{\"nonce\":\"{hex}\""),
            format!("{{\"Nonce\":\"{hex}\"}}"),
            format!("[\"{hex}\"]"),
        ] {
            assert_eq!(question(bad.as_bytes()), None, "{bad}");
        }
    }
}
