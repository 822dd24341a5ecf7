//! Bytecode made at build time, so that the guest neither compiles nor writes.
//!
//! Spec: PEP 552, unchecked hash-based `.pyc`: magic, flags 1, SipHash of the source, marshalled
//! code; no time stamp. The compiler is the image's own interpreter, unpacked from the locked
//! packages and run isolated (`-I -S -B`, empty environment, hash seed 0); each file is compiled
//! from its bytes under the path that it has in the image. What depends on the state of the
//! process is taken out of the result (see `marshal`).
//!
//! Results are kept in the store, one file for all sources of an origin. The key is the hash of
//! everything that decides them, so the cache never changes a byte.

mod marshal;

use std::collections::BTreeMap;
use std::io::{self, Write};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::cmd::Hinted;
use crate::store::{Digest, Store, StoreError};
use crate::tool::{Tool, ToolError};
use crate::tree::{Content, Entry, Origin, PathError, Tree, TreePath};

pub(crate) use marshal::MarshalError;

/// The program that the interpreter runs.
const COMPILE: &str = include_str!("compile.py");
/// Part of the cache's key: changes with anything here that changes the result.
const RULE: &[u8] = b"cloister pyc 1\n";
/// Minor versions of CPython 3 whose marshalled code is known.
const KNOWN: std::ops::RangeInclusive<u32> = 11..=14;
/// Magic, flags and source hash before the marshalled code.
const HEADER: usize = 16;

