//! The canary: one question whose answer is known, asked of the workload before any client's request reaches it.
//!
//! It is made for a silent failure: on a GPU in confidential mode some versions of vLLM read memory that has gone stale and answer
//! fluently and wrongly (`docs/gpu.md`). The answer is read as OpenAI's API gives it, `choices[0].message.content` or
//! `choices[0].text`; nobody is told what a wrong one says, since the console belongs to the host.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

use cloister_evidence::guest::Canary;

use super::head::{Method, Response};
use super::upstream::{Failure, Pool, Reader, Sink, Stream};

/// Between two attempts, while the workload is not there yet.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest answer in bytes.
const LONGEST: usize = 256 * 1024;

/// Why the workload may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanaryError {
    /// It answered something else.
    #[error("canary: not the answer that is wanted")]
    Answer,
    /// It refused the question.
    #[error("canary: status {0}")]
    Status(u16),
    /// Its answer cannot be read.
    #[error("canary: answer is not that of a completion")]
    Form,
    /// It did not answer in time.
    #[error("canary: no answer within {0} s")]
    Late(u32),
}

/// Asks until the workload answers; returns when the answer is right.
pub(super) async fn ask(pool: &Pool, canary: &Canary) -> Result<(), CanaryError> {
    let limit = Duration::from_secs(u64::from(canary.seconds));
    let asked = tokio::time::timeout(limit, attempts(pool, canary)).await;
    asked.unwrap_or(Err(CanaryError::Late(canary.seconds)))
}

async fn attempts(pool: &Pool, canary: &Canary) -> Result<(), CanaryError> {
    loop {
        match exchange(pool, canary).await {
            Ok(Answered { status: 200, body }) => return judge(&body, &canary.answer),
            // It is there, and says that its model is not.
            Ok(Answered { status: 503, .. }) => {}
            Ok(Answered { status, .. }) => return Err(CanaryError::Status(status)),
            Err(Failure::Malformed | Failure::ClientGone) => return Err(CanaryError::Form),
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A response, collected.
#[derive(Default)]
struct Answered {
    status: u16,
    body: Vec<u8>,
}

impl Sink for Answered {
    fn deliver(&mut self, head: Option<&Response<'_, '_>>, data: &[u8], _: bool) -> io::Result<()> {
        if let Some(head) = head {
            self.status = head.status;
        }
        if self.body.len().saturating_add(data.len()) > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.body.extend_from_slice(data);
        Ok(())
    }
}

async fn exchange(pool: &Pool, canary: &Canary) -> Result<Answered, Failure> {
    let stream = pool.connect().await.map_err(|_| Failure::Unreachable)?;
    let mut stream = pin!(stream);
    let Canary { path, body, .. } = canary;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: workload\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    write(&mut stream, request.as_bytes()).await?;
    let mut answered = Answered::default();
    let mut reader = Reader::new(Method::Post);
    while !reader.is_done() {
        poll_fn(|cx| reader.poll(cx, &mut stream, &mut answered)).await?;
    }
    Ok(answered)
}

async fn write(stream: &mut Stream, mut bytes: &[u8]) -> Result<(), Failure> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, bytes)).await;
        let written = written.map_err(|_| Failure::Closed)?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn judge(body: &[u8], wanted: &str) -> Result<(), CanaryError> {
    let answer: serde_json::Value = serde_json::from_slice(body).map_err(|_| CanaryError::Form)?;
    let choice = answer.get("choices").and_then(|choices| choices.get(0));
    let message = choice.and_then(|choice| choice.get("message")?.get("content"));
    let text = message.or_else(|| choice?.get("text"));
    let text = text.and_then(serde_json::Value::as_str);
    match text.ok_or(CanaryError::Form)?.starts_with(wanted) {
        true => Ok(()),
        false => Err(CanaryError::Answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judge_reads_both_forms_and_compares_the_beginning() {
        let chat = br#"{"choices":[{"message":{"content":"Paris is"}}]}"#;
        let text = br#"{"choices":[{"text":" Paris"},{"text":"Rome"}]}"#;
        assert_eq!(judge(chat, "Paris"), Ok(()));
        assert_eq!(judge(text, " Paris"), Ok(()));
        assert_eq!(judge(text, "Paris"), Err(CanaryError::Answer));
        assert_eq!(judge(text, "Rome"), Err(CanaryError::Answer));
        let others: [&[u8]; 6] = [
            b"",
            b"Paris",
            br#"{"choices":[]}"#,
            br#"{"choices":[{"text":7}]}"#,
            br#"{"choices":{"text":"Paris"}}"#,
            br#"{"choices":[{"message":{"content":null},"text":"Paris"}]}"#,
        ];
        for other in others {
            assert_eq!(judge(other, "Paris"), Err(CanaryError::Form), "{other:?}");
        }
    }
}
