//! Progress of long work: bars with bytes, rate and time left on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, stderr};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How progress is shown; cheap to clone, safe to share between threads.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bars: MultiProgress,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Lines,
    Bars,
}

/// One piece of work with a known size in bytes.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    bar: ProgressBar,
    label: String,
    mode: Mode,
}

impl Progress {
    /// Bars if stderr is a terminal, lines if not, nothing if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let mode = match (quiet, stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        let bars = MultiProgress::new();
        if mode != Mode::Bars {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bars, mode }
    }

    /// Says something once, above any bars.
    pub(crate) fn say(&self, text: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Lines => eprintln!("{text}"),
            Mode::Bars => {
                let _closed = self.bars.println(text);
            }
        }
    }

    /// Says something that must be seen even with `--quiet`.
    pub(crate) fn warn(&self, text: &str) {
        self.bars.suspend(|| eprintln!("warning: {text}"));
    }

    /// Starts a piece of work of `total` bytes (0: not known).
    pub(crate) fn task(&self, label: &str, total: u64) -> Task {
        let bar = self.bars.add(ProgressBar::new(total));
        let template =
            "{msg:28} {bar:24} {bytes:>10}/{total_bytes:<10} {bytes_per_sec:>12} {eta:>4} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(label.to_owned());
        Task {
            bar,
            label: label.to_owned(),
            mode: self.mode,
        }
    }
}

impl Task {
    /// Counts `bytes` more as done.
    pub(crate) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Ends the work with a word about it.
    pub(crate) fn done(&self, word: &str) {
        self.bar.finish_and_clear();
        if self.mode == Mode::Lines {
            eprintln!("{}: {word}", self.label);
        }
    }
}

/// A size for people: `34.1 MB`, decimal units.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10) / unit;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    #[test]
    fn size_uses_decimal_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (34_149_999, "34.1 MB"),
            (2_500_000_000, "2.5 GB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
