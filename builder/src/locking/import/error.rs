//! Why an imported lock, or a package of it, is refused, and what to change.

use std::fmt;

use thiserror::Error;

use crate::cmd::Hinted;

/// Why a lock of Python packages cannot be imported.
#[derive(Debug, Error)]
pub(crate) enum ImportError {
    /// It cannot be read.
    #[error("cannot read `{file}`")]
    Read {
        /// The file, as the recipe names it.
        file: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML of the expected form.
    #[error("`{file}` is not a `pylock.toml`")]
    Toml {
        /// The file.
        file: String,
        /// What is wrong, and where.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Another edition of the format.
    #[error("`{file}` has lock-version `{found}`, wanted `1.0`")]
    Version {
        /// The file.
        file: String,
        /// What it says.
        found: String,
    },
    /// Nothing is in it.
    #[error("`{file}` locks no package")]
    Empty {
        /// The file.
        file: String,
    },
    /// It was made for another Python.
    #[error("`{file}` is for Python {wanted}; the image has {found}")]
    Python {
        /// The file.
        file: String,
        /// `requires-python`.
        wanted: String,
        /// The image's.
        found: String,
    },
    /// It was made for other environments.
    #[error(
        "`{file}` is for other environments ({}); the image is CPython {found} on x86-64 Linux",
        quoted(listed)
    )]
    Environments {
        /// The file.
        file: String,
        /// `environments`.
        listed: Vec<String>,
        /// The image's Python.
        found: String,
    },
    /// Packages that cannot be taken.
    #[error("{}", list(file, refused))]
    Refused {
        /// The file.
        file: String,
        /// What is wrong, in the order of the file.
        refused: Vec<Refused>,
    },
    /// An exclusion that excludes nothing.
    #[error("`python.exclude` has `{name}`, which {}", nothing(file, *listed))]
    Exclude {
        /// The file.
        file: String,
        /// The name.
        name: String,
        /// Whether the file has it, with a marker that does not apply.
        listed: bool,
        /// A name of the file that is nearly the same.
        near: Option<String>,
    },
    /// A package that stands in the recipe, too.
    #[error("`{name}` is in `python.wheels` and in `{file}`")]
    Pinned {
        /// The file.
        file: String,
        /// The name.
        name: String,
    },
}

/// One line or package that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its name and version, where they are known.
    pub(crate) package: Option<(String, String)>,
    /// Line of the file, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) why: Refusal,
}

/// What is wrong with a line or package.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// Neither a package nor an option.
    #[error("`{0}` is not `name==version`")]
    NotPinned(String),
    /// An option.
    #[error("option `{0}` is refused: {why}", why = option(.0))]
    Option(String),
    /// No digest.
    #[error("no SHA-256 is given")]
    NoHash,
    /// A digest that is none.
    #[error("`{0}` is not `sha256:` and 64 lower-case hexadecimal digits")]
    Hash(String),
    /// No wheel.
    #[error("only a source distribution is there: no sdist is ever built")]
    OnlySdist,
    /// Not from an index.
    #[error("it comes from {0}; only wheels are installed")]
    Elsewhere(&'static str),
    /// Neither a version nor a wheel that tells it.
    #[error("it has no version")]
    NoVersion,
    /// Two packages of one name apply.
    #[error("it is locked twice for this image, also in line {0}")]
    Twice(usize),
    /// A marker that cannot be judged.
    #[error("marker `{0}` is not understood")]
    Marker(String),
    /// `requires-python` does not have the image's.
    #[error("it requires Python {wanted}; the image has {found}")]
    Python {
        /// The clauses.
        wanted: String,
        /// The image's.
        found: String,
    },
    /// No wheel for the image.
    #[error("no locked wheel is for {image}; locked are {}", quoted(listed))]
    NoFit {
        /// What the image has.
        image: String,
        /// Wheels that are locked.
        listed: Vec<String>,
    },
    /// Hashes of nothing.
    #[error(
        "none of its {hashes} hashes is that of a file that an index lists ({listed} of this version are)"
    )]
    NoFile {
        /// How many hashes are locked.
        hashes: usize,
        /// How many files of the version are listed.
        listed: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some((name, version)) = &self.package {
            write!(f, "`{name}` {version}: ")?;
        }
        write!(f, "{}", self.why)
    }
}

