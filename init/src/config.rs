//! What the image tells PID 1: the measured configuration and the kernel command line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use cloister_evidence::guest::{
    CommandLine, CommandLineError, GUEST_CONFIGURATION_PATH, GuestConfiguration,
    GuestConfigurationError,
};

/// Longest configuration in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Both sources, parsed, and the bytes that are measured.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The bytes of `/cloister/guest.conf`.
    pub bytes: Vec<u8>,
    /// What they say.
    pub guest: GuestConfiguration,
    /// The command line.
    pub command_line: CommandLine,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration is not well-formed.
    #[error(transparent)]
    Guest(#[from] GuestConfigurationError),
    /// The command line has a word that may not be there.
    #[error(transparent)]
    CommandLine(#[from] CommandLineError),
}

const COMMAND_LINE_PATH: &str = "/proc/cmdline";

/// Reads both below `root`, which is `/` in a guest.
///
/// # Errors
/// [`ConfigError`].
pub fn load(root: &Path) -> Result<Configured, ConfigError> {
    let bytes = read(root, GUEST_CONFIGURATION_PATH)?;
    let guest = GuestConfiguration::parse(&bytes)?;
    let words = read(root, COMMAND_LINE_PATH)?;
    // Bytes that are no text end up in a word that is not allowed.
    let command_line = CommandLine::parse(&String::from_utf8_lossy(&words))?;
    Ok(Configured {
        bytes,
        guest,
        command_line,
    })
}

fn read(root: &Path, path: &'static str) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    File::open(root.join(path.trim_start_matches('/')))
        .and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
        .map_err(|source| ConfigError::Read { path, source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_names_the_missing_file() {
        let root = tempfile::tempdir().unwrap();
        let error = load(root.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/cloister/guest.conf: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn load_refuses_an_unknown_word() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("cloister/guest.conf", crate::test_configuration::TEXT);
        write(
            "proc/cmdline",
            &format!("quiet rescue cloister.verity={}\n", "00".repeat(32)),
        );
        let error = load(root.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "command line has the word `rescue`, which is not allowed"
        );
        write(
            "proc/cmdline",
            &format!("quiet cloister.verity={}\n", "00".repeat(32)),
        );
        assert_eq!(load(root.path()).unwrap().command_line.kernel, ["quiet"]);
    }
}
