//! The root file system: erofs, written by the locked `mkfs.erofs`.
//!
//! Determinism: the tree arrives as one sorted tar stream, one time stamp for everything (`-T`), a UUID derived from
//! the recipe's name (`-U`), no extended attributes, and the tool and its libraries are locked inputs run from the
//! store - never a program of the host.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, SeekFrom};
use std::path::Path;
use std::str::FromStr;

use tempfile::NamedTempFile;
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
    /// The image could not be put in its place.
    #[error("root image could not be copied onto the disk")]
    Copy(#[source] io::Error),
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

/// Where an image is written: from `at` bytes on to the end of the file at `path`, which is absolute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The file.
    pub(crate) path: &'a Path,
    /// Bytes before the image.
    pub(crate) at: u64,
}

impl Place<'_> {
    /// Makes the file, with `image` in its place; the bytes before it are a hole. Returns the length of the image.
    pub(crate) fn fill(&self, image: &mut impl Read) -> io::Result<u64> {
        let mut out = File::create_new(self.path)?;
        out.seek(SeekFrom::Start(self.at))?;
        io::copy(image, &mut out)
    }
}

/// Writes `tree` as an erofs image to `place` with the `mkfs.erofs` of `tool`.
///
/// The tree is streamed into the tool's standard input, so it never exists on disk in another form.
pub(crate) fn build(
    tree: &Tree,
    tool: &Tool,
    store: &Store,
    place: Place<'_>,
    parameters: Parameters,
) -> Result<Superblock, ErofsError> {
    if parameters.compression == Compression::None {
        make(tree, tool, store, place, parameters)?;
    } else {
        // The tool keeps what it has not compressed yet at the front of the file, whatever the offset.
        let directory = place.path.parent().unwrap_or(Path::new("/"));
        let mut image = NamedTempFile::new_in(directory).map_err(ErofsError::Copy)?;
        let path = image.path().to_owned();
        let alone = Place { path: &path, at: 0 };
        make(tree, tool, store, alone, parameters)?;
        place.fill(image.as_file_mut()).map_err(ErofsError::Copy)?;
    }
    check(place, parameters)
}

fn make(
    tree: &Tree,
    tool: &Tool,
    store: &Store,
    place: Place<'_>,
    parameters: Parameters,
) -> Result<(), ErofsError> {
    let mut mkfs = tool.command(MKFS)?;
    // The tool's own temporary files belong on the store's disk, where the command is run.
    mkfs.env("TMPDIR", ".")
        .arg("--quiet")
        .arg("-x-1")
        .arg(format!("-T{}", parameters.epoch))
        .arg(format!("-U{}", parameters.uuid))
        .args(compression_words(parameters.compression))
        .arg(format!("--offset={}", place.at))
        .arg("--tar=f")
        .arg(place.path);
    Tool::run(store, MKFS, mkfs, |pipe| {
        tree.tar(BufWriter::with_capacity(1 << 20, pipe), parameters.epoch)
    })?;
    Ok(())
}

fn check(place: Place<'_>, parameters: Parameters) -> Result<Superblock, ErofsError> {
    let mut head = Vec::new();
    let mut file = File::open(place.path).map_err(ErofsError::Read)?;
    file.seek(SeekFrom::Start(place.at))
        .map_err(ErofsError::Read)?;
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
