//! What every kind of evidence in files shares: the time of the appraisal, bounded reading, the verdict's way out.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloister_verify::{Clock, Conclusion, Verdict};

use super::now;
use crate::cmd::{CommandError, Context, DIFFERENT, MISSING};

/// Largest file of evidence or collateral that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// When the evidence is judged.
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// Time of the appraisal, as in `2026-11-22T00:00:00Z`; certificates and collateral are held against it
    /// [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    at: Option<u64>,
}

impl At {
    /// Seconds since the Unix epoch.
    pub(crate) fn seconds(&self) -> u64 {
        self.at.unwrap_or_else(now)
    }

    /// Whose word they are.
    fn clock(&self) -> Clock {
        match self.at {
            Some(_) => Clock::Given,
            None => Clock::Machine,
        }
    }
}

/// Bytes that the verifier chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nonce(pub(super) Vec<u8>);

/// Takes bytes in hex, or text behind `ascii:`.
pub(super) fn nonce(text: &str) -> Result<Nonce, String> {
    match text.strip_prefix("ascii:") {
        Some(text) if text.is_ascii() => Ok(Nonce(text.as_bytes().to_vec())),
        Some(_) => Err("text behind `ascii:` has other characters".to_owned()),
        None => hex::decode(text)
            .map(Nonce)
            .map_err(|_| "wanted bytes in hex, or `ascii:TEXT`".to_owned()),
    }
}

/// Takes a time of RFC 3339, from 1970 on.
fn instant(text: &str) -> Result<u64, String> {
    let parsed = text.parse::<jiff::Timestamp>().ok();
    let seconds = parsed.and_then(|time| u64::try_from(time.as_second()).ok());
    seconds.ok_or_else(|| "wanted a time such as `2026-11-22T00:00:00Z`".to_owned())
}

/// Reads a file that a stranger may have written.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let name = || format!("`{}` cannot be read", path.display());
    let file = File::open(path).with_context(name)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .with_context(name)?;
    if bytes.len() as u64 > MAX_FILE {
        let error = anyhow::anyhow!(
            "`{}` has more than {MAX_FILE} bytes, the most that is read",
            path.display()
        );
        return Err(CommandError::new(error)
            .with_hint("evidence and collateral are far smaller: is it the right file?"));
    }
    Ok(bytes)
}

/// Text in hex or base64 is decoded; other bytes are taken as they are, for the verdict to refuse.
pub(crate) fn decoded(input: Vec<u8>) -> Vec<u8> {
    let text: Vec<u8> = input
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let decoded = hex::decode(&text)
        .ok()
        .or_else(|| STANDARD.decode(&text).ok())
        .or_else(|| URL_SAFE_NO_PAD.decode(&text).ok());
    decoded.filter(|bytes| !bytes.is_empty()).unwrap_or(input)
}

/// Reads each of several files.
pub(super) fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, CommandError> {
    paths.iter().map(|path| read(path)).collect()
}

/// Prints the verdict with the source of its time, as JSON or one line a check, and gives the exit code.
pub(super) fn conclude(verdict: Verdict, at: &At, ctx: &Context) -> Result<ExitCode, CommandError> {
    let verdict = verdict.by(at.clock());
    let text = match ctx.json {
        true => verdict.to_json(),
        false => verdict.to_string(),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(CommandError::new)?;
    Ok(code(verdict.conclusion))
}

/// The exit code of a conclusion.
pub(super) fn code(conclusion: Conclusion) -> ExitCode {
    match conclusion {
        Conclusion::Accepted => ExitCode::SUCCESS,
        Conclusion::Rejected => ExitCode::from(DIFFERENT),
        Conclusion::CollateralMissing => ExitCode::from(MISSING),
    }
}