/// Why bytecode cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PycError {
    /// The interpreter is too new or too old.
    #[error("bytecode of Python 3.{0} is not known; known are 3.11 to 3.14")]
    Version(u32),
    /// The interpreter could not be run.
    #[error("bytecode cannot be made")]
    Tool(#[from] ToolError),
    /// The cache.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The interpreter answered something else than was asked.
    #[error("the interpreter's answer is not what was asked for: {0}")]
    Answer(&'static str),
    /// The interpreter wrote code that cannot be made canonical.
    #[error("bytecode of `/{path}` is not understood")]
    Marshal {
        /// The source.
        path: TreePath,
        /// Why.
        source: MarshalError,
    },
    /// The bytecode's path is too long.
    #[error("bytecode has no usable path")]
    Path(#[from] PathError),
}

impl Hinted for PycError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Version(_) => {
                Some("set `bytecode = false` in the recipe's `[python]`".to_owned())
            }
            Self::Tool(error) => error.hint(),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

/// What compiles.
pub(crate) struct Compiler<'a> {
    /// Where results are kept.
    pub(crate) store: &'a Store,
    /// Hash of the interpreter's packages.
    pub(crate) key: Digest,
    /// Minor version of CPython 3.
    pub(crate) minor: u32,
    /// Directories whose sources are compiled.
    pub(crate) directories: Vec<TreePath>,
    /// Whether earlier results may be used; they are kept either way.
    pub(crate) cache: bool,
}

type Sources<'t> = Vec<(&'t TreePath, &'t Content)>;
type Compiled = Vec<(TreePath, Result<Vec<u8>, String>)>;

impl Compiler<'_> {
    /// Adds a `.pyc` for every source below the directories. `open` unpacks the interpreter; it is
    /// called only when something is not in the cache. Returns sources that are not Python.
    pub(crate) fn run(
        &self,
        tree: &mut Tree,
        open: impl Fn() -> Result<Tool, ToolError> + Sync,
    ) -> Result<Vec<String>, PycError> {
        if !KNOWN.contains(&self.minor) {
            return Err(PycError::Version(self.minor));
        }
        let mut groups: BTreeMap<&Origin, Sources<'_>> = BTreeMap::new();
        for (path, entry) in tree.iter() {
            let wanted = path.as_bytes().ends_with(b".py")
                && self.directories.iter().any(|d| path.is_below(d));
            if let Some(content) = entry.content().filter(|_| wanted) {
                groups
                    .entry(&entry.origin)
                    .or_default()
                    .push((path, content));
            }
        }
        let groups: Vec<(Origin, Sources<'_>)> = groups
            .into_iter()
            .map(|(origin, s)| (origin.clone(), s))
            .collect();
        let compiled: Result<Vec<(Origin, Compiled)>, PycError> = groups
            .into_par_iter()
            .map(|(origin, sources)| Ok((origin, self.group(&sources, &open)?)))
            .collect();
        let mut notes = Vec::new();
        for (origin, files) in compiled? {
            for (path, outcome) in files {
                match outcome {
                    Ok(bytes) => self.add(tree, &path, bytes, &origin)?,
                    Err(reason) => notes.push(format!(
                        "`/{path}` is not Python, so it has no bytecode: {reason}"
                    )),
                }
            }
        }
        notes.sort();
        Ok(notes)
    }

    fn add(
        &self,
        tree: &mut Tree,
        source: &TreePath,
        bytes: Vec<u8>,
        origin: &Origin,
    ) -> Result<(), PycError> {
        let stem = source.file_name();
        let stem = String::from_utf8_lossy(stem.strip_suffix(b".py").unwrap_or(stem)).into_owned();
        let directory = match source.parent() {
            Some(parent) => parent.join(b"__pycache__")?,
            None => TreePath::new(b"__pycache__")?,
        };
        let path = directory.join(format!("{stem}.cpython-3{}.pyc", self.minor).as_bytes())?;
        let origin = Origin::Bytecode {
            source: Box::new(origin.clone()),
        };
        if tree.get(&directory).is_none() {
            tree.insert(directory, Entry::directory(0o755, origin.clone()));
        }
        tree.insert(path, Entry::file(0o644, Content::new(bytes), origin));
        Ok(())
    }

    /// The results for the sources of one origin, from the cache or made now.
    fn group(
        &self,
        sources: &Sources<'_>,
        open: &(impl Fn() -> Result<Tool, ToolError> + Sync),
    ) -> Result<Compiled, PycError> {
        let key = self.group_key(sources);
        if let Some(kept) = self.store.derived("pyc", &key).filter(|_| self.cache) {
            // A damaged cache file is made again, not an error.
            if let Ok(bytes) = self.store.read(&kept)
                && let Ok(answers) = answers(&bytes, sources)
            {
                return Ok(answers);
            }
        }
        let made = self.compile(sources, &open()?)?;
        let kept = self.store.put(&encode(&made))?;
        self.store.set_derived("pyc", &key, &kept)?;
        Ok(made)
    }

    fn group_key(&self, sources: &Sources<'_>) -> Digest {
        let mut hash = Sha256::new_with_prefix(RULE);
        hash.update(COMPILE.as_bytes());
        hash.update(self.key.0);
        hash.update(self.minor.to_be_bytes());
        for (path, content) in sources {
            hash.update(content.sha256().0);
            hash.update(path.as_bytes());
            hash.update([0]);
        }
        Digest(hash.finalize().into())
    }

    fn compile(&self, sources: &Sources<'_>, tool: &Tool) -> Result<Compiled, PycError> {
        let program = format!("usr/bin/python3.{}", self.minor);
        let mut command = tool.command(&program)?;
        command
            .env("PYTHONHASHSEED", "0")
            .args(["-I", "-S", "-B", "-W", "ignore", "-c", COMPILE]);
        let output = Tool::run(self.store, &program, command, |input| feed(input, sources))?;
        let mut compiled = answers(&output, sources)?;
        for (path, outcome) in &mut compiled {
            let Ok(bytes) = outcome else { continue };
            let (header, code) = bytes
                .split_at_checked(HEADER)
                .ok_or(PycError::Answer("a file is too short"))?;
            let code = marshal::canonical(code).map_err(|source| PycError::Marshal {
                path: path.clone(),
                source,
            })?;
            *bytes = [header, &code].concat();
        }
        Ok(compiled)
    }
}

fn feed(input: &mut dyn Write, sources: &Sources<'_>) -> io::Result<()> {
    for (path, content) in sources {
        let name = [b"/", path.as_bytes()].concat();
        let source = content.read()?;
        for bytes in [name.as_slice(), &source] {
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            input.write_all(&length.to_be_bytes())?;
            input.write_all(bytes)?;
        }
    }
    Ok(())
}

/// One byte (0 bytecode, 1 reason), length as big-endian `u32`, bytes; in the order of the sources.
fn answers(mut bytes: &[u8], sources: &Sources<'_>) -> Result<Compiled, PycError> {
    let mut found = Vec::with_capacity(sources.len());
    for (path, _) in sources {
        let truncated = PycError::Answer("it is truncated");
        let Some(([status, length @ ..], rest)) = bytes.split_first_chunk::<5>() else {
            return Err(truncated);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((body, rest)) = rest.split_at_checked(length) else {
            return Err(truncated);
        };
        let outcome = match status {
            0 => Ok(body.to_vec()),
            1 => Err(String::from_utf8_lossy(body).into_owned()),
            _ => return Err(PycError::Answer("a status is neither 0 nor 1")),
        };
        found.push(((*path).clone(), outcome));
        bytes = rest;
    }
    if bytes.is_empty() {
        Ok(found)
    } else {
        Err(PycError::Answer("bytes follow it"))
    }
}

/// The inverse of [`answers`].
fn encode(compiled: &Compiled) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, outcome) in compiled {
        let (status, body) = match outcome {
            Ok(bytes) => (0, bytes.as_slice()),
            Err(reason) => (1, reason.as_bytes()),
        };
        out.push(status);
        // Every length came from a `u32` of the interpreter's answer and only shrank since.
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(body);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::path;

    #[test]
    fn answers_reads_what_encode_writes_and_refuses_damage() {
        let (a, b) = (path("a.py"), path("b.py"));
        let content = Content::new(Vec::new());
        let sources = vec![(&a, &content), (&b, &content)];
        let compiled = vec![
            (a.clone(), Ok(b"code".to_vec())),
            (b.clone(), Err("reason".to_owned())),
        ];
        let bytes = encode(&compiled);
        assert_eq!(answers(&bytes, &sources).unwrap(), compiled);
        for end in 0..bytes.len() {
            assert!(answers(&bytes[..end], &sources).is_err(), "cut at {end}");
        }
        assert!(answers(&[&bytes[..], b"x"].concat(), &sources).is_err());
    }

    #[test]
    fn run_refuses_an_unknown_python() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let compiler = Compiler {
            store: &store,
            key: Digest([0; 32]),
            minor: 99,
            directories: Vec::new(),
            cache: true,
        };
        let open = || Err(ToolError::NoProgram("none".into()));
        assert!(matches!(
            compiler.run(&mut Tree::new(), open),
            Err(PycError::Version(99))
        ));
    }
}
