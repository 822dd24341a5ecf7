//! `RECORD`: every file of a distribution with its hash and size.
//!
//! Spec: PyPA "Recording installed projects". CSV (RFC 4180 quoting), one row per file:
//! path, `algorithm=digest` in unpadded URL-safe base64, size in bytes.

use std::collections::BTreeMap;

use std::io;

use sha2::{Digest as _, Sha384, Sha512};

use crate::tree::Content;

/// The rows by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    rows: BTreeMap<String, Row>,
}

/// Hash and size of one file; both may be absent for `RECORD` itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// `sha256=...`
    hash: String,
    /// Size in bytes.
    size: Option<u64>,
}

/// Why a `RECORD`, or a file against it, is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Not UTF-8.
    #[error("RECORD is not UTF-8")]
    Text,
    /// A row is not three fields.
    #[error("line {line} of RECORD is not `path,hash,size`")]
    Row {
        /// Line number, from 1.
        line: usize,
    },
    /// A path stands twice.
    #[error("RECORD lists `{0}` twice")]
    Twice(String),
    /// A file of the wheel is not listed.
    #[error("`{0}` is in the wheel but not in RECORD")]
    NotListed(String),
    /// A listed file is not in the wheel.
    #[error("`{0}` is in RECORD but not in the wheel")]
    Absent(String),
    /// The hash's algorithm is missing or weak.
    #[error("RECORD has no sha256, sha384 or sha512 for `{path}`: found `{found}`")]
    Algorithm {
        /// The file.
        path: String,
        /// What stands there.
        found: String,
    },
    /// The content has another hash.
    #[error("`{path}` does not match RECORD: wanted {wanted}, found {found}")]
    Hash {
        /// The file.
        path: String,
        /// In RECORD.
        wanted: String,
        /// Computed.
        found: String,
    },
    /// The content could not be read again.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The content has another size.
    #[error("`{path}` does not match RECORD: wanted {wanted} bytes, found {found}")]
    Size {
        /// The file.
        path: String,
        /// In RECORD.
        wanted: u64,
        /// Counted.
        found: u64,
    },
}

impl Record {
    /// Parses a whole `RECORD`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Record, RecordError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RecordError::Text)?;
        let mut rows = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            let wrong = || RecordError::Row { line: index + 1 };
            let fields = fields(line).ok_or_else(wrong)?;
            let [path, hash, size] = fields.as_slice() else {
                return Err(wrong());
            };
            let size = match size.as_str() {
                "" => None,
                digits => Some(digits.parse().map_err(|_| wrong())?),
            };
            if rows
                .insert(
                    path.clone(),
                    Row {
                        hash: hash.clone(),
                        size,
                    },
                )
                .is_some()
            {
                return Err(RecordError::Twice(path.clone()));
            }
        }
        Ok(Record { rows })
    }

    /// Checks `content` against the row of `path`.
    pub(crate) fn check(&self, path: &str, content: &Content) -> Result<(), RecordError> {
        let row = self
            .rows
            .get(path)
            .ok_or_else(|| RecordError::NotListed(path.to_owned()))?;
        let read = || {
            content.read().map_err(|source| RecordError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let computed = match row.hash.split_once('=') {
            Some(("sha256", _)) => sha256(content),
            Some(("sha384", _)) => format!("sha384={}", base64(&Sha384::digest(read()?))),
            Some(("sha512", _)) => format!("sha512={}", base64(&Sha512::digest(read()?))),
            _ => {
                return Err(RecordError::Algorithm {
                    path: path.to_owned(),
                    found: row.hash.clone(),
                });
            }
        };
        if row.hash.trim_end_matches('=') != computed {
            return Err(RecordError::Hash {
                path: path.to_owned(),
                wanted: row.hash.clone(),
                found: computed,
            });
        }
        let found = content.len();
        match row.size {
            Some(wanted) if wanted != found => Err(RecordError::Size {
                path: path.to_owned(),
                wanted,
                found,
            }),
            _ => Ok(()),
        }
    }

    /// The listed paths, sorted.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// Adds or replaces the row of an installed file.
    pub(crate) fn set(&mut self, path: String, content: &Content) {
        let (hash, size) = (sha256(content), Some(content.len()));
        self.rows.insert(path, Row { hash, size });
    }

    /// The file's bytes: rows sorted by path, then the row of RECORD itself, which has no hash.
    pub(crate) fn encode(&self, own_path: &str) -> Vec<u8> {
        let mut text = String::new();
        for (path, row) in self.rows.iter().filter(|(path, _)| *path != own_path) {
            let size = row.size.map(|s| s.to_string()).unwrap_or_default();
            text.push_str(&format!("{},{},{size}\n", quoted(path), row.hash));
        }
        text.push_str(&format!("{},,\n", quoted(own_path)));
        text.into_bytes()
    }
}

/// The hash of a file as a row has it.
fn sha256(content: &Content) -> String {
    format!("sha256={}", base64(&content.sha256().0))
}

/// Splits one CSV line; `None` when a quote is not closed or stands inside a bare field.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field;
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted_field(quoted)?;
            (field, rest) = (text, after);
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (bare, after) = rest.split_at_checked(end)?;
            if bare.contains('"') {
                return None;
            }
            (field, rest) = (bare.to_owned(), after);
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(fields),
        }
    }
}

