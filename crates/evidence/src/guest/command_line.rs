//! The kernel command line: the words a measured image may carry, and the root hash.

use super::shown;

/// The kernel command line, reduced to the words Cloister knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Root of the dm-verity hash tree over the root partition (SHA-256).
    pub verity_root: [u8; 32],
    /// The words for the kernel itself, in order.
    pub kernel: Vec<String>,
}

/// Why a kernel command line was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandLineError {
    /// A word that no measured image carries.
    #[error("command line has the word `{0}`, which is not allowed")]
    Word(String),
    /// The value of `cloister.verity` is not 64 lower-case hex digits.
    #[error("command line: cloister.verity wants 64 lower-case hex digits, found `{0}`")]
    VerityRoot(String),
    /// There must be exactly one `cloister.verity`.
    #[error("command line has {0} words cloister.verity=, wanted exactly 1")]
    VerityCount(usize),
}

impl CommandLine {
    /// Reads `/proc/cmdline` or the command line a recipe is about to measure.
    ///
    /// Accepted: `console=`, `loglevel=`, `panic=`, `mitigations=` with a plain value, `quiet`,
    /// `initrd=initrd` (OVMF adds it on direct boot), and `cloister.verity=` exactly once.
    ///
    /// # Errors
    ///
    /// [`CommandLineError`] on any other word and on a missing, doubled or malformed root hash.
    pub fn parse(text: &str) -> Result<Self, CommandLineError> {
        let mut roots = Vec::new();
        let mut kernel = Vec::new();
        for word in text.split_ascii_whitespace() {
            match word.strip_prefix("cloister.verity=") {
                Some(value) => roots.push(verity_root(value)?),
                None if is_kernel_word(word) => kernel.push(word.to_owned()),
                None => return Err(CommandLineError::Word(shown(word))),
            }
        }
        match roots.as_slice() {
            [verity_root] => Ok(Self {
                verity_root: *verity_root,
                kernel,
            }),
            _ => Err(CommandLineError::VerityCount(roots.len())),
        }
    }

    /// Writes the command line: the kernel's words in order, then the root hash.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut words = self.kernel.clone();
        words.push(format!("cloister.verity={}", hex::encode(self.verity_root)));
        words.join(" ")
    }
}

/// Whether a recipe may put `word` on the command line (`cloister.verity=` is the builder's).
#[must_use]
pub fn is_kernel_word(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b",._-".contains(&b);
    match word.split_once('=') {
        Some(("console" | "loglevel" | "panic" | "mitigations", value)) => {
            !value.is_empty() && value.bytes().all(plain)
        }
        Some(("initrd", value)) => value == "initrd",
        Some(_) => false,
        None => word == "quiet",
    }
}

fn verity_root(value: &str) -> Result<[u8; 32], CommandLineError> {
    let mut root = [0; 32];
    let lower = value
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match hex::decode_to_slice(value, &mut root) {
        Ok(()) if lower => Ok(root),
        _ => Err(CommandLineError::VerityRoot(shown(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_accepts_known_words_only() {
        let root = "ab".repeat(32);
        let text = format!(
            "console=ttyS0 loglevel=4 quiet panic=-1 mitigations=auto,nosmt cloister.verity={root} initrd=initrd\n"
        );
        let parsed = CommandLine::parse(&text).unwrap();
        assert_eq!(parsed.verity_root, [0xab; 32]);
        assert_eq!(parsed.kernel.len(), 6);
        assert_eq!(CommandLine::parse(&parsed.encode()), Ok(parsed));
        for word in [
            "init=/bin/sh",
            "rdinit=/x",
            "console=",
            "console=\"a",
            "quiet=1",
            "panic",
            "--",
            "cloister.debug=1",
            "initrd=other",
            "single",
            "nvidia.NVreg_RegistryDwords=RmConfidentialCompute=1",
            "NVreg_EnableGpuFirmware=0",
            "nvidia.NVreg_ModifyDeviceFiles",
            "firmware_class.path=/run",
        ] {
            assert_eq!(
                CommandLine::parse(&format!("cloister.verity={root} {word}")),
                Err(CommandLineError::Word(shown(word)))
            );
        }
    }

    #[test]
    fn command_line_wants_one_well_formed_root_hash() {
        let root = "ab".repeat(32);
        assert_eq!(
            CommandLine::parse("quiet"),
            Err(CommandLineError::VerityCount(0))
        );
        let twice = format!("cloister.verity={root} cloister.verity={root}");
        assert_eq!(
            CommandLine::parse(&twice),
            Err(CommandLineError::VerityCount(2))
        );
        for bad in ["", "ab", &root.to_uppercase(), &"g".repeat(64)] {
            assert_eq!(
                CommandLine::parse(&format!("cloister.verity={bad}")),
                Err(CommandLineError::VerityRoot(shown(bad)))
            );
        }
    }
}
