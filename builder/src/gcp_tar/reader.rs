//! Reads an archive for Google Compute Engine, ours or anybody's, with the `tar` crate's reader of sparse members.

use std::io::{self, BufRead as _, BufReader, Read};

use flate2::bufread::GzDecoder;
use tar::EntryType;
use thiserror::Error;

/// What decides whether the archive is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Time in the gzip header, seconds since 1970; 0 for none.
    pub(crate) gzip_time: u32,
    /// Name of the first member.
    pub(crate) name: String,
    /// Its type: `S` for sparse.
    pub(crate) kind: char,
    /// Whether its header is GNU tar's, not POSIX'.
    pub(crate) old_gnu: bool,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Number of the owner.
    pub(crate) uid: u64,
    /// Number of the group.
    pub(crate) gid: u64,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    /// Bytes in the archive.
    pub(crate) stored: u64,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// Why an archive cannot be read, or holds more than one file.
#[derive(Debug, Error)]
pub(crate) enum FormError {
    /// Not a gzip file with a tar archive, or a damaged one.
    #[error("archive is damaged")]
    Read(#[from] io::Error),
    /// An empty archive.
    #[error("archive has no member")]
    Empty,
    /// More than one member.
    #[error("archive has a second member `{0}`, wanted one only")]
    Second(String),
    /// Something behind the end.
    #[error("archive goes on behind its end")]
    Behind,
}

/// Whether `bytes` begin like a gzip member of deflate.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b, 8])
}

/// Reads a whole archive with its checksums; `look` sees the contents of the member, holes as zeros, as far as it reads.
pub(crate) fn read<T>(
    file: impl Read,
    look: impl FnOnce(&mut dyn Read, &Form) -> io::Result<T>,
) -> Result<(Form, T), FormError> {
    let decoder = GzDecoder::new(BufReader::with_capacity(1 << 20, file));
    let gzip_time = decoder.header().map_or(0, flate2::GzHeader::mtime);
    let mut archive = tar::Archive::new(decoder);
    let mut entries = archive.entries()?;
    let mut entry = entries.next().ok_or(FormError::Empty)??;
    let form = form(&entry, gzip_time)?;
    let seen = look(&mut entry, &form)?;
    io::copy(&mut entry, &mut io::sink())?;
    drop(entry);
    if let Some(second) = entries.next() {
        let name = second?.path_bytes().into_owned();
        return Err(FormError::Second(String::from_utf8_lossy(&name).into()));
    }
    let mut decoder = archive.into_inner();
    let mut rest = Vec::new();
    decoder.by_ref().take(1 << 20).read_to_end(&mut rest)?;
    if rest.iter().any(|byte| *byte != 0) || rest.len() == 1 << 20 {
        return Err(FormError::Behind);
    }
    if decoder.get_mut().fill_buf()?.is_empty() {
        Ok((form, seen))
    } else {
        Err(FormError::Behind)
    }
}

fn form<R: Read>(entry: &tar::Entry<'_, R>, gzip_time: u32) -> io::Result<Form> {
    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::GNUSparse => 'S',
        other => char::from(other.as_byte()),
    };
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    Ok(Form {
        gzip_time,
        name,
        kind,
        old_gnu: header.as_gnu().is_some(),
        mode: header.mode()?,
        uid: header.uid()?,
        gid: header.gid()?,
        mtime: header.mtime()?,
        stored: header.entry_size()?,
        size: entry.size(),
    })
}
