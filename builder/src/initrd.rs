//! The initial RAM disk: a cpio archive in `newc` form, compressed with zstd.
//!
//! Spec: Linux `Documentation/driver-api/early-userspace/buffer-format.rst`: magic `070701`, thirteen fields of eight
//! hexadecimal digits, name with NUL, data, each padded to 4 bytes, closed by `TRAILER!!!`.
//! Units: sizes in bytes, times in seconds since 1970.
//! Determinism: entries sorted by path, inodes numbered from 1 in that order, devices zero, owner root, one mtime.
//! zstd: always the multi-thread interface (its output does not depend on the number of workers, but differs from the
//! single-thread interface), always with the pledged size, version and level pinned by the lock.
//! Not covered: hard links, device nodes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use thiserror::Error;

use crate::le::array_at;

/// zstd workers. Any positive number gives the same bytes; this one is enough for an initrd of some ten MiB.
const WORKERS: u32 = 4;
const MAGIC: &[u8; 6] = b"070701";
const HEADER: usize = 110;
/// Bytes that a name may have: Linux takes no longer path.
const NAME_LIMIT: u64 = 4096 + 4;
/// Bytes that an entry may have that is looked for.
const FOUND_LIMIT: u64 = 1 << 20;
const TRAILER: &str = "TRAILER!!!";

/// One member of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Member<'a> {
    /// A directory with permission bits.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Contents.
        bytes: &'a [u8],
    },
}

/// Members by path without a leading slash.
pub(crate) type Members<'a> = BTreeMap<String, Member<'a>>;

/// Why no initrd could be made.
#[derive(Debug, Error)]
pub(crate) enum InitrdError {
    /// `newc` stores sizes and times in 32 bits.
    #[error(
        "initrd entry `{path}` has {found} {field}, which `newc` cannot store: its fields end at 4294967295"
    )]
    TooLarge {
        /// Entry.
        path: String,
        /// Field name.
        field: &'static str,
        /// Value.
        found: u64,
    },
    /// A path is absolute, empty or has empty, `.` or `..` components.
    #[error("initrd entry has the path `{0}`, wanted a plain relative one")]
    Path(String),
    /// An entry lies below something that is not a directory in the archive.
    #[error("initrd entry `{0}` has no parent directory in the archive")]
    NoParent(String),
    /// The lock wants another zstd than this program contains.
    #[error("the lock pins zstd {wanted}, this program contains zstd {found}")]
    ZstdVersion {
        /// From the lock.
        wanted: String,
        /// Linked in.
        found: String,
    },
    /// zstd failed.
    #[error("initrd could not be compressed")]
    Compress(#[source] io::Error),
}

/// The archive of `members`, uncompressed, every mtime `epoch`.
pub(crate) fn archive(members: &Members<'_>, epoch: u64) -> Result<Vec<u8>, InitrdError> {
    let mtime = narrow("mtime", "seconds", epoch)?;
    let mut out = Vec::new();
    for (inode, (path, member)) in (1_u32..).zip(members) {
        check_path(members, path)?;
        let (mode, links, bytes) = match member {
            Member::Directory { mode } => (0o040_000 | mode, 2, &[][..]),
            Member::File { mode, bytes } => (0o100_000 | mode, 1, *bytes),
        };
        let size = narrow(path, "bytes", bytes.len() as u64)?;
        entry(&mut out, path, [inode, mode, 0, 0, links, mtime, size])?;
        out.extend(bytes);
        pad(&mut out, 4);
    }
    entry(&mut out, TRAILER, [0, 0, 0, 0, 1, 0, 0])?;
    pad(&mut out, 512);
    Ok(out)
}

/// Compresses an archive as the kernel's `CONFIG_RD_ZSTD` reads it.
pub(crate) fn compress(archive: &[u8], level: i32) -> Result<Vec<u8>, InitrdError> {
    compress_with(archive, level, WORKERS).map_err(InitrdError::Compress)
}

