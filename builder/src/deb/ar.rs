//! The outer container of a `.deb`: an `ar` archive with exactly three members.
//!
//! Spec: deb(5), ar(5). Sizes are decimal text in bytes; members start at even offsets, an odd
//! one is followed by one newline. Stricter than dpkg: no member but the three, in their order,
//! and nothing after the last.

use super::compression::Compression;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// The members of a `.deb`, borrowed from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Members<'a> {
    /// `control.tar*`, still compressed.
    pub(crate) control: Packed<'a>,
    /// `data.tar*`, still compressed.
    pub(crate) data: Packed<'a>,
}

/// A compressed member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed<'a> {
    /// How it is compressed, from its name's ending.
    pub(crate) compression: Compression,
    /// The compressed bytes.
    pub(crate) bytes: &'a [u8],
}

/// Why bytes are not a `.deb`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArError {
    /// The first eight bytes are not `!<arch>\n`.
    #[error("does not start with the `ar` magic `!<arch>`")]
    Magic,
    /// The archive ends inside a header or member.
    #[error("truncated: {what} needs {need} bytes, {have} are left")]
    Truncated {
        /// What was being read.
        what: String,
        /// Bytes needed.
        need: u64,
        /// Bytes left.
        have: u64,
    },
    /// A header does not end in the two bytes it must.
    #[error("member header at byte {offset} is damaged: wanted `{wanted}`")]
    Header {
        /// Offset of the header in bytes.
        offset: usize,
        /// What the header lacks.
        wanted: &'static str,
    },
    /// The member is not the one that must stand here.
    #[error("member `{found}` stands where `{wanted}` is wanted")]
    Member {
        /// Name found.
        found: String,
        /// Name wanted.
        wanted: &'static str,
    },
    /// The format version is not 2.
    #[error("`debian-binary` says `{0}`; wanted version 2")]
    Version(String),
    /// Bytes follow the third member.
    #[error("{0} bytes follow `data.tar`")]
    Trailing(usize),
}

/// Splits a whole `.deb` into its members without copying.
pub(crate) fn split(deb: &[u8]) -> Result<Members<'_>, ArError> {
    let mut cursor = Cursor {
        all: deb.len(),
        rest: deb.strip_prefix(MAGIC).ok_or(ArError::Magic)?,
    };
    let (name, version) = cursor.member("debian-binary")?;
    if name != "debian-binary" {
        return Err(ArError::Member {
            found: name,
            wanted: "debian-binary",
        });
    }
    if !version.starts_with(b"2.") || !version.ends_with(b"\n") {
        return Err(ArError::Version(
            String::from_utf8_lossy(version).trim().to_owned(),
        ));
    }
    let control = cursor.tar("control.tar")?;
    let data = cursor.tar("data.tar")?;
    match cursor.rest {
        [] => Ok(Members { control, data }),
        rest => Err(ArError::Trailing(rest.len())),
    }
}

struct Cursor<'a> {
    all: usize,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn tar(&mut self, wanted: &'static str) -> Result<Packed<'a>, ArError> {
        let (name, bytes) = self.member(wanted)?;
        let compression = name.strip_prefix(wanted).and_then(Compression::from_ending);
        match compression {
            Some(compression) => Ok(Packed { compression, bytes }),
            None => Err(ArError::Member {
                found: name,
                wanted,
            }),
        }
    }

    fn member(&mut self, wanted: &'static str) -> Result<(String, &'a [u8]), ArError> {
        let offset = self.all - self.rest.len();
        let header = self.take(HEADER, format!("the header of `{wanted}`"))?;
        let damaged = |wanted| ArError::Header { offset, wanted };
        if !header.ends_with(b"`\n") {
            return Err(damaged("the end mark"));
        }
        let name = text(header.get(..16)).ok_or_else(|| damaged("a name in ASCII"))?;
        let name = name.trim_end_matches(' ').trim_end_matches('/').to_owned();
        let size = text(header.get(48..58)).ok_or_else(|| damaged("a size"))?;
        let size = size.trim_end_matches(' ');
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_digit()) {
            return Err(damaged("a decimal size"));
        }
        let size: usize = size.parse().map_err(|_| damaged("a size that fits"))?;
        let body = self.take(size, format!("member `{name}`"))?;
        if size % 2 == 1 && self.take(1, format!("the padding of `{name}`"))? != b"\n" {
            return Err(damaged("a newline as padding"));
        }
        Ok((name, body))
    }

    fn take(&mut self, need: usize, what: String) -> Result<&'a [u8], ArError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(need)
            .ok_or_else(|| ArError::Truncated {
                what,
                need: u64::try_from(need).unwrap_or(u64::MAX),
                have: u64::try_from(self.rest.len()).unwrap_or(u64::MAX),
            })?;
        self.rest = rest;
        Ok(taken)
    }
}

fn text(bytes: Option<&[u8]>) -> Option<&str> {
    let text = std::str::from_utf8(bytes?).ok()?;
    text.is_ascii().then_some(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes an `ar` archive, for tests.
    pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (name, body) in members {
            out.extend(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                    0,
                    0,
                    0,
                    100_644,
                    body.len()
                )
                .bytes(),
            );
            out.extend_from_slice(body);
            if body.len() % 2 == 1 {
                out.push(b'\n');
            }
        }
        out
    }

    fn good() -> Vec<u8> {
        archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", b"ccc"),
            ("data.tar.zst", b"dddd"),
        ])
    }

    #[test]
    fn split_finds_the_members() {
        let deb = good();
        let members = split(&deb).unwrap();
        assert_eq!(
            members.control,
            Packed {
                compression: Compression::Xz,
                bytes: b"ccc"
            }
        );
        assert_eq!(
            members.data,
            Packed {
                compression: Compression::Zstd,
                bytes: b"dddd"
            }
        );
    }

    #[test]
    fn split_rejects_every_truncation() {
        let deb = good();
        for end in 0..deb.len() {
            assert!(
                split(&deb[..end]).is_err(),
                "accepted the first {end} bytes"
            );
        }
    }

    #[test]
    fn split_rejects_trailing_bytes_and_other_members() {
        let mut deb = good();
        deb.push(0);
        assert_eq!(split(&deb), Err(ArError::Trailing(1)));
        let deb = archive(&[
            ("debian-binary", b"2.0\n"),
            ("data.tar", b""),
            ("control.tar", b""),
        ]);
        assert_eq!(
            split(&deb),
            Err(ArError::Member {
                found: "data.tar".into(),
                wanted: "control.tar"
            })
        );
        let deb = archive(&[
            ("debian-binary", b"3.0\n"),
            ("control.tar", b""),
            ("data.tar", b""),
        ]);
        assert_eq!(split(&deb), Err(ArError::Version("3.0".into())));
        let deb = archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.bz2", b""),
            ("data.tar", b""),
        ]);
        assert!(matches!(split(&deb), Err(ArError::Member { .. })));
        assert_eq!(split(b"PK\x03\x04"), Err(ArError::Magic));
    }

    #[test]
    fn split_rejects_damaged_headers() {
        let mut deb = good();
        deb[8 + 58] = b'x';
        assert_eq!(
            split(&deb),
            Err(ArError::Header {
                offset: 8,
                wanted: "the end mark"
            })
        );
        let mut deb = good();
        deb[8 + 48] = b'-';
        assert_eq!(
            split(&deb),
            Err(ArError::Header {
                offset: 8,
                wanted: "a decimal size"
            })
        );
    }
}
