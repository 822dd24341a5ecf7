//! Members of a Debian tar file, checked before anybody sees them.
//!
//! Spec: deb(5) (ustar with GNU long names; pax headers are understood too). Accepted are
//! directories, regular files, symbolic and hard links; everything else is refused by name, and
//! so is a path that is absolute or has `..`. Modification times and owner names are not read.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use tar::EntryType;

use crate::tree::{MODE_MASK, PathError, TreePath, show};

/// One member. A hard link's target is the path of an earlier member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where it goes; `None` is the root directory itself.
    pub(crate) path: Option<TreePath>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Numeric owner.
    pub(crate) uid: u32,
    /// Numeric group.
    pub(crate) gid: u32,
    /// What it is.
    pub(crate) body: Body,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// A directory.
    Directory,
    /// A regular file's bytes.
    File(Vec<u8>),
    /// A symbolic link's target, not interpreted.
    Symlink(Vec<u8>),
    /// Another name for an earlier member.
    HardLink(TreePath),
}

/// Why a tar file is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    /// The stream cannot be decompressed or a header cannot be parsed.
    #[error("damaged tar file")]
    Read(#[source] io::Error),
    /// A member's name is not a path inside the root.
    #[error("member with an unusable name")]
    Path(#[source] PathError),
    /// A hard link's target is not a path inside the root.
    #[error("hard link `{path}` with an unusable target")]
    Link {
        /// The link.
        path: String,
        /// What is wrong with its target.
        source: PathError,
    },
    /// A device node, pipe or anything else that has no place in an image.
    #[error("`{path}` is a {kind}; only directories, files and links are accepted")]
    Kind {
        /// The member.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A regular file's bytes end early.
    #[error("`{path}` is truncated: wanted {wanted} bytes, found {found}")]
    Truncated {
        /// The member.
        path: String,
        /// Size in its header.
        wanted: u64,
        /// Bytes present.
        found: u64,
    },
    /// The two zero blocks at the end are missing.
    #[error("the tar file's end is missing")]
    NoEnd,
    /// Something stands after the end.
    #[error("bytes that are not zero follow the tar file's end")]
    Trailing,
    /// An owner's number does not fit 32 bits, or a mode has unknown bits.
    #[error("`{path}` has an unusable {what}: {found}")]
    Field {
        /// The member.
        path: String,
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u64,
    },
}

/// Reads all members in archive order and hands each to `each`.
pub(crate) fn read<E: From<TarError>>(
    plain: impl Read,
    mut each: impl FnMut(Member) -> Result<(), E>,
) -> Result<(), E> {
    let zeros = Rc::new(Cell::new(0));
    let mut archive = tar::Archive::new(TrailingZeros {
        plain,
        zeros: Rc::clone(&zeros),
    });
    for entry in archive.entries().map_err(TarError::Read)? {
        each(member(entry.map_err(TarError::Read)?)?)?;
    }
    finish(archive.into_inner(), &zeros)?;
    Ok(())
}

/// Reads to the end of the stream, so that its check sum is seen, and checks the end mark.
fn finish(mut rest: impl Read, zeros: &Cell<u64>) -> Result<(), TarError> {
    let before = zeros.get();
    let mut buffer = [0_u8; 4096];
    let mut read_after = 0_u64;
    loop {
        match rest.read(&mut buffer).map_err(TarError::Read)? {
            0 => break,
            n => read_after = read_after.saturating_add(u64::try_from(n).unwrap_or(u64::MAX)),
        }
    }
    if read_after > 0 && zeros.get() < before.saturating_add(read_after) {
        return Err(TarError::Trailing);
    }
    if zeros.get() < 1024 {
        return Err(TarError::NoEnd);
    }
    Ok(())
}

fn member<R: Read>(mut entry: tar::Entry<'_, R>) -> Result<Member, TarError> {
    let path = TreePath::from_archive(&entry.path_bytes()).map_err(TarError::Path)?;
    let shown = path
        .as_ref()
        .map_or_else(|| "./".to_owned(), ToString::to_string);
    let header = entry.header();
    let kind = header.entry_type();
    let mode = header.mode().map_err(TarError::Read)?;
    if mode & !(MODE_MASK | 0o170_000) != 0 {
        return Err(TarError::Field {
            path: shown,
            what: "mode",
            found: mode.into(),
        });
    }
    let uid = owner(&shown, "owner", header.uid())?;
    let gid = owner(&shown, "group", header.gid())?;
    let body = match kind {
        EntryType::Directory => Body::Directory,
        EntryType::Regular | EntryType::Continuous => Body::File(contents(&shown, &mut entry)?),
        EntryType::Symlink => Body::Symlink(link(&shown, &entry)?),
        EntryType::Link => {
            let target = link(&shown, &entry)?;
            let wrong = |source| TarError::Link {
                path: shown.clone(),
                source,
            };
            let target = TreePath::from_archive(&target).map_err(wrong)?;
            Body::HardLink(target.ok_or(PathError::Empty).map_err(wrong)?)
        }
        other => {
            return Err(TarError::Kind {
                path: shown,
                kind: kind_name(other),
            });
        }
    };
    if path.is_none() && body != Body::Directory {
        return Err(TarError::Kind {
            path: shown,
            kind: "root that is not a directory",
        });
    }
    Ok(Member {
        path,
        mode: mode & MODE_MASK,
        uid,
        gid,
        body,
    })
}

fn owner(path: &str, what: &'static str, field: io::Result<u64>) -> Result<u32, TarError> {
    let found = field.map_err(TarError::Read)?;
    u32::try_from(found).map_err(|_| TarError::Field {
        path: path.to_owned(),
        what,
        found,
    })
}

fn contents<R: Read>(path: &str, entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, TarError> {
    let wanted = entry.size();
    // The header's size is not trusted with memory before the bytes are there.
    let mut bytes = Vec::with_capacity(usize::try_from(wanted.min(16 << 20)).unwrap_or(0));
    entry.read_to_end(&mut bytes).map_err(TarError::Read)?;
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found != wanted {
        return Err(TarError::Truncated {
            path: path.to_owned(),
            wanted,
            found,
        });
    }
    Ok(bytes)
}

fn link<R: Read>(path: &str, entry: &tar::Entry<'_, R>) -> Result<Vec<u8>, TarError> {
    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
    let wrong = |source| TarError::Link {
        path: path.to_owned(),
        source,
    };
    if target.is_empty() {
        return Err(wrong(PathError::Empty));
    }
    if target.contains(&0) {
        return Err(wrong(PathError::Nul(show(&target))));
    }
    Ok(target)
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char => "character device",
        EntryType::Block => "block device",
        EntryType::Fifo => "named pipe",
        EntryType::GNUSparse => "sparse file",
        _ => "member of unknown type",
    }
}

/// Counts the zero bytes at the end of what has been read so far.
struct TrailingZeros<R> {
    plain: R,
    zeros: Rc<Cell<u64>>,
}

impl<R: Read> Read for TrailingZeros<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.plain.read(buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        let tail = bytes.iter().rev().take_while(|&&b| b == 0).count();
        let tail64 = u64::try_from(tail).unwrap_or(u64::MAX);
        let before = if tail == bytes.len() {
            self.zeros.get()
        } else {
            0
        };
        self.zeros.set(before.saturating_add(tail64));
        Ok(read)
    }
}