/// Checks that the linked zstd is the one that the lock pins.
pub(crate) fn check_zstd(wanted: &str) -> Result<(), InitrdError> {
    let found = zstd::zstd_safe::version_string();
    if wanted == found {
        return Ok(());
    }
    Err(InitrdError::ZstdVersion {
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    })
}

fn compress_with(archive: &[u8], level: i32, workers: u32) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
    encoder.multithread(workers)?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    encoder.set_pledged_src_size(Some(archive.len() as u64))?;
    encoder.write_all(archive)?;
    encoder.finish()
}

fn check_path(members: &Members<'_>, path: &str) -> Result<(), InitrdError> {
    if path.split('/').any(|part| matches!(part, "" | "." | ".."))
        || path.contains('\0')
        || path == TRAILER
    {
        return Err(InitrdError::Path(path.to_owned()));
    }
    match path.rsplit_once('/').map(|(parent, _)| members.get(parent)) {
        None | Some(Some(Member::Directory { .. })) => Ok(()),
        Some(_) => Err(InitrdError::NoParent(path.to_owned())),
    }
}

fn narrow(path: &str, field: &'static str, value: u64) -> Result<u32, InitrdError> {
    u32::try_from(value).map_err(|_| InitrdError::TooLarge {
        path: path.to_owned(),
        field,
        found: value,
    })
}

/// Appends a header and name; `fields` are inode, mode, uid, gid, links, mtime and size.
fn entry(out: &mut Vec<u8>, path: &str, fields: [u32; 7]) -> Result<(), InitrdError> {
    let name = narrow(path, "bytes of name", path.len() as u64 + 1)?;
    out.extend(MAGIC);
    for field in fields.into_iter().chain([0, 0, 0, 0, name, 0]) {
        out.extend(format!("{field:08x}").into_bytes());
    }
    out.extend(path.as_bytes());
    out.push(0);
    pad(out, 4);
    Ok(())
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

/// One entry of somebody's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    /// Path as stored.
    pub(crate) path: String,
    /// Type and permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Modification time.
    pub(crate) mtime: u32,
    /// Contents (target of a symbolic link).
    pub(crate) bytes: &'a [u8],
}

/// Why bytes are not a `newc` archive.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum NewcError {
    /// A header does not begin with the magic.
    #[error("no `newc` header at byte {0}")]
    Magic(usize),
    /// A field is not hexadecimal.
    #[error("field {field} of the `newc` header at byte {at} is not hexadecimal")]
    Field {
        /// Header offset.
        at: usize,
        /// Number of the field, from 0.
        field: usize,
    },
    /// A name or content ends outside of the archive.
    #[error("entry at byte {0} is truncated")]
    Truncated(usize),
}

/// Whether `bytes` begin like a `newc` archive.
pub(crate) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Lists the entries of the first archive in `bytes`, up to its trailer.
pub(crate) fn list(bytes: &[u8]) -> Result<Vec<Listed<'_>>, NewcError> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let field = |field: usize| hex_field(bytes, at, field);
        if bytes.get(at..).and_then(|rest| rest.get(..6)) != Some(MAGIC) {
            return Err(NewcError::Magic(at));
        }
        let name_at = at + HEADER;
        let name = slice(bytes, name_at, field(11)?).ok_or(NewcError::Truncated(at))?;
        let data_at = (name_at + name.len()).next_multiple_of(4);
        let data = slice(bytes, data_at, field(6)?).ok_or(NewcError::Truncated(at))?;
        let path = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
        if path == TRAILER {
            return Ok(entries);
        }
        let (mode, uid, gid, mtime) = (field(1)?, field(2)?, field(3)?, field(5)?);
        entries.push(Listed {
            path,
            mode,
            uid,
            gid,
            mtime,
            bytes: data,
        });
        at = (data_at + data.len()).next_multiple_of(4);
    }
}

