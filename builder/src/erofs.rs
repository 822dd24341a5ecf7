//! The root file system: erofs, written by the locked `mkfs.erofs`.
//!
//! Determinism: the tree arrives as one sorted tar stream, one time stamp for everything (`-T`), a UUID derived from
//! the recipe's name (`-U`), no extended attributes, and the tool and its libraries are locked inputs run from the
//! store - never a program of the host.

use std::fs::File;
use std::io::{self, BufWriter, Read as _};
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

use crate::guid::Guid;
use crate::store::Store;
use crate::superblock::Superblock;
use crate::tool::{Tool, ToolError};
use crate::tree::Tree;

/// The program in the locked packages.
const MKFS: &str = "usr/bin/mkfs.erofs";

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

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let level = |text: &str| text.parse().ok().filter(|level| (1..=22).contains(level));
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "lz4" => Ok(Self::Lz4),
            Some(("zstd", number)) => level(number)
                .map(Self::Zstd)
                .ok_or_else(|| CompressionError(text.to_owned())),
            _ => Err(CompressionError(text.to_owned())),
        }
    }
}

/// A compression that is not known.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`compression` is `{0}`, wanted `none`, `lz4` or `zstd:LEVEL` with a level from 1 to 22")]
pub(crate) struct CompressionError(String);

/// How the image is stored, in the words of `mkfs.erofs`.
///
/// Without compression files stand in the image in the order in which they come, each in blocks of its own: only then does
/// the tool write contents once, where they belong. Otherwise it keeps a second copy of all of them while it works, which
/// takes a root of gigabytes five to ten times as long; the price is half a block for each small file.
fn compression_words(compression: Compression) -> Vec<String> {
    match compression {
        Compression::None => vec!["--sort=none".to_owned(), "-E^inline_data".to_owned()],
        Compression::Lz4 => vec!["-zlz4".to_owned()],
        Compression::Zstd(level) => vec![format!("-zzstd,level={level}")],
    }
}

/// Why no root image was written.
#[derive(Debug, Error)]
pub(crate) enum ErofsError {
    /// The tool.
    #[error(transparent)]
    Tool(#[from] ToolError),
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

/// Writes `tree` as an erofs image to `image` (an absolute path) with the `mkfs.erofs` of `tool`.
///
/// The tree is streamed into the tool's standard input, so it never exists on disk in another form.
pub(crate) fn build(
    tree: &Tree,
    tool: &Tool,
    store: &Store,
    image: &Path,
    parameters: Parameters,
) -> Result<Superblock, ErofsError> {
    let mut mkfs = tool.command(MKFS)?;
    // The tool's own temporary files belong on the store's disk, where the command is run.
    mkfs.env("TMPDIR", ".")
        .arg("--quiet")
        .arg("-x-1")
        .arg(format!("-T{}", parameters.epoch))
        .arg(format!("-U{}", parameters.uuid))
        .args(compression_words(parameters.compression))
        .arg("--tar=f")
        .arg(image);
    Tool::run(store, MKFS, mkfs, |pipe| {
        tree.tar(BufWriter::with_capacity(1 << 20, pipe), parameters.epoch)
    })?;
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
