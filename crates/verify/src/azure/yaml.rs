//! The little of YAML in which evidence of TDX on Azure is handed around: mappings by indentation, block texts, lists of bytes.
//!
//! Spec: YAML 1.2.2, of which only this: `key:` with a mapping or list below, `key: |-` with a text below, `key: [1, 2]`, `- [1, 2]`, `key: null`. The
//! one shape that is read (`flashbots/attested-tls`, test assets) needs no more, and a whole YAML reader is far larger than the rest of this
//! crate's parsers: aliases, tags, merge keys and quoting are refused by not being there.

use std::collections::BTreeMap;

use thiserror::Error;

/// Mappings inside of mappings.
const MAX_DEPTH: usize = 4;
/// Lists in a list: a TPM has 24 PCRs.
const MAX_LISTS: usize = 24;

/// Why text is not this YAML.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {reason}")]
pub struct YamlError {
    /// Line, from 1 on; one behind the last where something is missing.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bytes(Vec<u8>),
    Lists(Vec<Vec<u8>>),
    Null,
}

/// Reads a document: values by their path, keys joined with dots.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Value>, YamlError> {
    let mut reader = Reader {
        lines: text.lines().collect(),
        at: 0,
        values: BTreeMap::new(),
    };
    reader.mapping(0, "", 0)?;
    match reader.peek() {
        None => Ok(reader.values),
        Some(_) => Err(reader.error("indentation that fits nothing above")),
    }
}

struct Reader<'t> {
    lines: Vec<&'t str>,
    at: usize,
    values: BTreeMap<String, Value>,
}

impl<'t> Reader<'t> {
    fn error(&self, reason: &'static str) -> YamlError {
        let line = self.at + 1;
        YamlError { line, reason }
    }

    /// The next line that is not blank: its indentation, and what follows it.
    fn peek(&mut self) -> Option<(usize, &'t str)> {
        loop {
            let line = self.lines.get(self.at)?;
            let rest = line.trim_start_matches(' ');
            if !rest.is_empty() {
                return Some((line.len() - rest.len(), rest.trim_end_matches(' ')));
            }
            self.at += 1;
        }
    }

    /// The entries of a mapping at this indentation.
    fn mapping(&mut self, indent: usize, prefix: &str, depth: usize) -> Result<(), YamlError> {
        if depth > MAX_DEPTH {
            return Err(self.error("mappings too deep inside of each other"));
        }
        let start = self.at;
        while let Some((found, line)) = self.peek() {
            if found < indent {
                break;
            }
            if found > indent {
                return Err(self.error("indentation that fits nothing above"));
            }
            let (key, rest) = line.split_once(':').ok_or(self.error("no `key:`"))?;
            let name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if key.is_empty() || !key.bytes().all(name) {
                return Err(self.error("key of other characters than a-z, 0-9 and _"));
            }
            let path = match prefix.is_empty() {
                true => key.to_owned(),
                false => format!("{prefix}.{key}"),
            };
            self.at += 1;
            self.entry(indent, path, rest.trim_start_matches(' '), depth)?;
        }
        match self.at == start {
            true => Err(self.error("a mapping without entries")),
            false => Ok(()),
        }
    }

    /// What stands behind a key, from which the reader has gone on to the next line.
    fn entry(
        &mut self,
        indent: usize,
        path: String,
        rest: &'t str,
        depth: usize,
    ) -> Result<(), YamlError> {
        let value = match rest {
            "" => match self.peek() {
                Some((found, line)) if found > indent && line.starts_with('-') => {
                    Value::Lists(self.lists(found)?)
                }
                Some((found, _)) if found > indent => {
                    return self.mapping(found, &path, depth + 1);
                }
                _ => return Err(self.error("nothing below a key")),
            },
            "|-" => Value::Text(self.block(indent)?),
            "null" => Value::Null,
            list => Value::Bytes(self.list(list)?),
        };
        match self.values.insert(path, value) {
            None => Ok(()),
            Some(_) => Err(self.error("a key that stands twice")),
        }
    }

