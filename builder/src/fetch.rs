//! Bringing contents into the store: by hash, in parallel, resumed after interruptions.
//!
//! A content is looked for in the store, then in each of its places in order. Wrong, short or long bytes never get a
//! name in the store. Bytes of an interrupted download stay under `partial/` and are continued by the next run.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use crate::cmd::Hinted;
use crate::digest::Digest;
use crate::progress::Task;
use crate::source::{Client, HttpError, pauses};
use crate::store::{Partial, Store, StoreError};

/// Most connections at a time: archives throttle clients that open many.
pub(crate) const CONNECTIONS: usize = 6;

/// A content to bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What people call it, for example `libc6 2.41-12`.
    pub(crate) name: String,
    /// What it must hash to.
    pub(crate) sha256: Digest,
    /// Its size in bytes; `None` where only its hash is known.
    pub(crate) size: Option<u64>,
    /// Where it may be, in order.
    pub(crate) places: Vec<Place>,
}

/// Where a content may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// An address.
    Url(String),
    /// A file of this machine.
    File(PathBuf),
}

/// How a content came into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// It was there, and its bytes are right.
    Present,
    /// It was brought, `bytes` of it over the network or from a file.
    Brought {
        /// Bytes moved by this run.
        bytes: u64,
    },
}

/// Why a content is not in the store.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// Every place says that it does not exist.
    #[error(
        "`{name}` is no longer in any configured archive or index: it was superseded or removed"
    )]
    Superseded {
        /// What people call it.
        name: String,
        /// The recipe whose lock names it.
        recipe: String,
    },
    /// No place is known.
    #[error("no place is known for `{name}`")]
    NoPlace {
        /// What people call it.
        name: String,
    },
    /// Bytes of another length.
    #[error("`{name}` from `{place}`: wanted {wanted} bytes, found {found}")]
    Size {
        /// What people call it.
        name: String,
        /// Where the bytes came from.
        place: String,
        /// Size in the lock.
        wanted: u64,
        /// Size of what came.
        found: u64,
    },
    /// Other bytes.
    #[error("`{name}` from `{place}`: wanted SHA-256 {wanted}, found {found}")]
    Hash {
        /// What people call it.
        name: String,
        /// Where the bytes came from.
        place: String,
        /// Digest in the lock.
        wanted: Digest,
        /// Digest of what came.
        found: Digest,
    },
    /// The network failed.
    #[error("`{name}` cannot be fetched")]
    Http {
        /// What people call it.
        name: String,
        /// What went wrong.
        #[source]
        source: HttpError,
    },
    /// A file of this machine cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store failed.
    #[error("`{name}` cannot be stored")]
    Store {
        /// What people call it.
        name: String,
        /// What went wrong.
        #[source]
        source: StoreError,
    },
    /// More than one content failed.
    #[error("{} contents cannot be fetched:\n{}", .0.len(), list(.0))]
    Several(Vec<FetchError>),
}

fn list(errors: &[FetchError]) -> String {
    let line = |error: &FetchError| {
        let mut text = format!("  {error}");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    };
    errors
        .iter()
        .take(12)
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

impl Hinted for FetchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Superseded { recipe, .. } => Some(format!(
                "`cloister lock {recipe}` pins what the archive has now; the image and its measurements will change"
            )),
            Self::NoPlace { .. } => Some("give `--archive URL`, `--index URL` or `--from DIR`".to_owned()),
            Self::Size { .. } | Self::Hash { .. } => {
                Some("nothing of it was kept; the archive or the way to it is damaged or hostile: try another with `--archive` or `--index`".to_owned())
            }
            Self::Http { source, .. } => source.hint(),
            Self::Store { source, .. } => source.hint(),
            Self::Several(errors) => errors.iter().find_map(Hinted::hint),
            Self::Read { .. } => None,
        }
    }
}

/// What fetching needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    /// HTTP.
    pub(crate) client: &'a Client,
    /// Where contents go.
    pub(crate) store: &'a Store,
    /// Name of the recipe, for hints.
    pub(crate) recipe: &'a str,
}