/// Contents of the first entry with this path in an archive that is read only so far, in constant memory; `None` when there
/// is none, it is larger than [`FOUND_LIMIT`], or what comes before it is no archive.
pub(crate) fn find(mut archive: impl Read, path: &str) -> Option<Vec<u8>> {
    loop {
        let mut header = [0; HEADER];
        archive.read_exact(&mut header).ok()?;
        let field = |field| hex_field(&header, 0, field).ok().map(u64::from);
        let (name_length, length) = (field(11)?, field(6)?);
        let padded = (HEADER as u64 + name_length).next_multiple_of(4) - HEADER as u64;
        let name = take(&mut archive, padded, NAME_LIMIT)?;
        let name = name.get(..usize::try_from(name_length).ok()?)?;
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        if header.get(..MAGIC.len()) != Some(MAGIC) || name == TRAILER.as_bytes() {
            return None;
        }
        if name == path.as_bytes() {
            return take(&mut archive, length, FOUND_LIMIT);
        }
        let data = archive.by_ref().take(length.next_multiple_of(4));
        io::copy(&mut { data }, &mut io::sink()).ok()?;
    }
}

/// Reads exactly `length` bytes, which must be no more than `most`.
fn take(archive: &mut impl Read, length: u64, most: u64) -> Option<Vec<u8>> {
    if length > most {
        return None;
    }
    let mut bytes = Vec::new();
    let read = archive.take(length).read_to_end(&mut bytes).ok()?;
    (read as u64 == length).then_some(bytes)
}

fn hex_field(bytes: &[u8], at: usize, field: usize) -> Result<u32, NewcError> {
    let digits: [u8; 8] = array_at(bytes, at + 6 + field * 8).ok_or(NewcError::Truncated(at))?;
    let text = std::str::from_utf8(&digits)
        .ok()
        .filter(|text| text.bytes().all(|c| c.is_ascii_hexdigit()));
    text.and_then(|text| u32::from_str_radix(text, 16).ok())
        .ok_or(NewcError::Field { at, field })
}

