//! Installing Python wheels without running anything of theirs.
//!
//! Spec: PyPA binary distribution format 1.x, recording installed projects, entry points. The zip
//! is unpacked in memory, every file is checked against `RECORD`, the `.data` schemes go to their
//! places, commands are written from `entry_points.txt`, and `RECORD` is written afresh.
//! Not covered: `RECORD.jws`/`RECORD.p7s` signatures (dropped), bytecode (see `pyc`).

mod alias;
mod archive;
mod closure;
mod marker;
mod metadata;
mod record;
mod requirement;
mod tags;
mod version;

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek};

use crate::store::Digest;
use crate::tree::{Content, Entry, Origin, PathError, TreePath};

pub(crate) use alias::{AliasError, check as check_aliases, files as alias_files};
pub(crate) use closure::{Closure, Distribution, Satisfied, check as check_closure};
pub(crate) use marker::Environment;
pub(crate) use metadata::MetadataError;
use metadata::{Headers, normalised};
use record::Record;
pub(crate) use record::RecordError;
pub(crate) use requirement::Requirement;
pub(crate) use tags::Interpreter;
pub(crate) use version::{is_version, same as same_version, satisfies};

/// Where the files of a wheel go and what runs them.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The interpreter that must fit.
    pub(crate) interpreter: Interpreter,
    /// Absolute path of the interpreter, for the first line of commands.
    pub(crate) command: String,
    /// Directory of modules (`usr/lib/python3/dist-packages`).
    pub(crate) site: TreePath,
}

/// Which wheel this is, from the lock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Locked<'a> {
    /// Project name.
    pub(crate) name: &'a str,
    /// Version.
    pub(crate) version: &'a str,
    /// File name, which carries the tags.
    pub(crate) file: &'a str,
    /// SHA-256 of the file.
    pub(crate) sha256: Digest,
}

/// A wheel's files at their places.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    /// Files with their paths in the image, sorted.
    pub(crate) files: Vec<(TreePath, Entry)>,
    /// Requirements that apply to this image.
    pub(crate) requirements: Vec<Requirement>,
    /// What it says about its licence.
    pub(crate) licence: Licence,
}

/// What a wheel says about its licence; nothing is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Licence {
    /// An SPDX expression, or else words, or else what its classifiers say.
    pub(crate) names: Vec<String>,
    /// Absolute paths of its texts in the image.
    pub(crate) files: Vec<String>,
}

