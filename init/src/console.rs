//! What PID 1 tells the host: one line for each stage, never anything of the workload.
//!
//! The console belongs to the host, so no text that came from outside the image is printed without
//! being escaped and cut. Lines: `docs/guest-configuration.md`, section "Console".

use std::fs::File;
use std::io::Write;
use std::time::Instant;

/// Longest text of a line, in characters.
const LONGEST: usize = 400;

/// The console, and when PID 1 started.
#[derive(Debug)]
pub struct Console {
    out: Option<File>,
    start: Instant,
}

impl Console {
    /// Starts the clock; the console device is opened with the first line that can reach it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            out: None,
            start: Instant::now(),
        }
    }

    /// Prints `cloister-init: TEXT`. A console that cannot be written to is no reason to stop.
    pub fn line(&mut self, text: &str) {
        if self.out.is_none() {
            self.out = File::options().write(true).open("/dev/console").ok();
        }
        if let Some(out) = &mut self.out {
            // One write, so that lines of the kernel do not come in between.
            let _ = out.write_all(format!("cloister-init: {}\n", shown(text)).as_bytes());
        }
    }

    /// Milliseconds since [`Console::new`].
    #[must_use]
    pub fn milliseconds(&self) -> u128 {
        self.start.elapsed().as_millis()
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

/// `text` with control characters escaped, at most 400 characters long.
#[must_use]
pub fn shown(text: &str) -> String {
    let escape = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.to_string()
        }
    };
    text.chars().take(LONGEST).map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_escapes_control_characters_and_cuts() {
        assert_eq!(shown("a\n\u{1b}[2Jb"), "a\\n\\u{1b}[2Jb");
        assert_eq!(shown(&"x".repeat(1000)).len(), 400);
    }
}