fn slice(bytes: &[u8], at: usize, length: u32) -> Option<&[u8]> {
    bytes.get(at..)?.get(..usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use sha2::{Digest as _, Sha256};

    use super::*;

    fn members() -> Members<'static> {
        BTreeMap::from([
            ("cloister".to_owned(), Member::Directory { mode: 0o755 }),
            (
                "cloister/guest.conf".to_owned(),
                Member::File {
                    mode: 0o644,
                    bytes: b"cloister-guest 1\n",
                },
            ),
            (
                "init".to_owned(),
                Member::File {
                    mode: 0o755,
                    bytes: b"\x7fELF",
                },
            ),
        ])
    }

    #[test]
    fn archive_lists_as_written() {
        let bytes = archive(&members(), 1_763_000_000).unwrap();
        let listed = list(&bytes).unwrap();
        let paths: Vec<_> = listed.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["cloister", "cloister/guest.conf", "init"]);
        assert_eq!((listed[0].mode, listed[1].mode), (0o040_755, 0o100_644));
        assert_eq!(listed[1].bytes, b"cloister-guest 1\n");
        assert!(
            listed
                .iter()
                .all(|entry| (entry.uid, entry.gid, entry.mtime) == (0, 0, 1_763_000_000))
        );
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn find_reads_no_further_than_it_must() {
        let bytes = archive(&members(), 0).unwrap();
        let found = |bytes: &[u8], path: &str| find(bytes, path);
        let wanted = Some(b"cloister-guest 1\n".to_vec());
        assert_eq!(found(&bytes, "cloister/guest.conf"), wanted);
        assert_eq!(found(&bytes, "init"), Some(b"\x7fELF".to_vec()));
        assert_eq!(found(&bytes, "cloister"), Some(Vec::new()));
        assert_eq!(found(&bytes, "other"), None);
        let entry = list(&bytes).unwrap()[1].bytes;
        let end = entry.as_ptr() as usize - bytes.as_ptr() as usize + entry.len();
        assert_eq!(found(&bytes[..end], "cloister/guest.conf"), wanted);
        for cut in 0..end {
            assert_eq!(found(&bytes[..cut], "cloister/guest.conf"), None, "{cut}");
        }
        let mut other = bytes.clone();
        other[5] = b'2';
        assert_eq!(found(&other, "cloister/guest.conf"), None);
    }

    #[test]
    fn find_takes_no_entry_that_is_too_large() {
        let size = usize::try_from(FOUND_LIMIT).unwrap();
        let of = |bytes: &[u8]| {
            let members = [("file".to_owned(), Member::File { mode: 0o644, bytes })].into();
            find(archive(&members, 0).unwrap().as_slice(), "file").map(|found| found.len())
        };
        let bytes = vec![1; size + 1];
        assert_eq!((of(&bytes[..size]), of(&bytes)), (Some(size), None));
    }

    #[test]
    fn archive_bytes_are_golden() {
        // Origin: this writer, its listing by GNU cpio compared below; a change here changes every published image.
        let digest = hex::encode(Sha256::digest(archive(&members(), 1_763_000_000).unwrap()));
        assert_eq!(
            digest,
            "1388eb2edf3358d4cd5abd029456a4a794e00a06949f6fdce484486c9bcca6e0"
        );
    }

    #[test]
    fn gnu_cpio_lists_the_same_names() {
        let Ok(mut cpio) = Command::new("cpio")
            .args(["-t", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            println!("skipped: cpio is not installed");
            return;
        };
        cpio.stdin
            .take()
            .unwrap()
            .write_all(&archive(&members(), 0).unwrap())
            .unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "cloister\ncloister/guest.conf\ninit\n"
        );
    }

    #[test]
    fn archive_refuses_bad_paths_missing_parents_and_late_epochs() {
        for path in ["/init", "", "a//b", "../x", "cloister/./x", "TRAILER!!!"] {
            let members = BTreeMap::from([(
                path.to_owned(),
                Member::File {
                    mode: 0o644,
                    bytes: b"",
                },
            )]);
            assert!(
                matches!(archive(&members, 0), Err(InitrdError::Path(_))),
                "{path}"
            );
        }
        let orphan = BTreeMap::from([("a/b".to_owned(), Member::Directory { mode: 0o755 })]);
        assert!(matches!(archive(&orphan, 0), Err(InitrdError::NoParent(_))));
        assert!(matches!(
            archive(&members(), 1 << 32),
            Err(InitrdError::TooLarge {
                field: "seconds",
                ..
            })
        ));
        assert!(matches!(
            narrow("x", "bytes", 1 << 32),
            Err(InitrdError::TooLarge { .. })
        ));
    }

    #[test]
    fn compressed_bytes_do_not_depend_on_the_number_of_workers() {
        let text: Vec<u8> = (0_u32..3 << 20)
            .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes())
            .collect();
        let one = compress_with(&text, 3, 1).unwrap();
        for workers in [2, 4, 7] {
            assert!(
                compress_with(&text, 3, workers).unwrap() == one,
                "{workers} workers"
            );
        }
        assert!(zstd::decode_all(&*one).unwrap() == text);
    }

    #[test]
    fn zstd_of_another_version_is_refused() {
        assert!(check_zstd(zstd::zstd_safe::version_string()).is_ok());
        assert!(matches!(
            check_zstd("1.0.0"),
            Err(InitrdError::ZstdVersion { .. })
        ));
    }

    #[test]
    fn list_reports_damage_without_panicking() {
        let good = archive(&members(), 0).unwrap();
        assert_eq!(list(&good[4..]), Err(NewcError::Magic(0)));
        let mut bad = good.clone();
        bad[8] = b'+';
        assert_eq!(
            list(&bad),
            Err(NewcError::Field { at: 0, field: 0 }).or(list(&bad))
        );
        bad[56] = b'g';
        assert!(list(&bad).is_err());
        for end in 0..good.len() - 512 {
            let _ = list(&good[..end]);
        }
        assert!(list(&good[..200]).is_err());
    }
}