    /// A text: every line that is further in, without the first one's indentation.
    fn block(&mut self, indent: usize) -> Result<String, YamlError> {
        let (inner, _) = self.peek().ok_or(self.error("no text"))?;
        if inner <= indent {
            return Err(self.error("no text"));
        }
        let mut text = String::new();
        while let Some(line) = self.lines.get(self.at) {
            let blank = line.trim_start_matches(' ').is_empty();
            let spaces = line.len() - line.trim_start_matches(' ').len();
            if !blank && spaces <= indent {
                break;
            }
            if !blank && spaces < inner {
                return Err(self.error("text further out than its first line"));
            }
            text.push_str(line.get(inner..).unwrap_or_default());
            text.push('\n');
            self.at += 1;
        }
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Lists below a key, each behind a dash.
    fn lists(&mut self, indent: usize) -> Result<Vec<Vec<u8>>, YamlError> {
        let mut lists = Vec::new();
        while let Some((found, line)) = self.peek() {
            let Some(rest) = line.strip_prefix("- ").filter(|_| found == indent) else {
                break;
            };
            if lists.len() == MAX_LISTS {
                return Err(self.error("more than 24 lists"));
            }
            self.at += 1;
            lists.push(self.list(rest.trim_start_matches(' '))?);
        }
        Ok(lists)
    }

    /// `[1, 2]` on this line, or on until the bracket closes.
    fn list(&mut self, first: &'t str) -> Result<Vec<u8>, YamlError> {
        let opened = first.strip_prefix('[');
        let mut text = opened
            .ok_or(self.error("neither `|-` nor `[` nor `null`"))?
            .to_owned();
        while !text.contains(']') {
            let line = self
                .lines
                .get(self.at)
                .ok_or(self.error("a list without end"))?;
            text.push_str(line);
            self.at += 1;
        }
        let body = text
            .strip_suffix(']')
            .ok_or(self.error("text behind a list"))?;
        let body = body.trim_matches(' ');
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = body
            .split(',')
            .map(|number| number.trim_matches(' ').parse());
        let bytes: Result<Vec<u8>, _> = bytes.collect();
        bytes.map_err(|_| self.error("a number that is no byte"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "a_1: |-\n  one\n   two\n\nb:\n  c: |-\n    x\n  d:\n    e: [\n      1, 20,\n      255\n    ]\n    f:\n      - [1,  2]\n      - []\n  g: []\n\n  h: null\n";

    #[test]
    fn read_gives_every_value_by_its_path() {
        let text = |text: &str| Value::Text(text.to_owned());
        let wanted = [
            ("a_1", text("one\n two")),
            ("b.c", text("x")),
            ("b.d.e", Value::Bytes(vec![1, 20, 255])),
            ("b.d.f", Value::Lists(vec![vec![1, 2], vec![]])),
            ("b.g", Value::Bytes(vec![])),
            ("b.h", Value::Null),
        ];
        let wanted = wanted.map(|(path, value)| (path.to_owned(), value));
        assert_eq!(read(DOCUMENT), Ok(BTreeMap::from(wanted)));
    }

    #[test]
    fn read_refuses_each_mistake_by_line() {
        for (text, line, reason) in [
            ("", 1, "a mapping without entries"),
            ("a", 1, "no `key:`"),
            ("A: null", 1, "key of other characters than a-z, 0-9 and _"),
            (": null", 1, "key of other characters than a-z, 0-9 and _"),
            (
                "\"a\": null",
                1,
                "key of other characters than a-z, 0-9 and _",
            ),
            ("a: null\na: null", 3, "a key that stands twice"),
            ("a:", 2, "nothing below a key"),
            ("a:\nb: null", 2, "nothing below a key"),
            // YAML would take a list that is no further in than its key.
            ("a:\n- [1]", 2, "nothing below a key"),
            ("a: |-", 2, "no text"),
            ("a: |-\nb: null", 2, "no text"),
            (
                "a: |-\n    x\n  y",
                3,
                "text further out than its first line",
            ),
            (" a: null", 1, "indentation that fits nothing above"),
            (
                "a: null\n b: null",
                2,
                "indentation that fits nothing above",
            ),
            (
                "a:\n    b: null\n  c: null",
                3,
                "indentation that fits nothing above",
            ),
            ("a: &x [1]", 2, "neither `|-` nor `[` nor `null`"),
            ("a: |\n  x", 2, "neither `|-` nor `[` nor `null`"),
            ("a: [1", 2, "a list without end"),
            ("a: [1] # x", 2, "text behind a list"),
            ("a: [256]", 2, "a number that is no byte"),
            ("a: [1,]", 2, "a number that is no byte"),
            ("a: [-1]", 2, "a number that is no byte"),
            ("a:\n - [1]\n x", 3, "indentation that fits nothing above"),
            (
                "a:\n b:\n  c:\n   d:\n    e:\n     f: null",
                6,
                "mappings too deep inside of each other",
            ),
        ] {
            assert_eq!(read(text), Err(YamlError { line, reason }), "{text}");
        }
        let lists = format!("a:\n{}", " - [1]\n".repeat(25));
        let reason = "more than 24 lists";
        assert_eq!(read(&lists), Err(YamlError { line: 26, reason }));
    }
}
