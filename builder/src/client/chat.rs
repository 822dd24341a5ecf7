//! One question to a chat model, its answer printed as it streams.
//!
//! Spec: OpenAI chat completions with `stream`, server-sent events of one `data:` line each, ended by `[DONE]`.
//! Not covered: tool calls, several choices.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep};

use super::Session;
use super::attest::RequestBody;

/// The question was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChatError {
    /// The connection broke off.
    #[error("the attested connection broke off")]
    Broken(#[from] hyper::Error),
    /// The server answered with an error.
    #[error("the model's server answered {status}: {text}")]
    Refused {
        /// Status line.
        status: http::StatusCode,
        /// Start of the body.
        text: String,
    },
    /// An event is not what the API says.
    #[error("event `{0}` is not JSON")]
    Event(String),
    /// The answer cannot be written.
    #[error("the answer cannot be written")]
    Write(#[from] std::io::Error),
}

impl crate::cmd::Hinted for ChatError {}

/// Longest event and longest error text in bytes.
const MAX_EVENT: usize = 64 * 1024;

/// Pause between two questions to a server that is not ready.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks `question` and writes the answer token by token; waits at most `patience` for a model that is being loaded.
pub(crate) async fn ask(
    session: &Session,
    question: &str,
    patience: Duration,
    answer: &mut impl Write,
) -> Result<(), ChatError> {
    let start = Instant::now();
    loop {
        let response = session.send(request(question)).await?;
        let status = response.status();
        if status.is_success() {
            return print(response.into_body(), answer).await;
        }
        if status != StatusCode::SERVICE_UNAVAILABLE || start.elapsed() >= patience {
            let text = Limited::new(response.into_body(), MAX_EVENT)
                .collect()
                .await;
            let text = text
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            return Err(ChatError::Refused { status, text });
        }
        sleep(PAUSE).await;
    }
}

fn request(question: &str) -> Request<RequestBody> {
    let body = serde_json::json!({
        "stream": true,
        // The likeliest word each time: the same question gets the same answer.
        "temperature": 0,
        "messages": [{ "role": "user", "content": question }],
    });
    let body = Full::from(body.to_string()).map_err(|never| match never {});
    let mut request = Request::new(body.boxed());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("/v1/chat/completions");
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    request
}

/// Writes what the events of `body` add to the answer, as they come.
async fn print(mut body: Incoming, answer: &mut impl Write) -> Result<(), ChatError> {
    let mut events = Events::default();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        events.push(&data);
        while let Some(event) = events.next() {
            answer.write_all(content(&event)?.as_bytes())?;
            answer.flush()?;
        }
        if events.pending.len() > MAX_EVENT {
            return Err(ChatError::Event(format!("more than {MAX_EVENT} bytes")));
        }
    }
    answer.write_all(b"\n")?;
    Ok(())
}

/// Splits a stream of bytes into the data of its events.
#[derive(Debug, Default)]
struct Events {
    pending: Vec<u8>,
}

impl Events {
    fn push(&mut self, data: &Bytes) {
        self.pending.extend_from_slice(data);
    }

    /// The next line's data; lines that hold none are passed over.
    fn next(&mut self) -> Option<String> {
        loop {
            let end = self.pending.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.trim_end().strip_prefix("data:") {
                return Some(data.trim_start().to_owned());
            }
        }
    }
}

/// The text an event adds to the answer.
fn content(event: &str) -> Result<String, ChatError> {
    if event == "[DONE]" {
        return Ok(String::new());
    }
    let event: serde_json::Value =
        serde_json::from_str(event).map_err(|_| ChatError::Event(event.to_owned()))?;
    let text = event.pointer("/choices/0/delta/content");
    Ok(text
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_across_chunks() {
        let mut events = Events::default();
        events.push(&Bytes::from_static(b": ping\n\nda"));
        assert_eq!(events.next(), None);
        events.push(&Bytes::from_static(b"ta: {}\r\n\ndata: [DONE]\n\n"));
        assert_eq!(events.next().as_deref(), Some("{}"));
        assert_eq!(events.next().as_deref(), Some("[DONE]"));
        assert_eq!(events.next(), None);
    }

    #[test]
    fn content_takes_the_delta_and_ignores_the_rest() {
        let event = r#"{"choices":[{"index":0,"delta":{"content":" blue"}}]}"#;
        assert_eq!(content(event).unwrap(), " blue");
        assert_eq!(content(r#"{"choices":[{"delta":{}}]}"#).unwrap(), "");
        assert_eq!(content("[DONE]").unwrap(), "");
        assert!(content("{").is_err());
    }
}