/// Why a wheel cannot be installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WheelError {
    /// The zip cannot be read.
    #[error("damaged wheel")]
    Zip(#[from] zip::result::ZipError),
    /// A file in the zip cannot be read or fails its check sum.
    #[error("cannot unpack `{path}`")]
    Unpack {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A name in the zip is not a path inside the target.
    #[error("file with an unusable name")]
    Path(#[from] PathError),
    /// The zip holds something that is not a regular file or directory.
    #[error("`{0}` is a symbolic link or device; wheels hold regular files only")]
    Kind(String),
    /// A name stands twice.
    #[error("`{0}` stands twice in the wheel")]
    Twice(String),
    /// More comes out than a real wheel could hold.
    #[error("more than {limit} bytes come out of the wheel: refused as a decompression bomb")]
    Bomb {
        /// Bytes accepted.
        limit: u64,
    },
    /// The file name is not that of a wheel.
    #[error("`{0}` is not a wheel's file name (`name-version-python-abi-platform.whl`)")]
    FileName(String),
    /// The tags do not fit.
    #[error("`{file}` is not for the image's interpreter, {interpreter}")]
    Tags {
        /// The wheel's file name.
        file: String,
        /// What the image has.
        interpreter: Interpreter,
    },
    /// `Requires-Python` is not satisfied.
    #[error("requires Python {wanted}; the image has {found}")]
    Python {
        /// The specifier.
        wanted: String,
        /// What the image has.
        found: Interpreter,
    },
    /// A file that every wheel has is missing.
    #[error("`{0}` is missing")]
    Missing(String),
    /// `WHEEL`, `METADATA` or `entry_points.txt` cannot be parsed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// `RECORD` cannot be parsed or does not match.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A field says something else than the lock, or a version that is not known.
    #[error("{field} is `{found}`; wanted `{wanted}`")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// A `.data` scheme that does not exist.
    #[error("`{0}` is in a `.data` directory of an unknown kind")]
    Scheme(String),
}

/// Unpacks, checks and places one wheel.
pub(crate) fn install(
    wheel: File,
    locked: Locked<'_>,
    target: &Target,
) -> Result<Installed, WheelError> {
    let name = tags::FileName::parse(locked.file)
        .ok_or_else(|| WheelError::FileName(locked.file.to_owned()))?;
    if !name.fits(target.interpreter) {
        return Err(WheelError::Tags {
            file: locked.file.to_owned(),
            interpreter: target.interpreter,
        });
    }
    let files = archive::unpack(wheel)?;
    let info = Info::read(&files, &name)?;
    info.check(locked, target)?;
    let record = Record::parse(&info.member(&files, "RECORD")?)?;
    check_record(&files, &record, &info)?;
    let environment = Environment::new(target.interpreter.minor, None);
    let requirements = requirements(&info.metadata, &environment);
    let licence = info.licence(&files, target);
    let files = place(files, &info, locked, target)?;
    Ok(Installed {
        files,
        requirements,
        licence,
    })
}

/// Bytes of `METADATA` in a wheel, of which nothing else is read.
pub(crate) fn metadata_of(wheel: impl Read + Seek) -> Result<Vec<u8>, WheelError> {
    const LARGEST: u64 = 16 << 20;
    let mut zip = zip::ZipArchive::new(wheel)?;
    let is_it = |name: &&str| {
        name.strip_suffix(".dist-info/METADATA")
            .is_some_and(|stem| !stem.contains('/'))
    };
    let name = zip.file_names().find(is_it).map(str::to_owned);
    let name = name.ok_or_else(|| WheelError::Missing("METADATA".to_owned()))?;
    let mut bytes = Vec::new();
    let read = zip.by_name(&name)?.take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|source| WheelError::Unpack { path: name, source })?;
    Ok(bytes)
}

/// The requirements that a `METADATA` states for an image.
pub(crate) fn requirements_of(
    metadata: &[u8],
    environment: &Environment,
) -> Result<Vec<Requirement>, MetadataError> {
    let headers = Headers::parse("METADATA", metadata)?;
    Ok(requirements(&headers, environment))
}

fn requirements(metadata: &Headers, environment: &Environment) -> Vec<Requirement> {
    let all = metadata.all("Requires-Dist");
    all.filter_map(|text| requirement::applicable(text, environment))
        .collect()
}

/// The `.dist-info` directory.
struct Info {
    /// `name-version.dist-info`
    directory: String,
    /// `name-version.data`
    data: String,
    wheel: Headers,
    metadata: Headers,
}

impl Info {
    fn read(files: &archive::Files, name: &tags::FileName) -> Result<Info, WheelError> {
        let stem = format!("{}-{}", name.name, name.version);
        let directory = format!("{stem}.dist-info");
        let mut info = Info {
            directory,
            data: format!("{stem}.data"),
            wheel: Headers::default(),
            metadata: Headers::default(),
        };
        info.wheel = Headers::parse("WHEEL", &info.member(files, "WHEEL")?)?;
        info.metadata = Headers::parse("METADATA", &info.member(files, "METADATA")?)?;
        Ok(info)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn member<'a>(
        &self,
        files: &'a archive::Files,
        name: &str,
    ) -> Result<Cow<'a, [u8]>, WheelError> {
        let path = self.path(name);
        match files.get(&path) {
            Some(file) => read(&file.content, &path),
            None => Err(WheelError::Missing(path)),
        }
    }

    fn check(&self, locked: Locked<'_>, target: &Target) -> Result<(), WheelError> {
        let field = |field, found: Option<&str>, wanted: &str| WheelError::Field {
            field,
            found: found.unwrap_or("missing").to_owned(),
            wanted: wanted.to_owned(),
        };
        let version = self.wheel.get("Wheel-Version");
        if version.is_none_or(|v| !v.starts_with("1.")) {
            return Err(field("Wheel-Version", version, "1.x"));
        }
        let name = self.metadata.get("Name");
        if name.is_none_or(|n| normalised(n) != normalised(locked.name)) {
            return Err(field("Name in METADATA", name, locked.name));
        }
        let version = self.metadata.get("Version");
        if version.is_none_or(|found| !version::same(found, locked.version)) {
            return Err(field("Version in METADATA", version, locked.version));
        }
        match self.metadata.get("Requires-Python") {
            Some(wanted) if !requirement::python_satisfies(wanted, target.interpreter.minor) => {
                Err(WheelError::Python {
                    wanted: wanted.to_owned(),
                    found: target.interpreter,
                })
            }
            _ => Ok(()),
        }
    }

    fn licence(&self, files: &archive::Files, target: &Target) -> Licence {
        let plain = |words: &&str| {
            !words.is_empty() && !words.contains('\n') && words.len() < 100 && *words != "UNKNOWN"
        };
        let expression = self.metadata.get("License-Expression");
        let words = self.metadata.get("License").filter(plain);
        let names: Vec<String> = match expression.or(words) {
            Some(name) => vec![name.to_owned()],
            None => self
                .metadata
                .all("Classifier")
                .filter_map(|classifier| classifier.strip_prefix("License :: "))
                .filter_map(|classes| classes.rsplit(" :: ").next())
                .filter(|name| *name != "OSI Approved")
                .map(str::to_owned)
                .collect(),
        };
        // Core metadata 2.4 has them below `licenses/`; older tools put them beside `METADATA`.
        let found = self.metadata.all("License-File").filter_map(|file| {
            let places = [format!("licenses/{file}"), file.to_owned()];
            let mut paths = places.iter().map(|place| self.path(place));
            let path = paths.find(|path| files.contains_key(path))?;
            Some(target.site.join(path.as_bytes()).ok()?.absolute())
        });
        Licence {
            names,
            files: found.collect(),
        }
    }
}