/// Reads up to the closing quote; two quotes are one. Returns the field and what follows.
fn quoted_field(mut rest: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    loop {
        let (text, after) = rest.split_once('"')?;
        field.push_str(text);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}

fn quoted(path: &str) -> String {
    if path.contains(['"', ',']) {
        format!("\"{}\"", path.replace('"', "\"\""))
    } else {
        path.to_owned()
    }
}

/// URL-safe base64 without padding, RFC 4648 section 5.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, &b| (word << 8) | u32::from(b))
            << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            let six = usize::try_from((word >> (18 - 6 * index)) & 63).unwrap_or(0);
            text.push(char::from(ALPHABET.get(six).copied().unwrap_or(b'A')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_rfc_4648() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn record_checks_hash_and_size() {
        let body = Content::new(b"hello".to_vec());
        let record = Record::parse(
            b"a/b.py,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5\nRECORD,,\n",
        )
        .unwrap();
        record.check("a/b.py", &body).unwrap();
        assert!(matches!(
            record.check("x", &body),
            Err(RecordError::NotListed(path)) if path == "x"
        ));
        assert!(matches!(
            record.check("RECORD", &body),
            Err(RecordError::Algorithm { .. })
        ));
        let other = Content::new(b"x".to_vec());
        assert!(matches!(
            record.check("a/b.py", &other),
            Err(RecordError::Hash { .. })
        ));
        let record =
            Record::parse(b"a,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,6\n").unwrap();
        assert!(matches!(
            record.check("a", &body),
            Err(RecordError::Size {
                wanted: 6,
                found: 5,
                ..
            })
        ));
    }

    #[test]
    fn record_reads_and_writes_quotes() {
        let record = Record::parse(b"\"a,\"\"b\"\"\",sha256=x,1\nz,,\n").unwrap();
        assert_eq!(record.paths().next(), Some("a,\"b\""));
        assert_eq!(record.encode("z"), b"\"a,\"\"b\"\"\",sha256=x,1\nz,,\n");
        for wrong in ["a,b", "a,b,c,d", "a,b,c", "\"a,b,1", "a\"b,c,1"] {
            let found = Record::parse(wrong.as_bytes());
            assert!(
                matches!(found, Err(RecordError::Row { line: 1 })),
                "{wrong}"
            );
        }
        let twice = Record::parse(b"a,,\na,,\n");
        assert!(matches!(twice, Err(RecordError::Twice(path)) if path == "a"));
        let text = Record::parse(b"\xff,,");
        assert!(matches!(text, Err(RecordError::Text)));
    }
}