impl Fetcher<'_> {
    /// Brings everything; errors of single contents do not stop the others, except when the disk is full.
    pub(crate) fn all(
        &self,
        wanted: &[Wanted],
        jobs: NonZeroUsize,
        task: &Task,
    ) -> Result<Vec<Came>, FetchError> {
        let queue = Mutex::new(wanted.iter().enumerate().collect::<VecDeque<_>>());
        let results = Mutex::new((Vec::new(), Vec::new()));
        let threads = wanted.len().min(CONNECTIONS.max(jobs.get())).max(1);
        // The guard must not live through the body: `while let` would keep it.
        let next = || lock(&queue).pop_front();
        let work = || {
            while let Some((at, item)) = next() {
                match self.one(item, task) {
                    Ok(came) => lock(&results).0.push((at, came)),
                    Err(error) => {
                        if is_full(&error) {
                            lock(&queue).clear();
                        }
                        lock(&results).1.push((at, error));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let (mut came, mut errors) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        came.sort_by_key(|(at, _)| *at);
        errors.sort_by_key(|(at, _)| *at);
        let mut errors: Vec<_> = errors.into_iter().map(|(_, error)| error).collect();
        match (errors.len(), errors.pop()) {
            (_, None) => Ok(came.into_iter().map(|(_, came)| came).collect()),
            (1, Some(error)) => Err(error),
            (_, Some(last)) => {
                errors.push(last);
                Err(FetchError::Several(errors))
            }
        }
    }

    /// Brings one content.
    pub(crate) fn one(&self, wanted: &Wanted, task: &Task) -> Result<Came, FetchError> {
        let stored = |source| FetchError::Store {
            name: wanted.name.clone(),
            source,
        };
        if self.store.contains(&wanted.sha256) {
            match self.store.open_verified(&wanted.sha256) {
                Ok(_) => return Ok(Came::Present),
                Err(StoreError::Damaged { .. }) => {
                    self.store.remove(&wanted.sha256).map_err(stored)?
                }
                Err(error) => return Err(stored(error)),
            }
        }
        let mut last = None;
        for place in &wanted.places {
            let Some(mut partial) = self.store.partial(&wanted.sha256).map_err(stored)? else {
                return Ok(Came::Present);
            };
            let result = match place {
                Place::Url(url) => self.download(wanted, url, &mut partial, task),
                Place::File(path) => copy(wanted, path, &mut partial, task),
            };
            match result {
                Ok(bytes) => {
                    return finish(wanted, place, partial).map(|()| Came::Brought { bytes });
                }
                Err(error) if is_absent(&error) => {
                    partial.discard();
                    last = last.or(Some(error));
                }
                Err(error) => {
                    if partial.length() == 0 || !matches!(&error, FetchError::Http { .. }) {
                        partial.discard();
                    }
                    if matches!(&error, FetchError::Store { .. }) {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(match last {
            None => FetchError::NoPlace {
                name: wanted.name.clone(),
            },
            Some(error) if is_absent(&error) => FetchError::Superseded {
                name: wanted.name.clone(),
                recipe: self.recipe.to_owned(),
            },
            Some(error) => error,
        })
    }

    /// Continues `partial` from `url`, again after pauses when the connection fails; returns the bytes moved.
    fn download(
        &self,
        wanted: &Wanted,
        url: &str,
        partial: &mut Partial<'_>,
        task: &Task,
    ) -> Result<u64, FetchError> {
        let http = |source| FetchError::Http {
            name: wanted.name.clone(),
            source,
        };
        let mut moved = 0;
        let mut pauses = pauses();
        loop {
            let before = partial.length();
            let attempt = self.attempt(wanted, url, partial, task);
            moved += partial.length().saturating_sub(before);
            match attempt {
                Ok(()) => return Ok(moved),
                Err(FetchError::Http { source, .. }) if source.is_passing() => {
                    match pauses.next() {
                        Some(pause) => std::thread::sleep(pause),
                        None => return Err(http(source)),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn attempt(
        &self,
        wanted: &Wanted,
        url: &str,
        partial: &mut Partial<'_>,
        task: &Task,
    ) -> Result<(), FetchError> {
        let stored = |source| FetchError::Store {
            name: wanted.name.clone(),
            source,
        };
        let http = |source| FetchError::Http {
            name: wanted.name.clone(),
            source,
        };
        if wanted.size.is_some_and(|size| partial.length() > size) {
            partial.restart().map_err(stored)?;
        }
        if wanted.size == Some(partial.length()) && partial.length() > 0 {
            return Ok(());
        }
        let mut response = self.client.get(url, partial.length(), "").map_err(http)?;
        if response.offset != partial.length() {
            partial.restart().map_err(stored)?;
        }
        pour(wanted, url, &mut response.body, partial, task)
    }
}

/// Moves a body into `partial`, and checks its length at the end.
fn pour(
    wanted: &Wanted,
    place: &str,
    body: &mut dyn Read,
    partial: &mut Partial<'_>,
    task: &Task,
) -> Result<(), FetchError> {
    let size_error = |found| FetchError::Size {
        name: wanted.name.clone(),
        place: place.to_owned(),
        wanted: wanted.size.unwrap_or_default(),
        found,
    };
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(source) => {
                let source = HttpError::Interrupted {
                    url: place.to_owned(),
                    source,
                };
                return Err(FetchError::Http {
                    name: wanted.name.clone(),
                    source,
                });
            }
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        partial
            .write_all(bytes)
            .map_err(|error| FetchError::Store {
                name: wanted.name.clone(),
                source: StoreError::io(partial.path(), error),
            })?;
        task.add(count as u64);
        if wanted.size.is_some_and(|size| partial.length() > size) {
            return Err(size_error(partial.length()));
        }
    }
    match wanted.size {
        Some(size) if size != partial.length() => Err(size_error(partial.length())),
        _ => Ok(()),
    }
}

fn copy(
    wanted: &Wanted,
    path: &Path,
    partial: &mut Partial<'_>,
    task: &Task,
) -> Result<u64, FetchError> {
    let read = |source| FetchError::Read {
        path: path.to_owned(),
        source,
    };
    partial.restart().map_err(|source| FetchError::Store {
        name: wanted.name.clone(),
        source,
    })?;
    let mut file = File::open(path).map_err(read)?;
    pour(
        wanted,
        &path.display().to_string(),
        &mut file,
        partial,
        task,
    )?;
    Ok(partial.length())
}

fn finish(wanted: &Wanted, place: &Place, partial: Partial<'_>) -> Result<(), FetchError> {
    partial.finish().map_err(|error| match error {
        StoreError::Mismatch {
            wanted: digest,
            found,
        } => FetchError::Hash {
            name: wanted.name.clone(),
            place: match place {
                Place::Url(url) => url.clone(),
                Place::File(path) => path.display().to_string(),
            },
            wanted: digest,
            found,
        },
        source => FetchError::Store {
            name: wanted.name.clone(),
            source,
        },
    })
}

/// Whether a place said that it does not have the content.
fn is_absent(error: &FetchError) -> bool {
    match error {
        FetchError::Http {
            source: HttpError::Gone(_),
            ..
        } => true,
        FetchError::Read { source, .. } => source.kind() == ErrorKind::NotFound,
        _ => false,
    }
}

fn is_full(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Store {
            source: StoreError::Full { .. },
            ..
        }
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
