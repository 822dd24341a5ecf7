//! Why two builds differ: from a changed register to the output, the file inside it, and the package it came from.
//!
//! A build is an output directory with its manifest; single files and reference values can be compared as well.
//! Everything is read from the two builds themselves: `manifest.json` holds the lock, `provenance.json` says which
//! package or file of the recipe every path of the root came from.

mod account;
mod build;
mod chain;
mod change;
mod file;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use cloister_measure::reference::ReferenceValues;
use thiserror::Error;

use build::Build;
pub(crate) use change::{Change, render};

/// Why two things could not be compared.
#[derive(Debug, Error)]
pub(crate) enum DifferenceError {
    /// A file could not be read.
    #[error("`{path}` could not be read")]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A JSON file of a build is damaged.
    #[error("`{path}` is not the JSON that a build writes")]
    Json {
        /// File.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// A directory and a file.
    #[error("`{directory}` is a directory and `{file}` is a file: compare two builds or two files")]
    Kinds {
        /// The directory.
        directory: PathBuf,
        /// The file.
        file: PathBuf,
    },
}

/// What differs between `a` and `b`, two output directories or two files; empty when they are equal.
pub(crate) fn compare(a: &Path, b: &Path) -> Result<Vec<Change>, DifferenceError> {
    match (a.is_dir(), b.is_dir()) {
        (true, true) => chain::builds(&Build::read(a)?, &Build::read(b)?),
        (false, false) => file::compare(a, b).map_err(|source| {
            let path = if a.exists() { b } else { a };
            DifferenceError::Read {
                path: path.to_owned(),
                source,
            }
        }),
        (true, false) => Err(DifferenceError::Kinds {
            directory: a.to_owned(),
            file: b.to_owned(),
        }),
        (false, true) => Err(DifferenceError::Kinds {
            directory: b.to_owned(),
            file: a.to_owned(),
        }),
    }
}

/// Names of the registers and launch digests that differ.
pub(crate) fn registers(a: &ReferenceValues, b: &ReferenceValues) -> Vec<String> {
    file::registers(a, b)
        .into_iter()
        .map(|change| change.what)
        .collect()
}