impl Hinted for ImportError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { refused, .. } => return refused.first().map(|first| hint(&first.why)),
            Self::Version { .. } | Self::Toml { .. } => {
                "`uv pip compile --format pylock.toml` writes one; a requirements file must not end in `.toml`"
            }
            Self::Python { .. } | Self::Environments { .. } => FOR_THE_IMAGE,
            Self::Exclude {
                near: Some(near),
                listed: false,
                ..
            } => {
                return Some(format!("did you mean `{near}`?"));
            }
            Self::Exclude { .. } => "take it out of `python.exclude`",
            Self::Pinned { .. } => {
                "take it out of `python.wheels`; to replace the locked one, name it in `python.exclude` also"
            }
            Self::Read { .. } | Self::Empty { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

const FOR_THE_IMAGE: &str = "make the lock for the image, for example with `uv pip compile --python-version 3.13 --python-platform x86_64-manylinux_2_40`";

/// What to change.
fn hint(why: &Refusal) -> String {
    let hint = match why {
        Refusal::NotPinned(_) | Refusal::Hash(_) | Refusal::NoHash => {
            "make the lock with `uv pip compile --generate-hashes` or `--format pylock.toml`"
        }
        Refusal::Option(_) => {
            "take it out; where packages come from is said by `--index URL` or pip's configuration on this machine"
        }
        Refusal::OnlySdist => {
            "lock a version that has a wheel, put a wheel of your own into a directory of pip's `find-links` and lock it, or name the package in `python.exclude`"
        }
        Refusal::Elsewhere(_) => "lock a released version of it, or name it in `python.exclude`",
        Refusal::NoVersion => "lock it with its version",
        Refusal::Twice(_) => {
            "make the lock for one environment, or give the two markers that exclude each other"
        }
        Refusal::Marker(_) => "take the marker out, or name the package in `python.exclude`",
        Refusal::Python { .. } | Refusal::NoFit { .. } => FOR_THE_IMAGE,
        Refusal::NoFile { .. } => {
            "make the lock again, or name the index that has the files with `--index URL`"
        }
    };
    hint.to_owned()
}

/// Why an option is refused.
fn option(name: &str) -> &'static str {
    match name {
        "-i" | "--index-url" | "--extra-index-url" | "-f" | "--find-links" | "--no-index"
        | "--trusted-host" => "locations never stand in a recipe",
        _ => "only packages with their hashes are read",
    }
}

fn nothing(file: &str, listed: bool) -> String {
    match listed {
        true => format!("`{file}` does not lock for this image"),
        false => format!("`{file}` does not lock"),
    }
}

/// How many refused packages are shown.
const SHOWN: usize = 12;

fn list(file: &str, refused: &[Refused]) -> String {
    if let [only] = refused {
        return format!("`{file}`, {only}");
    }
    let mut text = format!("`{file}` has {} mistakes:", refused.len());
    for one in refused.iter().take(SHOWN) {
        text.push_str(&format!("\n  {one}"));
    }
    if refused.len() > SHOWN {
        text.push_str("\n  ...");
    }
    text
}

/// How many names a message has.
const NAMES: usize = 6;

fn quoted(names: &[String]) -> String {
    let shown = names.iter().take(NAMES).map(|name| format!("`{name}`"));
    let mut shown: Vec<String> = shown.collect();
    if names.len() > NAMES {
        shown.push(format!("{} more", names.len() - NAMES));
    }
    shown.join(", ")
}
