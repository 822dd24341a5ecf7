//! The root file system: erofs, written by the locked `mkfs.erofs`.
//!
//! Determinism: the tree arrives as one sorted tar stream, one time stamp for everything (`-T`), a UUID derived from
//! the recipe's name (`-U`), no extended attributes, and the tool and its libraries are locked inputs run from the
//! store - never a program of the host.

use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use thiserror::Error;

use crate::guid::Guid;
use crate::superblock::Superblock;
use crate::tree::Tree;

/// How file contents are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// As they are.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard with a level from 1 to 22.
    Zstd(u8),
}

/// How the image is stored; the words of `mkfs.erofs -z`.
fn compression_words(compression: Compression) -> Option<String> {
    match compression {
        Compression::None => None,
        Compression::Lz4 => Some("-zlz4".to_owned()),
        Compression::Zstd(level) => Some(format!("-zzstd,level={level}")),
    }
}

/// Why no root image was written.
#[derive(Debug, Error)]
pub(crate) enum ErofsError {
    /// The tool could not be started.
    #[error("locked `mkfs.erofs` could not be run")]
    Start(#[source] io::Error),
    /// The tool failed.
    #[error("locked `mkfs.erofs` failed ({status}): {stderr}")]
    Failed {
        /// Exit status.
        status: ExitStatus,
        /// What it wrote.
        stderr: String,
    },
    /// The tree could not be handed over.
    #[error("tree could not be handed to `mkfs.erofs`")]
    Feed(#[source] io::Error),
    /// What it wrote is not what was asked for.
    #[error("`mkfs.erofs` wrote another image than asked for: {0}")]
    Unexpected(String),
    /// The image could not be read back.
    #[error("root image could not be read")]
    Read(#[source] io::Error),
}

/// Parameters of a root image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    /// The one time stamp, seconds since 1970.
    pub(crate) epoch: u64,
    /// UUID of the file system.
    pub(crate) uuid: Guid,
    /// Compression.
    pub(crate) compression: Compression,
}

/// Writes `tree` as an erofs image to `image`; `mkfs` starts the locked `mkfs.erofs`.
///
/// The tree is streamed into the tool's standard input, so it never exists on disk in another form.
pub(crate) fn build(
    tree: &Tree,
    mut mkfs: Command,
    image: &Path,
    parameters: Parameters,
) -> Result<Superblock, ErofsError> {
    mkfs.arg("--quiet")
        .arg("-x-1")
        .arg(format!("-T{}", parameters.epoch))
        .arg(format!("-U{}", parameters.uuid))
        .args(compression_words(parameters.compression))
        .arg("--tar=f")
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = mkfs.spawn().map_err(ErofsError::Start)?;
    let fed = child.stdin.take().map_or(Ok(()), |pipe| {
        tree.tar(BufWriter::with_capacity(1 << 20, pipe), parameters.epoch)
    });
    let output = child.wait_with_output().map_err(ErofsError::Start)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(ErofsError::Failed {
            status: output.status,
            stderr,
        });
    }
    fed.map_err(ErofsError::Feed)?;
    check(image, parameters)
}

fn check(image: &Path, parameters: Parameters) -> Result<Superblock, ErofsError> {
    let mut head = Vec::new();
    let file = File::open(image).map_err(ErofsError::Read)?;
    file.take(4096)
        .read_to_end(&mut head)
        .map_err(ErofsError::Read)?;
    let superblock =
        Superblock::parse(&head).map_err(|error| ErofsError::Unexpected(error.to_string()))?;
    let wanted = (parameters.uuid, parameters.epoch, 4096);
    let found = (
        superblock.uuid,
        superblock.build_time,
        superblock.block_size,
    );
    if wanted != found {
        let text = format!("UUID, time and block size {found:?}, wanted {wanted:?}");
        return Err(ErofsError::Unexpected(text));
    }
    Ok(superblock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_tool_is_an_error_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no space >&2; exit 3", "mkfs"]);
        let parameters = Parameters {
            epoch: 1,
            uuid: Guid::default(),
            compression: Compression::Zstd(3),
        };
        let error = build(
            &Tree::new(),
            command,
            Path::new("/nonexistent/root"),
            parameters,
        )
        .unwrap_err();
        assert!(matches!(error, ErofsError::Failed { stderr, .. } if stderr == "no space"));
    }
}