/// Files that `RECORD` cannot list with a hash.
fn is_unrecorded(path: &str, info: &Info) -> bool {
    ["RECORD", "RECORD.jws", "RECORD.p7s"]
        .iter()
        .any(|name| path == info.path(name))
}

fn check_record(files: &archive::Files, record: &Record, info: &Info) -> Result<(), WheelError> {
    for (path, file) in files {
        if !is_unrecorded(path, info) {
            record.check(path, &file.content)?;
        }
    }
    for path in record.paths() {
        if !files.contains_key(path) && !is_unrecorded(path, info) {
            return Err(RecordError::Absent(path.to_owned()).into());
        }
    }
    Ok(())
}

/// Gives every file its path in the image and writes commands, `INSTALLER` and `RECORD`.
fn place(
    files: archive::Files,
    info: &Info,
    locked: Locked<'_>,
    target: &Target,
) -> Result<Vec<(TreePath, Entry)>, WheelError> {
    let origin = Origin::Wheel {
        name: locked.name.to_owned(),
        version: locked.version.to_owned(),
        sha256: locked.sha256,
    };
    let mut placed = Placed {
        files: Vec::new(),
        record: Record::default(),
        site: &target.site,
        origin,
    };
    let entry_points = files
        .get(&info.path("entry_points.txt"))
        .map(|f| f.content.clone());
    for (path, file) in files {
        if is_unrecorded(&path, info) || path == info.path("INSTALLER") {
            continue;
        }
        let (destination, is_script) = destination(&path, info, locked, target)?;
        let content = if is_script {
            with_interpreter(file.content, &path, &target.command)?
        } else {
            file.content
        };
        let mode = if is_script || file.executable {
            0o755
        } else {
            0o644
        };
        placed.add(destination, mode, content);
    }
    if let Some(text) = entry_points {
        let text = read(&text, &info.path("entry_points.txt"))?;
        for command in metadata::commands(&text)? {
            let path = TreePath::new(b"usr/bin")?.join(command.name.as_bytes())?;
            placed.add(
                path,
                0o755,
                Content::new(command.script(&target.command).into_bytes()),
            );
        }
    }
    let installer = target.site.join(info.path("INSTALLER").as_bytes())?;
    placed.add(installer, 0o644, Content::new(b"cloister\n".to_vec()));
    let record = Content::new(placed.record.encode(&info.path("RECORD")));
    placed.add(
        target.site.join(info.path("RECORD").as_bytes())?,
        0o644,
        record,
    );
    placed.files.sort_by(|a, b| a.0.cmp(&b.0));
    match placed
        .files
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a.0 == b.0))
    {
        Some([twice, ..]) => Err(WheelError::Twice(twice.0.absolute())),
        _ => Ok(placed.files),
    }
}

struct Placed<'a> {
    files: Vec<(TreePath, Entry)>,
    record: Record,
    site: &'a TreePath,
    origin: Origin,
}

impl Placed<'_> {
    fn add(&mut self, path: TreePath, mode: u32, content: Content) {
        self.record.set(relative(&path, self.site), &content);
        self.files
            .push((path, Entry::file(mode, content, self.origin.clone())));
    }
}

/// `path` as `RECORD` writes it: relative to the site directory, with `..` where it lies outside.
fn relative(path: &TreePath, site: &TreePath) -> String {
    let (path, site): (Vec<_>, Vec<_>) = (path.components().collect(), site.components().collect());
    let common = path.iter().zip(&site).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(&b".."[..], site.len() - common);
    let down = path.iter().skip(common).copied();
    let parts: Vec<_> = up.chain(down).map(String::from_utf8_lossy).collect();
    parts.join("/")
}

/// The path in the image and whether the file is a script of the `scripts` scheme.
fn destination(
    path: &str,
    info: &Info,
    locked: Locked<'_>,
    target: &Target,
) -> Result<(TreePath, bool), WheelError> {
    let inside = path
        .strip_prefix(&info.data)
        .and_then(|rest| rest.strip_prefix('/'));
    let Some(inside) = inside else {
        return Ok((target.site.join(path.as_bytes())?, false));
    };
    let (scheme, rest) = inside
        .split_once('/')
        .ok_or_else(|| WheelError::Scheme(path.to_owned()))?;
    let under = |directory: &str| TreePath::new(directory.as_bytes())?.join(rest.as_bytes());
    let minor = target.interpreter.minor;
    Ok(match scheme {
        "purelib" | "platlib" => (target.site.join(rest.as_bytes())?, false),
        "scripts" => (under("usr/bin")?, true),
        "data" => (under("usr")?, false),
        "headers" => (
            under(&format!("usr/include/python3.{minor}/{}", locked.name))?,
            false,
        ),
        _ => return Err(WheelError::Scheme(path.to_owned())),
    })
}

/// A script whose first line `#!python` or `#!pythonw` names the image's interpreter instead.
fn with_interpreter(
    content: Content,
    path: &str,
    interpreter: &str,
) -> Result<Content, WheelError> {
    let bytes = read(&content, path)?;
    let end = bytes
        .iter()
        .position(|&b| b == b'\n')
        .unwrap_or(bytes.len());
    Ok(match bytes.split_at_checked(end) {
        Some((b"#!python" | b"#!pythonw" | b"#!python\r" | b"#!pythonw\r", rest)) => {
            Content::new([format!("#!{interpreter}").as_bytes(), rest].concat())
        }
        _ => content.clone(),
    })
}

fn read<'a>(content: &'a Content, path: &str) -> Result<Cow<'a, [u8]>, WheelError> {
    content.read().map_err(|source| WheelError::Unpack {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
